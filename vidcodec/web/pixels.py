"""A frame on its way to the page: one binary WebSocket message with the exact pixels of every panel.

    0   number   u32   full frame count, modulo 2^32
    4   width    u16
    6   height   u16
    8   panels   u8    bit i set: panel i is there
    9   zero     3 bytes
    12  pixels of each panel that is there, in order: RGB, one byte each, rows top to bottom

All integers little endian. Nothing is coded: at 192x192 a panel is 110,592 bytes, which the loopback and any LAN carry,
and a second lossy coding would show the viewer something else than the receiver has.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import UsageError

Picture = NDArray[np.uint8]

HEADER = struct.Struct("<IHHB3x")
MAX_SIDE = 1024
MAX_PANELS = 8


@dataclass(frozen=True)
class Frame:
    """Pictures of one instant. The message is made when the first page wants it, and shared by all.

    Attributes:
        number: full frame count.
        pictures: one for each panel, uint8 RGB `[H, W, 3]`, all of one size; None where there is none.
    """

    number: int
    pictures: tuple[Picture | None, ...]

    @cached_property
    def message(self) -> bytes:
        """The binary message."""
        present = [picture for picture in self.pictures if picture is not None]
        height, width = present[0].shape[:2] if present else (0, 0)
        panels = sum(1 << index for index, picture in enumerate(self.pictures) if picture is not None)
        header = HEADER.pack(self.number % (1 << 32), width, height, panels)
        return b"".join((header, *(picture.tobytes() for picture in present)))


def make_frame(number: int, pictures: Sequence[Picture | None], panels: int) -> Frame:
    """Check the pictures of `panels` panels. They must not be changed afterwards.

    Raises:
        UsageError: wrong count, type, or sizes.
    """
    if len(pictures) != panels:
        raise UsageError(f"{len(pictures)} pictures for {panels} panels")
    sizes = set()
    for picture in pictures:
        if picture is None:
            continue
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UsageError(f"picture is {picture.dtype} {picture.shape}: give uint8 RGB [H, W, 3]")
        sizes.add(picture.shape)
    if len(sizes) > 1 or any(not 0 < side <= MAX_SIDE for size in sizes for side in size[:2]):
        raise UsageError(f"pictures of sizes {sorted(sizes)}: give one size of at most {MAX_SIDE} pixels a side")
    return Frame(number, tuple(pictures))
