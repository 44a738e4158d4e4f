"""FID from two matrices of 10,000 × 2048 features: ours against scipy.linalg.sqrtm of the product of the covariances.

Both start from the same features, in float64, on the processor, where features lie whatever the device. The difference of the two values
is recorded beside the times.
"""
import numpy as np
import scipy.linalg
import torch

from benchmarks import measure as m
from dcgan_nb.scores.metrics import fid


def fid_sqrtm(x:np.ndarray, y:np.ndarray) -> float:
    mx, my, cx, cy = x.mean(0), y.mean(0), np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    return ((mx - my)**2).sum() + np.trace(cx) + np.trace(cy) - 2*np.trace(scipy.linalg.sqrtm(cx @ cy)).real


def measure(device:str, repeats:int, quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    n, d = (300, 32) if quick else (10_000, 2048)
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=rng).double() / d**0.5
    real, fake = (torch.randn(n, d, generator=rng).double().relu() @ (mix + shift) for shift in (0, 0.01))
    values = {}
    def theirs(): values['sqrtm'] = fid_sqrtm(real.numpy(), fake.numpy())
    def ours(): values['ours'] = fid(real, fake)
    rows = m.compared(m.interleave({'sqrtm': theirs, 'ours': ours}, repeats))
    return dict(n=n, d=d, relative_difference=float(abs(values['ours'] - values['sqrtm']) / abs(values['sqrtm']))), rows


if __name__ == '__main__': m.command('fid', measure, __doc__, repeats=3)
