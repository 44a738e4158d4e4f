"""Note that claims, recipes or rules have changed: `make change WHY="…"`.

reports/claims.json holds each claim as it was last written down, the recipes, the rules, and every change since the first results with its reason. What differs from
it now is added to the changes; a test fails while anything differs.
"""
import hashlib
import inspect
import json
import sys
from datetime import date

from dcgan_nb.foundations.core import InputError, project_root, write_file
from dcgan_nb.runs.parameters import RECIPES
from dcgan_nb.study.claims import SEEDS, chosen_claims, registered
from dcgan_nb.study.judge import TIMES
from dcgan_nb.study.rules import MIN_SEEDS, RULES

FILE = 'reports/claims.json'


def present() -> dict:
    "Claims, recipes and rules as they are now."
    source = lambda rule: hashlib.sha256(inspect.getsource(type(rule)).encode()).hexdigest()[:8]
    settings = dict(seeds=SEEDS, seeds_to_decide=MIN_SEEDS, rungs=list(TIMES))
    claims = {c.id: registered(c) for c in chosen_claims()}
    return dict(claims=claims, recipes=dict(RECIPES), rules={name: source(rule) for name, rule in RULES.items()}, settings=settings)


def said(value) -> str: return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def differences(before:dict, now:dict) -> list[dict]:      # claims, what
    "What has changed, in words: a line for each claim, recipe, rule and setting."
    found = []
    for id in sorted(before['claims'].keys() | now['claims'].keys()):
        old, new = before['claims'].get(id), now['claims'].get(id)
        if old == new: continue
        if None in (old, new): found.append(dict(claims=[id], what='new' if old is None else 'withdrawn'))
        else: found.append(dict(claims=[id], what='; '.join(f'{k}: {said(old.get(k))} → {said(new.get(k))}' for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k))))
    for part, shown in ('recipes', True), ('rules', False), ('settings', True):
        for k in sorted(before[part].keys() | now[part].keys()):
            old, new = before[part].get(k), now[part].get(k)
            if old != new: found.append(dict(claims=['all'], what=f'{part[:-1]} {k}' + (f': {said(old)} → {said(new)}' if shown else ' is new' if old is None else ' was rewritten')))
    return found


def note(why:str) -> list[dict]:      # the changes that were added
    "Add what has changed to the file, with the reason; an `InputError` if none is given or nothing has changed."
    file = project_root()/FILE
    known = json.loads(file.read_text(encoding='utf-8'))
    now = json.loads(json.dumps(present()))
    changes = differences(known['written'], now)
    if not why.strip(): raise InputError('WHY is missing: make change WHY="the reason for the change".')
    if not changes: raise InputError(f'nothing differs from {FILE}: there is nothing to note.')
    n_records = sum(1 for _ in (project_root()/'reports/records').glob('*/record.json'))
    added = [dict(date=str(date.today()), records=n_records, why=' '.join(why.split()), **change) for change in changes]
    write_file(file, json.dumps(dict(written=now, changes=known['changes'] + added), indent=1, ensure_ascii=False) + '\n')
    return added


if __name__ == '__main__':
    try: added = note(' '.join(sys.argv[1:]))
    except InputError as error: print(error, file=sys.stderr); sys.exit(2)
    for change in added: print(f"{', '.join(change['claims'])}: {change['what']}")
