"""What is installed, as a CycloneDX SBOM: `sbom.py CYCLONEDX FILE`; `make sbom` has the program in an environment of its own, so that none of its packages is in the lock.

Checked against the schema before it is written. It names no folder of this machine, and has no time and no random number: the same environment gives the same file.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from dcgan_nb.foundations.core import InputError, first_line, write_file

VERSION = '1.6'      # of the format


def without_folders(bom:dict) -> dict:
    "Packages that were installed from a folder, as this one is, without that folder's place."
    for component in bom['components']:
        if 'externalReferences' not in component: continue
        kept = [r for r in component.pop('externalReferences') if not r['url'].startswith('file:')]
        if kept: component['externalReferences'] = kept
    return bom


def sbom(
    program:list[str],              # cyclonedx-py, as it is called
    python:str=sys.executable,      # of the environment
) -> str:                           # JSON
    "The packages of an environment, with versions, licenses, home pages and what needs what."
    command = [*program, 'environment', '--validate', '--output-reproducible', '--spec-version', VERSION, '--output-format', 'JSON', python]
    alone = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}       # or a package is there twice, once with a random name
    try: done = subprocess.run(command, cwd=sys.prefix, env=alone, capture_output=True, text=True)
    except OSError as error: raise InputError(f'{program[0]} is not there: {error.strerror}.') from None
    if done.returncode: raise InputError(f"python={python!r}: the packages of this environment could not be listed: {(done.stderr.strip() or 'no word').splitlines()[-1]}")
    return json.dumps(without_folders(json.loads(done.stdout)), indent=1, ensure_ascii=False) + '\n'


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('program', metavar='CYCLONEDX', type=Path, help='cyclonedx-py')
    parser.add_argument('path', metavar='FILE', type=Path, help='what is written')
    o = parser.parse_args()
    path = o.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text := sbom([str(o.program.absolute())]))
    except InputError as error:
        print(first_line(error), file=sys.stderr)
        sys.exit(2)
    print(f"{len(json.loads(text)['components'])} packages in {path}")
