"""`VideoModel` for one picture on a CPU: everything in rows of 8x8 blocks, as a trunk wants it.

Features at 1/8 of the resolution are [blocks, C], a picture is [blocks, 192] (colour, then row, then column), and what
stands at 1/16 has four blocks to a row: weights are laid out once so that nothing has to be moved that could stay. Only
what moves is read anew. Pixels may differ from those of `VideoModel` in the last digit, symbols never do.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcodec.networks.config import CELL, LEVELS, PATCH
from vidcodec.networks.model import Forecast, Reference, VideoModel
from vidcodec.networks.packed import PackedFine, PackedLinear, PackedMeans, PackedTrunk
from vidcodec.networks.tiles import MovedBlocks, bilinear_weights, fill, slopes

BLOCK = 3 * PATCH * PATCH  # values of a block of a picture
FINE = 4  # pixels of a block of the last layers


class Context(NamedTuple):
    """What a frame is predicted from, moved: picture [blocks, 192] in 0..1 and memory [blocks, M]."""

    picture: Tensor
    memory: Tensor


class RowModel:
    """The codec's steps with the weights of a `VideoModel`, whose methods of the same names say what they do.

    A reference is planes of a picture and rows of memory, [1, 3, H, W] and [blocks, M]; quality is [1]; y, symbols and
    means are [1, C, h, w]; a forecast is [h * w, hidden] and, of the even cells alone, [h * w / 2, C]. Raises
    RuntimeError when torch lacks the operators (see `packed.works`).
    """

    def __init__(
        self, model: VideoModel, dtype: torch.dtype = torch.float32, analysis: torch.dtype | None = None
    ) -> None:
        """dtype: of the trunks and the last layers; analysis: of the trunk that only a sender runs, if another one."""
        model = copy.deepcopy(model).requires_grad_(False)
        self.config, width, latent = model.config, model.config.width, model.config.latent
        for trunk in (model.analysis_trunk, model.synthesis_trunk):
            # The picture enters without its mid grey taken off.
            trunk.enter.bias.sub_(0.5 * trunk.enter.weight[:, BLOCK : 2 * BLOCK].sum(1))
        self._read = PackedTrunk(model.analysis_trunk, analysis or dtype)
        # The linear transform and the head in one product, over the error and the features of a cell's four blocks.
        error = model.analysis_linear.weight.reshape(latent, 3, 2, PATCH, 2, PATCH).permute(0, 2, 4, 1, 3, 5)
        features = model.analysis_head.weight.reshape(latent, width, 2, 2).permute(0, 2, 3, 1)
        weight = torch.cat([error.reshape(latent, 2, 2, BLOCK), features], -1).reshape(latent, -1)
        self._code = PackedLinear(_linear(weight, model.analysis_head.bias))
        weight = model.synthesis_linear.weight.reshape(3, 2, PATCH, 2, PATCH, latent).permute(1, 3, 0, 2, 4, 5)
        self._spread = PackedLinear(_linear(weight.reshape(4 * BLOCK, latent)))
        self._write = PackedTrunk(model.synthesis_trunk, dtype)
        head = model.synthesis_head
        self._detail = PackedLinear(_linear(head.weight[:BLOCK], head.bias[:BLOCK]))
        fresh, gate = (slice(at, at + self.config.memory) for at in (BLOCK, BLOCK + self.config.memory))
        self._fresh, self._gate = (PackedLinear(_linear(head.weight[part], head.bias[part])) for part in (fresh, gate))
        self._means = PackedMeans(model.means) if model.means is not None else None
        self._fine = PackedFine(model.fine, dtype) if model.fine is not None else None
        self._sharpness = model.sharpness
        model.freeze(torch.device("cpu"))
        self._up, self._down = (gain[:, :, 0, 0] for gain in model.gains(torch.arange(LEVELS)))

    def layers(self) -> Iterator[nn.Module]:
        """Everything with weights, smallest parts included."""
        for part in vars(self).values():
            if isinstance(part, nn.Module):
                yield from part.modules()

    def blank(self, batch: int, height: int, width: int, device: torch.device) -> Reference:
        blocks = height // PATCH * (width // PATCH)
        memory = torch.zeros(blocks, self.config.memory)
        return Reference(torch.full((batch, 3, height, width), 0.5), memory)

    def warped(self, reference: Reference, vectors: Tensor) -> Context:
        """The reference moved by vectors [1, h, w, 2] in half pixels."""
        still = self.still(reference)
        moved = MovedBlocks(vectors[0], 2 * vectors.shape[1], PATCH)
        memory = still.memory.index_copy(0, moved.blocks, moved.features(still.memory))
        sharpness = None
        if self._sharpness is not None:
            layer = self._sharpness
            sharpness = moved.enlarged(F.linear(memory, layer.weight.flatten(1), layer.bias)[:, 0])
        pixels = moved.pixels(reference.picture, still.picture[moved.blocks], sharpness)
        return Context(still.picture.index_copy_(0, moved.blocks, pixels), memory)

    def still(self, reference: Reference) -> Context:
        """The reference as it is."""
        side = reference.picture.shape[-1] // PATCH
        tiles = _fours(reference.picture).view(3, side, PATCH, side, PATCH // 4).permute(1, 3, 0, 2, 4).contiguous()
        return Context(tiles.view(torch.float32).view(side * side, BLOCK), reference.memory)

    def analyse_frame(self, frame: Tensor, context: Context, quality: Tensor) -> Tensor:
        """frame: uint8 [H, W, 3]."""
        side = frame.shape[0] // PATCH
        tiles = frame.view(side, PATCH, side, PATCH, 3).permute(0, 2, 4, 1, 3)
        error = tiles.reshape(-1, BLOCK).to(torch.float32).div_(255).sub_(context.picture)
        h = self._read(torch.cat([error, *context], 1).view(1, side, side, -1), quality)
        y = self._code(_to_cells(torch.cat([error, h.view(len(error), -1)], 1), side))
        return _planes(y * self._up[int(quality)])

    def forecast(self, context: Context, quality: Tensor) -> Forecast | None:
        if self._means is None:
            return None
        side = int(len(context.memory) ** 0.5)
        ground = self._means.ground(_to_cells(context.memory, side), quality)
        return Forecast(ground, self._means.even(ground) * self._up[int(quality)])

    def predicted(
        self, y_hat: Tensor, context: Context, quality: Tensor, known: Forecast | None = None
    ) -> Tensor | None:
        known = known or self.forecast(context, quality)
        if self._means is None or known is None:
            return None
        return _planes(self._all_means(_rows(y_hat), known, quality))

    def latent(self, symbols: Tensor, context: Context, quality: Tensor) -> Tensor:
        known = self.forecast(context, quality)
        if self._means is None or known is None:
            return symbols
        rows = _rows(symbols)
        first = self._means.joined(known.even, torch.zeros_like(known.even))
        return _planes(rows + self._all_means(rows + first, known, quality))

    def _all_means(self, y: Tensor, known: Forecast, quality: Tensor) -> Tensor:
        """Means of all cells, [cells, C], from y [cells, C] of which the even ones are looked at."""
        assert self._means is not None
        level = int(quality)
        odd = self._means.odd(known.ground, y * self._down[level])
        return self._means.joined(known.even, odd * self._up[level])

    def synthesise(self, y_hat: Tensor, news: Tensor, context: Context, quality: Tensor) -> Reference:
        cells, side = y_hat.shape[2], 2 * y_hat.shape[2]
        spread = self._spread(_rows(y_hat) * self._down[int(quality)])
        residual = spread.view(cells, cells, 2, 2, BLOCK).permute(0, 2, 1, 3, 4).reshape(side * side, BLOCK)
        wide = F.max_pool2d(news[0], 3, 1, 1)
        weights = bilinear_weights(cells, side)
        near = (weights @ wide[0] @ weights.T).reshape(-1, 1)
        h = self._write(torch.cat([residual, *context, near], 1).view(1, side, side, -1), quality)
        features = h.view(side * side, -1)
        memory = torch.lerp(context.memory, self._fresh(features, "tanh"), self._gate(features, "sigmoid").mul_(near))
        change = self._detail(features, add=residual)
        picture = _masked(context.picture, change, wide, PATCH)
        before = context.picture
        if self._fine is not None:
            picture, before = _quarters(picture, side), _quarters(before, side)
            side *= PATCH // FINE
            picture = _masked(picture, self._fine(picture, h).view(picture.shape), wide, FINE)
        if self.config.least_change:
            # What `without_least` does, in three operators.
            picture = F.hardshrink(picture.sub_(before), self.config.least_change / 255).add_(before)
        size = news.shape[-1] * CELL // side
        planes = _fours(picture).view(side, side, 3, size, size // 4).permute(2, 0, 3, 1, 4).contiguous()
        return Reference(planes.view(torch.float32).view(1, 3, side * size, -1).clamp_(0, 1), memory)


def _masked(picture: Tensor, change: Tensor, wide: Tensor, size: int) -> Tensor:
    """picture + change * mask, rows of blocks of `size` pixels; wide [1, h, w]: the mask at the centres of cells."""
    cells = wide.shape[1]
    blocks = cells * CELL // size
    mask = fill(slopes(wide, blocks, size), cells, blocks, size)
    return torch.addcmul(picture, change, mask.expand(-1, 3, -1).reshape(picture.shape))


def _quarters(picture: Tensor, side: int) -> Tensor:
    """Rows of blocks [side * side, 192] to those of their quarters, row by row of the picture: [4 * side**2, 48]."""
    half = PATCH // FINE
    parts = _fours(picture).view(side, side, 3, half, FINE, half).permute(0, 3, 1, 5, 2, 4).contiguous()
    return parts.view(torch.float32).view(4 * side * side, -1)


def _fours(values: Tensor) -> Tensor:
    """Four floats as one element, so that a copy into another order moves sixteen bytes at a time."""
    return values.view(torch.complex128)


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A layer of these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).requires_grad_(False)
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)
    return layer


def _to_cells(blocks: Tensor, side: int) -> Tensor:
    """Rows of blocks [side * side, C] to rows of cells, four blocks each: [side * side / 4, 4 * C]."""
    cells = side // 2
    return blocks.view(cells, 2, cells, 2, -1).permute(0, 2, 1, 3, 4).reshape(cells * cells, -1)


def _rows(planes: Tensor) -> Tensor:
    """[1, C, h, w] to [h * w, C]."""
    return planes[0].flatten(1).T


def _planes(rows: Tensor) -> Tensor:
    """[h * w, C] of a square to [1, C, h, w]."""
    side = int(len(rows) ** 0.5)
    return rows.T.reshape(1, -1, side, side)
