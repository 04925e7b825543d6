"""From a run's best checkpoint to a weights file: half-precision networks, integer scale network, fitted tables."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidcodec.errors import InputError, reason_of
from vidcodec.learned import CELLS, LearnedCodec
from vidcodec.networks.config import ModelConfig
from vidcodec.networks.symbols import CountPort, walk
from vidcodec.networks.tables import empty_counts, fit_all
from vidcodec.packet import NUMBERS, Header
from vidcodec.train.cache import Item, open_cache
from vidcodec.train.checkpoint import load_checkpoint
from vidcodec.train.config import RunConfig
from vidcodec.train.data import Augmentation, ClipPool
from vidcodec.train.perceptual import PerceptualConfig
from vidcodec.weights import load_weights, save_weights

WEIGHT_UNIT = 64
FIT_FRAMES = (320, 6400)  # the second time with the costs that the first found
# Tables are fitted to what a call sends and not to all that networks must have met: a face that keeps its place in the
# crop, as the sender sees to, and seldom a light that changes. Vectors take 1 % fewer bits for it.
CALM = Augmentation(
    noise_share=0.15,
    skip_share=0.1,
    scale_low=0.95,
    scale_high=1.05,
    jitter_share=0.1,
    light_share=0.1,
    still_share=0.02,
)
NOTE = "Trained on research-only face data; retrain with `python -m vidcodec train` on data of your own for other uses."

# Names in a weights file and in the model.
_SCALE_NAMES = {
    "near": "near.weight",
    "here": "here.weight",
    "here_bias": "here.bias",
    "out": "out.weight",
    "out_bias": "out.bias",
}


def model_arrays(weights: dict[str, torch.Tensor], groups: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Arrays of a weights file but for the tables: `net.*` in half precision, `scales.*` in whole 64ths."""
    arrays: dict[str, NDArray[Any]] = {
        f"net.{name}": tensor.detach().cpu().numpy().astype(np.float16)
        for name, tensor in weights.items()
        if not name.startswith("scales.")
    }
    for number in range(2 * len(groups)):
        for ours, theirs in _SCALE_NAMES.items():
            tensor = weights[f"scales.steps.{number}.{theirs}"].detach().cpu().numpy().astype(np.float64)
            arrays[f"scales.{number}.{ours}"] = np.rint(tensor * WEIGHT_UNIT).clip(-32768, 32767).astype(np.int16)
    return arrays


def trained_weights(path: Path) -> dict[str, torch.Tensor]:
    """Inverse of `model_arrays` for a weights file: tensors by the model's names, to train on from.

    Raises InputError when the file cannot be read.
    """
    weights: dict[str, torch.Tensor] = {}
    for name, array in load_weights("s", path).arrays.items():
        kind, _, rest = name.partition(".")
        if kind == "net":
            weights[rest] = torch.from_numpy(array.astype(np.float32))
        elif kind == "scales":
            number, _, ours = rest.partition(".")
            theirs = _SCALE_NAMES[ours]
            weights[f"scales.steps.{number}.{theirs}"] = torch.from_numpy(array.astype(np.float32) / WEIGHT_UNIT)
    return weights


