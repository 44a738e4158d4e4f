"How fast, measured side by side: `make bench`, or `python -m benchmarks --help` in the project's folder."
from dcgan_nb.foundations.core import Registry

BENCHMARKS = Registry('benchmark',
    training = 'images per second against the usual recipe and the hardware',
    levers = 'what each speed lever gives, alone',
    scaling = 'how the cost grows, and what several runs at once give',
    startup = 'how long until the first step, and what a run costs beside its training',
    fid = "FID against scipy's matrix square root",
)
