"""All that is published as one file that proves itself: `archive.py [--reports DIR]`, or `make archive`.

The file is DIR/dcgan-nb-<version>-<commit>.zip: everything that is committed, the built book if there is one, what was installed, and hashes of it all. Its metadata
are an RO-Crate, see `crate.py`. The same commit, book and environment give the same bytes, wherever they are. Unpacked in an empty folder it works without git.
"""
import argparse
import csv
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import crate

from dcgan_nb.foundations.archive import COMMIT, SUMS, packed_code, sha256, sums_text
from dcgan_nb.foundations.core import InputError, project_root, write_file
from dcgan_nb.runs.records import read_records
from dcgan_nb.study.commands import OPTIONS
from dcgan_nb.study.problems import project_settings
from dcgan_nb.study.repeat import pinned

WHAT = ("sha256 stands for the files that a wheel holds: it is the SHA-256 of sorted lines '<path> <sha256 in base64>', taken from the RECORD that the installer wrote, without what installers add "
        "(compiled files, scripts, notes) and without files outside of site-packages. The RECORD inside of a wheel gives the same. It is not the SHA-256 of the .whl file, which is gone once it is "
        "installed, and the installed files were not read again.")


# What is committed

def git(*words:str) -> bytes:
    "What git says; an `InputError` where it knows nothing of this folder."
    if packed := packed_code(project_root()): raise InputError(f"An archive is made from the git repository, and this folder is itself an unpacked archive, of commit {packed['commit'][:8]}.")
    try: done = subprocess.run(['git', *words], cwd=project_root(), capture_output=True)
    except FileNotFoundError: raise InputError('An archive is made from the git repository, and git is not installed.') from None
    if done.returncode: raise InputError(f"An archive is made from the git repository: {done.stderr.decode().strip().removeprefix('fatal: ')}.")
    return done.stdout


def committed() -> tuple[str, datetime, dict[str, bytes], set[str]]:      # commit, its time, name → content, names of programs
    "What HEAD holds."
    if (top := Path(git('rev-parse', '--show-toplevel').decode().strip())).resolve() != project_root().resolve():
        raise InputError(f'An archive is made from the git repository of the project, and this folder is only a part of that in {top.name}.')
    commit, seconds = git('show', '-s', '--format=%H %ct', 'HEAD').decode().split()
    with tarfile.open(fileobj=io.BytesIO(git('archive', '--format=tar', commit))) as tar:
        members = [m for m in tar if m.isfile()]
        files = {m.name: tar.extractfile(m).read() for m in members}
    return commit, datetime.fromtimestamp(int(seconds), timezone.utc), files, {m.name for m in members if m.mode & 0o100}


# What is installed

def wheel_hash(record:str) -> tuple[str, int]:      # the text of a RECORD → SHA-256 of what it lists, number of files
    "The same for a wheel and for what was installed from it; see `WHAT`."
    lines = []
    for path, digest, *_ in csv.reader(record.splitlines()):
        path = re.sub(r'^[^/]+\.data/(purelib|platlib)/', '', path)
        added = path.endswith('.pyc') or re.match(r'[^/]+\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_\w+\.json)', path) or re.match(r'[^/]+\.data/', path)
        if not added and not path.startswith(('../', '/')): lines.append(f"{path} {digest.removeprefix('sha256=')}\n")
    return hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest(), len(lines)


def installed(lock:str) -> dict:      # the text of constraints.txt
    "The environment in which the archive is made, beside what the lock asks for."
    packages = {}
    for name, locked in sorted(pinned(lock).items()):
        try: found = metadata.distribution(name)
        except metadata.PackageNotFoundError: packages[name] = dict(locked=locked, installed=None); continue
        digest, n = wheel_hash(found.read_text('RECORD') or '')
        packages[name] = dict(locked=locked, installed=found.version, files=n, sha256=digest if n else None)
    return dict(what=WHAT, python=platform.python_version(), system=platform.system(), machine=platform.machine(), packages=packages)


# The archive

def built_book(reports:Path) -> dict[str, bytes]:
    "The HTML of a book that was built to its end: that of `make site`, which shows published runs alone, else the report's; nothing if there is none."
    for build in reports/'published/_build', reports/'_build':
        if (build/'frame').is_file() and (build/'html/index.html').is_file():
            return {f'book/{p.relative_to(build/"html").as_posix()}': p.read_bytes() for p in sorted((build/'html').rglob('*')) if p.is_file()}
    return {}


def packed(commit:str, when:datetime, files:dict[str, bytes]) -> dict[str, bytes]:      # the same with metadata and sums
    "What was committed, and the book, with all that describes them."
    files = files | {COMMIT: f'{commit}\n'.encode(), 'installed.json': (json.dumps(installed(files['constraints.txt'].decode()), indent=1) + '\n').encode()}
    with tempfile.TemporaryDirectory() as folder:      # records are read from what is committed, not from what lies here
        for name, content in files.items():
            if not name.startswith('reports/records/'): continue
            (path := Path(folder)/name).parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        files['data.sha256'] = crate.data_sums(read_records(Path(folder)/'reports/records')).encode()
        files[crate.METADATA] = crate.metadata(files, Path(folder), project_settings(), commit, when.isoformat()).encode()
    return files | {SUMS: sums_text({name: sha256(content) for name, content in files.items()}).encode()}


def zip_bytes(files:dict[str, bytes], when:datetime, programs:set[str]=frozenset()) -> bytes:
    "A zip file that depends on names, contents, that time (UTC), and on which are programs, and on nothing else."
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, when.timetuple()[:6])
            entry.create_system, entry.external_attr, entry.compress_type = 3, (0o100755 if name in programs else 0o100644) << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return out.getvalue()


def make_archive(reports:Path, report=print) -> Path:
    "The file, complete or not at all."
    commit, when, files, programs = committed()
    if git('status', '--porcelain', '--untracked-files=no'): report('What is not committed is not in it.')
    book = built_book(reports)
    if not book: report('There is no built book to put into it: make report, or make site, builds one.')
    content = zip_bytes(files := packed(commit, when, files | book), when, programs)
    reports.mkdir(parents=True, exist_ok=True)
    path = reports/f"dcgan-nb-{project_settings()['version']}-{commit[:8]}.zip"
    write_file(path, content)
    report(f'{os.path.relpath(path)}: {len(files)} files, {len(content) / 1e6:.1f} MB, SHA-256 {sha256(content)}\n'
           f'In an empty folder: unzip it, sha256sum -c {SUMS}, make verify; README.md says the rest.')
    return path


def options(words:list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument('--reports', default='reports')
    found = parser.parse_args(words)
    found.reports = Path(OPTIONS['reports'].check('reports', found.reports))
    return found


if __name__ == '__main__':
    try: make_archive(options(sys.argv[1:]).reports)
    except InputError as error: print(error, file=sys.stderr); sys.exit(2)
