"""What Sphinx leaves to be done: `finish_book.py HTML PAGES LAYER=FOLDER…`.

Figures of notebooks, whose description is the name of a file, are described by the heading above them. The generators that draw in a page and their files to take away, which the executed pages have left in `live/`, and the records that pages link to are copied into the book, as records/<layer>/<run_id>.json. Every run gets its page, and what names it a link there. Then every link of every page is followed: Sphinx knows its own,
but not those that a cell of a notebook has written as HTML. A link that leads nowhere is an error.
"""
import argparse
import re
import shutil
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit


# Scripts and comments are passed over: in them a tag is text. Attributes are read one after the other: what looks like one within a value is none.
TAG = re.compile(r'<!--.*?-->|<script\b(?P<script>[^>]*)>.*?</script>|<(?P<name>[a-zA-Z]\w*)(?P<given>(?:[^>"\']|"[^"]*"|\'[^\']*\')*)>', re.DOTALL)
ATTRIBUTE = re.compile(r'(?P<key>[^\s"\'>/=]+)\s*=\s*(?:"(?P<double>[^"]*)"|\'(?P<single>[^\']*)\'|(?P<bare>[^\s"\'>]+))')


class Page:
    "What a page refers to, and the places in it that can be referred to. Python's own parser of HTML takes four times as long for a book."
    def __init__(self, path:Path):
        self.refs, self.ids = [], set()      # (tag, address)
        for tag in TAG.finditer(path.read_text(encoding='utf-8')):
            for found in ATTRIBUTE.finditer(tag['given'] or tag['script'] or ''):
                key, value = found['key'].lower(), unescape(found[found.lastgroup])
                if key == 'id': self.ids.add(value)
                elif key in ('href', 'src') and value: self.refs.append((tag['name'] or 'script', value))


def page_paths(book:Path) -> list[Path]:
    return [path.resolve() for path in sorted(book.rglob('*.html')) if '_static' not in path.relative_to(book).parts]


def pages_of(book:Path) -> dict[Path, Page]: return {path: Page(path) for path in page_paths(book)}


def broken_links(book:Path) -> list[str]:
    "Links to files or places that are not there, and whatever a page would load from another machine."
    pages, broken = pages_of(book), []
    for path, page in pages.items():
        for tag, ref in page.refs:
            url = urlsplit(ref)
            if url.scheme in ('data', 'mailto', 'javascript'): continue
            if url.scheme or url.netloc: wrong = tag != 'a'
            else:
                target = (path.parent/unquote(url.path)).resolve() if url.path else path
                wrong = not target.exists() or bool(url.fragment) and '&' not in url.fragment and target in pages and unquote(url.fragment) not in pages[target].ids      # with &: a state, not a place
            if wrong: broken.append(f'{path.relative_to(book.resolve())}: {ref}')
    return sorted(set(broken))


HEADING_OR_FIGURE = re.compile(r'<h[1-4][^>]*>(?P<heading>.*?)<a class="headerlink"|alt="(?:\.\./)*_images/[^"]*"', re.DOTALL)


def described(html:str) -> str:
    "A page whose figures say at least to what they belong."
    above = ''
    def describe(found):
        nonlocal above
        if found['heading'] is None: return f'alt="Figure: {above}"'
        above = re.sub('<[^>]*>', '', found['heading']).replace('"', '&quot;').strip()
        return found[0]
    return HEADING_OR_FIGURE.sub(describe, html)


def change_pages(book:Path, change) -> None:      # change: path, HTML → HTML
    "Write those pages anew that a change concerns, and leave the others."
    for path in page_paths(book):
        before = path.read_text(encoding='utf-8')
        if (after := change(path, before)) != before: path.write_text(after, encoding='utf-8')


def copy_records(book:Path, layers:dict[str, Path]) -> None:
    "All records of each layer, and their images, the last and those of every epoch; those of an earlier build go."
    shutil.rmtree(book/'records', ignore_errors=True)
    for layer, folder in layers.items():
        for record in sorted(folder.glob('*/record.json')):
            if not record.is_file(): continue
            (book/'records'/layer).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(record, book/'records'/layer/f'{record.parent.name}.json')
            for picture, end in ('samples_by_epoch', ''), ('samples', '_samples'):
                if (images := record.with_name(f'{picture}.png')).is_file(): shutil.copyfile(images, book/'records'/layer/f'{record.parent.name}{end}.png')


