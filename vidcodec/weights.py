"""Weights: a safetensors file and a JSON model card beside it, found from a checkout and from an installed wheel."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import InputError, reason_of

SETTINGS = "settings"  # name of the entry in a file's metadata


@dataclass(frozen=True)
class Weights:
    """A model's arrays by name, its settings, its card, and the sha256 of the safetensors file (64 hexadecimal digits).

    The settings stand in the file itself: whatever decoding depends on is under the hash that two ends compare. The
    card is for people.
    """

    arrays: Mapping[str, NDArray[Any]]
    settings: Mapping[str, Any]
    card: Mapping[str, Any]
    sha256: str
    path: Path


def weights_dir() -> Path:
    """The folder of the bundled weights: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def load_weights(model: str, path: Path | None = None) -> Weights:
    """Read a model's weights and card.

    Args:
        model: the name of a bundled model, such as `seed`.
        path: a safetensors file to read instead; its card lies beside it with the ending `.json`.

    Raises:
        InputError: a file is missing or is not what its ending says.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    file = path or weights_dir() / f"{model}.safetensors"
    at = file
    try:
        data = at.read_bytes()
        arrays = load(data)
        settings = json.loads(_metadata(data).get(SETTINGS, "{}"))
        at = file.with_suffix(".json")
        card = json.loads(at.read_text("utf-8"))
    except KeyError as error:  # what safetensors says of a type that numpy lacks
        raise InputError(
            f"weights {at}: holds {error.args[0]}, which is no type of ours; give other weights"
        ) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"weights {at}: {reason_of(error)}; give --weights FILE or reinstall the package") from error
    return Weights(arrays, settings, card, hashlib.sha256(data).hexdigest(), file)


def _metadata(data: bytes) -> dict[str, str]:
    """The strings of a safetensors file's header: eight bytes of length, little-endian, and a JSON object."""
    length = int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return found


def save_weights(
    file: Path,
    arrays: Mapping[str, NDArray[Any]],
    card: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write weights, with their settings, and card so that a reader never sees half a file.

    Raises:
        InputError: they cannot be written.
    """
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    data = save(contiguous, {SETTINGS: json.dumps(settings)} if settings else None)
    full_card = {**card, "sha256": hashlib.sha256(data).hexdigest()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for target, content in (
            (file, data),
            (file.with_suffix(".json"), json.dumps(full_card, indent=2).encode() + b"\n"),
        ):
            partial = target.with_name(target.name + ".partial")
            partial.write_bytes(content)
            partial.replace(target)
    except OSError as error:
        raise InputError(f"weights {file}: cannot be written ({reason_of(error)})") from error
