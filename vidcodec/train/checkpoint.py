"""Checkpoints: written whole or not at all, read without pickle."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidcodec.errors import InputError, reason_of


def save_checkpoint(path: Path, values: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries of them; a kill leaves the old file or the new one.

    Raises InputError when it cannot be written.
    """
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        torch.save(values, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError of a disk that is full
        part.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({reason_of(error)})") from error


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; raises InputError when it is missing or damaged."""
    try:
        values: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: {reason_of(error)}; give a checkpoint") from error
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: not a readable checkpoint") from error
    return values


def load_matching(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Load every tensor whose name and shape fit; returns the names of the model's that were left as they are.

    A deeper model grown from a shallower one keeps what was learned: new blocks start as the identity.
    """
    own = model.state_dict()
    fit = {name: t for name, t in weights.items() if name in own and own[name].shape == t.shape}
    model.load_state_dict(fit, strict=False)
    return sorted(set(own) - set(fit))


class Average:
    """Exponential moving average of a model's weights; follows faster at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: t.detach().clone().float() for name, t in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's present weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, t in model.state_dict().items():
                self.weights[name].lerp_(t.float(), 1 - decay)
