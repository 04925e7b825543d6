"""The source paper's convolutional autoencoder: strided convolutions of 5x5 and 3x3, ReLU, trained on MSE.

    x [B,3,H,W] --5x5/2--> 40 --ReLU--5x5/2--> 80 --ReLU--3x3/2--> y [B,48,H/8,W/8]      (the decoder mirrors it)

The paper stops at y. Here y is also normalised to unit variance a channel, so that one step size fits all channels when
it is quantised.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SeedConfig:
    """Channels of the two hidden layers and of the latent."""

    hidden: tuple[int, int] = (40, 80)
    latent: int = 48
    stride: int = 8


class SeedNetwork(nn.Module):
    """Analysis and synthesis; `y` has mean 0 and variance 1 in each channel over the training pictures."""

    def __init__(self, config: SeedConfig | None = None) -> None:
        super().__init__()
        config = config or SeedConfig()
        first, second = config.hidden
        self.g_a = nn.Sequential(
            nn.Conv2d(3, first, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(first, second, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(second, config.latent, 3, 2, 1),
        )
        # Without its own scale and shift a batch norm only fixes the latents' variance: noise of a given step then
        # means the same to every channel, and the network cannot escape it by growing its latents.
        self.norm = nn.BatchNorm2d(config.latent, affine=False, momentum=0.02)
        self.g_s = nn.Sequential(
            nn.ConvTranspose2d(config.latent, second, 3, 2, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(second, first, 5, 2, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(first, 3, 5, 2, 2, 1),
        )

    def analysis(self, x: Tensor) -> Tensor:
        """Latents `[B, 48, H/8, W/8]` of pictures `[B, 3, H, W]` in [0, 1]; H and W are multiples of 8."""
        y: Tensor = self.norm(self.g_a(x - 0.5))
        return y

    def synthesis(self, y_hat: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, not yet clipped to [0, 1]."""
        x_hat: Tensor = self.g_s(y_hat) + 0.5
        return x_hat

    def rate(self, y_hat: Tensor, step: Tensor) -> Tensor:
        """The paper knows no rate: zero bits."""
        return y_hat.new_zeros(())


def build() -> SeedNetwork:
    """The network with the configuration that the bundled weights have."""
    net = SeedNetwork()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return net
