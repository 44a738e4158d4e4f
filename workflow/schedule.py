"""Snakemake, without its limit of 100 jobs a second.

    python workflow/schedule.py --snakefile workflow/Snakefile …         everything else as `snakemake` is given it

The limit is kept by timers, and each job that starts adds one that goes on for as long as jobs wait for a core (Snakemake 9.27, job_scheduler.py):
every second, each of them has the files of all waiting jobs looked at again. While a book was built, that took a fifth of a core.
"""
import sys

from snakemake.cli import args_to_api, parse_args
from snakemake.exceptions import print_exception


def main(given:list[str]) -> int:
    try:
        parser, args = parse_args(given)
        args.max_jobs_per_timespan = None
        return int(not args_to_api(args, parser))
    except Exception as error:
        print_exception(error)
        return 1


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
