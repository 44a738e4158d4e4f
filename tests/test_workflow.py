"The workflow: what it makes again and what it leaves alone, with a stand-in for papermill; a project from `make project`; clean notebooks."
import json
import os
import random
import re
import shutil
import sys

import pytest
from conftest import BIN, LIBRARY, ROOT, snakemake, stand_in

from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.parameters import EXAMPLES
from dcgan_nb.study.plan import plan

PAGES = {p.relative_to(ROOT/'nbs').as_posix(): p for p in LIBRARY} | {p.name: p for p in ROOT.glob('nbs/chapters/*.ipynb')}       # in the book → its notebook

# Copies the notebook as if it had been executed, and notes that it was called. It fails where the file `fail` names one of its arguments.
PAPERMILL = """#!/usr/bin/env bash
notebooks=(); for given; do [[ "$given" == *.ipynb ]] && notebooks+=("$given"); done
echo "$*" >> "{folder}/calls"
echo 'epoch 1'
if [ -e "{folder}/fail" ] && [[ " $* " == *" $(cat "{folder}/fail") "* ]]; then
    echo '[IPKernelApp] WARNING | not the cause' >&2; echo 'InputError: told to fail' >&2; echo '[IPKernelApp] ERROR | nor this' >&2; exit 1
fi
if [ "${{notebooks[0]}}" = nbs/train.ipynb ]; then echo '{{}}' > "$(dirname "${{notebooks[1]}}")/record.json"; fi
cp "${{notebooks[0]}}" "${{notebooks[1]}}"
"""
JUPYTER_BOOK = """#!/usr/bin/env bash
while [ "$1" != --path-output ]; do shift; done
html="$2/_build/html"
mkdir -p "$html/_static" && cp nbs/assets/* "$html/_static" && date | tee "$html/verdicts.html" > "$html/index.html"     # what the pages of runs lead to
"""


@pytest.fixture
def workflow(tmp_path):
    "Calls Snakemake on `reports`, a folder of its own, with stand-ins for what executes notebooks and builds the book; says what papermill was called for."
    (tmp_path/'bin').mkdir()
    (tmp_path/'bin/jupyter-book').write_text(JUPYTER_BOOK)
    (tmp_path/'bin/jupyter-book').chmod(0o755)
    env = stand_in(tmp_path, PAPERMILL.format(folder=tmp_path)) | dict(PATH=f'{tmp_path}/bin{os.pathsep}{BIN}{os.pathsep}{os.environ["PATH"]}')

    def _workflow(*targets, more=()):
        (tmp_path/'calls').write_text('')
        done = snakemake('--cores', 2, '--keep-going', *more, '--config', 'profile=smoke', 'study=A4', f'reports={tmp_path}/reports', '--', *targets, **env)
        return done, (tmp_path/'calls').read_text().splitlines()
    return _workflow


def files(folder):
    "Every file with its content and its time."
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob('*') if p.is_file()}


def test_what_failed_is_tried_again_what_is_done_stays_and_a_dry_run_changes_nothing(workflow, tmp_path):
    reports, fail = tmp_path/'reports', tmp_path/'fail'
    runs = {c.loss: reports/'runs'/run_id for run_id, c in plan('smoke', 'A4', device='cpu').items()}
    fail.write_text('minimax')
    done, calls = workflow('study', more=('--quiet', 'all'))
    assert done.returncode != 0 and len(calls) == 2, done.stdout + done.stderr
    assert {loss: (folder/'outcome.txt').read_text() for loss, folder in runs.items()} == dict(bce='finished\n', minimax='failed: InputError: told to fail\n')
    assert (runs['bce']/'run.ipynb').is_file() and not (runs['minimax']/'run.ipynb').exists() and 'told to fail' in (runs['minimax']/'run.log').read_text()
    assert f'run 2/2  {runs["minimax"].name}  failed: InputError: told to fail' in done.stdout.splitlines() and 'epoch 1' not in done.stdout

    before = files(reports)
    planned, calls = workflow('study', 'book', more=('--dry-run',))
    assert planned.returncode == 0 and not calls and files(reports) == before
    shown = planned.stdout + planned.stderr
    assert set(re.findall(rf'output: {reports}/book/(\S+\.ipynb)', shown)) >= PAGES.keys(), 'the book has every page'
    assert f'{runs["minimax"].name}/run.ipynb' in shown and f'output: {runs["bce"]}/run.ipynb' not in shown

    fail.unlink()
    page = reports/'book/losses.ipynb'            # it shows the examples
    done, calls = workflow('study', page)
    trained, examples = [call for call in calls if 'nbs/train.ipynb' in call], {RunConfig.resolve(profile='smoke', **given).run_id for given in EXAMPLES.values()}
    assert done.returncode == 0 and len(trained) == 1 + len(examples) and sum('-p loss minimax' in call for call in trained) == 1
    assert (runs['minimax']/'outcome.txt').read_text() == 'finished\n' and done.stdout.count('  epoch 1\n') == len(examples) and page.exists()

    shutil.rmtree(reports/'runs'/min(examples))
    planned, _ = workflow('book', more=('--dry-run',))
    assert re.findall(r'output: \S*/runs/(\S+)/run\.ipynb', planned.stdout + planned.stderr) == [min(examples)], 'an example whose folder has gone is run again, and no other'


