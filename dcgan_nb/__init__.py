import atexit
import gc

__version__ = "0.1.0"

# PyTorch, SciPy and pandas make a million objects that stay. Python's search for garbage walks over them every 700 new ones, and once more
# at the end: a second for every process that uses the package.
gc.set_threshold(10_000)
atexit.register(gc.freeze)
