"The repository itself: one source for each thing, everything in sync, nothing that does not belong."
import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import LIBRARY, MODULES, ROOT, drawn, module_name
from PIL import Image

from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.parameters import parameters_cell
from dcgan_nb.runs.records import read_record

NOTEBOOKS = [p for p in sorted(ROOT.glob('nbs/**/*.ipynb')) if '.ipynb_checkpoints' not in p.parts]
CHAPTERS = [p for p in NOTEBOOKS if p.parent.name == 'chapters']
TOUR = ROOT/'nbs/foundations/00_tour.ipynb'                     # the one library notebook that exports nothing
PROJECTS = [p for p in MODULES if p.parent.name == 'projects']
THE_REST = [p for p in MODULES if p not in PROJECTS]


def cells(path, kind='code'):
    return [c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == kind]


def source(cell): return ''.join(cell['source'])


def is_export(cell): return source(cell).startswith('#| export')


def tracked():
    listing = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode: pytest.skip('not a git checkout')
    return [ROOT/p for p in listing.stdout.split('\0') if p and ((ROOT/p).is_file() or (ROOT/p).is_symlink())]


def copy_of_the_project(to):
    for name in ('nbs', 'dcgan_nb'): shutil.copytree(ROOT/name, to/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for name in ('settings.ini', 'README.md', 'pyproject.toml', 'setup.py'): shutil.copy(ROOT/name, to)
    subprocess.run(['git', 'init', '-q'], cwd=to, check=True)
    return to


# One source, in sync

def test_library_is_in_sync_with_the_notebooks(run, tmp_path):
    copy = copy_of_the_project(tmp_path)
    for path in copy.glob('dcgan_nb/**/*.py'):
        if path.stem != '__init__': path.unlink()
    exported = run('nbdev_export', cwd=copy)
    assert exported.returncode == 0, exported.stderr
    made, here = ({str(p.relative_to(root)): p.read_text() for p in root.glob('dcgan_nb/**/*.py')} for root in (copy, ROOT))
    assert made.keys() == here.keys(), 'a module without a notebook, or a notebook that was not exported: make export'
    for name in here: assert made[name] == here[name], f'{name} differs from its notebook: edit nbs/, then make export'
    assert not (copy/'.venv').exists() and (copy/'pyproject.toml').read_text() == (ROOT/'pyproject.toml').read_text()


def test_cleaning_reaches_every_notebook_and_keeps_the_tags(run, tmp_path):
    copy = copy_of_the_project(tmp_path)
    for path in NOTEBOOKS:                              # each is executed and marked, as an editor would
        notebook = json.loads(path.read_text())
        for cell in notebook['cells']:
            cell['metadata']['collapsed'] = True
            if cell['cell_type'] == 'code': cell |= dict(execution_count=7)
        (copy/path.relative_to(ROOT)).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + '\n')
    cleaned = run('nbdev_clean', cwd=copy)
    assert cleaned.returncode == 0, cleaned.stderr
    for path in NOTEBOOKS: assert (copy/path.relative_to(ROOT)).read_text() == path.read_text(), f'{path.name} is not clean: make export'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_source_notebooks_carry_no_outputs(path):
    for cell in cells(path):
        assert not cell['outputs'] and cell['execution_count'] is None, f'outputs in {path.name}: make export'


@pytest.mark.parametrize('path', [p for p in LIBRARY if p != TOUR], ids=lambda p: p.stem)
def test_a_notebook_exports_the_module_of_its_name(path):
    first = next(source(c) for c in cells(path) if c['source'])
    assert first == f'#| default_exp {path.parent.name}.{path.stem[3:]}'
    exported = [source(c) for c in cells(path) if is_export(c)]
    shown = ''.join(source(c) for c in cells(path) if not is_export(c))
    assert exported and len(re.findall(r'\b(?:test_\w+\(|assert )', shown)) >= 3, 'a library notebook tests what it exports'
    assert ''.join(cells(path, 'markdown')[0]['source']).startswith('# ')


def test_the_tour_exports_nothing():
    assert TOUR in LIBRARY and not any(re.match(r'#\|\s*(default_exp|export)', source(c)) for c in cells(TOUR))
    assert ''.join(cells(TOUR, 'markdown')[0]['source']).startswith('# ')


# Rooms and arrows

def imports(path):
    "The full names of all that a module imports, at its top or inside its functions."
    package = module_name(path).split('.')[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import): yield from (a.name for a in node.names)
        if isinstance(node, ast.ImportFrom):
            base = '.'.join([*(package[:len(package) + 1 - node.level] if node.level else []), *([node.module] if node.module else [])])
            yield base
            for a in node.names: yield f'{base}.{a.name}'