def test_a_finished_run_that_is_made_again_is_counted_among_its_study(workflow, tmp_path):
    "As after a change of the workflow itself."
    assert workflow('study')[0].returncode == 0
    done, calls = workflow('study', more=('--forcerun', 'run'))
    assert done.returncode == 0 and len(calls) == 2 and {'run 1/2', 'run 2/2'} <= {line.split('  ')[0] for line in done.stdout.splitlines()}, done.stdout + done.stderr


def test_the_book_is_made_from_scratch_where_a_title_has_changed(workflow, tmp_path):       # where only a text has: test_book.py
    reports = tmp_path/'reports'
    missing = random.sample(sorted(PAGES), 4)
    for page, path in PAGES.items():          # all but these are there, as if they had been made
        (reports/'book'/page).parent.mkdir(parents=True, exist_ok=True)
        if page not in missing: shutil.copy(path, reports/'book'/page)
    stale, page, kept = reports/'book/examples/of_another_profile.ipynb', reports/'book/speed.ipynb', reports/'_build/kept'
    stale.parent.mkdir(parents=True)
    stale.write_text('{}')
    done, _ = workflow('book')
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert all((reports/'book'/page).is_file() for page in PAGES)
    shown = [(int(k), int(n), page) for k, n, page in re.findall(r'^page (\d+) of (\d+)  \S*/book/(\S+)$', done.stdout, re.M)]
    assert {page for *_, page in shown} >= set(missing) and {n for _, n, _ in shown} == {len(shown)} == {max(k for k, *_ in shown)}, done.stdout
    assert {p.stem for p in stale.parent.iterdir()} == {RunConfig.resolve(profile='smoke', **given).run_id for given in EXAMPLES.values()}, 'the page of another run has gone'
    kept.touch()
    assert '"# How fast, ' in page.read_text()
    page.write_text(page.read_text().replace('"# How fast, ', '"# How swift, ', 1))
    done, calls = workflow('book')
    assert done.returncode == 0 and not calls and not kept.exists(), 'every page shows the titles of all'


