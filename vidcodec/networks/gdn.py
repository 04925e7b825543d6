"""An autoencoder with generalised divisive normalisation and a rate term, after Balle, Laparra and Simoncelli 2016.

    x [B,3,H,W] --9x9/4--> GDN --5x5/2--> GDN --5x5/2--> y [B,96,H/16,W/16]       (the decoder mirrors it, with IGDN)

"End-to-end optimized image compression" (arXiv 1611.01704). Each channel of y has one static distribution; here it is
a logistic whose centre and scale are learned, and the tables that code it are counted after training.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class GdnConfig:
    """Channels of the hidden layers and of the latent."""

    width: int = 64
    latent: int = 96
    stride: int = 16


class Gdn(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), or its inverse. Parameters are stored as square roots, which
    keeps beta and gamma non-negative without a projection."""

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_root = nn.Parameter(torch.ones(channels))
        self.gamma_root = nn.Parameter(torch.eye(channels) * 0.3 + 0.01)

    def forward(self, x: Tensor) -> Tensor:
        gamma = (self.gamma_root**2)[:, :, None, None]
        norm = F.conv2d(x * x, gamma, self.beta_root**2 + 1e-6)
        return x * torch.sqrt(norm) if self.inverse else x * torch.rsqrt(norm)


class GdnNetwork(nn.Module):
    """Analysis and synthesis, and the rate of the latents under the learned static distributions."""

    def __init__(self, config: GdnConfig | None = None) -> None:
        super().__init__()
        config = config or GdnConfig()
        width, latent = config.width, config.latent
        self.g_a = nn.Sequential(
            nn.Conv2d(3, width, 9, 4, 4),
            Gdn(width),
            nn.Conv2d(width, width, 5, 2, 2),
            Gdn(width),
            nn.Conv2d(width, latent, 5, 2, 2),
        )
        self.g_s = nn.Sequential(
            nn.ConvTranspose2d(latent, width, 5, 2, 2, 1),
            Gdn(width, inverse=True),
            nn.ConvTranspose2d(width, width, 5, 2, 2, 1),
            Gdn(width, inverse=True),
            nn.ConvTranspose2d(width, 3, 9, 4, 4, 3),
        )
        self.centre = nn.Parameter(torch.zeros(latent))
        self.log_scale = nn.Parameter(torch.zeros(latent))

    def analysis(self, x: Tensor) -> Tensor:
        """Latents `[B, 96, H/16, W/16]` of pictures `[B, 3, H, W]` in [0, 1]; H and W are multiples of 16."""
        y: Tensor = self.g_a(x - 0.5) * 8  # so that steps around 1 are useful from the start
        return y

    def synthesis(self, y_hat: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, not yet clipped to [0, 1]."""
        x_hat: Tensor = self.g_s(y_hat / 8) + 0.5
        return x_hat

    def rate(self, y_hat: Tensor, step: Tensor) -> Tensor:
        """Mean bits a picture of latents quantised with `step` `[B, 1, 1, 1]`: -log2 of the logistic's mass in the
        interval of one step around each latent."""
        centre = self.centre[None, :, None, None]
        scale = self.log_scale.exp()[None, :, None, None] + 1e-6
        # By symmetry the mass can be taken in the tail where the sigmoids do not cancel.
        distance = -(y_hat - centre).abs()
        mass = torch.sigmoid((distance + step / 2) / scale) - torch.sigmoid((distance - step / 2) / scale)
        return -torch.log2(mass.clamp_min(1e-9)).sum() / y_hat.shape[0]


def build() -> GdnNetwork:
    """The network with the configuration that the bundled weights have."""
    net = GdnNetwork()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return net
