"""A model whose wide layers are in another precision, cast once: what autocast does, without casting weights in every
frame."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from vidcodec.networks.model import VideoModel


def in_precision(model: VideoModel, dtype: torch.dtype) -> VideoModel:
    """A copy whose trunks and last layers multiply in `dtype`, depthwise weights channels-last.

    Linear transforms, means, heads, the picture's way into the last layers and whatever it is summed from stay in fp32:
    they carry a picture's large values, and they are a tenth of the work.
    """
    model = copy.deepcopy(model)
    for trunk in (model.analysis_trunk, model.synthesis_trunk):
        trunk.to(dtype)
        for layer in (trunk.enter, trunk.by_quality):
            _takes(layer, dtype)
    for head in (model.analysis_head, model.synthesis_head):
        _takes(head, torch.float32)
    if model.fine is not None:
        model.fine.to(dtype)
        _takes(model.fine.enter.float(), torch.float32)
        _gives(model.fine.enter, dtype)
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return model


def _takes(layer: nn.Module, dtype: torch.dtype) -> None:
    """Whatever comes in is brought to the precision of the layer's weights."""

    def cast(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        return (inputs[0].to(dtype),)

    layer.register_forward_pre_hook(cast)


def _gives(layer: nn.Module, dtype: torch.dtype) -> None:
    """Whatever comes out is brought to this precision."""

    def cast(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output.to(dtype)

    layer.register_forward_hook(cast)
