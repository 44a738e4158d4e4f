"""The verdict chapters as one PDF, from published records: `pdf.py [--cores N] [--reports DIR]`, or `make pdf`.

The chapters of the book become one page, which Chromium prints with the book's style sheet: so page numbers run through, and links from chapter to chapter work.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from site_folder import options, published_book

from dcgan_nb.foundations.core import InputError
from dcgan_nb.runs.records import code_version
from dcgan_nb.study.problems import project_settings
from dcgan_nb.study.site import build_day, build_stamp

BROWSERS = 'chromium', 'chromium-browser', 'google-chrome', 'chrome'


def chromium() -> str:
    "Where it is; an `InputError` if it is nowhere."
    if found := next(filter(None, map(shutil.which, BROWSERS)), None): return found
    raise InputError('There is no Chromium to print with: install it (Debian: apt-get install chromium), or print the pages of the book from a browser of your own.')


def linked(html:str, names:list[str]) -> str:
    "Links between the chapters lead to places in one document; those to other pages are mere text, for a PDF stands alone."
    def link(found):
        url = urlsplit(found[2])
        if url.scheme in ('http', 'https'): return found[0]
        inside = not url.scheme and (not url.path or url.path in names)
        return f'{found[1]}href="#{url.fragment or url.path}"' if inside and (url.fragment or url.path) else found[1]
    return re.sub(r'(<a\b[^>]*?\s)href="([^"]*)"', link, html)


def printable(
    book:Path,            # HTML
    names:list[str],      # its chapters, in order: 'verdicts.html'
    stamp:str,            # of `build_stamp`
) -> str:
    "One page with the articles of all; a claim's heading is marked, because it begins a sheet."
    pages = {name: (book/name).read_text(encoding='utf-8') for name in names}
    head = re.search(r'<head>.*?</head>', pages[names[0]], re.DOTALL)[0]
    articles = []
    for name, text in pages.items():
        article = re.search(r'<article\b.*?</article>', text, re.DOTALL)[0].replace('<h1>', f'<h1 id="{name}">', 1)
        articles.append(re.sub(r'<h2( [^>]*)?>(?=[A-Z]\d+\w*\W)', r'<h2\1 class="claim">', linked(article, names)))
    return (f'<!DOCTYPE html>\n<html lang="en" data-theme="light" data-mode="light" class="print">{head}<body><p class="stamp">{stamp}</p>'
            + ''.join(articles) + '</body></html>')


def print_pdf(browser:str, page:Path, pdf:Path) -> None:
    "A page, printed; the file is there completely or not at all."
    part = pdf.with_name(f'.{pdf.name}.{os.getpid()}.part')
    command = [browser, '--headless', '--disable-gpu', '--no-first-run', *(['--no-sandbox'] if hasattr(os, 'getuid') and os.getuid() == 0 else []), '--no-pdf-header-footer',
               '--virtual-time-budget=60000', '--generate-pdf-document-outline', f'--print-to-pdf={part.resolve()}', page.resolve().as_uri()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode or not part.is_file() or not part.read_bytes()[-1024:].rstrip().endswith(b'%%EOF'):
            raise InputError(f'{Path(browser).name} could not print {page.name}: {done.stderr.strip()[-300:]}')
        part.replace(pdf)
    except subprocess.TimeoutExpired: raise InputError(f'{Path(browser).name} has not printed {page.name} in ten minutes.') from None
    finally: part.unlink(missing_ok=True)


def make_pdf(book:Path, pdf:Path, browser:str) -> None:
    "The verdicts, then each project, in the order of the contents."
    in_contents = re.findall(r'- file: (\w+)\n', Path('_toc.yml').read_text(encoding='utf-8'))
    names = [f'{name}.html' for name in in_contents if name == 'verdicts' or name.startswith('project_')]
    page = book/'print.html'
    page.write_text(printable(book, names, build_stamp(project_settings()['version'], build_day(), code_version())), encoding='utf-8')
    try: print_pdf(browser, page, pdf)
    finally: page.unlink()


if __name__ == '__main__':
    try:
        o, browser = options(sys.argv[1:]), chromium()
        pdf = Path(o.reports)/'verdicts.pdf'
        make_pdf(published_book(o), pdf, browser)
    except InputError as error: print(error, file=sys.stderr); sys.exit(2)
    print(f'The verdicts: {pdf}')
