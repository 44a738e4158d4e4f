"The archive: the same bytes anywhere, whole, described for machines, and at work where there is no git."
import base64
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, files_of_the_project, fresh_copy, tiny_config

sys.path.insert(0, str(ROOT/'workflow'))
import archive
import crate

from dcgan_nb.foundations.core import InputError
from dcgan_nb.runs.config import overrides, rerun_command
from dcgan_nb.runs.records import code_version, read_record
from dcgan_nb.runs.run import run as make_run
from dcgan_nb.study.repeat import run_audit
from dcgan_nb.study.verify import run_verify, seal

N_RECORDS = 3
MADE = {'COMMIT', 'SHA256SUMS', 'installed.json', 'data.sha256', 'ro-crate-metadata.json'}


def git(folder, *words):
    who = '-c', 'user.name=nobody', '-c', 'user.email=none'
    return subprocess.run(['git', *who, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def here(folder):
    "The working directory, for the tests of a module."
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    return patch


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    "The project with a few of its records, drawn at random, sealed and committed."
    if shutil.which('git') is None: pytest.skip('git is not installed')
    folder = tmp_path_factory.mktemp('here')/'project'
    fresh_copy(folder)
    drawn = random.Random().sample(sorted((ROOT/'reports/records').glob('*/record.json')), N_RECORDS)
    print('records:', *(p.parent.name for p in drawn))
    for path in drawn: shutil.copytree(path.parent, folder/'reports/records'/path.parent.name)
    patch = here(folder)
    seal()
    patch.undo()
    git(folder, 'init', '-q')
    git(folder, 'add', '-A')
    git(folder, 'commit', '-q', '-m', 'all')
    return folder


def archived(folder, reports=Path('reports')):
    "Its archive, and what was said."
    said, patch = [], here(folder)
    try: return folder/archive.make_archive(reports, said.append), '\n'.join(said)
    finally: patch.undo()


@pytest.fixture(scope='module')
def packed(project): return archived(project)[0]


@pytest.fixture
def unpacked(packed, tmp_path):
    "An empty folder outside of any repository, with nothing but the archive's files."
    zipfile.ZipFile(packed).extractall(tmp_path/'unpacked')
    assert subprocess.run(['git', 'rev-parse'], cwd=tmp_path, capture_output=True).returncode, 'no history is at hand'
    return tmp_path/'unpacked'


def contents(path):
    with zipfile.ZipFile(path) as file: return {name: file.read(name) for name in file.namelist()}


# The same bytes

def test_the_same_commit_gives_the_same_bytes_in_another_folder_and_time_zone(project, packed, tmp_path, run):
    git(tmp_path, 'clone', '-q', str(project), 'elsewhere')
    there = tmp_path/'elsewhere'
    for path in there.rglob('*.py'): os.utime(path, (1e9, 1e9))
    done = run(sys.executable, 'workflow/archive.py', cwd=there, PYTHONPATH=str(there), TZ='Asia/Tokyo', LC_ALL='C')
    assert done.returncode == 0, done.stderr
    made, = (there/'reports').glob('*.zip')
    assert made.name == packed.name and made.read_bytes() == packed.read_bytes()
    assert hashlib.sha256(packed.read_bytes()).hexdigest() in done.stdout


def test_a_zip_file_depends_on_contents_and_not_on_the_order_in_which_they_came():
    when = archive.datetime(2024, 2, 29, 12, 30, 58, tzinfo=archive.timezone.utc)
    files = {name: os.urandom(50) for name in 'zxy'}
    same = archive.zip_bytes(dict(reversed(files.items())), when)
    assert archive.zip_bytes(files, when) == same
    assert archive.zip_bytes(files | dict(x=b''), when) != same and archive.zip_bytes(files, when, {'x'}) != same


def test_all_that_is_committed_is_in_it_and_nothing_else(project, packed):
    files, tracked = contents(packed), git(project, 'ls-files').splitlines()
    assert files.keys() == {*tracked} | MADE
    assert all(files[name] == (project/name).read_bytes() for name in tracked)
    assert files['COMMIT'].decode().strip() == git(project, 'rev-parse', 'HEAD') and packed.name.endswith(f"-{files['COMMIT'][:8].decode()}.zip")
    for name in MADE:
        text = files[name].decode()
        assert str(project) not in text and str(Path.home()) not in text and os.uname().nodename not in text.split(), name
    sums = dict(reversed(line.split('  ')) for line in files['SHA256SUMS'].decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != 'SHA256SUMS'}


def test_what_is_not_committed_stays_out_and_is_said(project, packed, tmp_path):
    git(tmp_path, 'clone', '-q', str(project), 'changed')
    (tmp_path/'changed/README.md').write_text('changed')
    (tmp_path/'changed/notes.txt').write_text('private')
    path, said = archived(tmp_path/'changed')
    assert 'What is not committed is not in it' in said and path.read_bytes() == packed.read_bytes()


def test_a_finished_book_is_packed_and_a_half_built_one_is_not(tmp_path):
    html = tmp_path/'_build/html'
    (html/'foundations').mkdir(parents=True)
    for name in 'index.html', 'foundations/core.html': (html/name).write_text(name)
    assert archive.built_book(tmp_path) == {}
    (tmp_path/'_build/frame').touch()
    assert archive.built_book(tmp_path) == {f'book/{name}': name.encode() for name in ('foundations/core.html', 'index.html')}


# Without git

def test_an_unpacked_archive_verifies_itself(unpacked, monkeypatch, capsys):
    monkeypatch.chdir(unpacked)
    if shutil.which('sha256sum'): assert subprocess.run(['sha256sum', '--quiet', '-c', 'SHA256SUMS']).returncode == 0
    assert run_verify() == 0 and re.search(r'archive +\d+   all as published', capsys.readouterr().out)
    changed = random.Random().choice([p for p in sorted(unpacked.rglob('*')) if p.is_file() and p.relative_to(unpacked).parts[0] in ('nbs', 'tests', 'workflow', 'dcgan_nb')])
    changed.write_bytes(changed.read_bytes() + b' ')
    assert run_verify() == 1 and f'{changed.relative_to(unpacked).as_posix()} is not what was packed' in capsys.readouterr().out


def test_commands_work_in_an_unpacked_archive(unpacked, run):
    done = run('dcgan-nb', 'verdicts', cwd=unpacked, PYTHONPATH=str(unpacked))
    assert done.returncode == 0 and 'whose runs' in done.stdout, done.stderr


def test_a_run_of_unpacked_code_names_the_commit(unpacked, project, monkeypatch):
    monkeypatch.chdir(unpacked)
    run_id = make_run(config := tiny_config(metrics='fid'), None)['run_id']
    assert (unpacked/'reports/runs'/run_id/'record.json').exists() and config.run_id == run_id
    assert read_record(unpacked/'reports/runs'/run_id)['code'] == dict(commit=git(project, 'rev-parse', 'HEAD'), dirty=False)


def test_changed_code_says_so(unpacked, project, monkeypatch):
    monkeypatch.chdir(unpacked)
    head = git(project, 'rev-parse', 'HEAD')
    (unpacked/'reports/runs').mkdir()      # what comes into being is no change
    assert code_version() == dict(commit=head, dirty=False)
    (unpacked/'nbs/train.ipynb').unlink()
    assert code_version() == dict(commit=head, dirty=True)


def test_an_archive_inside_of_another_repository_still_knows_its_commit(unpacked, project, monkeypatch):
    git(unpacked.parent, 'init', '-q')
    git(unpacked.parent, 'commit', '-q', '--allow-empty', '-m', 'other')
    monkeypatch.chdir(unpacked)
    assert code_version()['commit'] == git(project, 'rev-parse', 'HEAD') != git(unpacked.parent, 'rev-parse', 'HEAD')


def test_what_needs_the_history_says_so(unpacked, monkeypatch, tmp_path):
    monkeypatch.chdir(unpacked)
    with pytest.raises(InputError, match='an audit needs the git repository with its history'): run_audit(1, report=pytest.fail)
    with pytest.raises(InputError, match='is itself an unpacked archive, of commit [0-9a-f]{8}'): archive.make_archive(Path('reports'), pytest.fail)
    (unpacked/'COMMIT').unlink()           # a copy of the files, not an archive
    assert code_version() == dict(commit=None, dirty=None)
    with pytest.raises(InputError, match='made from the git repository: not a git repository'): archive.make_archive(Path('reports'), pytest.fail)
    monkeypatch.setenv('PATH', str(tmp_path))      # not even git itself
    with pytest.raises(InputError, match='git is not installed'): archive.make_archive(Path('reports'), pytest.fail)
    with pytest.raises(InputError, match='an audit needs the git repository'): run_audit(1, report=pytest.fail)
    assert not list(unpacked.rglob('*.zip'))


# What it says of itself

def graph(packed): return {e['@id']: e for e in json.loads(contents(packed)['ro-crate-metadata.json'])['@graph']}


def ids(entity, key): return [e['@id'] for e in (entity[key] if isinstance(entity[key], list) else [entity[key]])]


def test_every_record_is_a_run_with_its_parameters_data_and_results(project, packed):
    entities, files = graph(packed), contents(packed)
    runs = {e['name']: e for e in entities.values() if e['@type'] == 'CreateAction'}
    records = [read_record(p) for p in (project/'reports/records').glob('*/record.json')]
    assert runs.keys() == {r['run_id'] for r in records} and len(runs) == N_RECORDS
    for record in records:
        made = runs[record['run_id']]
        inputs = [entities[id] for id in ids(made, 'object')]
        text = lambda v: ' '.join(v) if isinstance(v, (tuple, list)) else str(v)
        assert {e['name']: e['value'] for e in inputs if e['@type'] == 'PropertyValue'} == {k: text(v) for k, v in overrides(record['config']).items()}
        assert [e['sha256'] for e in inputs if 'sha256' in e] == [record['data']['sha256']]
        assert {entities[id]['name']: entities[id]['sha256'] for id in ids(made, 'result')} == {
            name: hashlib.sha256(content).hexdigest() for name, content in files.items() if f"/{record['run_id']}/" in name and not name.endswith('second_look.json')}
        assert [entities[id].get('version') for id in ids(made, 'instrument')] == [files['COMMIT'].decode().strip(), record['code']['commit']]
        assert made['endTime'] == record['written'] and 'startTime' not in made
    assert not [e for e in entities.values() if 'Person' in e['@type']], 'nobody is invented'


def test_nothing_is_referred_to_that_is_not_described(packed):
    entities = graph(packed)
    def references(value):
        if isinstance(value, dict): return [value['@id']] if value.keys() == {'@id'} else [id for v in value.values() for id in references(v)]
        return [id for v in value for id in references(v)] if isinstance(value, list) else []
    outside = {id for e in entities.values() for key, value in e.items() if key != 'conformsTo' for id in references(value)} - entities.keys()
    assert all(id.startswith('https://') for id in outside), outside


def issues(folder, meta):
    "What roc-validator finds wrong, without the network: the terms of RO-Crate come from the package rocrate, those of Bioschemas as version 1.1 has them."
    models, services, rocrate = pytest.importorskip('rocrate_validator.models'), pytest.importorskip('rocrate_validator.services'), pytest.importorskip('rocrate')
    terms = json.loads((Path(rocrate.__file__).parent/'data/ro-crate.jsonld').read_text())['@context']
    terms |= {name: f'https://bioschemas.org/{name}' for name in ('ComputationalWorkflow', 'FormalParameter')} | {name: f'https://bioschemas.org/ComputationalWorkflow#{name}' for name in ('input', 'output')}
    own = meta | {'@context': [terms, *meta['@context'][1:]]}
    (folder/'ro-crate-metadata.json').write_text(json.dumps(own))
    settings = models.ValidationSettings(rocrate_uri=str(folder), profile_identifier='workflow-run-crate', requirement_severity='REQUIRED', offline=True, skip_availability_check=True)
    return [issue.message for issue in services.validate(settings).get_issues()]


def test_the_metadata_is_a_workflow_run_crate(unpacked):
    meta = json.loads((unpacked/'ro-crate-metadata.json').read_text())
    assert issues(unpacked, meta) == []
    without_tool = [{k: v for k, v in e.items() if k != 'instrument'} for e in meta['@graph']]
    assert any('instrument' in message for message in issues(unpacked, meta | {'@graph': without_tool}))


def test_another_reader_of_crates_finds_workflow_and_runs(unpacked):
    rocrate = pytest.importorskip('rocrate.rocrate')
    found = rocrate.ROCrate(unpacked)
    assert found.mainEntity.id == crate.WORKFLOW and len(found.root_dataset['mentions']) == N_RECORDS
    assert found.dereference('reports/verdicts.json')['sha256'] == hashlib.sha256((unpacked/'reports/verdicts.json').read_bytes()).hexdigest()


def test_the_codecheck_names_what_is_there():
    check, cited = (yaml.safe_load((ROOT/name).read_text()) for name in ('codecheck.yml', 'CITATION.cff'))
    assert check['paper'] == dict(title=cited['title'], authors=cited['authors']) and not check.keys() & {'codechecker', 'report', 'certificate'}
    assert check['manifest'] and {entry['file'] for entry in check['manifest']} <= {*files_of_the_project()}
    named, = [entry for entry in check['manifest'] if entry['file'].endswith('record.json')]
    assert rerun_command(read_record(ROOT/named['file'])['config']) in named['comment']


# What is installed

def wheel(folder, text):
    "A wheel by hand: a module, one under purelib, a script, data."
    files = {'odd/__init__.py': text, 'odd-1.data/purelib/other.py': 'b = 2\n', 'odd-1.data/scripts/odd': '#!python\n', 'odd-1.data/data/share/odd.txt': 'x',
             'odd-1.dist-info/METADATA': 'Metadata-Version: 2.1\nName: odd\nVersion: 1\n', 'odd-1.dist-info/WHEEL': 'Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
             'odd-1.dist-info/entry_points.txt': '[console_scripts]\nodder = odd:main\n'}
    coded = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')
    record = ''.join(f'{name},sha256={coded(text)},{len(text)}\n' for name, text in files.items()) + 'odd-1.dist-info/RECORD,,\n'
    with zipfile.ZipFile(folder/'odd-1-py3-none-any.whl', 'w') as file:
        for name, text in (files | {'odd-1.dist-info/RECORD': record}).items(): file.writestr(name, text)
    return record


def test_an_installed_package_has_the_hash_of_its_wheel(tmp_path):
    record = wheel(tmp_path, f'a = {random.random()}\n')
    command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-index', '--no-deps', '--disable-pip-version-check', '--prefix', tmp_path/'prefix', tmp_path/'odd-1-py3-none-any.whl']
    if (done := subprocess.run(command, capture_output=True, text=True)).returncode: pytest.skip(f'pip does not install here: {done.stderr[-200:]}')
    installed = next((tmp_path/'prefix').rglob('RECORD')).read_text()
    assert installed != record, 'pip adds to it'
    assert archive.wheel_hash(installed) == archive.wheel_hash(record) == (archive.wheel_hash(record)[0], 5)
    assert archive.wheel_hash(wheel(tmp_path, 'a = 2\n'))[0] != archive.wheel_hash(record)[0]


def test_the_environment_is_that_of_the_lock_or_says_where_not(packed):
    said = json.loads(contents(packed)['installed.json'])
    torch = said['packages']['torch']
    assert torch['installed'] == metadata.version('torch') and torch['files'] > 1000 and re.fullmatch('[0-9a-f]{64}', torch['sha256'])
    odd = archive.installed('torch==0.0.1\nno-such-package==1.0\n')['packages']
    assert odd == {'torch': torch | dict(locked='0.0.1'), 'no-such-package': dict(locked='1.0', installed=None)}
