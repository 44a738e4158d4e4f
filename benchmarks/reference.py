"""The recipe that most DCGAN tutorials start from, to compare with: same networks and settings, fed and stepped in the usual way.

The generator's first layer is a transposed convolution, where ours is a matrix product, and all layers and the layout of maps are as PyTorch has them,
where ours are accelerated: the same functions with the same weights.
Each image is opened as a picture, transformed by torchvision and collated by a DataLoader with worker processes. A step makes three
backward passes. G runs once, D's step sees its images detached; G's step computes gradients of D's weights too, which nobody uses. Every
step waits for the device to hand over its losses.
"""
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dcgan_nb.foundations.datasets import ImageData
from dcgan_nb.gan.networks import Network, build_networks
from dcgan_nb.runs.config import RunConfig


class Pictures(Dataset):
    "Training images one by one, as torchvision's data sets hand them out; the images are there already, nothing is fetched."
    def __init__(self, data:ImageData):
        self.x, self.y = data.x_train[:, 0].cpu(), data.y_train.cpu()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self): return len(self.x)

    def __getitem__(self, i): return self.transform(Image.fromarray(self.x[i].numpy())), int(self.y[i])


def loader(data:ImageData, batch_size:int, device:str) -> DataLoader:
    "Shuffled batches. The workers stay from epoch to epoch, which spares the recipe their start: rounds are shorter than its epochs."
    return DataLoader(Pictures(data), batch_size, shuffle=True, num_workers=4 if device == 'cuda' else 2,
                      pin_memory=device == 'cuda', persistent_workers=True)


def transposed_first_layer(G:Network) -> Network:
    "A generator's linear layer as the transposed convolution of a 1 × 1 input, with the same weights: the same function of z."
    linear, unflatten, *rest = G
    _, s, _ = unflatten.unflattened_size
    first = nn.ConvTranspose2d(linear.in_features, linear.out_features // s**2, s, bias=False).to(linear.weight.device)
    with torch.no_grad(): first.weight.copy_(linear.weight.T.reshape(first.weight.shape))
    return Network(nn.Unflatten(1, (linear.in_features, 1, 1)), first, *rest)


@dataclass
class Players:
    G: nn.Module
    D: nn.Module
    opt_g: torch.optim.Optimizer
    opt_d: torch.optim.Optimizer


def new_players(config:RunConfig) -> Players:
    "The networks that the library makes of the same configuration, each with a plain Adam."
    c = config
    G, D = (net.to(c.device) for net in build_networks(c.g_spec, c.d_spec, c.seed, c.g_init, c.d_init))
    G = transposed_first_layer(G)
    return Players(G, D, torch.optim.Adam(G.parameters(), lr=c.g_lr, betas=(c.beta1, c.beta2)),
                   torch.optim.Adam(D.parameters(), lr=c.d_lr, betas=(c.beta1, c.beta2)))


def step(
    players:Players,
    x_real:Tensor,      # (n, c, h, w) in [−1, 1]
    z:Tensor,           # (n, latent_dim)
) -> dict[str, float]:  # both losses, D's mean probabilities of real images and of generated ones before and after its step
    "One step of D and one of G from the same noise."
    p, bce = players, nn.BCELoss()
    ones, zeros = torch.ones(len(x_real), device=x_real.device), torch.zeros(len(x_real), device=x_real.device)

    p.opt_d.zero_grad()
    d_real = p.D(x_real).sigmoid()
    loss_real = bce(d_real, ones)
    loss_real.backward()
    x_fake = p.G(z)
    d_fake = p.D(x_fake.detach()).sigmoid()
    loss_fake = bce(d_fake, zeros)
    loss_fake.backward()
    p.opt_d.step()

    p.opt_g.zero_grad()
    d_again = p.D(x_fake).sigmoid()
    g_loss = bce(d_again, ones)
    g_loss.backward()
    p.opt_g.step()
    return dict(d_loss=loss_real.item() + loss_fake.item(), g_loss=g_loss.item(), d_real=d_real.mean().item(),
                d_fake=d_fake.mean().item(), d_again=d_again.mean().item())


def train_epoch(players:Players, batches:DataLoader, latent_dim:int) -> list[dict]:   # what `step` returns
    "One pass over the images."
    device = next(players.G.parameters()).device
    log = []
    for x_real, _ in batches:
        x_real = x_real.to(device)
        log.append(step(players, x_real, torch.randn(len(x_real), latent_dim, device=device)))
    return log
