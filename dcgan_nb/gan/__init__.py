"Networks, losses and the training of a GAN."
