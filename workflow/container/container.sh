#!/usr/bin/env bash
# container.sh build            the image of the Containerfile, by podman, docker or buildah
# container.sh TARGET NAME=…    make in that image: this folder is /project there, and other folders are where they are if their full path is given
set -euo pipefail
cd "$(dirname "$0")/../.."
image=localhost/dcgan-nb
stop() { echo "$1" >&2; exit 2; }
first() { for engine; do if command -v "$engine" > /dev/null && "$engine" info > /dev/null 2>&1; then echo "$engine"; return; fi; done; }      # that is there and answers
if [ "$1" = build ]; then
    engine=$(first podman docker buildah)
    [ "$engine" ] || stop 'make container needs podman, docker or buildah, and none of them works on this machine; for Apptainer there is workflow/container/apptainer.def.'
    exec "$engine" build --file workflow/container/Containerfile --tag "$image" .
fi
engine=$(first podman docker)
[ "$engine" ] || stop "CONTAINER=1 needs podman or docker, and neither works on this machine. Nearest: make $1 without it."
"$engine" image inspect "$image" > /dev/null 2>&1 || stop "CONTAINER=1: $engine does not have the image $image yet; \`make container\` builds it."
given=(--rm --security-opt label=disable --volume "$PWD:/project" --env CUDA_VISIBLE_DEVICES)
for word in "${@:2}"; do
    folder=${word#*=}
    case $word in REPORTS=/*) mkdir -p "$folder" ;; esac
    if [[ $folder = /* && -d $folder ]]; then given+=(--volume "$folder:$folder"); fi
done
gpus=$(command -v nvidia-smi || true)      # not tried: no machine with a GPU has run this
if [ "$engine" = podman ] && [ "$(id -u)" != 0 ]; then given+=(--userns=keep-id); else given+=(--user "$(id -u):$(id -g)"); fi      # what is made is the caller's
if [ "$gpus" ]; then if [ "$engine" = podman ]; then given+=(--device nvidia.com/gpu=all); else given+=(--gpus all); fi; fi
exec "$engine" run "${given[@]}" "$image" "$@"
