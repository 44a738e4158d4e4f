"""A verdict's sign in the heading of its claim, and so in the contents: `mark_headings.py PAGE`, an executed chapter.

A chapter's headings are written before anything is known. `## A0: DCGAN against …` becomes `## A0 ✓ DCGAN against …`, by the verdict that a cell below it has shown.
"""
import argparse
import json
import re
from pathlib import Path


def signs(notebook:dict) -> dict[str, str]:
    "Claim → sign, of all verdicts that the outputs show."
    shown = ''.join(''.join(o.get('data', {}).get('text/html', '')) for c in notebook['cells'] for o in c.get('outputs', []))
    return dict(re.findall(r'data-claim="(\w+)" data-glyph="(.)"', shown))


def marked(heading:str, sign_of:dict[str, str]) -> str:
    return re.sub(r'(?m)^(## )(\w+): ', lambda m: f'{m[1]}{m[2]} {sign_of[m[2]]} ' if m[2] in sign_of else m[0], heading)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('page', metavar='PAGE', type=Path)
    path = parser.parse_args().page
    notebook = json.loads(path.read_text(encoding='utf-8'))
    sign_of = signs(notebook)
    for cell in notebook['cells']:
        if cell['cell_type'] == 'markdown': cell['source'] = marked(''.join(cell['source']), sign_of).splitlines(keepends=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
