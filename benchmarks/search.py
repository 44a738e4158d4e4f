"""The search behind the recipes `best` and `best_cond`: which settings draw best in the processor seconds that `standard` takes?

It begins with labels: the settings of last time and random ones, then variations of the best of them, then more seeds for the finalists; and without
labels the finalists alone. Then comes one step beyond the range for five of the settings in which the best lies at an edge, and all such steps that helped at
once; then what was chosen by hand, without labels, mostly of two things that the space did not have: how much noise G gets, and what of its maps D scores; and last,
by hand as well, how fast D learns, and whether rates fade.
How many epochs a trial gets follows from its speed: a few of its steps take turns with steps of `standard`.

Each trial is a run like any other, two at a time, one thread each, with seeds from 100, which no published figure uses. The result is written after
every trial, so a search that was stopped goes on, here or on another machine, with what reports/benchmarks/search-cpu.json has; rounds are over when
`parameters` says so. It takes hours, so `make bench` leaves it out: `python -m benchmarks.search`.
"""
import json
import os
import random
import time
from multiprocessing import get_context
from statistics import mean, median

import torch

from benchmarks import measure as m
from dcgan_nb.foundations.core import project_root
from dcgan_nb.gan.train import d_step, g_step
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.run import run
from dcgan_nb.study.claims import measured

LAST = dict(width=16, n_blocks=1, batch_size=16, g_lr=2e-3, d_over_g=2, beta1=0.0, beta2=0.9, ema=0.998, lr_decay='cosine', loss='rpgan',
            penalty_weight=0.1, penalty_every=4, minibatch_std=True)      # found by a first search, of 29 trials, whose epochs cost more seconds than those of `standard`
SPACE = dict(
    width=[12, 16, 24, 32],
    n_blocks=[1, 2],
    batch_size=[16, 32, 64],
    g_lr=[1e-3, 2e-3, 4e-3],
    d_over_g=[1, 2, 4],                       # D's learning rate as a multiple of G's
    beta1=[0.0, 0.5],
    beta2=[0.9, 0.99, 0.999],
    ema=[0.99, 0.998, 0.999],
    lr_decay=['linear', 'cosine'],
    loss=['bce', 'hinge', 'rpgan'],
    penalty_weight=[0.02, 0.1, 0.5],
    penalty_every=[4, 8, 16],
    minibatch_std=[False, True],
)
BEYOND = dict(batch_size={16: 8}, g_lr={4e-3: 8e-3}, ema={0.99: 0.98}, penalty_weight={0.5: 2.0}, penalty_every={16: 32})     # an edge of the range, and what is tried beyond
BY_HAND = [                                   # changes to the best of all that
    dict(pooled=False), dict(latent_dim=32), dict(batch_size=32, d_over_g=1, latent_dim=32), dict(batch_size=32, d_over_g=1, pooled=False),
    *(dict(batch_size=32, d_over_g=1, pooled=False, latent_dim=32) | more for more in (
        {}, dict(latent_dim=16), dict(g_lr=8e-3, d_over_g=0.5), dict(penalty_weight=0.1), dict(penalty_weight=2.0), dict(loss='bce'), dict(beta2=0.99, ema=0.998))),
    dict(batch_size=32, d_over_g=0.5, pooled=False, minibatch_std=False)]
SLOWER_D = [                                  # changes to what these found: how fast D learns, and whether rates fade
    dict(d_over_g=0.5), dict(lr_decay='constant'), dict(d_over_g=0.5, lr_decay='constant')]
SLOWER_D_TOLD = [dict(d_over_g=0.5, lr_decay='constant'), dict(d_over_g=0.5, lr_decay='constant', ema=0.999), dict(d_over_g=0.5, lr_decay='linear')]      # the same with labels
MORE, LITTLE = 1.25, 1.1                      # a trial may exceed the budget by what processors differ anyway; those by hand by what measuring does
KEPT = 0.7                                    # chance of each setting to stay as it is in a variation
PARENTS = 4                                   # settings that are varied
ROUNDS = dict(random=12, varied=16, finals=4, last=2, edges=5, hand=len(BY_HAND), **{'slower D': len(SLOWER_D)})     # settings; finals and last give them more seeds, two in all and four in all
SHOWN = 'fid', 'is', 'recall', 'precision'


def trial(rng:random.Random) -> dict:
    "Random settings, each value as likely as the others."
    return {name: rng.choice(values) for name, values in SPACE.items()}


