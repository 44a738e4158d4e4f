"How good generated images are, and what a training run shows of itself."
