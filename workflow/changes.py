"""Note that claims, recipes or rules have changed: `make change WHY="…"`.

reports/claims.json holds each claim as it was last written down, the recipes, the rules and what they go through, and every change since the first results with its reason. What differs from
it now is added to the changes; a test fails while anything differs.
"""
import hashlib
import inspect
import json
import sys
from datetime import date

from dcgan_nb.foundations.core import InputError, project_root, write_file
from dcgan_nb.runs.parameters import RECIPES
from dcgan_nb.study import evidence, judge, stats
from dcgan_nb.study.claims import MEASURES, SEEDS, chosen_claims, registered
from dcgan_nb.study.rules import MIN_SEEDS, RULES

FILE = 'reports/claims.json'
JUDGING = {judge: dict(judge='judge', verdicts='_verdicts', evidence='_evidence', outcome='outcome', by_readings='_by_all_readings', readings='read_otherwise', beside='_opinions', seeds='planned_seeds', climbing='on_rung'),
           evidence: dict(settings='best_settings', at_best='at_best')}      # module → what it is called here → its function


def present() -> dict:
    "Claims, recipes and rules as they are now, and by their hashes the measures, the statistics and the judging that verdicts go through."
    source = lambda *parts: hashlib.sha256(''.join(map(inspect.getsource, parts)).encode()).hexdigest()[:8]
    ours = lambda module: {name: source(f) for name, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
    return dict(claims={c.id: registered(c) for c in chosen_claims()}, recipes=dict(RECIPES),
                rules={name: source(*type(rule).__mro__[:-1]) for name, rule in RULES.items()},
                measures={name: source(m.value) for name, m in MEASURES.items()}, statistics=ours(stats),
                judging={name: source(getattr(module, function)) for module, of in JUDGING.items() for name, function in of.items()}
                        | dict(opinions=hashlib.sha256(repr(judge.OPINIONS).encode()).hexdigest()[:8]),
                settings=dict(seeds=SEEDS, seeds_to_decide=MIN_SEEDS, rungs=list(judge.TIMES)))


def concerned(claims:dict, part:str, name:str) -> list[str]:
    "The claims that a rule or a measure decides; 'all' where it cannot be said."
    if part == 'rules': return sorted(id for id, c in claims.items() if c['rule'] == name) or ['none']
    if part == 'measures': return sorted(id for id, c in claims.items() if name in (c['measure'], *c['readings'])) or ['none']
    return ['all']


def said(value) -> str: return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def differences(before:dict, now:dict) -> list[dict]:      # claims, what
    "What has changed, in words: a line for each claim, recipe, rule and setting."
    found = []
    for id in sorted(before['claims'].keys() | now['claims'].keys()):
        old, new = before['claims'].get(id), now['claims'].get(id)
        if old == new: continue
        if None in (old, new): found.append(dict(claims=[id], what='new' if old is None else 'withdrawn'))
        else: found.append(dict(claims=[id], what='; '.join(f'{k}: {said(old.get(k))} → {said(new.get(k))}' for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k))))
    for part in now.keys() - before.keys(): before = before | {part: now[part]}        # written down for the first time
    for part, one, shown in (('recipes', 'recipe', True), ('rules', 'rule', False), ('measures', 'measure', False), ('statistics', 'statistics', False),
                             ('judging', 'judging', False), ('settings', 'setting', True)):
        for k in sorted(before[part].keys() | now[part].keys()):
            old, new = before[part].get(k), now[part].get(k)
            if old != new: found.append(dict(claims=concerned(now['claims'], part, k), what=f'{one} {k}' + (f': {said(old)} → {said(new)}' if shown else ' is new' if old is None else ' was rewritten')))
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
