"""The search behind the recipes `best` and `best_cond`: successive halving over random settings, with what it cost.

It begins with labels: random settings first, then variations of the best of them. Without labels only the settings that came far are tried again.

A trial is a run like any other: its folder lies in reports/search, so a search that was stopped goes on. Two trials run at a time on two cores, one
thread each. The seeds, from 100, are none that a published figure uses. It takes hours, so `make bench` leaves it out: `python -m benchmarks.search`.
"""
import os
import random
from multiprocessing import get_context

from benchmarks import measure as m
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.run import run
from dcgan_nb.study.claims import measured

FOLDER = 'reports/search'
SPACE = dict(
    width=[16, 24, 32],
    batch_size=[16, 32, 64],
    g_lr=[3e-4, 5e-4, 1e-3, 2e-3],
    d_over_g=[0.5, 1, 2],                     # D's learning rate as a multiple of G's
    beta1=[0.0, 0.5],
    beta2=[0.9, 0.99, 0.999],
    ema=[0.99, 0.998],
    lr_decay=['constant', 'linear', 'cosine'],
    loss=['bce', 'hinge', 'rpgan'],
    penalty_weight=[0.02, 0.1, 0.5],
    minibatch_std=[False, True],
)
NEARBY = SPACE | dict(width=[16, 24], g_lr=[1e-3, 2e-3, 4e-3], d_over_g=[1, 2, 4], ema=[0.99, 0.995, 0.998])     # of variations
KEPT = 0.6                                    # chance of each setting to stay as it is in a variation
EPOCHS = {16: 3, 24: 2, 32: 2}                # that about fill the budget: what `standard` takes for 240,000 images
PARENTS = 3                                   # settings that are varied
RUNGS = [dict(trials=20, share=0.5, seeds=1), dict(trials=14, share=0.5, seeds=1), dict(trials=5, share=1, seeds=1), dict(trials=2, share=1, seeds=3)]
SHOWN = 'fid', 'is', 'recall', 'precision'


def trial(rng:random.Random) -> dict:
    "Random settings, each value as likely as the others."
    return {name: rng.choice(values) for name, values in SPACE.items()}


def variation(rng:random.Random, settings:dict) -> dict:
    "The same settings, some of them drawn anew."
    return {name: settings[name] if rng.random() < KEPT else rng.choice(values) for name, values in NEARBY.items()}


def parameters(chosen:dict, conditional:bool, share:float, seed:int) -> dict:
    "What `RunConfig` takes for a trial."
    c = dict(chosen)
    width, ratio, std = c.pop('width'), c.pop('d_over_g'), c.pop('minibatch_std')
    return c | dict(
        profile='full', device='cpu', arch='resnet', g_width=width, d_width=width, d_lr=c['g_lr'] * ratio, d_options='minibatch_std=True' if std else '',
        penalty='r1r2' if c['loss'] == 'rpgan' else 'r1', penalty_every=4, conditional=conditional, epochs=max(1, round(EPOCHS[width] * share)),
        seed=seed, runs_dir=FOLDER)


def quick(values:dict) -> dict:
    return values | dict(profile='smoke', dataset='fashion_mnist_sample', n_eval=500, g_width=4, d_width=4, epochs=1, runs_dir='reports/search-quick')


def result(values:dict) -> dict:
    "A trial's scores, and what it cost."
    os.nice(19)
    record = run(RunConfig.resolve(**values), report=None)
    return dict(run_id=record['run_id'], epochs=values['epochs'], seed=values['seed'], status=record['status'], seconds=record['timings_s'].get('train'),
                **{name: measured(name, record) for name in SHOWN})


def mean_fid(rows:list[dict], settings:dict) -> float:    # ∞ if a run has none
    fids = [row['fid'] or float('inf') for row in rows if row['settings'] == settings]
    return sum(fids) / len(fids)


def trained(settings:list[dict], number:int, conditional:bool, is_quick:bool, report=print) -> list[dict]:   # a row for each run
    "One rung: all settings with all its seeds, two runs at a time."
    rung = RUNGS[number]
    pairs = [(t, 100 + s) for s in range(rung['seeds']) for t in settings]
    values, rows = [parameters(t, conditional, rung['share'], seed) for t, seed in pairs], []
    with get_context('spawn').Pool(2, maxtasksperchild=1) as pool:
        for (t, _), r in zip(pairs, pool.imap(result, map(quick, values) if is_quick else values)):
            rows.append(dict(conditional=conditional, rung=number, settings=t, **r))
            fid = f"{r['fid']:.3f}" if r['fid'] else r['status']
            report(f"  rung {number}  {len(rows)}/{len(pairs)}  FID {fid}   " + ' '.join(f'{k} {v}' for k, v in t.items()), flush=True)
    return rows


def best(rows:list[dict], n:int) -> list[dict]:    # settings
    different = {str(row['settings']): row['settings'] for row in rows}
    return sorted(different.values(), key=lambda t: mean_fid(rows, t))[:n]


def measure(device:str, repeats:int, is_quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    rng, (first, varied, finals, last) = random.Random(1001), (rung['trials'] for rung in RUNGS)
    rows = trained([trial(rng) for _ in range(first)], 0, True, is_quick)
    parents = best(rows, PARENTS)
    rows += trained([variation(rng, parents[i % PARENTS]) for i in range(varied)], 1, True, is_quick)
    finalists = best(rows, finals)
    for conditional in True, False:
        found = trained(finalists, 2, conditional, is_quick)
        rows += found + trained(best(found, last), 3, conditional, is_quick)
    return dict(space=SPACE, nearby=NEARBY, kept=KEPT, epochs=EPOCHS, parents=PARENTS, rungs=RUNGS), rows


if __name__ == '__main__': m.command('search', measure, __doc__, repeats=1)
