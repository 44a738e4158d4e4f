"Extension is tested as the README tells it: its cells go into a fresh copy of the repository, its commands are run there, and the results stand in its book."
import json
import re
import shlex
from dataclasses import dataclass

import pytest
from conftest import EXECUTE, ROOT, forked, fresh_copy


@dataclass
class Recipe:
    "What the README says of one kind of extension."
    notebook: str           # where the cell goes
    cell: str
    commands: list          # each a list of words


def recipes():
    "kind → `Recipe`, from the README's section: **A kind**, the notebook in backticks, a Python cell, commands."
    section = re.search(r'^## Changing things\n(.*?)(?=^## |\Z)', (ROOT/'README.md').read_text(), re.M | re.S)[1]
    _, *parts = re.split(r'^(?:- )?\*\*(An? [^*]+?)[.,:]?\*\*', section, flags=re.M)
    found = {}
    for kind, text in zip(parts[::2], parts[1::2]):
        blocks = re.findall(r'^```(python|sh)\n(.*?)^```', text, re.M | re.S)
        cells = [block.strip() for language, block in blocks if language == 'python' and block.startswith('#| export')]
        commands = [shlex.split(line, comments=True) for language, block in blocks if language == 'sh' for line in block.splitlines()]
        if cells: found[kind] = Recipe(re.search(r'`(nbs/\S+\.ipynb)`', text)[1], cells[0], [words for words in commands if words])
    return found


RECIPES = recipes()
PAPERMILL = [pytest.param(words, id=kind) for kind, recipe in RECIPES.items() for words in recipe.commands if words[0] == 'papermill']
STUDIES = [dict(word.split('=', 1) for word in words if '=' in word) for recipe in RECIPES.values() for words in recipe.commands if words[:2] == ['make', 'study']]
CLAIMS = [id for recipe in RECIPES.values() for id in re.findall(r"Claim\(\s*'(\w+)'", recipe.cell)]
LETTER = next((word.removeprefix('NAME=') for recipe in RECIPES.values() for words in recipe.commands for word in words if word.startswith('NAME=')), '')


def given(words): return {name: value for flag, name, value in zip(words, words[1:], words[2:]) if flag == '-p'}


def html(notebook): return '\n'.join(''.join(o['data']['text/html']) for c in notebook['cells'] for o in c.get('outputs', []) if 'text/html' in o.get('data', {}))


@pytest.fixture(scope='module')
def there(run, warm, tmp_path_factory):
    "Runs a command in a copy of the repository that has all the cells; `there.root` is its folder."
    root = tmp_path_factory.mktemp('copy')/'repository'
    fresh_copy(root)

    def there(*words):
        done = run(*words, cwd=root, PYTHONPATH=str(root), OMP_NUM_THREADS='1', **warm)
        assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr
    there.root = root
    for recipe in RECIPES.values():
        for words in recipe.commands:
            if words[:2] == ['make', 'project']: there(words[0], '-o', '.venv/.ready', *words[1:])
        add_cell(root/recipe.notebook, recipe.cell)
    there('make', '-o', '.venv/.ready', 'export')
    return there


def add_cell(path, source):
    "The cell as the last one of a notebook."
    notebook = json.loads(path.read_text())
    notebook['cells'].append(dict(cell_type='code', execution_count=None, id='from-the-readme', metadata={}, outputs=[], source=source.splitlines(keepends=True)))
    path.write_text(json.dumps(notebook))


def test_the_readme_shows_a_cell_for_every_kind_of_extension():
    assert set(RECIPES) == {f'A{kind}' for kind in (' loss', ' penalty', 'n architecture', ' data set', ' metric', ' claim', ' project')}
    for kind, recipe in RECIPES.items():
        assert recipe.cell.startswith('#| export\n') and recipe.cell.count('\n') < 25 and (recipe.commands or kind == 'A loss'), kind
    for words in PAPERMILL: assert given(words.values[0])['profile'] == 'smoke'


def test_the_copy_exports_the_cells_into_its_own_package(there):
    for recipe in RECIPES.values():
        cells = [''.join(cell['source']) for cell in json.loads((there.root/recipe.notebook).read_text())['cells']]
        module = next(re.search(r'default_exp (\S+)', source)[1] for source in cells if 'default_exp' in source)
        assert recipe.cell.removeprefix('#| export\n') in (there.root/'dcgan_nb'/f"{module.replace('.', '/')}.py").read_text()
    assert str(there.root) in there('python', '-c', 'import dcgan_nb; print(dcgan_nb.__file__)')


MAKE_IMAGES = """
import sys, torch
from pathlib import Path
from dcgan_nb.foundations.datasets import DATASETS, TEST_IMAGES, TRAIN_IMAGES, write_idx
info, folder = DATASETS[sys.argv[1]], Path(sys.argv[2])
folder.mkdir(exist_ok=True)
for name, n in ((TRAIN_IMAGES, info.n_train), (TEST_IMAGES, info.n_test)):
    write_idx(torch.randint(256, (n, info.channels, info.size, info.size), dtype=torch.uint8), folder/f'{name}.gz')
"""


