#!/usr/bin/env bash
# papermill, with its arguments; called again, three times in all, if its kernel did not start: kernels that start at the same moment may choose the same port.
set -uo pipefail
log=$(mktemp); trap 'rm -f "$log"' EXIT; trap 'exit 130' INT TERM    # a kernel that was interrupted shall not start again
exec 3>&1
for attempt in 1 2 3; do
    papermill "$@" 2>&1 1>&3 | tee "$log" >&2
    code=${PIPESTATUS[0]}
    if [ "$code" = 0 ] || ! grep -qE "ZMQError|Kernel died before replying|Kernel didn't respond" "$log"; then exit "$code"; fi
done
exit "$code"
