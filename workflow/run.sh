#!/usr/bin/env bash
# run.sh FOLDER NAME PARAMETERS…: papermill makes a run. FOLDER gets the executed notebook as run.ipynb if all goes well; in any case run.log,
# and outcome.txt: "finished", "interrupted", or "failed: " and the reason. Printed: NAME, a line for each epoch, and NAME with its outcome.
set -uo pipefail
folder=$1 name=$2; shift 2
note() { echo "$1" > "$folder/outcome.txt"; echo "$name  $1" | cut -c1-220; }
trap 'note interrupted; exit 130' INT TERM
mkdir -p "$folder" && rm -f "$folder/outcome.txt"
echo "$name"
if python -S workflow/execute.py nbs/train.ipynb "$folder/run.part.ipynb" "$@" --no-progress-bar --log-level WARNING 2>&1 \
    | tee "$folder/run.log" | awk -v name="${name%%  *}" '/^(epoch|  (fid|kid|is))/ {print "    " name "  " $0; fflush()}'
then mv "$folder/run.part.ipynb" "$folder/run.ipynb"; note finished; exit 0
elif [ -s "$folder/outcome.txt" ]; then note "$(head -1 "$folder/outcome.txt")"     # the run has said itself what stopped it
elif grep -qE 'DeadKernelError|Kernel died' "$folder/run.log"; then note 'failed: its kernel died: killed, or out of memory'
elif cause=$(grep -E '^[A-Za-z_.]*(Error|Exception|Exit)\b' "$folder/run.log"); then note "failed: $(tail -1 <<< "$cause")"     # its message may have more lines
else note "failed: $(grep -vE '^$|^.IPKernelApp.' "$folder/run.log" | tail -1)"
fi
exit 1
