"""The book as one folder to put anywhere, from published records: `site_folder.py [--url URL] [--cores N] [--reports DIR]`, or `make site`.

Nothing is trained: the book is built in DIR/published, apart from the one with your own runs, and copied to DIR/site with what makes it a site.
"""
import argparse
import re
import sys
from pathlib import Path

from dcgan_nb.foundations.core import InputError
from dcgan_nb.runs.records import code_version
from dcgan_nb.study import commands
from dcgan_nb.study.claims import study_records
from dcgan_nb.study.figures import set_style
from dcgan_nb.study.judge import courses, outcome
from dcgan_nb.study.problems import project_settings
from dcgan_nb.study.site import build_day, build_stamp, make_site, site_url, social_card


def options(words:list[str]) -> argparse.Namespace:
    "What was asked for, checked."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    for name, default in dict(url='', cores='all', reports='reports').items(): parser.add_argument(f'--{name}', default=default)
    found = parser.parse_args(words)
    for name in ('cores', 'reports'): setattr(found, name, commands.OPTIONS[name].check(name, getattr(found, name)))
    found.url = site_url(found.url)
    return found


def published_book(o:argparse.Namespace) -> Path:      # its HTML
    "The book of the published records, built if it is not up to date; an `InputError` if that fails."
    of_book = argparse.Namespace(profile='cpu', runs='published', cores=o.cores, reports=f'{o.reports}/published')
    if commands._snakemake(of_book, 'book', examples='published'): raise InputError(f'The book was not built.\n{of_book.why}')
    return Path(of_book.reports)/'_build/html'


def site(o:argparse.Namespace) -> Path:
    "The folder."
    day, about = build_day(), project_settings()['description'] + '.'
    book, folder = published_book(o), Path(o.reports)/'site'
    title = re.search(r'<h1>(.*?)<', (book/'index.html').read_text(encoding='utf-8'))[1]
    records = study_records(None)
    set_style()
    card = social_card(title, {id: outcome(course) for id, course in courses(records).items()}, records)
    make_site(book, folder, o.url, build_stamp(project_settings()['version'], day, code_version()), day, title, about, card)
    return folder


if __name__ == '__main__':
    try: o = options(sys.argv[1:]); folder = site(o)
    except InputError as error: print(error, file=sys.stderr); sys.exit(2)
    print(f'The site: {folder}, to be put at {o.url}' if o.url else
          f'The site: {folder}, to be put anywhere. It has no sitemap, and its card no full address: make site URL=https://… makes them.')
