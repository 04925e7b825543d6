"""The transform that a model starts from: a colour DCT ordered by the energy that face video has in it."""

from __future__ import annotations

import numpy as np

from vidcodec.networks.config import CELL

# An orthonormal luma-chroma rotation of RGB, close to the Karhunen-Loeve transform of portraits.
_COLOUR = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3.0], [2.0], [6.0]])
# How much of the energy of a spatial frequency the three planes have, found on portraits and frame differences.
_PLANE_ENERGY = (1.0, 0.06, 0.02)


def _dct(size: int) -> np.ndarray:
    """Orthonormal DCT-II [frequency, sample]."""
    k, n = np.mgrid[0:size, 0:size]
    basis = np.cos(np.pi * (2 * n + 1) * k / (2 * size)) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)


def transform_basis(count: int) -> np.ndarray:
    """Orthonormal rows float32 [count, 768] over pixel-unshuffled cells (colour, row, column), strongest first."""
    dct = _dct(CELL)
    u, v = np.mgrid[0:CELL, 0:CELL]
    energy = np.multiply.outer(_PLANE_ENERGY, 1.0 / (1.0 + (u * u + v * v)) ** 1.1)
    order = np.argsort(-energy.reshape(-1), kind="stable")[:count]
    rows = np.einsum("pc,uy,vx->puvcyx", _COLOUR, dct, dct).reshape(3 * CELL * CELL, -1)
    return rows[order].astype(np.float32)
