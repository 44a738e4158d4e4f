#!/usr/bin/env bash
# batch.sh REPORTS FILE: the runs of a batch, one after the other. A line of FILE is a run's name and its parameters. What is finished is passed over; a run
# at which another job is at work is left for the end, and waited for. Ends with 1 if a run was cut off, which a job with more time or memory may help.
set -uo pipefail
reports=$1 cut_off=0
export DCGAN_NB_CACHE="${DCGAN_NB_CACHE:-$(realpath "$reports")/cache}" OMP_NUM_THREADS=1
mapfile -t lines < "$2"
todo=("${!lines[@]}")
for lock in --nonblock --exclusive; do
    later=()
    for i in "${todo[@]}"; do
        read -r id given <<< "${lines[i]}"
        folder=$reports/runs/$id
        mkdir -p "$folder"
        (
            flock "$lock" -E 75 9; [ $? != 75 ] || exit 75        # where files cannot be locked, the run goes on without
            if [ -e "$folder/run.ipynb" ]; then exit 0; fi
            eval "bash workflow/run.sh \"\$folder\" \"run $((i + 1))/${#lines[@]}  \$id\" $given"      # quoted for a shell by the one who wrote FILE
        ) 9>> "$folder/.job"
        code=$?
        if [ $code = 75 ]; then later+=("$i")
        elif [ $code != 0 ] && ! grep -qs '^failed' "$folder/outcome.txt" || grep -qs 'kernel died' "$folder/outcome.txt"; then cut_off=1
        fi
    done
    todo=("${later[@]}")
done
exit $cut_off
