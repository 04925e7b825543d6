"""One training step: a window of frames through the codec, from a running state to a loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidcodec.networks.config import CELL
from vidcodec.networks.model import Reference, VideoModel, news_of
from vidcodec.networks.scales import checkerboard, decide, laplace_bits
from vidcodec.networks.search import luma, motion_price, search


class FrameResult(NamedTuple):
    """One frame of a batch, [B] each but for the state and the symbols.

    error, context_error: mean squared error of the picture and of what it was predicted from, by `emphasis`.
    soft_bits: with noise in place of rounding, for the gradient of y. bits: those of the symbols.
    """

    state: Reference
    error: Tensor
    context_error: Tensor
    soft_bits: Tensor
    bits: Tensor
    symbols: Tensor


def find_motion(frames: np.ndarray, reference: Tensor, intra: np.ndarray, weights: np.ndarray) -> Tensor:
    """Vectors int32 [B, h, w, 2] for frames uint8 [B, H, W, 3] from reference pictures [B, 3, H, W] in 0..1.

    weights [B]: weight of the distortion at each clip's quality; the dearer a bit, the fewer vectors.
    """
    batch, height, width, _ = frames.shape
    pictures = (reference.detach().permute(0, 2, 3, 1) * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy()
    vectors = np.zeros((batch, height // CELL, width // CELL, 2), np.int32)
    for index in np.flatnonzero(~intra):
        price = motion_price(float(weights[index]))
        vectors[index] = search(luma(frames[index]), luma(pictures[index]), price)
    return torch.from_numpy(vectors)


def code_frame(
    model: VideoModel,
    x: Tensor,
    reference: Reference,
    vectors: Tensor,
    intra: Tensor,
    *,
    quality: Tensor,
    noise: Tensor | None,
    autocast: torch.dtype | None,
    emphasis: Tensor | None = None,
) -> FrameResult:
    """Code frames x [B, 3, H, W] in 0..1. `noise` in -0.5..0.5, of the shape of y, or None when nothing is learned.

    emphasis: [B, 1, H, W], how much each pixel's error counts; None: all the same.
    """
    cast = torch.autocast(x.device.type, autocast or torch.float32, enabled=autocast is not None)
    context = model.warped(reference, vectors)
    with cast:
        y = model.analyse(x, context, quality)
    with torch.no_grad():
        symbols = _choose(model, y, context, vectors=vectors, intra=intra, quality=quality)
        y_hat = model.latent(symbols, context, quality)
    means = model.predicted(y_hat, context, quality)
    log_scale = model.scales(symbols, vectors, intra, quality)
    bits = laplace_bits(symbols, log_scale).sum((1, 2, 3))
    # The scales learn from the true symbols; y and its means learn from noise in place of rounding, which is smooth
    # and, in a region that ought to be silent, charges for coming near the threshold.
    rest = y if means is None else y - means
    soft = laplace_bits(rest + noise, log_scale.detach()).sum((1, 2, 3)) if noise is not None else bits
    y_hat = y + (y_hat - y.detach())
    with cast:
        state = model.synthesise(y_hat, news_of(symbols, vectors, intra), context, quality)
    error, context_error = (_error(picture, x, emphasis) for picture in (state.picture, context.picture))
    return FrameResult(state, error, context_error, soft, bits, symbols)


def _error(picture: Tensor, x: Tensor, emphasis: Tensor | None) -> Tensor:
    squares = (picture - x).square()
    return (squares if emphasis is None else squares * emphasis).mean((1, 2, 3))


def _choose(
    model: VideoModel, y: Tensor, context: Reference, *, vectors: Tensor, intra: Tensor, quality: Tensor
) -> Tensor:
    """Symbols for y by rate and distortion, as `LearnedCodec.choose` does it."""
    price = model.config.bit_price
    means = model.predicted(y, context, quality)
    rest = y if means is None else y - means
    guess = torch.sign(rest) * torch.floor(rest.abs() + 0.35)
    scales = model.scales(guess, vectors, intra, quality)
    symbols = decide(rest, scales, price)
    if means is None:
        return symbols
    means = model.predicted(symbols + means, context, quality)
    assert means is not None
    return torch.where(checkerboard(y.shape[2], y.shape[3], y.device), symbols, decide(y - means, scales, price))


def loss_of(
    result: FrameResult,
    weight: Tensor,
    *,
    rate_weight: float,
    soft_rate: float,
    context_weight: float,
    looks: Tensor | None = None,
) -> Tensor:
    """Scalar loss of one frame: lambda * D + R, divided by sqrt(lambda) so that no quality drowns the others.

    D holds also the error of the prediction, which charges the frame before for what it leaves behind: detail that
    lasts is worth more than this frame, noise that does not is worth nothing.

    R is taken twice, from the true symbols and, weighted by `soft_rate`, from noise in place of rounding.

    looks: [B], what the picture's looks add to its error; see `vidcodec.train.perceptual`.
    """
    pixels = result.state.picture.shape[2] * result.state.picture.shape[3]
    rate = (soft_rate * result.soft_bits + result.bits) / pixels
    distortion = result.error + context_weight * result.context_error
    if looks is not None:
        distortion = distortion + looks
    return ((weight * distortion + rate_weight * rate) * (100.0 / weight) ** 0.5).mean()