def fit_tables(codec: LearnedCodec, videos: Sequence[Item], frames: int, seed: int) -> dict[str, NDArray[np.uint16]]:
    """Tables counted over `frames` frames of running clips at qualities all over the range."""
    port = CountPort()
    pool = ClipPool(
        videos,
        [],
        batch=32,
        crop=192,
        lengths=(10, 200),
        augmentation=CALM,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    states = [codec.blank_state() for _ in pool.clips]
    qualities = rng.integers(0, 56, len(states))
    for _ in range(-(-frames // (len(states) * 5))):
        batch, starts, _ = pool.take(5)
        for slot in range(len(states)):
            if starts[slot]:
                states[slot], qualities[slot] = codec.blank_state(), rng.integers(0, 56)
            for k in range(5):
                number = states[slot].number
                following = 0 if number is None else (number + 1) % NUMBERS
                header = Header(following, 0 if number is None else 1, int(qualities[slot]))
                _, states[slot], symbols = codec.encode_symbols(batch[k, slot], states[slot], header)
                level = int(codec.sizes.level(header.quality, header.number, number is None))
                walk(port, codec.scales, CELLS, number is None, level, known=symbols)
    return fit_all(port.counts)


def trained_for(config: PerceptualConfig) -> dict[str, str]:
    """What a card says of a model for looks; nothing for one that learned from squared error alone."""
    if not config.weight and config.face_weight <= 1:
        return {}
    return {
        "trained_for": f"looks at low rates: squared error, the face weighted by {config.face_weight:g}, and "
        f"{config.weight:g} of LPIPS (AlexNet); not to be compared by squared error"
    }


def export(run: Path, out: Path) -> str:
    """Write `out`.safetensors and `out`.json from a run's `best.pt`; returns a line that says what was written.

    Raises InputError when the run cannot be read.
    """
    kept = load_checkpoint(run / "best.pt")
    settings = _settings(run / "config.json")
    try:
        sizes = ModelConfig.from_dict(json.loads(kept["sizes"]))
        arrays = model_arrays(kept["average"], sizes.groups)
        card = {
            "model_id": f"{out.name}-{kept['step']}",
            "steps": kept["step"],
            "training_seconds": round(kept["seconds"]),
            "dev_score": kept["score"],
            "data": [Path(s).name for s in settings["data"]["videos"] + settings["data"]["pictures"]],
            "terms": NOTE,
            **trained_for(PerceptualConfig(**settings.get("perceptual", {}))),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run}: best.pt or config.json is not of a run of this version ({error})") from error
    videos = open_cache(settings["data"]["videos"], settings["data"]["cache"])
    torch.set_num_threads(settings["threads"])
    tables = fit_all(empty_counts())
    precision = torch.bfloat16 if settings["autocast"] == "bf16" else torch.float32
    for frames in FIT_FRAMES:
        codec = LearnedCodec(
            {**arrays, **tables}, sizes, model_id=out.name, sha256="", device=torch.device("cpu"), precision=precision
        )
        tables = fit_tables(codec, videos, frames, seed=settings["seed"])
    file = weights_file(out)
    save_weights(file, {**arrays, **tables}, card, {"sizes": sizes.to_dict()})
    return f"{file}: {file.stat().st_size / 1e6:.2f} MB, step {kept['step']}, score {kept['score']:.4f}"


def weights_file(out: Path) -> Path:
    """The file of a stem. Not by `with_suffix`, which would take the end of `s-1.5` for one."""
    return out.with_name(f"{out.name}.safetensors")


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {reason_of(error)}; start the run again, which writes it") from error
    return settings


def refit(weights: Path, config: RunConfig, out: Path) -> str:
    """Write `out`.safetensors and `out`.json: the networks of a weights file with tables fitted to a schedule's videos.

    Such weights read no packet of the old ones, so their id says how often their tables were fitted. Returns a line
    that says what was written. Raises InputError when they cannot be read or do not fit.
    """
    old = load_weights("s", weights)
    codec = LearnedCodec.of(old, device="cpu", threads=config.threads)
    videos = open_cache(config.data.videos, config.data.cache)
    tables = fit_tables(codec, videos, FIT_FRAMES[-1], seed=config.seed)
    fitted = re.fullmatch(r"(.*)-t(\d+)", codec.info.model_id)
    model_id = f"{fitted[1]}-t{int(fitted[2]) + 1}" if fitted else f"{codec.info.model_id}-t2"
    card = {**old.card, "model_id": model_id}
    file = weights_file(out)
    save_weights(file, {**old.arrays, **tables}, card, old.settings)
    return f"{file}: {model_id}, tables fitted to {FIT_FRAMES[-1]} frames"
