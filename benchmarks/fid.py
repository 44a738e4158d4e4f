"""FID from two 10,000 × 2048 feature matrices: ours against scipy.linalg.sqrtm of the product of the covariances.

Both start from the features, in float64, and are measured side by side in one process, in alternation; prints the median seconds, their
ratio, and the relative difference of the values. `python benchmarks/fid.py [n d repeats]`
"""
import statistics
import sys
import time

import numpy as np
import scipy.linalg
import torch

from dcgan_nb.metrics import fid


def fid_sqrtm(x, y):
    mx, my, cx, cy = x.mean(0), y.mean(0), np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    return ((mx - my)**2).sum() + np.trace(cx) + np.trace(cy) - 2*np.trace(scipy.linalg.sqrtm(cx @ cy)).real


def seconds(f, *args):
    start = time.perf_counter()
    return f(*args), time.perf_counter() - start


if __name__ == '__main__':
    n, d, repeats = (int(a) for a in (sys.argv[1:] + ['10000', '2048', '3'][len(sys.argv) - 1:]))
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=rng).double() / d**0.5
    real, fake = (torch.randn(n, d, generator=rng).double().relu() @ (mix + shift) for shift in (0, 0.01))
    ours, theirs = [], []
    for i in range(repeats):
        a, t_ours = seconds(fid, real, fake)
        b, t_theirs = seconds(fid_sqrtm, real.numpy(), fake.numpy())
        ours.append(t_ours)
        theirs.append(t_theirs)
        print(f'{i + 1}/{repeats}  ours {t_ours:.2f} s  sqrtm {t_theirs:.2f} s', flush=True)
    print(f'n={n} d={d}, {torch.get_num_threads()} threads: ours {statistics.median(ours):.2f} s, sqrtm {statistics.median(theirs):.2f} s, '
          f'ratio {statistics.median(t / o for o, t in zip(ours, theirs)):.1f}, relative difference {abs(a - b) / abs(b):.1e}')
