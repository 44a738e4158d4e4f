"""Begin a project: `make project NAME=f [TITLE="…"]`.

It writes the notebook that registers the project's recipe and its claims, the chapter that shows them, and their names into the book's contents.
Both run as they are; what is said in them is to be replaced.
"""
import argparse
import json
import re
import sys
from pathlib import Path
from string import Template, ascii_lowercase

from dcgan_nb.foundations.core import InputError, write_file

LIBRARY = Path('nbs/projects')
CELLS = [
    ("""# Project $LETTER: $title

> Does the hinge loss train a better generator than the usual one? (An example: put your question here.)""",),
    ("""Say here what was done, by whom, on which data, and what they concluded. A project registers whatever is its own: a recipe and claims, as below, and
networks, losses, penalties, metrics or data sets where it has any. Nothing imports this notebook: the library finds what is registered by its name.

You can check here that the recipe says what the text says, and that every arm of a claim is a valid run.""",),
    ('#| default_exp projects.$letter', 'code'),
    ("""#| export
from dcgan_nb.runs.parameters import RECIPES
from dcgan_nb.study.claims import CLAIMS, PROJECTS, Claim""", 'code'),
    ("""from fastcore.test import test_eq, test_fail
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.study.claims import SEEDS, arm_config""", 'code'),
    ("""## The recipe

A recipe lists what departs from the defaults; `-p recipe $letter` trains by it.""",),
    ("""#| export
RECIPES['$letter'] = dict(batch_size=64)""", 'code'),
    ("""published = RunConfig.planned(recipe='$letter', profile='full', device='cpu')
test_eq((published.recipe, published.batch_size), ('$letter', 64))
test_fail(lambda: RunConfig.planned(recipe='$letter$letter'), contains="recipe='$letter$letter' is not known.")""", 'code'),
    ("""## The claims

A sentence, two arms, a measure and a rule, written down before the first run. What is not said here has a default: the measure is FID, and an effect below 10 %
is too small to be interesting.""",),
    ("""#| export
PROJECTS['$LETTER'] = $title_as_code
CLAIMS.add(Claim(
    '${LETTER}1', 'The sentence that is tested, word for word', 'where it stands',
    'With the hinge loss G reaches a lower FID than with bce.', 'better',
    base=dict(recipe='$letter'), arms=dict(hinge=dict(loss='hinge'), bce={}), budgets=dict(cpu=dict(epochs=2))))""", 'code'),
    ("""claim = CLAIMS['${LETTER}1']
for profile in SEEDS:
    hinge, bce = (arm_config(claim, arm, 0, profile, device='cpu') for arm in claim.arms)
    test_eq((hinge.loss, bce.loss, hinge.batch_size), ('hinge', 'bce', bce.batch_size))""", 'code'),
    ("""## What can go wrong

- **Another budget.** What is true after two epochs need not be true after fifty.""",),
]

PARAMETERS = """runs_dir = 'reports/runs'          # your own runs
records_dir = 'reports/records'    # the published ones
prefer = 'published'               # of runs that are in both, which count: published or own
files_dir = 'reports/book/files'   # gets the files to take away"""


