#!/usr/bin/env bash
# on_gpu.sh SHARE NEED COMMAND…: where CUDA_VISIBLE_DEVICES names several GPUs (0,1 or their UUIDs), COMMAND sees one of them. Each has SHARE places, of which
# COMMAND takes NEED, on the GPU where most are free; if there are too few it waits. A place is a lock on a file, so who is killed leaves it. With fewer GPUs, or if NEED
# is 0, nothing is done. Tests have a stand-in for two GPUs; it never met a real one.
set -uo pipefail
share=$1 need=$(($2 < $1 ? $2 : $1)); shift 2
IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES-}"
if [ ${#gpus[@]} -lt 2 ] || [ "$need" = 0 ]; then exec "$@"; fi
places=${TMPDIR:-/tmp}/dcgan-nb-gpus-$UID       # of this machine and user, whatever the study
mkdir -p "$places" && exec {choosing}>> "$places/choosing" || exit 1
release() { for fd; do exec {fd}>&-; done; }
while true; do
    flock "$choosing"                           # one chooses at a time
    kept=() chosen=
    for gpu in "${gpus[@]}"; do
        free=()
        for ((i = 0; i < share; i++)); do
            exec {fd}>> "$places/$gpu.$i"
            if flock --nonblock "$fd"; then free+=("$fd"); else release "$fd"; fi
        done
        if [ ${#free[@]} -ge "$need" ] && [ ${#free[@]} -gt ${#kept[@]} ]
        then release "${kept[@]}"; kept=("${free[@]}") chosen=$gpu
        else release "${free[@]}"
        fi
    done
    release "${kept[@]:$need}"
    flock --unlock "$choosing"
    if [ "$chosen" ]; then release "$choosing"; CUDA_VISIBLE_DEVICES=$chosen exec "$@"; fi
    sleep 1
done
