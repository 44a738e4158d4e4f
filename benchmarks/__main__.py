"Runs the named benchmarks, or all, each in a process of its own: `python -m benchmarks [names] [--device auto|cpu|cuda] [--quick]`."
import subprocess
import sys

from benchmarks import BENCHMARKS
from benchmarks.measure import chosen_device, options
from dcgan_nb.foundations.core import InputError


def main(argv:list[str]|None=None) -> int:   # how many failed
    parser = options('python -m benchmarks', '\n'.join(f'{name:10}{what}' for name, what in BENCHMARKS.items()))
    parser.add_argument('names', nargs='*', help='which ones; none: all')
    given = parser.parse_args(argv)
    for name in given.names: BENCHMARKS[name]
    device, failed = chosen_device(given.device), []
    more = [*(['--repeats', str(given.repeats)] if given.repeats is not None else []), *(['--quick'] if given.quick else []),
            *(['--to', str(given.to)] if given.to else [])]
    for name in given.names or BENCHMARKS:
        if subprocess.run([sys.executable, '-m', f'benchmarks.{name}', '--device', device, *more]).returncode:
            failed.append(name)
            print(f'{name} failed, the others go on', flush=True)
    if failed: print(f"failed: {', '.join(failed)}", flush=True)
    return len(failed)


if __name__ == '__main__':
    try: sys.exit(1 if main() else 0)
    except InputError as error: sys.exit(str(error))
