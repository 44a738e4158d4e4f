"""What differs between two locks, and which tests fail with the newer one: `make drift`.

    python workflow/drift.py old.txt constraints.txt

Needs nothing but Python: it runs also where an environment could not be made. Exit code 1 if the log, where one is given, tells of a failure.
"""
import argparse
import os
import re
import sys
from pathlib import Path


def versions(lock:str) -> dict[str, str]:      # package → '2.0', or '1.9 (python_full_version < "3.11"), 2.0 (…)' where systems differ
    "What a lock pins, with or without hashes."
    pins = re.findall(r'^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;\\]+)[ \t]*(?:;[ \t]*([^\\\n]*?))?[ \t]*\\?$', lock, re.MULTILINE)
    found = {}
    for name, version, marker in pins: found.setdefault(re.sub('[-_.]+', '-', name).lower(), []).append((version, marker))
    return {name: ', '.join(f'{version} ({marker})' if len(several) > 1 and marker else version for version, marker in sorted(several)) for name, several in found.items()}


def differences(old:str, new:str) -> list[tuple]:      # package, old version, new version; None: not in that lock
    "What changed from one lock to the other, by name."
    before, after = versions(old), versions(new)
    return [(name, before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]


def failures(log:str) -> list[str]:      # each once
    "What failed, as make, pytest and nbdev_test say it: tests, notebooks, and steps that ended with an error."
    tests = re.findall(r'^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$', log, re.MULTILINE)
    notebooks = re.search(r'Tests Failed On The Following Notebooks:\s*=*\n((?:[ \t]+\S+\n?)+)', log)
    steps = re.findall(r'^make\S*: (?:\*\*\* )?\[(?:\S+: )?(\S+)\] Error \d+', log, re.MULTILINE)
    found = [*dict.fromkeys([*tests, *(notebooks[1].split() if notebooks else []), *(f'make {step}' for step in steps)])]
    return found if found or re.search(r'\b\d+ passed\b', log) else ['the tests, which did not come to their end']


def report(changes:list[tuple], failed:list[str]|None) -> str:      # Markdown; failed None: nothing was tested
    "What is to be read about it."
    n = len(changes)
    lines = [f"## {n or 'No'} package{'s' * (n != 1)} changed", '']
    if n: lines += ['| package | locked | newest |', '|---|---|---|', *(f'| {name} | {old or "–"} | {new or "–"} |' for name, old, new in changes), '']
    if failed is not None: lines += [f'## {len(failed)} failed' if failed else '## Nothing failed', '', *(f'- `{name}`' for name in failed)]
    return '\n'.join(lines).rstrip() + '\n'


def main(given:list[str]|None=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('old')
    parser.add_argument('new')
    parser.add_argument('--log', help='of the tests with the newer lock')
    parser.add_argument('--to', help='a Markdown file, in place of the terminal')
    o = parser.parse_args(given)
    for path in filter(None, (o.old, o.new, o.log)):
        if not Path(path).is_file(): sys.exit(f'{path} is not there: a lock is a file such as constraints.txt.')
    failed = failures(Path(o.log).read_text(errors='replace')) if o.log else None
    text = report(differences(Path(o.old).read_text(), Path(o.new).read_text()), failed)
    if o.to: Path(o.to).write_text(text)
    else: print(text, end='')
    if os.environ.get('GITHUB_STEP_SUMMARY'):
        with open(os.environ['GITHUB_STEP_SUMMARY'], 'a') as summary: summary.write(text)
    return int(bool(failed))


if __name__ == '__main__': sys.exit(main())
