"""The learned video codec's network: tensors in, tensors out.

          x ----------------------(-)-- e -- [linear 16x16 + trunk] -- y * gain -- round -- symbols
                                   |                                                           |
    previous x_hat, memory -- warp by vectors -- x_warp, m_warp                           y_hat / gain
                                   |                                                           |
        x_hat = x_warp + news * (linear 16x16 (y_hat) + trunk(x_warp, y_hat, m_warp))  --------+

Both linear maps start as a Karhunen-Loeve transform and the trunks start by adding nothing, so the network begins as a
working motion-compensated transform codec and learns to be a better one. `news` is 1 near cells with symbols or motion
and 0 elsewhere: a region without news is the warped previous frame exactly, so nothing can drift there, and what was
once sharp stays sharp.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcodec.networks.blocks import (
    Fine,
    Means,
    Trunk,
    cells_to_patches,
    from_patches,
    quality_features,
    to_patches,
)
from vidcodec.networks.config import CELL, LEVELS, PATCH, ModelConfig
from vidcodec.networks.motion import dense_flow, warp
from vidcodec.networks.scales import ScaleModel, checkerboard


class Reference(NamedTuple):
    """What a frame is predicted from: picture [B, 3, H, W] in 0..1 and memory [B, M, H/8, W/8] in -1..1."""

    picture: Tensor
    memory: Tensor


class Forecast(NamedTuple):
    """What the memory says of y: features [B, h, w, hidden] and means [B, C, h, w], right for the even cells alone."""

    ground: Tensor
    even: Tensor


class VideoModel(nn.Module):
    """Analysis and synthesis transforms, the scale network, and the state they share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        patch, cell, width = 3 * PATCH * PATCH, 3 * CELL * CELL, config.width
        self.analysis_linear = nn.Linear(cell, config.latent, bias=False)
        self.analysis_trunk = Trunk(2 * patch + config.memory, width, config.encoder_blocks)
        self.analysis_head = nn.Linear(4 * width, config.latent)
        self.synthesis_linear = nn.Linear(config.latent, cell, bias=False)
        self.synthesis_trunk = Trunk(2 * patch + config.memory + 1, width, config.decoder_blocks)
        self.synthesis_head = nn.Linear(width, patch + 2 * config.memory)
        self.log_gain = nn.Parameter(torch.zeros(4, config.latent))
        self.log_gain_inverse = nn.Parameter(torch.zeros(4, config.latent))
        self.scales = ScaleModel(config)
        self.means = Means(config.latent, config.memory, config.mean_hidden) if config.mean_hidden else None
        self.fine = Fine(width, config.fine_width, config.fine_blocks) if config.fine_width else None
        # How sharply what moved is read, from 0 for bilinear to 1 for bicubic: the memory knows what is blurred.
        self.sharpness = nn.Conv2d(config.memory, 1, 1) if config.sharp_motion else None
        self._gains: tuple[Tensor, Tensor] | None = None
        with torch.no_grad():
            if self.sharpness is not None:
                self.sharpness.weight.zero_()
                self.sharpness.bias.fill_(0.15)  # type: ignore[union-attr]
            self.analysis_head.weight.mul_(0.02)
            self.analysis_head.bias.zero_()
            self.synthesis_head.weight.mul_(0.02)
            self.synthesis_head.bias.zero_()

    def start_from_basis(self, basis: Tensor) -> None:
        """Start both linear maps from orthonormal rows [latent, 768]."""
        with torch.no_grad():
            self.analysis_linear.weight.copy_(basis)
            self.synthesis_linear.weight.copy_(basis.T)

    def gains(self, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Gain before rounding and its learned counterpart at the decoder, [B, C, 1, 1] each.

        At the start a quantiser step of sqrt(26 / lambda), which a uniform quantiser at high rate asks for.
        """
        if self._gains is not None:
            row = quality.long()
            return self._gains[0][row], self._gains[1][row]
        low, high = self.config.lambda_low, self.config.lambda_high
        weight = low * (high / low) ** (quality.to(torch.float32) / (LEVELS - 1))
        base = torch.sqrt(weight / 26)[:, None]
        features = quality_features(quality)
        up = base * torch.exp(features @ self.log_gain)
        down = torch.exp(features @ self.log_gain_inverse) / base
        return up[..., None, None], down[..., None, None]

    def freeze(self, device: torch.device) -> None:
        """Work out the gains of all levels once; neither weights nor device may change after this."""
        self._gains = None
        self._gains = self.gains(torch.arange(LEVELS, device=device))

    def blank(self, batch: int, height: int, width: int, device: torch.device) -> Reference:
        """The state before any frame: mid grey and an empty memory."""
        return Reference(
            torch.full((batch, 3, height, width), 0.5, device=device),
            torch.zeros(batch, self.config.memory, height // PATCH, width // PATCH, device=device),
        )

    def warped(self, reference: Reference, vectors: Tensor) -> Reference:
        """The reference moved by vectors [B, h, w, 2] in half pixels."""
        height, width = reference.picture.shape[2:]
        memory = warp(reference.memory, dense_flow(vectors, height // PATCH, width // PATCH))
        sharpness = None
        if self.sharpness is not None:
            sharpness = F.interpolate(self.sharpness(memory), scale_factor=PATCH, mode="bilinear", align_corners=False)
        picture = warp(reference.picture, dense_flow(vectors, height, width), sharpness)
        return Reference(picture.clamp(0, 1), memory)

    def still(self, reference: Reference) -> Reference:
        """The reference where nothing moves."""
        return reference

    def analyse_frame(self, frame: Tensor, context: Reference, quality: Tensor) -> Tensor:
        """`analyse` of one frame, uint8 [H, W, 3]."""
        return self.analyse(frame.permute(2, 0, 1)[None].float() / 255, context, quality)

    def analyse(self, x: Tensor, context: Reference, quality: Tensor) -> Tensor:
        """Frame [B, 3, H, W] in 0..1 and the warped reference to y [B, C, h, w] in quantiser steps."""
        error = x - context.picture
        linear = self.analysis_linear(to_patches(error, CELL))
        inputs = [
            to_patches(error, PATCH),
            to_patches(context.picture, PATCH) - 0.5,
            context.memory.permute(0, 2, 3, 1),
        ]
        h = self.analysis_trunk(torch.cat(inputs, -1), quality)
        h = F.pixel_unshuffle(h.permute(0, 3, 1, 2), CELL // PATCH).permute(0, 2, 3, 1)
        y = (linear + self.analysis_head(h)).permute(0, 3, 1, 2).float()
        return y * self.gains(quality)[0]

    def forecast(self, context: Reference, quality: Tensor) -> Forecast | None:
        """What is known of y before any of it; None for a model without."""
        if self.means is None:
            return None
        ground = self.means.ground(context.memory, quality)
        return Forecast(ground, self.means(ground).float() * self.gains(quality)[0])

    def predicted(
        self, y_hat: Tensor, context: Reference, quality: Tensor, known: Forecast | None = None
    ) -> Tensor | None:
        """Means of y in quantiser steps, [B, C, h, w]; None for a model without.

        Those of the even cells of a checkerboard know the memory; those of the odd cells also the even cells of y_hat
        (symbols plus means, [B, C, h, w]; its odd cells are not looked at). `known` is the `forecast`, where it was
        made before.
        """
        known = known or self.forecast(context, quality)
        if self.means is None or known is None:
            return None
        up, down = self.gains(quality)
        first = checkerboard(y_hat.shape[2], y_hat.shape[3], y_hat.device)
        odd = self.means(known.ground, y_hat * down * first).float() * up
        return torch.where(first, known.even, odd)

    def latent(self, symbols: Tensor, context: Reference, quality: Tensor) -> Tensor:
        """y_hat of symbols [B, C, h, w]: symbols plus their means, even cells first and then the odd ones."""
        known = self.forecast(context, quality)
        if known is None:
            return symbols
        means = self.predicted(symbols + known.even, context, quality, known)
        assert means is not None
        return symbols + means

    def synthesise(self, y_hat: Tensor, news: Tensor, context: Reference, quality: Tensor) -> Reference:
        """y_hat [B, C, h, w] (see `latent`), news [B, 1, h, w] in {0, 1}, to the next reference."""
        y = y_hat * self.gains(quality)[1]
        residual = cells_to_patches(self.synthesis_linear(y.permute(0, 2, 3, 1)).float())
        wide = F.max_pool2d(news, 3, 1, 1)
        mask8 = F.interpolate(wide, scale_factor=CELL // PATCH, mode="bilinear", align_corners=False)
        mask1 = F.interpolate(wide, scale_factor=CELL, mode="bilinear", align_corners=False)
        inputs = [
            residual,
            to_patches(context.picture, PATCH) - 0.5,
            context.memory.permute(0, 2, 3, 1),
            mask8.permute(0, 2, 3, 1),
        ]
        h = self.synthesis_trunk(torch.cat(inputs, -1), quality)
        patch = 3 * PATCH * PATCH
        detail, fresh, gate = torch.split(self.synthesis_head(h), [patch, self.config.memory, self.config.memory], -1)
        if residual.requires_grad:
            change = _masked(from_patches(residual, PATCH), mask1) + from_patches(detail.float(), PATCH) * mask1
            picture = context.picture + change
        else:
            picture = torch.addcmul(context.picture, from_patches(residual + detail.float(), PATCH), mask1)
        if self.fine is not None:
            picture = torch.addcmul(picture, self.fine(picture, h).float(), mask1)
        if self.config.least_change:
            picture = without_least(picture, context.picture, self.config.least_change / 255)
        fresh, gate = (t.permute(0, 3, 1, 2).float() for t in (fresh, gate))
        memory = context.memory + torch.sigmoid(gate) * (torch.tanh(fresh) - context.memory) * mask8
        return Reference(picture.clamp(0, 1), memory)


def news_of(symbols: Tensor, vectors: Tensor, intra: Tensor) -> Tensor:
    """Cells with a symbol or a motion, and all cells of an intra frame: float [B, 1, h, w] in {0, 1}."""
    news = (symbols != 0).any(1) | (vectors != 0).any(-1) | intra[:, None, None]
    return news[:, None].float()


def _masked(change: Tensor, mask: Tensor) -> Tensor:
    """change * mask with the gradient of `change`: a silent region still learns what a symbol would gain it."""
    if not change.requires_grad:
        return change * mask
    return change + (change * (mask - 1)).detach()


def without_least(picture: Tensor, before: Tensor, least: float) -> Tensor:
    """picture, but `before` where they differ by less than `least`; the gradient is that of the picture."""
    if not picture.requires_grad:
        return torch.where((picture - before).abs() < least, before, picture)
    change = (picture - before).detach()
    return picture - torch.where(change.abs() < least, change, 0.0)
