"""What all benchmarks share: interleaved measurement, the limits of the hardware, options and result files.

Variants take turns, A, B, …, A, B, …, so that whatever changes the machine's speed meanwhile meets all of them; they share a process, but for those
that need one of their own. A first round warms up and is not counted. Ratios are taken within a round and only then summarized: the median, and an
interval of it.
"""
import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from math import comb
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dcgan_nb.foundations.batches import normalize, training_set
from dcgan_nb.foundations.core import InputError, Registry, pick_device, project_root, write_file
from dcgan_nb.foundations.datasets import ImageData, load_data
from dcgan_nb.gan.fast import accelerate, keep_memory
from dcgan_nb.gan.optim import PRECISIONS, float32_products
from dcgan_nb.gan.state import GAN, init
from dcgan_nb.gan.train import d_step, g_step
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.records import code_version, environment

SCHEMA = 1
DEVICES = Registry('device', auto='CUDA if it is there, else the processor', cpu='the processor', cuda='an NVIDIA GPU')


# ---- time and memory

def sync(device:str) -> None:
    "Wait until the device has done what it was given."
    if device == 'cuda': torch.cuda.synchronize()


def _reset_peak(device:str) -> None:
    if device == 'cuda': torch.cuda.reset_peak_memory_stats()
    else:
        try: Path('/proc/self/clear_refs').write_text('5')     # Linux: the peak starts anew from what is held now
        except OSError: pass


def _peak_mb(device:str) -> float|None:
    if device == 'cuda': return torch.cuda.max_memory_allocated() / 1e6
    try: lines = Path('/proc/self/status').read_text().splitlines()
    except OSError: return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith('VmHWM')), None)


@dataclass
class Timing:
    "What the rounds of one variant took."
    seconds: list[float] = field(default_factory=list)   # a number for each round
    peak_mb: float|None = None   # most memory held in a round, MB: by CUDA's allocator, or by this process without its workers


def interleave(
    variants:dict[str, Callable],     # name → function without arguments
    repeats:int,                      # rounds that count, after one that warms up
    device:str='cpu',
    clock:Callable=time.perf_counter,
    report:Callable=print,            # takes a line after every round, as print does
) -> dict[str, Timing]:
    "Run all variants in turn, round after round."
    timings = {name: Timing() for name in variants}
    for i in range(repeats + 1):
        took = {}
        for name, f in variants.items():
            _reset_peak(device)
            sync(device)
            start = clock()
            f()
            sync(device)
            took[name] = clock() - start
            if i == 0: continue
            timings[name].seconds.append(took[name])
            timings[name].peak_mb = max(filter(None, (timings[name].peak_mb, _peak_mb(device))), default=None)
        label = f'round {i}/{repeats}' if i else 'warm-up'
        report(f"  {label}   " + '   '.join(f'{name} {s:.3g} s' for name, s in took.items()), flush=True)
    return timings


def _serve(pipe, make:Callable, args:tuple) -> None:
    f = make(*args)
    while (given := pipe.recv()) is not None:
        f(*given)
        pipe.send('done')


@contextmanager
def apart(make:Callable, *args):   # a function, to be measured like any other
    "The function `make(*args)`, called in a process of its own: how a process handles its memory is set once for all that runs in it."
    spawn = multiprocessing.get_context('spawn')
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, make, args))
    process.start()
    there.close()                  # or a dead process would be waited for
    def call(*given):
        here.send(given)
        here.recv()
    try: yield call
    finally:
        if process.is_alive(): here.send(None)
        process.join(20)
        process.terminate()


def summary(values:list[float]) -> dict:   # median, low, high
    """The median and an interval that holds the true one in at least 95 % of cases, whatever the distribution: each round is as likely above it as
    below. Of nine rounds these are the second smallest and the second largest value (96 %); of fewer than nine the range, which holds it less often than
    in 95 % of cases if they are fewer than six."""
    n, ranked, cut = len(values), sorted(values), 0
    while 2 * sum(comb(n, i) for i in range(cut + 2)) <= 0.05 * 2**n: cut += 1
    return dict(median=statistics.median(values), low=ranked[cut], high=ranked[-1 - cut])


def compared(
    timings:dict[str, Timing],
    n_images:dict|int|None=None,   # images in a round, or variant → images
) -> list[dict]:                   # variant, seconds, ratio (1: as fast as the first, 2: twice as fast), images_s, peak_memory_mb
    "A row for each variant; ratios compare it with the first variant of the same round."
    first, rows = next(iter(timings.values())).seconds, []
    for name, t in timings.items():
        row = dict(variant=name, seconds=summary(t.seconds), ratio=summary([a / b for a, b in zip(first, t.seconds)]),
                   peak_memory_mb=t.peak_mb)
        if n_images:
            n = n_images[name] if isinstance(n_images, dict) else n_images
            row['images_s'] = summary([n / s for s in t.seconds])
        rows.append(row)
    return rows