def variation(rng:random.Random, settings:dict) -> dict:
    "The same settings, at least one of them drawn anew."
    while (varied := {name: settings[name] if rng.random() < KEPT else rng.choice(values) for name, values in SPACE.items()}) == settings: pass
    return varied


def parameters(settings:dict, conditional:bool, seed:int) -> dict:
    "What `RunConfig` takes for a trial, but for its epochs."
    c = dict(settings)
    width, n_blocks, ratio, std = (c.pop(name) for name in ('width', 'n_blocks', 'd_over_g', 'minibatch_std'))
    unpooled = '' if c.pop('pooled', True) else ' pooled=False'
    return c | dict(
        profile='full', device='cpu', arch='resnet', g_width=width, d_width=width, d_lr=c['g_lr'] * ratio, g_options=f'n_blocks={n_blocks}',
        d_options=f'n_blocks={n_blocks} minibatch_std={std}{unpooled}', penalty='r1r2' if c['loss'] == 'rpgan' else 'r1', conditional=conditional, seed=seed,
        runs_dir='reports/search')


def standard() -> RunConfig: return RunConfig.resolve(profile='cpu', device='cpu')     # what all cost is compared with


def steps_of(config:RunConfig, n:int):    # a function that trains on n images
    "A few steps of a GAN, whatever its images."
    gan = m.fast_gan(config)
    x, y = torch.rand(config.batch_size, 1, 28, 28)*2 - 1, torch.arange(config.batch_size) % config.n_classes if config.n_classes else None
    def steps():
        for _ in range(n // config.batch_size):
            d_step(gan, x, y)
            g_step(gan, x, y)
    return steps


def relative_cost(values:dict, n:int=1024, repeats:int=5) -> float:
    "Processor seconds of an image, as a multiple of those of `standard`."
    variants = dict(standard=steps_of(standard(), n), ours=steps_of(RunConfig.resolve(**values | dict(epochs=1)), n))
    timings = m.interleave(variants, repeats, clock=time.process_time, report=lambda *_, **__: None)
    return median(b / a for a, b in zip(*(timings[name].seconds for name in variants)))


def moved(settings:dict) -> list[dict]:
    "The settings, one of them a step beyond its range: for each that lies at an edge."
    return [settings | {name: beyond[settings[name]]} for name, beyond in BEYOND.items() if settings[name] in beyond]


def epochs_for(cost:float, budget:int, more:float=MORE) -> int:
    "As many as fit into the budget, a number of epochs of `standard`, and what it may be exceeded by; at least one."
    return max(1, int(more * budget / cost))


def result(given:tuple) -> dict:
    "A trial's scores, and what it cost, of its values and what it may exceed the budget by."
    values, more = given
    os.nice(19)
    torch.set_num_threads(1)
    budget = standard().epochs
    if 'epochs' not in values:
        cost = relative_cost(values)
        values = values | dict(epochs=epochs_for(cost, budget, more))
    else: cost = None           # in a quick try
    record = run(RunConfig.resolve(**values), report=None)
    return dict(run_id=record['run_id'], seed=values['seed'], epochs=values['epochs'], status=record['status'], seconds=record['timings_s'].get('train_cpu'),
                cost=cost and cost * values['epochs'] / budget, **{name: measured(name, record) for name in SHOWN})


def quick(values:dict) -> dict:
    return values | dict(profile='smoke', dataset='fashion_mnist_sample', n_eval=500, g_width=4, d_width=4, epochs=1, runs_dir='reports/search-quick')


class Search:
    "What has been tried, and a file that always has all of it."
    def __init__(self, is_quick:bool, report=print):
        self.is_quick, self.report, self.rows = is_quick, report, []
        self.rounds = {name: min(n, 2) for name, n in ROUNDS.items()} if is_quick else ROUNDS
        self.folder = project_root()/'reports'/('benchmarks-quick' if is_quick else 'benchmarks')
        path = self.folder/'search-cpu.json'
        self.known = [] if is_quick or not path.exists() else json.loads(path.read_text())['rows']

    def parameters(self, complete:bool) -> dict:
        return dict(complete=complete, space=SPACE, last=LAST, kept=KEPT, parents=PARENTS, rounds=self.rounds)

    def add(self, row:dict) -> None:
        self.rows.append(row)
        rest = [r for r in self.known if not any(same_trial(r, row) for row in self.rows)]
        m.write_result('search', 'cpu', dict(repeats=1, quick=self.is_quick, **self.parameters(False)), self.rows + rest, self.folder)
        fid = f"{row['fid']:.3f}" if row['fid'] else row['status']
        self.report(f"  {row['round']} {len(self.rows)}   FID {fid}   " + ' '.join(f'{k} {v}' for k, v in row['settings'].items()), flush=True)

    def tried(self, name:str, settings:list[dict], conditional:bool, seeds:range, more:float=MORE) -> list[dict]:   # a row for each run
        "All settings with all seeds, two runs at a time; those that are known are not run again."
        different = [s for i, s in enumerate(settings) if s not in settings[:i]]      # a change may lead to what another one did
        wanted = [dict(round=name, conditional=conditional, settings=s, seed=seed) for seed in seeds for s in different]
        found = [next((r for r in self.known if same_trial(r, w)), None) for w in wanted]
        values = [parameters(w['settings'], conditional, w['seed']) for w, row in zip(wanted, found) if row is None]
        with get_context('spawn').Pool(2, maxtasksperchild=1) as pool:
            fresh = pool.imap(result, [(quick(v) if self.is_quick else v, more) for v in values])
            for w, row in zip(wanted, found): self.add(row or w | next(fresh))
        return self.rows[-len(wanted):]


def same_trial(a:dict, b:dict) -> bool: return all(a[k] == b[k] for k in ('conditional', 'settings', 'seed'))


def mean_fid(rows:list[dict], settings:dict) -> float:    # ∞ if a run has none
    return mean(row['fid'] or float('inf') for row in rows if row['settings'] == settings)


def best(rows:list[dict], n:int) -> list[dict]:    # settings
    different = {str(row['settings']): row['settings'] for row in rows}
    return sorted(different.values(), key=lambda settings: mean_fid(rows, settings))[:n]


def past_the_edges(search:Search) -> dict:    # the best settings
    "Rounds past the edges of the space, from the best settings with labels."
    told = [row for row in search.rows if row['conditional']]
    champion, = best([row for row in told if any(row['settings'] == r['settings'] for r in told if r['round'] == 'last')], 1)
    fid = lambda settings: mean_fid([row for row in search.rows if row['conditional'] and row['seed'] < 102], settings)     # of the two seeds that all of these have
    steps = moved(champion)[:search.rounds['edges']]
    search.tried('edges', steps, True, range(100, 102))
    together = dict(champion)
    for step in steps:
        if fid(step) < fid(champion): together |= {k: v for k, v in step.items() if v != champion[k]}
    if together not in (champion, *steps): search.tried('together', [together], True, range(100, 102))
    winner = min(champion, *steps, together, key=fid)
    if winner != champion:
        search.tried('confirmed', [winner], True, range(102, 104))
        search.tried('confirmed', [winner], False, range(100, 104))
    return winner


def by_hand(search:Search, champion:dict) -> None:
    "The last rounds: what was chosen by hand, and more seeds for the best of it."
    rows = search.tried('by hand', [champion | change for change in BY_HAND[:search.rounds['hand']]], False, range(100, 101), more=LITTLE)
    found, = best(rows, 1)
    search.tried('found', [found], False, range(101, 104), more=LITTLE)
    search.tried('found', [found], True, range(100, 102), more=LITTLE)
    slower_d(search, found)


def slower_d(search:Search, champion:dict) -> None:
    "A last look, with a seed of its own: does D learn too fast, and must rates fade?"
    some = lambda changes: [champion | change for change in changes[:search.rounds['slower D']]]
    search.tried('slower D', some(SLOWER_D), False, range(200, 201), more=LITTLE)
    search.tried('slower D', some(SLOWER_D_TOLD), True, range(200, 201), more=LITTLE)


def measure(device:str, repeats:int, is_quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    rng, search = random.Random(1002), Search(is_quick)
    rows = search.tried('random', [LAST, *(trial(rng) for _ in range(search.rounds['random'] - 1))], True, range(100, 101))
    parents = best(rows, PARENTS)
    rows = rows + search.tried('varied', [variation(rng, parents[i % PARENTS]) for i in range(search.rounds['varied'])], True, range(100, 101))
    finalists = best(rows, search.rounds['finals'])
    for conditional in True, False:
        first = [row for row in rows if row['settings'] in finalists] if conditional else []
        found = first + search.tried('finals', finalists, conditional, range(101 if first else 100, 102))
        search.tried('last', best(found, search.rounds['last']), conditional, range(102, 104))
    by_hand(search, past_the_edges(search))
    return search.parameters(True), search.rows


if __name__ == '__main__': m.command('search', measure, __doc__, repeats=1)
