"What the project is made of: the lock and its hashes, the list of what is installed, known vulnerabilities, licenses; what changes with newer versions."
import json
import random
import re
import secrets
import sys
from importlib.metadata import distributions

import papermill
import pytest
from conftest import ROOT

from dcgan_nb.foundations.core import InputError

from dcgan_nb.study.licenses import UNKNOWN, closure, license_of, packages

sys.path.insert(0, str(ROOT/'workflow'))
import drift  # noqa: E402
import sbom  # noqa: E402
import vulnerabilities  # noqa: E402

LOCK, HASHED = ((ROOT/name).read_text() for name in ('constraints.txt', 'requirements.lock'))


def pins(lock): return sorted(re.sub(r'\s*\\$', '', line).replace(' ', '') for line in lock.splitlines() if '==' in line and line[0].isalnum())


# The lock

def test_both_locks_pin_the_same_and_every_package_has_a_hash():
    assert pins(HASHED) == pins(LOCK), 'make lock writes both'
    entries = re.split(r'^(?=[A-Za-z0-9])', HASHED, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(LOCK)) and all(re.search(r'--hash=sha256:[0-9a-f]{64}\b', entry) for entry in entries)
    assert not re.search(r'://|--(?:extra-)?index|find-links', LOCK + HASHED), 'where the files come from is a matter of the machine'


def test_with_hashes_all_is_installed_by_hash_and_nothing_is_built_from_elsewhere(run):
    "What make would do: each installation either checks hashes or fetches nothing."
    done = run('make', '--no-print-directory', '-n', '-B', 'env', 'HASHES=1')
    installs = [line for line in done.stdout.splitlines() if 'pip install' in line]
    assert done.returncode == 0 and len(installs) == 3 and all('--no-build-isolation' in line and ('--require-hashes' in line or '--no-deps' in line) for line in installs), done.stdout
    assert '--clear' in done.stdout, 'what is there already would not be checked'
    usual = run('make', '--no-print-directory', '-n', '-B', 'env').stdout
    assert 'pip install' in usual and '--require-hashes' not in usual and '--clear' not in usual


def test_what_builds_comes_first_with_its_hashes(run, tmp_path):
    program, = re.findall(r"@awk '(.*)' requirements\.lock", (ROOT/'Makefile').read_text())
    build = run('awk', program.replace('$$', '$'), 'requirements.lock').stdout
    assert [line.split('==')[0] for line in pins(build)] == ['packaging', 'setuptools', 'wheel'] and build.count('--hash=sha256:') >= 6


# What changes

def lock(packages, hashed=False):
    return ''.join(f'{name}=={version}' + (f' ; {marker}' if marker else '') + (f' \\\n    --hash=sha256:{secrets.token_hex(32)}' if hashed else '') + '\n    # via something==9\n'
                   for name, version, marker in packages)


def test_differences_of_two_locks_worked_by_hand():
    old = lock([('alpha', '1.0', ''), ('beta-two', '2.0', ''), ('gone', '3', 'sys_platform == "win32"'), ('numpy', '2.2', "python_full_version < '3.11'"), ('numpy', '2.4', "python_full_version >= '3.11'")])
    new = lock([('numpy', '2.5', "python_full_version >= '3.11'"), ('numpy', '2.2', "python_full_version < '3.11'"), ('Beta_Two', '2.1.post1', ''), ('alpha', '1.0', ''), ('fresh', '0.1', '')], hashed=True)
    both = "2.2 (python_full_version < '3.11'), {} (python_full_version >= '3.11')"
    assert drift.differences(old, new) == [('beta-two', '2.0', '2.1.post1'), ('fresh', None, '0.1'), ('gone', '3', None), ('numpy', both.format('2.4'), both.format('2.5'))]
    assert drift.differences(old, old) == drift.differences(LOCK, HASHED) == [] and len(drift.versions(LOCK)) == len({p.split('==')[0] for p in pins(LOCK)})


def test_of_random_locks_exactly_the_moved_ones_are_named():
    fresh = random.Random(seed := secrets.randbits(32))
    names = [f'p{i}-x' for i in range(30)]
    moved = set(fresh.sample(names, fresh.randrange(1, 9)))
    old = {name: f'{fresh.randrange(9)}.{fresh.randrange(9)}' for name in names}
    new = {name: version + '.1' * (name in moved) for name, version in old.items()}
    found = drift.differences(lock([(*p, '') for p in old.items()]), lock([(*p, '') for p in fresh.sample(sorted(new.items()), 30)], hashed=True))
    assert found == [(name, old[name], new[name]) for name in sorted(moved)], f'seed {seed}'