def test_modules_import_lower_numbers_only_and_no_tool_of_the_notebooks():
    numbers = [p.name[:2] for p in LIBRARY]
    assert len(set(numbers)) == len(numbers), 'one order of reading through all folders'
    assert [p.parent.name for p in LIBRARY] == [part for part, n in Counter(p.parent.name for p in LIBRARY).items() for _ in range(n)], 'a part is read in one piece'
    order = {f'dcgan_nb.{p.parent.name}.{p.stem[3:]}': i for i, p in enumerate(LIBRARY)}
    for path in MODULES:
        for name in imports(path):
            assert name.split('.')[0] not in ('nbdev', 'fastcore', 'execnb', 'papermill', 'IPython', 'snakemake'), f'{path.name} imports {name}'
            assert not name.endswith('.*'), f'{path.name} imports *'
            if name in order: assert order[name] < order[module_name(path)], f'{path.name} imports {name}, which comes after it'


def test_only_projects_and_chapters_import_projects():
    for path in THE_REST: assert not [name for name in imports(path) if name.startswith('dcgan_nb.projects.')], path
    for path in NOTEBOOKS:
        if path.parent.name not in ('chapters', 'projects'): assert 'dcgan_nb.projects.' not in ''.join(map(source, cells(path))), path


# What the projects' modules add to the registries of the others: {registry: [name, …]}
REGISTERED = """
import importlib, json, sys
from dcgan_nb.foundations.core import Registry, load_projects
registries = {}
for name in sys.argv[1:]:
    for attribute, value in vars(importlib.import_module(name)).items():
        if isinstance(value, dict) and attribute.isupper(): registries[attribute] = value
before = {name: set(registry) for name, registry in registries.items()}
load_projects()
print(json.dumps({name: sorted(set(registry) - before[name]) for name, registry in registries.items() if set(registry) - before[name]}))
"""


@pytest.fixture(scope='module')
def registered():
    done = subprocess.run([sys.executable, '-c', REGISTERED, *map(module_name, THE_REST)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def words_of_the_projects(registered):
    "A pattern for every name that a project brings: whole words, names of one letter only where they stand for a project."
    names = {name for added in registered.values() for name in added}
    long = sorted((re.escape(name) for name in names if len(name) > 1), key=len, reverse=True)
    letters = ''.join(sorted({name.lower() for name in names if len(name) == 1}))
    projects = rf"(?i:project[\s_'-]?[{letters}](?![a-z]))|recipe\W{{1,3}}[{letters}]\b" if letters else '(?!)'
    return re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(long)})(?![A-Za-z0-9])|{projects}")


def test_the_library_does_not_know_the_projects(registered):
    assert {'RECIPES', 'ARCHITECTURES', 'LOSSES', 'METRICS', 'CLAIMS', 'PROJECTS'} <= registered.keys()
    pattern = words_of_the_projects(registered)
    found = [f'{path.relative_to(ROOT)}: {m[0]}' for path in THE_REST for m in pattern.finditer(path.read_text())]
    assert not found, found


@pytest.mark.parametrize('line', ["recipe='x'", 'x_before', 'def x_before_generator', 'Project X', 'project_x_score', "# as project X's", 'soft', '"X4"'])
def test_knowing_a_project_is_found(line):
    pattern = words_of_the_projects(dict(RECIPES=['x', 'x_before'], LOSSES=['soft'], CLAIMS=['X4'], PROJECTS=['X']))
    assert pattern.search(f'a = 1\n{line}\n')
    assert not pattern.search("projects; load_projects(); softly; project_root(); x = 'x'; recipe='standard'")


# Every other module, and a configuration, in a package whose folder of projects is empty.
WITHOUT_PROJECTS = """
import importlib, sys
for name in sys.argv[1:]: importlib.import_module(name)
import dcgan_nb
from dcgan_nb.foundations.core import load_projects
from dcgan_nb.runs.config import RunConfig
load_projects()
assert not [name for name in sys.modules if name.startswith('dcgan_nb.projects.')]
print(dcgan_nb.__file__, RunConfig.resolve(profile='smoke', device='cpu').run_id)
"""