# ---- what the hardware can do, and what a step needs

def products(device:str, quick:bool) -> tuple[dict[str, Callable], float]:   # precision → function, operations of a call
    "Products of two large matrices, one after the other, in every precision that the device trains in."
    n, times = (128, 2) if quick else (8192, 20) if device == 'cuda' else (2048, 50)
    def product(precision):
        a, b = (torch.randn(n, n, device=device).to(PRECISIONS[precision] or torch.float32) for _ in range(2))
        def multiply():
            with float32_products(precision):
                for _ in range(times): a @ b
        return multiply
    return {p: product(p) for p in precisions(device)}, 2 * n**3 * times


def precisions(device:str) -> list[str]:
    "The precisions of `PRECISIONS` that a device takes."
    def taken(p):
        try: return bool(RunConfig.resolve(precision=p, device=device))
        except InputError: return False
    return [p for p in PRECISIONS if taken(p)]


def step_flops(
    config:RunConfig,
) -> float:            # of the convolutions and matrix products in one `d_step` and one `g_step` of ours, forwards and backwards
    "What a step needs. The rest (batch norm, activations, Adam) is bound by memory and not counted."
    n = min(8, config.batch_size)           # the count grows in proportion to the batch and depends on no device
    gan, x = init(replace(config, device='cpu', precision='float32')), normalize(sample_set(n, 'cpu')[0])
    with FlopCounterMode(display=False) as counter:
        d_step(gan, x)
        g_step(gan, x)
    return counter.get_total_flops() * config.batch_size / n


# ---- what is measured: a GAN and its images

def fast_gan(config:RunConfig, keep:bool=True) -> GAN:
    "A GAN as a run trains it: its layers accelerated, the memory that it frees kept in the process."
    if keep: keep_memory()
    gan = init(config)
    accelerate(*filter(None, (gan.G, gan.D, gan.G_ema)))
    return gan


def sample_data(n_train:int, n_test:int=0) -> ImageData:
    "The images that ship with the package, repeated up to the wanted numbers: speed does not depend on what they show."
    data = load_data('fashion_mnist_sample')
    def repeated(x, n): return x[torch.arange(n) % len(x)]
    return replace(data, x_train=repeated(data.x_train, n_train), y_train=repeated(data.y_train, n_train),
                   x_test=repeated(data.x_test, n_test), y_test=repeated(data.y_test, n_test))


def sample_set(n:int, device:str) -> tuple[Tensor, Tensor]:   # (n, 1, 28, 28) uint8 and (n,) int64
    "Training images and their classes on a device."
    return training_set(sample_data(n).to(device))


# ---- options and results

def chosen_device(name:str) -> str:   # 'cpu' or 'cuda'
    "The device of that name; an `InputError` if it is not known or not there."
    DEVICES[name]
    return ('cuda' if torch.cuda.is_available() else 'cpu') if name == 'auto' else pick_device(name)


def options(prog:str, description:str) -> argparse.ArgumentParser:
    "The options that every benchmark has."
    parser = argparse.ArgumentParser(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='auto', help=', '.join(DEVICES))
    parser.add_argument('--repeats', type=int, help="rounds that count; without it, the benchmark's own number")
    parser.add_argument('--quick', action='store_true', help='tiny sizes, to see whether all works; the numbers mean nothing')
    parser.add_argument('--to', type=Path, help='folder of the results; without it reports/benchmarks (with --quick: benchmarks-quick)')
    return parser


def write_result(name:str, device:str, parameters:dict, rows:list[dict], to:Path) -> Path:
    "One JSON file, complete or not there."
    result = dict(schema=SCHEMA, name=name, device=device, environment=environment(), code=code_version(),
                  date=datetime.now(timezone.utc).isoformat(timespec='seconds'), parameters=parameters, rows=rows)
    to.mkdir(parents=True, exist_ok=True)
    path = to/f'{name}-{device}.json'
    write_file(path, json.dumps(result, indent=1, allow_nan=False) + '\n')
    return path


def command(
    name:str,               # of the benchmark
    measure:Callable,       # (device, repeats, quick) → parameters, rows
    description:str,
    repeats:int=9,          # its own number of rounds
    argv:list[str]|None=None,
) -> None:
    "What `python -m benchmarks.<name>` does."
    given = options(f'python -m benchmarks.{name}', description).parse_args(argv)
    try:
        device, repeats = chosen_device(given.device), repeats if given.repeats is None else given.repeats
        if repeats < 1: raise InputError(f'repeats={repeats} is too few: at least 1.')
        to = given.to or project_root()/'reports'/('benchmarks-quick' if given.quick else 'benchmarks')
        print(f'{name} on {device}', flush=True)
        parameters, rows = measure(device, repeats, given.quick)
        path = write_result(name, device, dict(repeats=repeats, quick=given.quick, **parameters), rows, to)
    except InputError as error: sys.exit(str(error))
    print(f'  written: {path.parent.name}/{path.name}', flush=True)
