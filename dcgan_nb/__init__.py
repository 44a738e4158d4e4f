"GAN experiments from literate notebooks. The names that a user types are here; each is imported when it is first used."
import atexit
import gc
from importlib import import_module

__version__ = "0.1.0"

_WHERE = dict(RunConfig='runs.config', run='runs.run', load_generator='gan.networks', generate='gan.networks', load_data='foundations.datasets',
              read_record='runs.records', DATASETS='foundations.pictures', ARCHITECTURES='gan.networks', LOSSES='gan.losses', PENALTIES='gan.penalties',
              METRICS='scores.metrics', RECIPES='runs.parameters', CLAIMS='study.claims', to_onnx='runs.formats')
__all__ = list(_WHERE)


def __getattr__(name):
    if name not in _WHERE: raise AttributeError(f"module 'dcgan_nb' has no attribute {name!r}")
    return getattr(import_module(f'.{_WHERE[name]}', __name__), name)


# PyTorch, SciPy and pandas make some 300,000 objects that stay. Python's search for garbage walks over them again and again during imports,
# and once more at the end: nearly a second for every process that uses the package.
gc.set_threshold(10_000)
atexit.register(gc.freeze)
