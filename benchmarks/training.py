"""Images per second of training: ours against the usual recipe in benchmarks/reference.py, with equal networks, batches and Adam.

The recipe computes as PyTorch does unless told otherwise: in float32, on CUDA with convolutions by TF32. Ours computes in every precision
that the device takes. A round is one epoch over n images, reading them included. On a CPU the recipe has a process of its own, because
ours tells the process to keep the memory that it frees. The limit is the rate of a large matrix product on the same device, in the same
precision and the same round. The share of it counts the work that a step of ours needs (D frozen while G learns), for both: the recipe
computes gradients that nobody uses, but spares one pass of G.
"""
import statistics
from contextlib import nullcontext

from benchmarks import measure as m
from benchmarks import reference
from dcgan_nb.gan.train import train_epoch
from dcgan_nb.runs.config import RunConfig


def settings(device:str, quick:bool) -> list[dict]:   # width, batch size, images in a round
    "What is compared."
    if quick: return [dict(width=8, batch_size=16, n_images=64)]
    if device == 'cpu': return [dict(width=width, batch_size=128, n_images=n) for width, n in ((32, 6400), (64, 3200))]
    return [dict(width=64, batch_size=size, n_images=60_000 // size * size) for size in (64, 128, 256, 512, 1024)]


def config_of(width:int, batch_size:int, device:str, precision:str='float32') -> RunConfig:
    "A run of the standard recipe."
    return RunConfig.resolve(profile='full', g_width=width, d_width=width, batch_size=batch_size, device=device, precision=precision)


def recipe(config:RunConfig, n_images:int):   # a function: an epoch
    "The usual recipe, with players and batches of its own."
    players = reference.new_players(config)
    batches = reference.loader(m.sample_data(n_images), config.batch_size, config.device)
    return lambda: reference.train_epoch(players, batches, config.latent_dim)


def measure(device:str, repeats:int, quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    products, operations = m.products(device, quick)
    rows = []
    for setting in settings(device, quick):
        width, size, n = setting.values()
        print(f'  width {width}, batch {size}, {n:,} images a round', flush=True)
        config, data = config_of(width, size, device), m.sample_set(n, device)
        gans = {p: m.fast_gan(config_of(width, size, device, p)) for p in products}
        ours = {f'ours, {p}': lambda gan=gan: train_epoch(gan, data) for p, gan in gans.items()}
        limits = {f'limit, {p}': f for p, f in products.items()}
        flops = m.step_flops(config) / size
        with m.apart(recipe, config, n) if device == 'cpu' else nullcontext(recipe(config, n)) as usual:
            timings = m.interleave({'reference': usual} | ours | limits, repeats, device)
        if device == 'cpu': timings['reference'].peak_mb = None
        rates = {p: [operations / s for s in timings.pop(f'limit, {p}').seconds] for p in products}     # FLOP/s
        for row in m.compared(timings, n):
            precision = row['variant'].removeprefix('ours, ')
            if row['variant'] == 'reference': precision = 'tf32' if device == 'cuda' else 'float32'
            share = [n / s * flops / rate for s, rate in zip(timings[row['variant']].seconds, rates[precision])]
            rows.append(setting | row | dict(precision=precision, share_of_limit=m.summary(share),
                                             limit_images_s=statistics.median(rates[precision]) / flops))
    return dict(architecture=config.arch), rows


if __name__ == '__main__': m.command('training', measure, __doc__)
