"""How soon `best` and `best_cond` draw as well as `standard` does at its end, in processor seconds of training.

A recipe trains stretch after stretch, each on images that the last ones did not have, with the learning rates that its whole run would have; after each,
10,000 images are drawn and judged, until their FID is below the target: the mean of the published runs of `standard`. How much longer an image takes
than in `standard` is measured by steps of both that take turns. Two seeds at a time, one thread each. It takes half an hour, so `make bench` leaves it
out: `python -m benchmarks.reach`.
"""
import os
from dataclasses import replace
from multiprocessing import get_context
from statistics import mean

import torch

from benchmarks import measure as m
from benchmarks.search import relative_cost, standard
from dcgan_nb.foundations.batches import training_set
from dcgan_nb.foundations.core import project_root
from dcgan_nb.foundations.datasets import load_data
from dcgan_nb.gan.train import train_epoch
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.records import read_records
from dcgan_nb.runs.run import drawn_images
from dcgan_nb.scores.features import load_extractor
from dcgan_nb.scores.metrics import evaluate
from dcgan_nb.study.claims import config_key, measured

RECIPES = 'best', 'best_cond'
STRETCHES = 12      # of an epoch


def target_fid() -> tuple[float, int]:    # mean of the published runs of `standard`; how many there are
    "What `standard` reaches."
    key = config_key(standard().record(), 'seed')
    fids = [measured('fid', r) for r in read_records(project_root()/'reports/records') if config_key(r['config'], 'seed') == key]
    return mean(fids), len(fids)


def stretches(x:torch.Tensor, y:torch.Tensor, n:int, seed:int):    # pairs of n images and their classes, without end
    "The training images in random order, over and over."
    order = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randperm(len(x), generator=order)
        for part in chosen.split(n):
            if len(part) == n: yield x[part], y[part]


def reached(given:tuple) -> dict:
    "A row: after how many images a recipe's FID was below the target, and what share of the seconds of `standard` that took."
    recipe, seed, target, is_quick = given
    os.nice(19)
    torch.set_num_threads(1)
    tiny = dict(dataset='fashion_mnist_sample', n_eval=500, g_width=4, d_width=4, epochs=1) if is_quick else {}
    config = RunConfig.resolve(profile='cpu', device='cpu', recipe=recipe, seed=seed, metrics='fid', **tiny)
    data, whole = load_data(config.dataset), replace(config, epochs=config.epochs * STRETCHES)
    n, gan, net, fids = len(data.x_train) // STRETCHES, m.fast_gan(whole), load_extractor(config.feature_extractor, data.info), []
    for part in stretches(*training_set(data), n, seed):
        gan.history.append(train_epoch(gan, part))
        if gan.diverged: break
        x, _ = drawn_images(gan, data)
        fids.append(next(iter(evaluate(x, data, net, metrics='fid').values()))['value'])
        if fids[-1] < target or len(fids) == whole.epochs: break
    images, cost = n * len(gan.history), relative_cost(dict(profile='cpu', device='cpu', recipe=recipe) | tiny)
    return dict(recipe=recipe, seed=seed, reached=bool(fids) and fids[-1] < target, images=images, stretch=n, fids=fids, cost=cost,
                share=cost * images / (standard().epochs * len(data.x_train)))


def measure(device:str, repeats:int, is_quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    target, n_runs = target_fid()
    wanted = [(recipe, seed, target, is_quick) for seed in range(1 if is_quick else repeats) for recipe in RECIPES]
    rows = []
    with get_context('spawn').Pool(2, maxtasksperchild=1) as pool:
        for row in pool.imap(reached, wanted):
            rows.append(row)
            fid = f"FID {row['fids'][-1]:.2f}" if row['reached'] else 'not reached'
            print(f"  {row['recipe']}, seed {row['seed']}: {row['images']:,} images, {fid}, {row['share']:.2f} of the seconds of standard", flush=True)
    return dict(target=target, target_runs=n_runs, stretches=STRETCHES), rows


if __name__ == '__main__': m.command('reach', measure, __doc__, repeats=5)
