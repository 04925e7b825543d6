"""Everything that reading a packet's symbols takes, as plain arrays for a decoder in another language. No torch.

    symbols.json    settings by name, and where each array lies: {"name": [type, shape, offset]}
    symbols.bin     the arrays, little-endian, each on a multiple of eight bytes

The arrays are those of the weights file: tables of frequencies, and the integer network that chooses among them. What
follows from the size of a frame is worked out in the browser (`static/scales.js`, `static/symbols.js`).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.codec import BITSTREAM_VERSION, FRAME_SIZE
from vidcodec.networks import integer, symbols
from vidcodec.networks.config import CELL, PATCH, Z_CELLS, ModelConfig
from vidcodec.networks.integer import IntegerScales
from vidcodec.networks.tables import read_tables
from vidcodec.networks.vectors import LIMIT, SPREADS
from vidcodec.watch import FORMAT
from vidcodec.weights import Weights


def describe(weights: Weights, model_id: str) -> tuple[bytes, bytes]:
    """The two files for a model with these weights.

    Raises:
        KeyError, ValueError: they are not of a learned model of this version.
    """
    sizes = ModelConfig.from_dict(weights.settings["sizes"])
    IntegerScales(weights.arrays, sizes.groups)  # checks that they are all there
    arrays = {f"tables.{name}": _whole(table.frequencies) for name, table in read_tables(weights.arrays).items()}
    arrays |= {name: _whole(array) for name, array in weights.arrays.items() if name.startswith("scales.")}
    arrays["log_magnitude"] = _whole(integer.LOG_MAGNITUDE)
    blob, places = bytearray(), {}
    for name, array in arrays.items():
        narrow = _narrow(array)
        blob += bytes(-len(blob) % 8)
        places[name] = [narrow.dtype.name, list(narrow.shape), len(blob)]
        blob += np.ascontiguousarray(narrow).astype(narrow.dtype.newbyteorder("<")).tobytes()
    facts = {
        "format": FORMAT,
        "bitstream": BITSTREAM_VERSION,
        "model_id": model_id,
        "weights_sha256": weights.sha256,
        "frame_size": FRAME_SIZE,
        "cells": FRAME_SIZE // CELL,
        "z_cells": Z_CELLS,
        "patch": PATCH,
        "latent": sizes.latent,
        "memory": sizes.memory,
        "groups": sizes.groups,
        "pattern": sizes.pattern,
        "intra_boost": sizes.intra_boost,
        "level_classes": symbols.LEVEL_CLASSES,
        "totals": symbols.TOTALS,
        "spreads": SPREADS,
        "motion_limit": LIMIT,
        "y_tables": integer.TABLES,
        "magnitude_cap": integer.MAGNITUDE_CAP,
        "lows": {name: low for name, (_, low, _) in symbols.TABLE_SHAPES.items()},
        "arrays": places,
    }
    return json.dumps(facts).encode(), bytes(blob)


def _whole(values: NDArray[Any]) -> NDArray[np.int32]:
    """The same numbers as 32-bit integers; raises ValueError if they are not whole or do not fit."""
    whole = np.asarray(values).astype(np.int64)
    if not np.array_equal(whole, values) or np.abs(whole).max(initial=0) >= 1 << 31:
        raise ValueError("an array that reads symbols holds something other than 32-bit whole numbers")
    return whole.astype(np.int32)


def _narrow(values: NDArray[np.int32]) -> NDArray[Any]:
    """In 16 bits, or 16 without sign, where that is enough."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low >= 0 and high < 1 << 16:
        return values.astype(np.uint16)
    return values.astype(np.int16) if low >= -(1 << 15) and high < 1 << 15 else values