@pytest.fixture
def copy(tmp_path):
    "A copy of all that is edited by hand or made from it."
    for name in ('nbs', 'dcgan_nb', 'workflow', 'reports/benchmarks'):
        shutil.copytree(ROOT/name, tmp_path/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for name in ('settings.ini', 'README.md', 'pyproject.toml', 'setup.py', 'Makefile', '_toc.yml', '_config.yml', 'constraints.txt', 'reports/faults.json', 'reports/endurance.json', 'reports/calibration.json', 'reports/claims.json'):
        shutil.copy(ROOT/name, tmp_path/name)
    return tmp_path


def project(run, copy, *given):
    return run('make', '--no-print-directory', '-o', '.venv/.ready', 'project', *given, cwd=copy, PYTHONPATH=str(copy))


FOUND = """
from dcgan_nb.study.claims import PROJECTS, arm_config, chosen_claims
claim, = chosen_claims('F1')
print(claim.id, len(claim.arms), PROJECTS['F'], [arm_config(claim, arm, 0, 'smoke', device='cpu').loss for arm in claim.arms])
"""


def test_a_new_project_is_found_by_everything(run, copy):
    made = project(run, copy, 'NAME=f', "TITLE=one study's title, \"quoted\"")
    assert made.returncode == 0, made.stderr
    page, = copy.glob('nbs/projects/*_f.ipynb')
    assert page.name[:2].isdigit() and int(page.name[:2]) == 1 + max(int(p.name[:2]) for p in ROOT.glob('nbs/projects/*.ipynb'))
    toc = (copy/'_toc.yml').read_text()
    assert toc.index('file: project_e\n') < toc.index('file: project_f\n') < toc.index('file: leaderboard\n')
    assert toc.rstrip().endswith(f'file: projects/{page.stem}')
    exported = run('nbdev_export', cwd=copy)
    assert exported.returncode == 0, exported.stderr
    tested = run('nbdev_test', '--path', page.relative_to(copy), cwd=copy, OMP_NUM_THREADS='1')
    assert tested.returncode == 0, tested.stderr
    found = run(sys.executable, '-c', FOUND, cwd=copy)
    assert found.stdout == "F1 2 one study's title, \"quoted\" ['hinge', 'bce']\n", found.stderr
    planned = run('snakemake', '--snakefile', 'workflow/Snakefile', '--cores', 1, '--nolock', '--dry-run', '--config', 'profile=smoke', 'study=F1', '--', 'study', 'book',
                  cwd=copy, PYTHONPATH=str(copy))
    shown = planned.stdout + planned.stderr
    for name in ('project_f', f'projects/{page.stem}'): assert f'output: reports/book/{name}.ipynb' in shown, shown[-3000:]
    assert shown.count('-hinge-s0-') >= 1


def test_a_project_that_cannot_be_is_refused_in_one_sentence(run, copy):
    before = files(copy/'nbs')
    for given, message in {'NAME=a': 'NAME=a is taken. Free: f, g,', 'NAME=F': 'NAME=F is no name of a project, which is one small letter. Free: f,'}.items():
        made = project(run, copy, given)
        assert made.returncode != 0 and made.stderr.startswith(message) and 'Traceback' not in made.stderr, made.stderr
    assert files(copy/'nbs') == before


@pytest.mark.parametrize('script', ['drift', 'finish_book', 'mark_headings', 'new_project', 'sbom', 'vulnerabilities'])
def test_a_script_without_its_arguments_says_what_it_takes(run, script):
    done = run(sys.executable, f'workflow/{script}.py')
    assert done.returncode == 2 and done.stdout == '' and done.stderr.startswith(f'usage: {script}.py ') and 'arguments are required' in done.stderr, done.stderr
    assert 'Traceback' not in done.stderr


def test_cleaning_leaves_the_source_alone_whatever_was_run_and_saved(run, copy):
    path, before = copy/'nbs/train.ipynb', files(copy/'nbs')
    notebook = json.loads(path.read_text())
    for i, cell in enumerate(c for c in notebook['cells'] if c['cell_type'] == 'code'):
        cell |= dict(execution_count=i, outputs=[dict(name='stdout', output_type='stream', text=['epoch 1'])])
        cell['metadata']['collapsed'] = True
    path.write_text(json.dumps(notebook))
    cleaned = run(sys.executable, 'workflow/clean.py', cwd=copy)
    assert cleaned.returncode == 0, cleaned.stderr
    assert path.read_bytes() == before[path][0], 'no outputs, no counts, the tags are kept'
    assert {p: v for p, v in files(copy/'nbs').items() if p != path} == {p: v for p, v in before.items() if p != path}, 'clean ones are not written again'


def test_waiting_jobs_are_not_looked_at_every_second(run, tmp_path):
    "Snakemake's limit of jobs per second has them looked at by ever more timers; the commands call it without (workflow/schedule.py)."
    (tmp_path/'Snakefile').write_text("rule made:\n    output: 'made'\n    shell: 'touch made'\n")
    for program, limited in ((['snakemake'], True), ([sys.executable, ROOT/'workflow/schedule.py'], False)):
        done = run(*program, '--cores', 1, '--verbose', '--force', cwd=tmp_path)
        assert done.returncode == 0 and (tmp_path/'made').exists() and ('Submitting maximum 100 job(s)' in done.stderr) == limited, done.stderr
    assert run(sys.executable, ROOT/'workflow/schedule.py', '--cores', 1, 'other', cwd=tmp_path).returncode == 1
