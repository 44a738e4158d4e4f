import atexit
import gc

__version__ = "0.1.0"

# PyTorch, SciPy and pandas make some 300,000 objects that stay. Python's search for garbage walks over them again and again during imports,
# and once more at the end: nearly a second for every process that uses the package.
gc.set_threshold(10_000)
atexit.register(gc.freeze)