@pytest.mark.sample(2)
@pytest.mark.parametrize('words', PAPERMILL)
def test_its_command_trains_with_it_and_the_record_says_so(there, words):
    parameters = given(words)
    if 'data_dir' in parameters: there('python', '-c', MAKE_IMAGES, parameters['dataset'], parameters['data_dir'])
    before = set(there.root.glob('reports/runs/*/record.json'))
    first = words is PAPERMILL[0].values[0]                   # as it stands there; the others, to save time, by what the workflow calls in its place
    there(*words if first else [*EXECUTE, *words[1:]], '-p', 'epochs', 2, '-p', 'n_eval', 50)         # less of it: seconds
    path, = set(there.root.glob('reports/runs/*/record.json')) - before
    record = json.loads(path.read_text())
    as_text = lambda value: ' '.join(value) if isinstance(value, list) else str(value)
    assert record['status'] == 'finished' and (path.parent/'generator.safetensors').is_file()
    for name in parameters.keys() - {'data_dir'}: assert as_text(record['config'][name]).lower() == parameters[name].lower()
    for name in parameters.get('metrics', '').split(): assert any(key.startswith(f'{name}_') for key in record['metrics'])
    if 'penalty' in parameters: assert all(h['penalty'] > 0 for h in record['history']), 'it is logged apart from the loss'
    assert record['metrics'].keys() and all(f"_{parameters.get('feature_extractor', 'clf')}_" in key for key in record['metrics'])
    if first or 'data_dir' in parameters:
        again = there('dcgan-nb', 'show', record['run_id']).splitlines()[-1]
        assert ('-p data_dir FOLDER' in again) == ('data_dir' in parameters), 'nobody else has such images'


@pytest.mark.parametrize('change, said', [(dict(measure='recal'), "claim A9: measure='recal' is not known. Did you mean 'recall'?"), (dict(rule='beter'), "claim A9: rule='beter' is not known. Did you mean 'better'?")])
def test_a_claim_that_cannot_be_judged_is_refused_before_anything_is_trained(tmp_path, change, said):
    from dcgan_nb.study import claims, commands
    given = dict(id='A9', quote='a sentence', source='a text', tested='ours', rule='better', arms=dict(hinge=dict(loss='hinge'), bce={}))
    def add_and_study():
        claims.load_projects()
        claims.CLAIMS.add(claims.Claim(**given | change))
        return commands.main(['study', 'A9', '--profile', 'smoke', '--reports', str(tmp_path/'reports')])
    done = forked(add_and_study, {})
    assert (done.returncode, done.stderr.strip().partition(' Known:')[0]) == (2, said), done.stderr
    assert not list(tmp_path.glob('reports/runs/*')) and 'run 1/' not in done.stdout


def test_its_claims_are_run_by_the_workflow_and_stand_in_the_book(there):
    there('snakemake', '--snakefile', 'workflow/Snakefile', '--cores', 2, '--quiet', 'all', '--config', f"profile={STUDIES[0]['PROFILE']}",
          f"study={' '.join(study['CLAIM'] for study in STUDIES)}", '--', 'study')
    there(*EXECUTE, 'nbs/chapters/verdicts.ipynb', 'verdicts.ipynb', '--no-progress-bar')
    rows = html(json.loads((there.root/'verdicts.ipynb').read_text())).split('<tr>')
    for id in CLAIMS:
        row, = (row for row in rows if f'>{id}</a>' in row)
        assert 'undecided' in row and 'leaning' in row, 'it was run; one seed decides nothing'
    for id in CLAIMS:                   # the link of the row has a target, though nobody has edited a chapter
        letter = id[0].lower()
        if letter == LETTER: continue
        there(*EXECUTE, f'nbs/chapters/project_{letter}.ipynb', f'{letter}.ipynb', '--no-progress-bar')
        assert f'<h2 id="{id.lower()}">' in html(json.loads((there.root/f'{letter}.ipynb').read_text())), id


def test_its_project_has_a_chapter_and_the_book_has_its_pages(there):
    there(*EXECUTE, f'nbs/chapters/project_{LETTER}.ipynb', 'chapter.ipynb', '--no-progress-bar')
    chapter = (there.root/'chapter.ipynb').read_text()
    assert 'undecided (leaning' in chapter and 'Traceback' not in chapter
    planned = there('snakemake', '--snakefile', 'workflow/Snakefile', '--cores', 2, '--dry-run', '--config', 'profile=smoke')
    for page in (f'project_{LETTER}', RECIPES['A project'].notebook.removeprefix('nbs/').removesuffix('.ipynb')):
        assert f'- file: {page}\n' in (there.root/'_toc.yml').read_text() and f'output: reports/book/{page}.ipynb\n' in planned
