"""Entropy tables: from counts and a prior to rows of integers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vidcodec.entropy import Tables
from vidcodec.networks.integer import TABLES, Ints
from vidcodec.networks.symbols import SYMBOL_LIMIT, TABLE_SHAPES

TOTAL = 65535  # sum of each row; fits the file's 16-bit integers
DEAD = 8  # the first tables of y code nothing but zero: a symbol there would be a surprise of 13 bits and more
SCALE_LOW, STEPS_PER_UNIT = 0.02, 8  # as in vidcodec.networks.scales
PRIOR_WEIGHT = 30.0


def fit(counts: NDArray[np.number], prior: NDArray[np.floating], used: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Frequencies [rows, columns] from counts and a prior distribution, zero outside `used`, each row summing to TOTAL.

    Every used column gets at least 1.
    """
    mixed = (counts + PRIOR_WEIGHT * prior) * used
    share = mixed / mixed.sum(1, keepdims=True)
    width = used.sum(1, keepdims=True)
    frequencies = np.where(used, 1 + np.floor(share * (TOTAL - width)), 0).astype(np.int64)
    best = frequencies.argmax(1)
    frequencies[np.arange(len(best)), best] += TOTAL - frequencies.sum(1)
    return frequencies.astype(np.uint16)


def laplace_rows() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Prior and used columns of the tables of y: discretised Laplace densities, each cut where it has died out."""
    values = np.abs(np.arange(-SYMBOL_LIMIT, SYMBOL_LIMIT + 1))
    scale = SCALE_LOW * np.exp(np.arange(TABLES) / STEPS_PER_UNIT)[:, None]
    centre = 1 - np.exp(-0.5 / scale)
    tail = 0.5 * np.exp(-(values - 0.5) / scale) * (1 - np.exp(-1 / scale))
    prior = np.where(values == 0, centre, tail)
    reach = np.minimum(SYMBOL_LIMIT, np.ceil(8 + 16 * scale))
    reach[:DEAD] = 0
    return prior / prior.sum(1, keepdims=True), values <= reach


def side_prior(name: str) -> NDArray[np.float64]:
    """A mild prior for the other tables: small magnitudes first."""
    rows, low, high = TABLE_SHAPES[name]
    values = np.abs(np.arange(low, high + 1))
    prior = 0.3 / (1.0 + values) ** 2 if name == "motion" else 1.0 / (4.0 + values)
    return np.tile(prior / prior.sum(), (rows, 1))


def fit_all(counts: Mapping[str, Ints]) -> dict[str, NDArray[np.uint16]]:
    """Arrays `tables.NAME` of a weights file from what was counted."""
    arrays: dict[str, NDArray[np.uint16]] = {}
    for name, (rows, low, high) in TABLE_SHAPES.items():
        if name == "y":
            prior, used = laplace_rows()
        else:
            prior, used = side_prior(name), np.ones((rows, high - low + 1), bool)
        if name == "z":  # a cell's level is at most that of its group's total
            levels = np.arange(high + 1)
            used = np.tile(levels, (rows, 1)) <= np.tile(levels, rows // len(levels))[:, None]
        arrays[f"tables.{name}"] = fit(counts[name], prior, used)
    return arrays


def empty_counts() -> dict[str, Ints]:
    """Counts of nothing: `fit_all` then gives the priors."""
    return {name: np.zeros((rows, high - low + 1), np.int64) for name, (rows, low, high) in TABLE_SHAPES.items()}


def read_tables(arrays: Mapping[str, NDArray[np.integer]]) -> dict[str, Tables]:
    """Tables of a weights file; raises KeyError or ValueError when they are missing or malformed."""
    tables = {}
    for name, (rows, low, high) in TABLE_SHAPES.items():
        array = arrays[f"tables.{name}"]
        if array.shape != (rows, high - low + 1):
            raise ValueError(f"tables.{name} has shape {array.shape}")
        tables[name] = Tables(array.astype(np.int64), low)
    return tables
