"""Which locked versions have a known vulnerability: `make vulnerabilities`.

pip-audit asks a database on the network. A package that it could not look up counts as unknown, never as sound: where nothing could be looked up, one sentence says what
was tried, and that is no failure. Exit code 1: a vulnerability is known.
"""
import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

SERVICES = 'pypi', 'osv'


def ask(command:list[str], lock:str, service:str) -> tuple[list[dict], str]:      # packages that were looked up; why there are none
    "What one database knows of the packages in a lock."
    try: done = subprocess.run([*command, '-r', lock, '--require-hashes', '--disable-pip', '-s', service, '--progress-spinner', 'off', '-f', 'json'], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired: return [], 'no answer in 5 minutes'
    except OSError: return [], 'pip-audit is not installed'
    try: packages = json.loads(done.stdout)['dependencies']
    except (ValueError, KeyError): return [], re.sub(r'^(?:\w+\.)*(\w+(?:Error|Exception))\b.*', r'\1', (done.stderr.strip() or 'no word').splitlines()[-1])[:200]
    found = [p for p in packages if 'skip_reason' not in p]
    return found, '' if found else f'it knows none of the {len(packages)} packages'


def main(command:list[str], lock:str) -> int:
    n_locked, tried = sum('==' in line for line in Path(lock).read_text().splitlines() if not line.startswith((' ', '#'))), []
    for service in SERVICES:
        found, why = ask(command, lock, service)
        if found: break
        tried.append(f'{service} ({why})')
    else:
        print(f"No database of vulnerabilities could be asked, so nothing is known of the {n_locked} locked versions. Tried: {'; '.join(tried)}.")
        return 0
    bad = [p for p in found if p['vulns']]
    for p in bad:
        for v in p['vulns']: print(f"{p['name']} {p['version']}: {v['id']}" + (f", fixed in {', '.join(v['fix_versions'])}" if v.get('fix_versions') else ', no version is fixed'))
    print(f'{len(found)} of {n_locked} locked versions were looked up in {service}: {len(bad)} with a known vulnerability. The others are for other systems or unknown there.')
    return int(bool(bad))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('command', nargs='+', help='pip-audit, as it is called')
    parser.add_argument('lock', help='such as requirements.lock')
    o = parser.parse_args()
    sys.exit(main(o.command, o.lock))