LOG = """notebooks
nbdev Tests Failed On The Following Notebooks:
==================================================
	13_losses.ipynb
	40_stats.ipynb
make[1]: [Makefile:175: test] Error 1 (ignored)
pytest
FAILED tests/test_a.py::test_one[x=1 y] - AssertionError: FAILED is a word
ERROR tests/test_b.py::test_two
3 passed, 1 failed
"""


def test_what_failed_is_read_from_the_log():
    assert drift.failures(LOG) == ['tests/test_a.py::test_one[x=1 y]', 'tests/test_b.py::test_two', '13_losses.ipynb', '40_stats.ipynb', 'make test']
    assert drift.failures('make[1]: *** [Makefile:140: .venv/.ready] Error 1\n') == ['make .venv/.ready']
    assert drift.failures('collected\n812 passed in 3 s\n') == []
    assert drift.failures('collected\n') != [], 'what did not come to its end has not passed'


def test_the_report_goes_to_a_file_and_to_the_summary(run, tmp_path):
    name, version = 'x' + secrets.token_hex(3), f'{secrets.randbelow(90)}.1'
    (tmp_path/'old').write_text(lock([(name, '1.0', '')]))
    (tmp_path/'new').write_text(lock([(name, version, '')]))
    (tmp_path/'log').write_text(LOG)
    done = run(sys.executable, 'workflow/drift.py', tmp_path/'old', tmp_path/'new', '--log', tmp_path/'log', '--to', tmp_path/'out.md', GITHUB_STEP_SUMMARY=str(tmp_path/'summary'))
    said = (tmp_path/'out.md').read_text()
    assert done.returncode == 1 and f'| {name} | 1.0 | {version} |' in said and '## 5 failed' in said and '`13_losses.ipynb`' in said and (tmp_path/'summary').read_text() == said
    same = run(sys.executable, 'workflow/drift.py', tmp_path/'old', tmp_path/'old')
    assert same.returncode == 0 and same.stdout == '## No packages changed\n'
    lost = run(sys.executable, 'workflow/drift.py', tmp_path/'nothing', tmp_path/'old')
    assert lost.returncode != 0 and len(lost.stderr.splitlines()) == 1 and 'is not there' in lost.stderr


# The list of what is installed

def test_the_list_names_no_folder_and_says_why_there_is_none(tmp_path):
    "With a stand-in for the program, which is not in the lock."
    name = 'x' + secrets.token_hex(3)
    (tmp_path/'bom.py').write_text(f"""
import json, os, sys
assert sys.argv[1] == 'environment' and '--validate' in sys.argv and 'PYTHONPATH' not in os.environ
if sys.argv[-1] == 'no-such-python': sys.exit('it is\\nnot there')
refs = [dict(type='website', url='https://example.org'), dict(type='distribution', url='file:///somewhere')]
print(json.dumps(dict(components=[dict(name='{name}', externalReferences=refs), dict(name='local', externalReferences=refs[1:]), dict(name='plain')])))
""")
    program = [sys.executable, str(tmp_path/'bom.py')]
    found = {c['name']: c.get('externalReferences') for c in json.loads(sbom.sbom(program))['components']}
    assert found == {name: [dict(type='website', url='https://example.org')], 'local': None, 'plain': None}
    with pytest.raises(InputError, match="no-such-python.*could not be listed: not there"): sbom.sbom(program, 'no-such-python')
    with pytest.raises(InputError, match='is not there'): sbom.sbom([str(tmp_path/'nothing')])


# Known vulnerabilities, with a stand-in for pip-audit

def pip_audit(tmp_path, **answers):
    "A program that answers as told for each database, and fails for others."
    (tmp_path/'audit.py').write_text(f'import sys\nanswers = {answers!r}\nservice = sys.argv[sys.argv.index("-s") + 1]\n'
                                     'if service not in answers: sys.exit("requests.exceptions.ConnectionError: no such host")\nprint(answers[service])\n')
    return [sys.executable, str(tmp_path/'audit.py')]


def answer(*packages): return json.dumps(dict(dependencies=list(packages)))


def test_a_database_that_knows_nothing_is_no_clean_bill(tmp_path, capsys):
    (tmp_path/'lock').write_text(lock([('alpha', '1.0', ''), ('beta', '2.0', '')], hashed=True))
    unknown = answer(dict(name='alpha', skip_reason='not found'), dict(name='beta', skip_reason='not found'))
    for command in pip_audit(tmp_path, pypi=unknown), pip_audit(tmp_path), [str(tmp_path/'nothing')]:
        assert vulnerabilities.main(command, str(tmp_path/'lock')) == 0
        said = capsys.readouterr().out
        assert len(said.splitlines()) == 1 and 'nothing is known of the 2 locked versions' in said and 'pypi (' in said and 'osv (' in said