def test_the_library_works_without_the_projects(tmp_path):
    shutil.copytree(ROOT/'dcgan_nb', tmp_path/'dcgan_nb', ignore=shutil.ignore_patterns('__pycache__'))
    for path in PROJECTS: (tmp_path/path.relative_to(ROOT)).unlink()
    done = subprocess.run([sys.executable, '-c', WITHOUT_PROJECTS, *map(module_name, THE_REST)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, run_id = done.stdout.split()
    assert file == str(tmp_path/'dcgan_nb/__init__.py') and run_id == RunConfig.resolve(profile='smoke', device='cpu').run_id


# Measures of the text

def test_cells_and_modules_are_short():
    cell_lines = {(path.name, source(c).splitlines()[1]): len(source(c).splitlines()) - 1 for path in LIBRARY for c in cells(path) if is_export(c)}     # without the directive
    assert not {place: n for place, n in cell_lines.items() if n > 30}, 'about 25 lines are enough for a cell'
    module_lines = {path.name: len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: n for name, n in module_lines.items() if n > 330}, 'about 300 lines are enough for a module'


def test_a_rule_decides_by_itself():
    code = {path: path.read_text() for path in MODULES} | {path: '\n'.join(map(source, cells(path))) for path in CHAPTERS}
    for path, text in code.items(): assert not re.search(r'\brule\s*(?:[=!]=|(?:not )?in\s*[(\[{])', text), f'{path.name} branches on the name of a rule'


def test_projects_that_a_notebook_imagines_are_gone_at_its_end():
    "Notebooks that are tested share a process, and one would judge the claims of another."
    for path in LIBRARY:
        if path.parent.name == 'projects': continue
        code = '\n'.join(source(c) for c in cells(path) if c['cell_type'] == 'code')
        assert set(re.findall(r"^PROJECTS\['(.)'\].*=", code, re.M)) <= set(re.findall(r"^del .*PROJECTS\['(.)'\]", code, re.M)), path.stem


def test_no_name_is_exported_twice():
    names = Counter(node.name for p in MODULES for node in ast.parse(p.read_text()).body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
    assert not [name for name, n in names.items() if n > 1 and not name.startswith('_')]


def test_no_undefined_names(run):
    checked = run('ruff', 'check', '--quiet', 'dcgan_nb', 'tests', 'benchmarks', 'setup.py')
    assert checked.returncode == 0, checked.stdout


def test_the_lint_finds_an_undefined_name(run, tmp_path):
    (tmp_path/'module.py').write_text('def f():\n    return show_images\n')
    assert 'show_images' in run('ruff', 'check', '--config', ROOT/'pyproject.toml', tmp_path).stdout


def test_run_notebook_has_one_parameters_cell_with_exactly_the_parameters_there_are():
    code = cells(ROOT/'nbs/train.ipynb')
    tagged = [c for c in code if 'parameters' in c['metadata'].get('tags', [])]
    assert tagged == [code[0]], 'the parameters come first'
    assert source(tagged[0]) == parameters_cell(), 'the cell is made from RunConfig: make export'
    values = {}
    exec(source(tagged[0]), values)
    assert {k: v for k, v in values.items() if k != '__builtins__' and k != '__annotations__'} == {f.name: None for f in fields(RunConfig)}


@pytest.mark.parametrize('path', [*CHAPTERS, ROOT/'nbs/index.ipynb'], ids=lambda p: p.stem)
def test_pages_that_read_records_have_one_parameters_cell(path):
    assert sum('parameters' in c['metadata'].get('tags', []) for c in cells(path)) == 1


def test_readme_is_made_from_its_notebook(run):
    made = run('make', '--no-print-directory', '-s', '-o', '.venv/.ready', 'readme')
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == (ROOT/'README.md').read_text().strip(), 'README.md differs from nbs/readme.ipynb: make export'


def test_pictures_and_files_that_the_readme_names_exist():
    text = (ROOT/'README.md').read_text()
    for target in re.findall(r'\]\((?!https?:)([^)#]+)\)', text): assert (ROOT/target).exists(), target
    assert re.search(r'!\[[^]]*\]\(nbs/assets/samples\.png\)', text)
    run_id, = re.findall(r'one real run, `([^`]+)`', text)
    samples = np.asarray(Image.open(ROOT/'reports/records'/run_id/'samples.png'))
    assert (np.asarray(Image.open(ROOT/'nbs/assets/samples.png')) == samples.repeat(2, 0).repeat(2, 1)).all(), 'the picture is that run, enlarged'
    front = [''.join(c['source']) for c in cells(ROOT/'nbs/index.ipynb', 'markdown')]
    at, = (i for i, source in enumerate(front) if '](assets/samples.png)' in source)
    assert re.findall(r'one real run, `([^`]+)`', front[at]) == [run_id] and not any(source.startswith('## ') for source in front[:at]), 'the front page begins with it'


def test_committed_records_are_records_of_what_they_say():
    folders = [p for p in sorted(ROOT.glob('reports/records/*')) if p.is_dir()]
    assert folders and {p.parent for p in ROOT.glob('reports/records/*/record.json')} == set(folders)
    for folder in folders:
        record = read_record(folder/'record.json')
        assert RunConfig.of_record(record['config']).run_id == record['run_id'] == folder.name, folder.name
        assert record['status'] in ('finished', 'diverged') and (record['metrics'] or record['status'] == 'diverged'), folder.name


def test_every_page_of_the_library_is_in_the_table_of_contents():
    toc = (ROOT/'_toc.yml').read_text()
    for path in LIBRARY: assert f'file: {path.parent.name}/{path.stem}\n' in toc, path.stem
    for path in CHAPTERS: assert f'file: {path.stem}\n' in toc, path.stem


def test_requirements_are_locked():
    settings = ConfigParser(delimiters='=')
    settings.read(ROOT/'settings.ini')
    wanted = [re.match(r'[\w-]+', line)[0] for key in ('requirements', 'inception_requirements', 'imagenet_requirements', 'onnx_requirements', 'dev_requirements') for line in settings['DEFAULT'][key].split('\n') if line]
    locked = {line.split('==')[0] for line in (ROOT/'constraints.txt').read_text().splitlines() if '==' in line and not line.startswith(' ')}
    assert not [name for name in wanted if name not in locked and name != 'dcgan-nb']
    assert 'nbdev==2.4.14' in (ROOT/'settings.ini').read_text()


def test_nothing_that_belongs_to_one_machine_is_committed():
    for path in tracked():
        assert path.stat().st_size < 2_000_000, f'{path} is large'
        if path.suffix in ('.png', '.gz', '.safetensors'): continue
        text = path.read_text(encoding='utf-8')
        assert not re.search(r'(?<![\w.])/(?:home|root|tmp|Users|work)/\w', text), f'{path} holds a path of one machine'
        assert '../' + 'shared' not in text, f'{path} refers to a folder outside the project'


def test_the_package_is_complete():
    sample = list((ROOT/'dcgan_nb/assets/fashion_mnist_sample').glob('*.gz'))
    assert len(sample) == 4 and sum(p.stat().st_size for p in sample) < 800_000
    assert 'MIT' in (ROOT/'dcgan_nb/assets/fashion_mnist_sample/LICENSE').read_text()
    assert 'Apache License' in (ROOT/'LICENSE').read_text()
    for name in ('settings.ini', '_toc.yml', '_config.yml', 'constraints.txt', '.ci/run', '.pre-commit-config.yaml', 'workflow/Snakefile'): assert (ROOT/name).is_file()
    assert 'make test' in Path(ROOT/'.ci/run').read_text()


def crowded(text): return [block for block in re.split(r'\n\s*\n', text) if '$$' in block and not re.fullmatch(r'\s*\$\$[^$]+\$\$\s*', block)]


def test_a_formula_on_lines_of_its_own_has_empty_lines_around_it():
    "Beside text, the book's Markdown reads `$$` as two inline formulas, and turns what follows it into mathematics; Jupyter's does not."
    assert not crowded('so\n\n$$ x $$\n\nand $y$') and crowded('so\n$$ x $$') and crowded('$$ x $$\nand') and crowded('so $$x$$.')
    wrong = [(path.name, block[:60]) for path in NOTEBOOKS for cell in cells(path, 'markdown') for block in crowded(source(cell))]
    assert not wrong


class Case:
    "As pytest has collected it."
    def __init__(self, path, name, n): self.path, self.originalname, self.mark = path, name, n and pytest.mark.sample(n).mark
    def get_closest_marker(self, name): return self.mark if name == 'sample' else None


def test_of_cases_that_are_alike_some_are_drawn_the_same_in_every_process_and_in_time_all():
    cases = [Case(path, name, n) for path, name, n, n_cases in [('a', 'many', 3, 20), ('b', 'many', 3, 5), ('a', 'few', 4, 2), ('a', 'no sample', None, 7)] for _ in range(n_cases)]
    seed = os.urandom(8)
    assert drawn(cases, seed) == drawn(cases, seed) != drawn(cases, os.urandom(8))
    assert Counter((c.path, c.originalname) for c in drawn(cases, seed)) == {('a', 'many'): 3, ('b', 'many'): 3, ('a', 'few'): 2, ('a', 'no sample'): 7}
    assert set(cases) == {c for _ in range(200) for c in drawn(cases, os.urandom(8))}
    assert [c for c in cases if c in drawn(cases, seed)] == drawn(cases, seed), 'in the order in which they were'


def test_continuous_integration_runs_all_cases(run):
    assert '--all' not in run('make', '-n', 'test', '-o', '.venv/.ready').stdout and '--all' in run('make', '-n', 'test', 'ALL=1', '-o', '.venv/.ready').stdout
    for path in '.ci/run', '.github/workflows/pages.yml': assert re.findall('make test(?!-).*', (ROOT/path).read_text()) == ['make test ALL=1'], path
