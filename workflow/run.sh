#!/usr/bin/env bash
# run.sh FOLDER NAME PARAMETERS…: papermill makes a run. FOLDER gets the executed notebook as run.ipynb if all goes well; in any case run.log,
# and outcome.txt: "finished", or "failed: " and the reason. Printed: NAME, a line for each epoch, and NAME with its outcome.
set -uo pipefail
folder=$1 name=$2; shift 2
trap 'exit 130' INT TERM    # a run that was interrupted has not failed
mkdir -p "$folder" && rm -f "$folder/outcome.txt"
echo "$name"
if bash workflow/papermill.sh nbs/train.ipynb "$folder/run.part.ipynb" "$@" --no-progress-bar --log-level WARNING --stdout-file /dev/stdout 2>&1 \
    | tee "$folder/run.log" | awk '/^(epoch|  (fid|kid|is))/ {print "    " $0; fflush()}'
then outcome=finished; mv "$folder/run.part.ipynb" "$folder/run.ipynb"
else outcome="failed: $(grep -vE '^$|^.IPKernelApp.' "$folder/run.log" | tail -1)"
fi
echo "$outcome" > "$folder/outcome.txt"
echo "$name  $outcome" | cut -c1-220
[ "$outcome" = finished ]