def test_a_known_vulnerability_is_named_and_is_a_failure(tmp_path, capsys):
    (tmp_path/'lock').write_text(lock([('alpha', '1.0', ''), ('beta', '2.0', '')], hashed=True))
    name = 'CVE-2030-' + str(secrets.randbelow(9000))
    bad = dict(name='beta', version='2.0', vulns=[dict(id=name, fix_versions=['2.1'])])
    assert vulnerabilities.main(pip_audit(tmp_path, osv=answer(dict(name='alpha', version='1.0', vulns=[]), bad)), str(tmp_path/'lock')) == 1
    said = capsys.readouterr().out
    assert f'beta 2.0: {name}, fixed in 2.1' in said and '2 of 2 locked versions were looked up in osv: 1 with' in said
    assert vulnerabilities.main(pip_audit(tmp_path, osv=answer(dict(name='alpha', version='1.0', vulns=[]))), str(tmp_path/'lock')) == 0
    assert '1 of 2 locked versions were looked up in osv: 0 with' in capsys.readouterr().out


# Licenses

def installed(folder, name, version='1.0', license_text='', **about):
    "A package as it lies in site-packages, and nothing else."
    info = folder/f'{name}-{version}.dist-info'
    info.mkdir(parents=True)
    lines = [f'{key.replace("_", "-")}: {value}' for key, values in about.items() for value in ([values] if isinstance(values, str) else values)]
    (info/'METADATA').write_text('\n'.join(['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}', *lines]) + '\n')
    (info/'LICENSE').write_text(license_text)
    (info/'RECORD').write_text(f'{info.name}/METADATA,,\n{info.name}/LICENSE,,\n')
    found, = distributions(path=[str(folder)], name=name)
    return found


@pytest.mark.parametrize('about, text, license', [
    (dict(License_Expression='MIT OR Apache-2.0', License='BSD'), 'BSD 2-Clause', 'MIT OR Apache-2.0'),
    (dict(License='Apache License, Version 2.0', Classifier='License :: OSI Approved :: MIT License'), '', 'Apache-2.0'),
    (dict(), 'MIT License\n\nCopyright', 'MIT'),
    (dict(Classifier='License :: OSI Approved :: BSD License'), 'Redistribution …\n * Neither the name of', 'BSD-3-Clause'),
    (dict(Classifier='License :: OSI Approved :: BSD License'), 'THE SOFTWARE IS PROVIDED "AS IS", EXPRESS OR IMPLIED', 'BSD (clauses not said)'),
    (dict(License='UNKNOWN'), 'All rights reserved. EXPRESS OR IMPLIED, no permission', UNKNOWN), (dict(), '', UNKNOWN)], ids=str)
def test_the_most_exact_place_names_the_license(tmp_path, about, text, license):
    assert license_of(installed(tmp_path, 'x' + secrets.token_hex(3), license_text=text, **about)) == license


def test_of_a_random_tree_what_is_reached_is_listed(tmp_path):
    fresh = random.Random(seed := secrets.randbits(32))
    wants = {i: fresh.sample(range(20), fresh.randrange(3)) for i in range(20)}
    there = {f'p{i}': installed(tmp_path, f'p{i}', Requires_Dist=[f'p{j}>=0' for j in js]) for i, js in wants.items()}
    reached, edge = {0}, {0}
    while edge: reached |= (edge := {j for i in edge for j in wants[i]} - reached)
    found = closure(['p0'], there.__getitem__)
    assert found.keys() == {f'p{i}' for i in reached}, f'seed {seed}'
    assert all(int(name[1:]) in wants[int(by[1:])] for name, by in found.items() if by)


def test_the_page_has_every_package_once(tmp_path):
    papermill.execute_notebook(ROOT/'nbs/chapters/licenses.ipynb', tmp_path/'page.ipynb', cwd=ROOT, progress_bar=False)
    html = '\n'.join(''.join(o['data'].get('text/html', '')) for c in json.loads((tmp_path/'page.ipynb').read_text())['cells'] for o in c.get('outputs', []) if 'data' in o)
    rows = [re.sub('<[^>]*>', ' ', row).split() for row in re.findall('<tr><td>(.*?)</tr>', html)]
    assert sorted((row[0], row[1]) for row in rows) == sorted((p.name, p.version) for p in packages()) and len(rows) > 100
