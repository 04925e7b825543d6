"""Do both ends still see the same picture? What one tells of a frame now and then, and what the other makes of it.

Every device reads the same symbols from a packet, but networks in floating point give pictures that differ in the last
digits, and prediction hands such differences on. Over thousands of frames they can grow to what is seen, and the
sender, who never sees the receiver's picture, does not code them away. So of one frame in `EVERY` the sender tells a
sketch of its own picture, and a receiver whose picture lies too far off asks for a frame without a reference.

A sketch holds, for every block of 32x32 pixels, the sum of its values with random signs (a random projection as in
Johnson and Lindenstrauss, 1984): its difference between two pictures is squared, on average, the sum of the squared
differences of the values, whatever these look like.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from functools import cache

import numpy as np
from numpy.typing import NDArray

EVERY = 64
"""Frames between two sketches: those that the codec's pattern gives most to."""

APART = 2.0
"""Mean squared difference of 8-bit values at which pictures are apart. Of a picture of 36 dB it takes half a dB."""

BLOCK = 32
KEPT = 8

Picture = NDArray[np.uint8]
Sketch = NDArray[np.int64]


@cache
def _signs(height: int, width: int) -> NDArray[np.int32]:
    """-1 or 1 for every value of a picture [H, W, 3], by integer arithmetic that any language has."""
    index = np.arange(height * width * 3, dtype=np.uint32)
    index *= np.uint32(2654435761)
    index ^= index >> np.uint32(15)
    index *= np.uint32(2246822519)
    index ^= index >> np.uint32(13)
    return (1 - 2 * (index & 1).astype(np.int32)).reshape(height, width, 3)


def blocks_of(side: int) -> int:
    """How many numbers a sketch of a square picture has."""
    return (side // BLOCK) ** 2


def sketch(picture: Picture) -> Sketch:
    """Sums with signs of the blocks of a picture [H, W, 3], sides multiples of 32, modulo 2^16: [H/32 * W/32]."""
    height, width, _ = picture.shape
    signed = (picture * _signs(height, width)).reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK * 3)
    return (signed.sum((1, 3), dtype=np.int64) % (1 << 16)).reshape(-1)


def difference(one: Sketch, other: Sketch) -> float:
    """About the mean squared difference of the pictures' 8-bit values."""
    apart = (one - other + (1 << 15)) % (1 << 16) - (1 << 15)  # what is modulo 2^16 may have wrapped around
    return float((apart.astype(np.float64) ** 2).mean() / (BLOCK * BLOCK * 3))


def to_text(told: Sketch) -> str:
    """A sketch as base64 of big-endian 16-bit numbers."""
    return base64.b64encode(told.astype(">u2").tobytes()).decode()


def from_text(text: object, blocks: int) -> Sketch:
    """Inverse of `to_text`. Raises ValueError when it is no sketch of so many blocks."""
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != 2 * blocks:
        raise ValueError("a sketch of a picture is unusable")
    return np.frombuffer(data, ">u2").astype(np.int64)


class DriftWatch:
    """At the receiver: brings together what was told of a frame and what was made of it, whichever comes first."""

    def __init__(self) -> None:
        self._told: OrderedDict[int, Sketch] = OrderedDict()
        self._made: OrderedDict[int, Sketch] = OrderedDict()

    def told(self, number: int, sent: Sketch) -> float | None:
        """The sender's sketch of a frame (full count); see `decoded`."""
        return self._met(self._told, self._made, number, sent)

    def decoded(self, number: int, picture: Picture) -> float | None:
        """A picture, of which only one in `EVERY` is looked at. Returns how far the two ends are apart (`difference`)
        once both are known."""
        if number % EVERY:
            return None
        return self._met(self._made, self._told, number, sketch(picture))

    @staticmethod
    def _met(
        own: OrderedDict[int, Sketch], others: OrderedDict[int, Sketch], number: int, found: Sketch
    ) -> float | None:
        other = others.pop(number, None)
        if other is not None:
            return difference(found, other)
        own[number] = found
        while len(own) > KEPT:
            own.popitem(last=False)
        return None
