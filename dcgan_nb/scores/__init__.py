"How good generated images are, and what a training run shows of itself."
from . import conditional, memorization  # noqa: F401  their metrics are known wherever metrics are