def notebook(
    cells:list[tuple[str, ...]],    # (text,) for Markdown, (text, 'code', tag, …) for code
) -> str:                           # text of an .ipynb file
    "A notebook without outputs."
    def cell(i, text, kind='markdown', *tags):
        code = dict(execution_count=None, outputs=[]) if kind == 'code' else {}
        return dict(sorted((code | dict(cell_type=kind, id=f'cell-{i}', metadata=dict(tags=list(tags)) if tags else {},
                                        source=text.splitlines(keepends=True))).items()))
    kernel = dict(display_name='python3', language='python', name='python3')
    made = dict(cells=[cell(i, *given) for i, given in enumerate(cells)], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
    return json.dumps(made, indent=1, ensure_ascii=False) + '\n'


def project_chapter(
    letter:str,          # the project's, 'F'
    title:str,           # after it: 'a study of …'
    recipe:str,          # a name in `RECIPES`
    ids:list[str],       # of its claims: 'F1', …
) -> str:                # text of an .ipynb file
    "The skeleton of a project's chapter."
    setup = ('from dcgan_nb.study.pages import open_study\nfrom dcgan_nb.study.tables import recipe_table\nfrom IPython.display import display\n\n'
             f"study = open_study('{letter}', runs_dir, records_dir, prefer)")
    cells = [(f'# Project {letter}: {title}\n\n> What the project asks, in one sentence.',),
             ('What was done, on which data, and what the authors concluded.\n\n'
              '**What is missing.** What their text does not say, and what we take in its place.',),
             (PARAMETERS, 'code', 'parameters', 'hide-input'), (setup, 'code', 'hide-input'),
             ('## The recipe',), (f"recipe_table('{recipe}', '{letter}')", 'code', 'hide-input')]
    for id in ids:
        cells += [(f'({id.lower()})=\n## {id}: what is claimed',),
                  (f"for part in study.claim('{id}'): display(part)", 'code', 'remove-input')]
    cells.append(('for part in study.rest(): display(part)', 'code', 'remove-input'))
    cells.append(('## Threats to validity\n\n- **Small budgets.** What is true after one epoch need not be true after fifty.',))
    return notebook(cells)


def named(name:str, title:str) -> tuple[str, str]:   # a letter that is free, a title in one line
    "What was asked for, checked."
    free = [letter for letter in ascii_lowercase if not [*LIBRARY.glob(f'*_{letter}.ipynb'), *Path('nbs/chapters').glob(f'project_{letter}.ipynb')]]
    if name not in free:
        wrong = 'is taken' if re.fullmatch('[a-z]', name) else 'is no name of a project, which is one small letter' if name else 'is missing'
        raise InputError(f"NAME={name} {wrong}. Free: {', '.join(free)}.")
    return name, ' '.join(title.split()) or 'a study of your own'


def library_notebook(letter:str, title:str) -> str:   # text of an .ipynb file
    "The notebook that registers the project."
    words = dict(letter=letter, LETTER=letter.upper(), title=title, title_as_code=repr(title))
    return notebook([(Template(text).substitute(words), *kind) for text, *kind in CELLS])


def with_pages(toc:str, chapter:str, page:str) -> str:   # the contents with both pages in it
    "The chapter stands after those of the other projects, the notebook after theirs."
    for name, others in (chapter, 'project_'), (page, 'projects/'):
        *_, last = re.finditer(rf'^ *- file: {others}\w+\n', toc, re.MULTILINE)
        toc = toc[:last.end()] + f'      - file: {name}\n' + toc[last.end():]
    return toc


def new_project(name:str, title:str='') -> list[Path]:   # what was written
    "Write the project's notebook, its chapter and the contents; an `InputError` if it is there or its name is none."
    letter, title = named(name, title)
    number = 1 + max(int(path.name[:2]) for path in LIBRARY.glob('[0-9][0-9]_*.ipynb'))
    page, chapter, toc = LIBRARY/f'{number}_{letter}.ipynb', Path(f'nbs/chapters/project_{letter}.ipynb'), Path('_toc.yml')
    files = {page: library_notebook(letter, title), chapter: project_chapter(letter.upper(), title, letter, [f'{letter.upper()}1']),
             toc: with_pages(toc.read_text(encoding='utf-8'), chapter.stem, f'projects/{page.stem}')}
    for path, text in files.items(): write_file(path, text)
    return list(files)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('name', help='one small letter')
    parser.add_argument('title', nargs='?', default='', help='after it: “a study of …”')
    o = parser.parse_args()
    try: page, chapter, _ = new_project(o.name, o.title)
    except InputError as error: print(error, file=sys.stderr); sys.exit(2)
    claim = f'{page.stem[3:].upper()}1'
    print(f'written: {page} and {chapter}, with a claim {claim} as an example; both are in _toc.yml\n'
          f'next:    make export, then make study CLAIM={claim} PROFILE=smoke')
