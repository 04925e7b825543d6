"""Bilinear planes and moved pictures block by block: a picture as rows of square blocks, [n, values of a block].

Vectors, and where there is news, are given for cells of 16x16 pixels. Within a block of half a cell or less, what lies
bilinearly between the centres of cells is a + b x + c y + d x y, so a small product gives all its pixels, and whether
anything moves in a block is seen from its four numbers. Both are whole numbers over a small power of two: nothing is
rounded, and the result is that of `F.interpolate` bit for bit.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear_weights(size: int, target: int) -> Tensor:
    """[target, size]: `size` values to `target` by bilinear interpolation between centres, flat beyond the rim."""
    places = ((torch.arange(target) + 0.5) * (size / target) - 0.5).clamp(0, size - 1)
    return (1 - (places[:, None] - torch.arange(size)).abs()).clamp_(min=0)


@lru_cache(maxsize=8)
def _slopes(cells: int, blocks: int, size: int) -> tuple[Tensor, Tensor]:
    """For `cells` cells cut into `blocks` blocks of `size` pixels, along one side: weights [2 * blocks, cells] of the
    first pixel of each block, then of its change from pixel to pixel; and [4, size * size], what those mean to each
    pixel of a block."""
    weights = bilinear_weights(cells, blocks * size)
    first, second = weights[0::size], weights[1::size]
    step = torch.arange(float(size))
    along = torch.stack([torch.ones(size), step])
    pixels = torch.einsum("ay,bx->abyx", along, along).reshape(4, size * size)
    return torch.cat([first, second - first]), pixels


def slopes(planes: Tensor, blocks: int, size: int) -> Tensor:
    """The four numbers of each block of planes [k, cells, cells]: [blocks * blocks, k, 4]."""
    weights, _ = _slopes(planes.shape[-1], blocks, size)
    parts = (weights @ planes @ weights.T).reshape(len(planes), 2, blocks, 2, blocks)
    return parts.permute(2, 4, 0, 1, 3).reshape(blocks * blocks, len(planes), 4)


def fill(four: Tensor, cells: int, blocks: int, size: int) -> Tensor:
    """Pixels [n, k, size * size] of the blocks whose four numbers [n, k, 4] these are."""
    return four @ _slopes(cells, blocks, size)[1]


class MovedBlocks:
    """The blocks of a square picture in which something moves, and how.

    Args:
        vectors: [cells, cells, 2], x and y in half pixels; not all zero.
        blocks: of the picture along each side; size: pixels along each side of a block, half a cell or less.

    Attributes:
        blocks: number of those blocks in which something moves, [n].
    """

    def __init__(self, vectors: Tensor, blocks: int, size: int) -> None:
        self._side, self._size = blocks, size
        four = slopes(vectors.permute(2, 0, 1).to(torch.float32) * 0.5, blocks, size)
        self.blocks = four.flatten(1).any(1).nonzero()[:, 0]
        four = four[self.blocks]
        self._flow = four.flatten(1) @ _interleaved(vectors.shape[0], blocks, size)
        # A block's centre, in blocks.
        middle = (size - 1) / 2
        shift = (four @ torch.tensor([1.0, middle, middle, middle * middle])) / size
        here = torch.stack([self.blocks % blocks, self.blocks // blocks], 1)
        at = (here + shift).clamp_(0, blocks - 1)
        low = at.floor().clamp_(max=blocks - 2)
        self._near, self._share = low.long(), at - low

    def features(self, rows: Tensor) -> Tensor:
        """Features [blocks * blocks, C] of all blocks, read bilinearly where their centres come from: [n, C]."""
        x, y = self._near.unbind(1)
        right, down = self._share.unbind(1)
        first = y * self._side + x
        places = torch.stack([first, first + 1, first + self._side, first + self._side + 1], 1)
        shares = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], 1)
        return F.embedding_bag(places, rows, mode="sum", per_sample_weights=shares)

    def pixels(self, picture: Tensor, still: Tensor, sharpness: Tensor | None) -> Tensor:
        """The moved blocks of picture [1, C, H, W]: [n, C * size * size].

        still: what they are where the flow is zero, to the bit. sharpness [n, size * size]: see `motion.warp`.
        """
        _, channels, side, _ = picture.shape
        # In units of half the picture, its middle at 0.
        places = _places(self._side, self._size)[self.blocks].add_(self._flow, alpha=2 / side)
        where = places.clamp_(1 / side - 1, 1 - 1 / side).view(1, 1, -1, 2)
        moved = F.grid_sample(picture, where, mode="bilinear", padding_mode="border", align_corners=False)
        if sharpness is not None:
            sharp = F.grid_sample(picture, where, mode="bicubic", padding_mode="border", align_corners=False)
            moved = torch.lerp(moved, sharp, sharpness.reshape(-1)).clamp_(0, 1)
        moved = moved.reshape(channels, len(self.blocks), -1).transpose(0, 1)
        x, y = (self._flow != 0).view(len(self.blocks), 1, -1, 2).unbind(3)
        return torch.where(x | y, moved, still.reshape(moved.shape)).flatten(1)

    def enlarged(self, plane: Tensor) -> Tensor:
        """A value for each block, [blocks * blocks], bilinear between their centres: [n, size * size] of the blocks."""
        near, weights = _around(self._side, self._size)
        return plane[near[self.blocks]] @ weights


@lru_cache(maxsize=4)
def _interleaved(cells: int, blocks: int, size: int) -> Tensor:
    """What the four numbers of x and those of y mean to the flow of each pixel of a block, x before y:
    [8, size * size * 2]."""
    pixels = _slopes(cells, blocks, size)[1]
    return torch.einsum("fp,kl->kfpl", pixels, torch.eye(2)).reshape(8, -1)


@lru_cache(maxsize=4)
def _places(blocks: int, size: int) -> Tensor:
    """x and y of every pixel's centre, block by block, from -1 to 1: [blocks * blocks, size * size * 2]."""
    centres = (2 * torch.arange(float(blocks * size)) + 1) / (blocks * size) - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    tiles = torch.stack([x, y]).reshape(2, blocks, size, blocks, size).permute(1, 3, 2, 4, 0)
    return tiles.reshape(blocks * blocks, -1)


@lru_cache(maxsize=4)
def _around(blocks: int, size: int) -> tuple[Tensor, Tensor]:
    """The nine blocks around each one, repeated at the rim, [blocks * blocks, 9], and what each means to its pixels."""
    number = torch.arange(blocks)
    three = torch.stack([number - 1, number, number + 1], 1).clamp_(0, blocks - 1)
    near = three[:, None, :, None] * blocks + three[None, :, None, :]
    share = bilinear_weights(3, 3 * size)[size : 2 * size]
    weights = torch.einsum("ya,xb->abyx", share, share)
    return near.reshape(blocks * blocks, 9), weights.reshape(9, size * size)