def copy_live(book:Path, executed:Path) -> None:
    "The generators of this build and their files; those of an earlier one go."
    shutil.rmtree(book/'live', ignore_errors=True)
    if (executed/'live').is_dir(): shutil.copytree(executed/'live', book/'live')


# "check":[448,512,[10003,"tick"],"f00c","M438.6 105.4c…"]: a name or a bare word, the size, other names, and the drawing
ICON = re.compile(r'(?P<name>"[a-z0-9-]+"|[a-z0-9]+):\[\d+,\d+,(?P<others>\[[^\]]*\]),"[0-9a-f]*",(?P<drawing>"[^"]*"|\[[^\]]*\])\]')


def drop_icons(book:Path) -> None:
    "The theme draws its icons with a script that holds 2,000 of them, half of what a page weighs: those that the book never names lose their drawing."
    script = book/'_static/scripts/fontawesome.js'
    if not script.is_file(): return
    named = {name for path in [*book.rglob('*.html'), *book.rglob('*.js')] if path != script for name in re.findall(r'\bfa-([a-z0-9-]+)', path.read_text(encoding='utf-8', errors='replace'))}
    def kept(icon):
        if named & {icon['name'].strip('"'), *re.findall(r'"([^"]+)"', icon['others'])}: return icon[0]
        return icon[0].replace(icon['drawing'], '""')
    before = script.read_text(encoding='utf-8')
    if (after := ICON.sub(kept, before)) != before: script.write_text(after, encoding='utf-8')


SEARCH = re.compile(r'\s*<script src="[^"]*(searchtools|language_data|searchindex)\.js[^"]*"></script>')
MATHJAX = re.compile(r'\s*<script>window\.MathJax = [^<]*</script>\s*<script defer="defer" src="[^"]*mathjax/[^"]*"></script>')


def lightened(html:str) -> str:
    "A page without the scripts that it has no use for: formulas where there are none, and the index of the search, which has a page of its own."
    html = SEARCH.sub('', html)
    return html if 'class="math' in html or '$' in html else MATHJAX.sub('', html)


NAMES_A_MODULE = re.compile(r'<div class="cell[^>]*>\s*<div class="cell_input[^>]*>\s*<div class="highlight[^>]*><div class="highlight"><pre><span></span><span class="c1">#\| default_exp [^<]*</span>\s*</pre></div>\s*</div>\s*</div>\s*</div>\s*')
DIRECTIVES = re.compile(r'(<div class="highlight-ipython3[^>]*><div class="highlight"><pre><span></span>)(?:<span class="c1">#\| ?\w[^<]*</span>\n)+')


def without_directives(html:str) -> str:
    "A page whose cells do not begin with what they tell nbdev: its readers read, they do not build."
    return DIRECTIVES.sub(r'\1', NAMES_A_MODULE.sub('', html))


def make_run_pages(book:Path, layers:dict[str, Path], verdicts:Path) -> None:
    "The pages of the runs; on the others, what names a run becomes a link to its page."
    from dcgan_nb.study.run_pages import with_run_links, write_run_pages      # here, because the rest of this script needs no library
    known = write_run_pages(book, layers, verdicts)
    def linked(path, html):
        to = '../'*(len(path.relative_to(book.resolve()).parts) - 1) + 'runs/'
        return html if path.stem in known else with_run_links(html, known, to)
    change_pages(book, linked)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('book', metavar='HTML', type=Path, help='folder that Sphinx has written')
    parser.add_argument('executed', metavar='PAGES', type=Path, help='folder of the executed notebooks')
    parser.add_argument('layers', metavar='LAYER=FOLDER', nargs='*', default=[], help='where records lie')
    o = parser.parse_args()
    if odd := [given for given in o.layers if '=' not in given]: parser.error(f'{odd[0]!r} is not LAYER=FOLDER')
    book, executed, layers = o.book, o.executed, dict(given.split('=', 1) for given in o.layers)
    copy_live(book, executed)
    drop_icons(book)
    change_pages(book, lambda path, html: described(html if path.name == 'search.html' else without_directives(lightened(html))))
    layers = {layer: Path(folder) for layer, folder in layers.items()}
    copy_records(book, layers)
    make_run_pages(book, layers, executed/'files'/'verdicts.json')
    if broken := broken_links(book): sys.exit('links that lead nowhere:\n' + '\n'.join(f'  {link}' for link in broken))
