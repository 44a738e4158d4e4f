"""How the cost grows, one thing at a time: widths, batches, images, concurrent runs; and what generating and judging images costs.

Images per second of `train_epoch`, ours. Concurrent runs are processes that start an epoch together; the threads of this process are
divided among them, and the clock stops with the last one. Runs per hour are an estimate: a run's training images divided by the images
per second of all processes together, plus one evaluation, evaluations counted one after another; data, start and records are left out
(see startup).
"""
from contextlib import ExitStack
from multiprocessing.pool import ThreadPool

import torch

from benchmarks import measure as m
from benchmarks.training import config_of
from dcgan_nb.foundations.batches import to_uint8
from dcgan_nb.foundations.datasets import DATASETS
from dcgan_nb.gan.networks import generate
from dcgan_nb.gan.train import train_epoch
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.scores.features import load_extractor
from dcgan_nb.scores.metrics import evaluate


def sizes(device:str, quick:bool) -> dict:
    "What is varied, around width and batch_size; n_images in a round."
    if quick:
        return dict(width=8, batch_size=16, n_images=32, widths=(8, 16), batches=(8, 16), images=(32, 64), processes=(1, 2), n_eval=100)
    if device == 'cpu':
        return dict(width=32, batch_size=128, n_images=2560, widths=(16, 32, 48, 64), batches=(32, 64, 128, 256),
                    images=(1280, 2560, 5120, 10_240), processes=(1, 2, 4), n_eval=10_000)
    return dict(width=64, batch_size=128, n_images=30_720, widths=(32, 64, 128, 256), batches=(32, 64, 128, 256, 512, 1024, 2048),
                images=(7680, 15_360, 30_720, 61_440), processes=(1, 2, 4, 8), n_eval=10_000)


def on_axis(axis:str|None, timings:dict, n_images:dict|int) -> list[dict]:
    "Rows without ratios: the rounds of different values do different work. No axis: the variants name it, and n_images is the value."
    return [(dict(axis=axis, value=row['variant']) if axis else dict(axis=row['variant'], value=n_images))
            | {k: row[k] for k in ('seconds', 'images_s', 'peak_memory_mb')} for row in m.compared(timings, n_images)]


def training_rows(s:dict, device:str, repeats:int) -> list[dict]:
    "Widths, batches and numbers of images."
    rows = []
    for axis, values in dict(width=s['widths'], batch_size=s['batches'], n_images=s['images']).items():
        print(f'  {axis}', flush=True)
        variants, n_images = {}, {}
        for value in values:
            c = {k: s[k] for k in ('width', 'batch_size', 'n_images')} | {axis: value}
            gan, data = m.fast_gan(config_of(c['width'], c['batch_size'], device)), m.sample_set(c['n_images'], device)
            variants[value] = lambda gan=gan, data=data: train_epoch(gan, data)
            n_images[value] = c['n_images'] // c['batch_size'] * c['batch_size']
        timings = m.interleave(variants, repeats, device)
        rows += on_axis(axis, timings, n_images)
    return rows


def run_with_threads(config:RunConfig, n_images:int):   # a function of the number of threads: an epoch
    "A run with a GAN and images of its own."
    gan, data = m.fast_gan(config), m.sample_set(n_images, config.device)
    def epoch(threads):
        torch.set_num_threads(threads)
        train_epoch(gan, data)
        m.sync(config.device)
    return epoch


def concurrent_rows(counts:tuple, config:RunConfig, n_images:int, repeats:int) -> list[dict]:
    "Images per second of all processes together, for each number of processes."
    threads = {n: max(1, torch.get_num_threads() // n) for n in counts}
    with ExitStack() as stack, ThreadPool(max(counts)) as pool:     # a thread waits for each process
        runs = [stack.enter_context(m.apart(run_with_threads, config, n_images)) for _ in range(max(counts))]
        timings = m.interleave({n: lambda n=n: pool.map(lambda run: run(threads[n]), runs[:n], chunksize=1) for n in counts},
                               repeats, config.device)
    rows = on_axis('processes', timings, {n: n * (n_images // config.batch_size) * config.batch_size for n in counts})
    return [row | dict(threads=threads[row['value']], peak_memory_mb=None) for row in rows]     # it is the children's


def other_rows(s:dict, device:str, repeats:int) -> list[dict]:
    "Generation and evaluation of n_eval images."
    n, gan = s['n_eval'], m.fast_gan(config_of(s['width'], s['batch_size'], device))
    data = m.sample_data(n, n).to(device)
    extractor = load_extractor('clf', data.info, device=device)
    z = torch.randn(n, gan.config.latent_dim, device=device)
    x_fake = to_uint8(generate(gan.sampler, z))
    # the first call remembers what real images score, as the first run of a study does
    variants = {'generation': lambda: generate(gan.sampler, z), 'evaluation': lambda: evaluate(x_fake, data, extractor)}
    return on_axis(None, m.interleave(variants, repeats, device), n)


def throughput(config:RunConfig, concurrent:list[dict], evaluation:dict) -> list[dict]:
    "Runs per hour for each number of processes, estimated."
    n_images = config.epochs * (DATASETS['fashion_mnist'].n_train // config.batch_size) * config.batch_size
    return [dict(axis='runs_per_hour', value=row['value'],
                 runs_per_hour=3600 / (n_images / row['images_s']['median'] + evaluation['seconds']['median'])) for row in concurrent]


def measure(device:str, repeats:int, quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    s = sizes(device, quick)
    config = config_of(s['width'], s['batch_size'], device) if quick else RunConfig.resolve(device=device)
    rows = training_rows(s, device, repeats)
    print(f'  processes, each with a run of the profile {config.profile}: width {config.g_width}, batch {config.batch_size}', flush=True)
    concurrent = concurrent_rows(s['processes'], config, s['n_images'], repeats)
    print('  generation and evaluation', flush=True)
    others = other_rows(s, device, repeats)
    profile = dict(name=config.profile, width=config.g_width, batch_size=config.batch_size, epochs=config.epochs)
    return s | dict(profile=profile), rows + concurrent + others + throughput(config, concurrent, others[1])


if __name__ == '__main__': m.command('scaling', measure, __doc__, repeats=3)
