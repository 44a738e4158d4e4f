"The repository itself: one source for each thing, everything in sync, nothing that does not belong."
import ast
import json
import re
import shutil
import subprocess
from collections import Counter
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from dcgan_nb.config import RunConfig
from dcgan_nb.records import read_record

LIBRARY = sorted(ROOT.glob('nbs/[0-9][0-9]_*.ipynb'))
NOTEBOOKS = sorted(ROOT.glob('nbs/**/*.ipynb'))
NOTEBOOKS = [p for p in NOTEBOOKS if '.ipynb_checkpoints' not in p.parts]
MODULES = sorted(p for p in ROOT.glob('dcgan_nb/*.py') if p.stem not in ('__init__', '_modidx'))


def cells(path, kind='code'):
    return [c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == kind]


def tracked():
    listing = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode: pytest.skip('not a git checkout')
    return [ROOT/p for p in listing.stdout.split('\0') if p and (ROOT/p).is_file()]


def copy_of_the_project(to):
    for name in ('nbs', 'dcgan_nb'): shutil.copytree(ROOT/name, to/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for name in ('settings.ini', 'README.md', 'pyproject.toml', 'setup.py'): shutil.copy(ROOT/name, to)
    subprocess.run(['git', 'init', '-q'], cwd=to, check=True)
    return to


def test_library_is_in_sync_with_the_notebooks(run, tmp_path):
    copy = copy_of_the_project(tmp_path)
    for path in copy.glob('dcgan_nb/*.py'):
        if path.stem != '__init__': path.unlink()
    exported = run('nbdev_export', cwd=copy)
    assert exported.returncode == 0, exported.stderr
    made = {p.name: p.read_text() for p in copy.glob('dcgan_nb/*.py')}
    here = {p.name: p.read_text() for p in ROOT.glob('dcgan_nb/*.py')}
    assert made.keys() == here.keys(), 'a module without a notebook, or a notebook that was not exported: make export'
    for name in here: assert made[name] == here[name], f'{name} differs from its notebook: edit nbs/, then make export'
    assert not (copy/'.venv').exists() and (copy/'pyproject.toml').read_text() == (ROOT/'pyproject.toml').read_text()


def test_cleaning_changes_nothing_and_keeps_the_tags(run, tmp_path):
    copy = copy_of_the_project(tmp_path)
    for target in ('nbs', 'nbs/chapters'):
        cleaned = run('nbdev_clean', '--fname', target, cwd=copy)
        assert cleaned.returncode == 0, cleaned.stderr
    for path in NOTEBOOKS: assert (copy/path.relative_to(ROOT)).read_text() == path.read_text(), f'{path.name} is not clean: make export'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_source_notebooks_carry_no_outputs(path):
    for cell in cells(path):
        assert not cell['outputs'] and cell['execution_count'] is None, f'outputs in {path.name}: make export'


@pytest.mark.parametrize('path', LIBRARY, ids=lambda p: p.stem)
def test_a_notebook_exports_the_module_of_its_name(path):
    first = next(''.join(c['source']) for c in cells(path) if c['source'])
    assert first == f'#| default_exp {path.stem[3:]}'
    exported = [''.join(c['source']) for c in cells(path) if ''.join(c['source']).startswith('#| export')]
    shown = ''.join(''.join(c['source']) for c in cells(path) if not ''.join(c['source']).startswith('#| export'))
    assert exported and len(re.findall(r'\b(?:test_\w+\(|assert )', shown)) >= 3, 'a library notebook tests what it exports'
    assert ''.join(cells(path, 'markdown')[0]['source']).startswith('# ')


def test_modules_import_lower_numbers_only_and_no_tool_of_the_notebooks():
    order = {p.stem[3:]: i for i, p in enumerate(LIBRARY)}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1: names = [f'dcgan_nb.{node.module}'] if node.module else []
            elif isinstance(node, ast.ImportFrom): names = [node.module]
            else: names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split('.')[0] not in ('nbdev', 'fastcore', 'execnb', 'papermill', 'IPython', 'snakemake'), f'{path.name} imports {name}'
                if name.startswith('dcgan_nb.'): assert order[name.split('.')[1]] < order[path.stem], f'{path.name} imports {name}, which comes after it'
            if isinstance(node, ast.ImportFrom): assert all(a.name != '*' for a in node.names), f'{path.name} imports *'


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
    tagged = [c for c in cells(ROOT/'nbs/train.ipynb') if 'parameters' in c['metadata'].get('tags', [])]
    assert len(tagged) == 1 and tagged[0] is not None
    assert tagged[0]['id'] == cells(ROOT/'nbs/train.ipynb')[0]['id'], 'the parameters come first'
    values = {}
    exec(''.join(tagged[0]['source']), values)
    assert {k: v for k, v in values.items() if k != '__builtins__' and k != '__annotations__'} == {f.name: None for f in fields(RunConfig)}


@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if p.parent.name == 'chapters'] + [ROOT/'nbs/index.ipynb'], ids=lambda p: p.stem)
def test_pages_that_read_records_have_one_parameters_cell(path):
    assert sum('parameters' in c['metadata'].get('tags', []) for c in cells(path)) == 1


def test_readme_is_made_from_the_index(run):
    made = run('make', '--no-print-directory', '-s', '-o', '.venv/.ready', 'readme')
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == (ROOT/'README.md').read_text().strip(), 'README.md differs from nbs/index.ipynb: make export'


def test_pictures_and_files_that_the_readme_names_exist():
    text = (ROOT/'README.md').read_text()
    for target in re.findall(r'\]\((?!https?:)([^)#]+)\)', text): assert (ROOT/target).exists(), target
    assert re.search(r'!\[[^]]*\]\(nbs/assets/samples\.png\)', text)
    run_id, = re.findall(r'one real run, `([^`]+)`', text)
    samples = np.asarray(Image.open(ROOT/'reports/records'/run_id/'samples.png'))
    assert (np.asarray(Image.open(ROOT/'nbs/assets/samples.png')) == samples.repeat(2, 0).repeat(2, 1)).all(), 'the picture is that run, enlarged'


@pytest.mark.parametrize('path', sorted(ROOT.glob('reports/records/*/record.json')), ids=lambda p: p.parent.name)
def test_committed_records_are_records_of_what_they_say(path):
    record = read_record(path)
    config = RunConfig(**record['config'])
    assert config.run_id == record['run_id'] == path.parent.name and record['status'] in ('finished', 'diverged')
    assert record['metrics'] or record['status'] == 'diverged'


def test_every_page_of_the_library_is_in_the_table_of_contents():
    toc = (ROOT/'_toc.yml').read_text()
    for path in LIBRARY + [p for p in NOTEBOOKS if p.parent.name == 'chapters']: assert f'file: {path.stem}\n' in toc, path.stem


def test_requirements_are_locked():
    settings = ConfigParser(delimiters='=')
    settings.read(ROOT/'settings.ini')
    wanted = [re.match(r'[\w-]+', line)[0] for key in ('requirements', 'inception_requirements', 'imagenet_requirements', 'dev_requirements') for line in settings['DEFAULT'][key].split('\n') if line]
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
