#!/usr/bin/env bash
# make cuda-bundle: one archive with all that a study needs on a machine without a network: code, wheels, data, the list of runs, and
# study.sh, which runs them there. That machine has Python and PyTorch (with torchvision, torchmetrics, seaborn, scipy); nothing is installed outside the folder.
# usage: bundle.sh ARCHIVE PROFILE CLAIM DEVICE PYTHON_VERSION [MNIST]
set -euo pipefail
git rev-parse -q --verify HEAD > /dev/null 2>&1 || { echo "A bundle is made from the git repository, and there is none here." >&2; exit 2; }
archive=$1 profile=$2 claim=$3 device=$4 version=$5 mnist=${6:-}
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
mkdir -p "$out"/{code,wheels,cache} "$(dirname "$archive")"

git archive HEAD dcgan_nb nbs benchmarks tests/conftest.py tests/test_graphs.py workflow/papermill.sh pyproject.toml settings.ini | tar x -C "$out/code"
git rev-parse HEAD > "$out/code/COMMIT"
platforms=(); for p in 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${p}_x86_64"); done
python -m pip download -q --only-binary=:all: --python-version "$version" --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 \
    --platform manylinux1_x86_64 -d "$out/wheels" papermill ipykernel safetensors fastjsonschema pytest
python - "$out" "$profile" "$claim" "$device" "$mnist" <<'PY'
import shutil, sys
from pathlib import Path
from dcgan_nb.foundations.datasets import find_data, write_idx
from dcgan_nb.study.plan import runs_to_do
out, profile, claim, device, mnist = sys.argv[1:]
runs = runs_to_do(profile, claim, device, mnist or None)
Path(out, 'runs.txt').write_text('\n'.join(line for _, line in runs) + '\n')
for name in {config.dataset for config, _ in runs}:
    folder = Path(out, 'cache', name)
    folder.mkdir()
    for stem, x in find_data(name, mnist if mnist and name.startswith('mnist') else None)[0].items(): write_idx(x, folder/f'{stem}.gz')
print(len(runs), 'runs')
PY
cat > "$out/study.sh" <<'SH'
#!/usr/bin/env bash
# bash study.sh [RUNS AT A TIME] [MINUTES]: run what runs.txt lists, then pack results.tar.gz; call it again to go on. After MINUTES no run is begun and
# those under way are ended. Runs marked "alone" are timed or their memory measured, and have the machine to themselves.
# bash study.sh check: recorded steps against plain ones.      bash study.sh bench [NAMES…]: the benchmarks; their results are packed as well.
set -euo pipefail
cd "$(dirname "$0")"; here=$PWD
export PYTHONPATH="$here/code:$here/site" DCGAN_NB_CACHE="$here/cache" JUPYTER_PATH="$here/site/share/jupyter" OMP_NUM_THREADS=1 PATH="$here/site/bin:$PATH"
if [ ! -e site/.ready ]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target site wheels/*.whl
    python3 -m ipykernel install --prefix "$here/site" --name python3 > /dev/null
    touch site/.ready
fi
cd code
pack() { mkdir -p reports/runs reports/benchmarks; tar czf ../results.tar.gz --exclude=generator.safetensors --exclude=run.ipynb -C reports runs benchmarks; }
case ${1:-} in
    check) exec python3 -m pytest tests/test_graphs.py ;;
    bench) unset OMP_NUM_THREADS; python3 -m benchmarks "${@:2}" || failed=1; pack; exit ${failed:-0} ;;
esac
jobs=${1:-8}; export DEADLINE=$(( $(date +%s) + 60 * ${2:-100000} ))
one() {    # RUN_ID PARAMETERS…
    id=$1; shift; folder=reports/runs/$id; left=$(( DEADLINE - $(date +%s) ))
    if [ -e "$folder/record.json" ] || [ "$left" -le 0 ]; then return 0; fi
    mkdir -p "$folder"
    if timeout -k 5 "$left" bash workflow/papermill.sh nbs/train.ipynb "$folder/run.ipynb" "$@" --no-progress-bar --log-level WARNING > "$folder/run.log" 2>&1
    then echo "finished $id"
    else rm -f "$folder/run.ipynb"; echo "failed   $id: $(grep -v '^$' "$folder/run.log" | tail -1)"
    fi
}
export -f one
sed -n 's/^shared //p' ../runs.txt | xargs -r -P "$jobs" -L 1 bash -c 'one "$@"' one
sed -n 's/^alone //p' ../runs.txt | xargs -r -P 1 -L 1 bash -c 'one "$@"' one
done=$(find reports/runs -name record.json | wc -l)
echo "$done of $(wc -l < ../runs.txt) runs are done"
pack
SH
tar cf "$archive" -C "$out" .
echo "$archive: $(du -h "$archive" | cut -f1). There: mkdir study && tar xf $(basename "$archive") -C study && bash study/study.sh; then make cuda-results FILE=results.tar.gz here."
