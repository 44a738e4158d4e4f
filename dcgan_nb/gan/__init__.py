"Networks, losses and the training of a GAN."
from . import labels, residual    # their architectures have names as soon as anything of this part is imported

__all__ = ['labels', 'residual']
