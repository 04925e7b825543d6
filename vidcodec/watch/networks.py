"""The decoder's networks as ONNX graphs: torch in, bytes out.

The graphs are traced from the very modules that decode here, so that whatever they become, the browser runs the same.
Two of them, since a frame without motion needs no warp:

    warp    picture, memory, vectors                           -> picture, memory
    decode  picture, memory (both warped), vectors, symbols,
            intra, level                                       -> picture, memory, pixels

All of one frame: picture float [1, 3, H, W] in 0..1, memory float [1, M, H/8, W/8], vectors float [1, h, w, 2] in half
pixels, symbols float [1, C, h, w], intra float [1] in {0, 1}, level int64 [1]; pixels uint8 [H, W, 4], RGBA.
"""

from __future__ import annotations

import copy
import logging
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcodec.codec import FRAME_SIZE
from vidcodec.errors import MissingExtra
from vidcodec.networks.blocks import Block
from vidcodec.networks.config import CELL
from vidcodec.networks.model import Reference, VideoModel, news_of

OPSET = 20
CELLS = FRAME_SIZE // CELL


class Warp(nn.Module):
    """`VideoModel.warped`."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, picture: Tensor, memory: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """What comes out is a `Reference`."""
        return tuple(self.model.warped(Reference(picture, memory), vectors))  # type: ignore[return-value]


class Decode(nn.Module):
    """From a frame's symbols to the next reference and what is shown of it."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(  # noqa: PLR0917
        self, picture: Tensor, memory: Tensor, vectors: Tensor, symbols: Tensor, intra: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the module; the reference is warped already."""
        context = Reference(picture, memory)
        y_hat = self.model.latent(symbols, context, level)
        held = self.model.synthesise(y_hat, news_of(symbols, vectors, intra > 0), context, level)
        colours = (held.picture[0].permute(1, 2, 0) * 255 + 0.5).clamp(0, 255)
        pixels = torch.cat([colours, torch.full_like(colours[..., :1], 255)], -1).to(torch.uint8)
        return held.picture, held.memory, pixels


class PlanarBlock(nn.Module):
    """`Block`, with its matrix products as 1x1 convolutions of planes.

    A depthwise convolution wants planes, and in a browser moving features there and back costs more than it does. What
    is left at the ends of a block cancels with its neighbour's.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """As `Block.forward`."""
        block = self.block
        planes = x.permute(0, 3, 1, 2)
        h = F.relu(F.conv2d(planes, block.enter.weight[..., None, None], block.enter.bias))
        h = F.relu(block.depthwise(h))
        h = planes + F.conv2d(h, block.leave.weight[..., None, None], block.leave.bias)
        return h.permute(0, 2, 3, 1)


def _planar(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if type(child) is Block:
            setattr(module, name, PlanarBlock(child))
        else:
            _planar(child)


def graphs(model: VideoModel) -> dict[str, bytes]:
    """The ONNX graphs by name.

    Raises:
        MissingExtra: what writes ONNX files is not installed.
    """
    model = copy.deepcopy(model)
    _planar(model)
    blank = model.blank(1, FRAME_SIZE, FRAME_SIZE, torch.device("cpu"))
    vectors = torch.ones(1, CELLS, CELLS, 2)
    symbols = torch.ones(1, model.config.latent, CELLS, CELLS)
    held = {"picture": blank.picture, "memory": blank.memory, "vectors": vectors}
    frame = {"symbols": symbols, "intra": torch.zeros(1), "level": torch.tensor([32])}
    return {
        "warp": _export(Warp(model), held, ["warped_picture", "warped_memory"]),
        "decode": _export(Decode(model), {**held, **frame}, ["next_picture", "next_memory", "pixels"]),
    }


def _export(module: nn.Module, inputs: dict[str, Any], outputs: list[str]) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=outputs,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise MissingExtra(f"{error.name or 'onnx'} is missing", "watch") from error
    assert program is not None
    return bytes(program.model_proto.SerializeToString())
