"""The search behind the recipes `best` and `best_cond`: successive halving over random settings, with what it cost.

It begins with labels. Without them only the settings that came that far are tried again.

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
EPOCHS = {16: 3, 24: 2, 32: 2}                # that about fill the budget: what `standard` takes for 240,000 images
RUNGS = [dict(trials=20, share=0.5, seeds=1), dict(trials=6, share=1, seeds=1), dict(trials=2, share=1, seeds=3)]
SHOWN = 'fid', 'is', 'recall', 'precision'


def trial(rng:random.Random) -> dict:
    "Random settings, each value as likely as the others."
    return {name: rng.choice(values) for name, values in SPACE.items()}


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
    import torch
    os.nice(19)
    torch.set_num_threads(1)
    record = run(RunConfig.resolve(**values), report=None)
    return dict(run_id=record['run_id'], epochs=values['epochs'], seed=values['seed'], status=record['status'], seconds=record['timings_s'].get('train'),
                **{name: measured(name, record) for name in SHOWN})


def mean_fid(rows:list[dict], settings:dict) -> float:    # ∞ if a run has none
    fids = [row['fid'] or float('inf') for row in rows if row['settings'] == settings]
    return sum(fids) / len(fids)


def search(alive:list[dict], rungs:list[dict], conditional:bool, is_quick:bool, report=print) -> list[dict]:   # a row for each run
    "Successive halving: of one rung's trials the best, by their mean FID, go on to the next."
    rows = []
    with get_context('spawn').Pool(2, maxtasksperchild=1) as pool:
        for i, rung in enumerate(rungs):
            pairs = [(t, 100 + s) for s in range(rung['seeds']) for t in alive]
            values = [parameters(t, conditional, rung['share'], seed) for t, seed in pairs]
            found = []
            for (t, _), r in zip(pairs, pool.imap(result, map(quick, values) if is_quick else values)):
                found.append(dict(conditional=conditional, rung=i, settings=t, **r))
                fid = f"{r['fid']:.3f}" if r['fid'] else r['status']
                report(f"  rung {i}  {len(found)}/{len(pairs)}  FID {fid}   " + ' '.join(f'{k} {v}' for k, v in t.items()), flush=True)
            rows += found
            if i + 1 < len(rungs): alive = sorted(alive, key=lambda t: mean_fid(found, t))[:rungs[i + 1]['trials']]
    return rows


def measure(device:str, repeats:int, is_quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    rng = random.Random(1001)
    rows = search([trial(rng) for _ in range(RUNGS[0]['trials'])], RUNGS, True, is_quick)
    finalists = [row['settings'] for row in rows if row['rung'] == 1]
    rows += search(finalists, RUNGS[1:], False, is_quick)
    return dict(space=SPACE, epochs=EPOCHS, rungs=RUNGS), rows


if __name__ == '__main__': m.command('search', measure, __doc__, repeats=1)
