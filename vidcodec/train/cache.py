"""Videos and pictures decoded once into memory-mapped arrays of 8-bit RGB."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vidcodec.errors import InputError, reason_of

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm"})
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
CACHE_VERSION = 1
"""A part of every cache key: raise it when decoding changes. It was not raised when turned videos and those without
square pixels came to be decoded as a call sees them: all others decode as before, and are most of any data. What a
cache kept of such a video before that has to be deleted by hand."""


@dataclass(frozen=True)
class Item:
    """One take (or one set of pictures).

    frames: uint8 RGB [N, H, W, 3], memory-mapped, read only.
    ordered: True for a video, False when each frame is a picture of its own.
    person, source: who is seen and where the take comes from; a file without a list entry stands for itself.
    """

    name: str
    frames: np.ndarray
    fps: float
    person: str
    source: str
    ordered: bool


def open_cache(
    sources: str | Path | Sequence[str | Path], cache_dir: str | Path, *, ordered: bool = True
) -> list[Item]:
    """Items of folders, files or glob patterns (`stills/train_*.mp4`), decoded into `cache_dir` on first use.

    A folder `takes/` may have a list beside it, `takes.json`: objects with `file`, `person` and `source`.
    Set `ordered=False` for videos whose frames are unrelated pictures. Order of the result: by source, then name.

    Raises InputError when a source does not exist, is empty or cannot be decoded, and when the cache cannot be written.
    """
    names = [sources] if isinstance(sources, str | Path) else list(sources)
    items: list[Item] = []
    for name in names:
        paths = list(_files(Path(name)))
        if not paths:
            raise InputError(f"{name}: no video or picture found; give a folder, a file or a pattern")
        lists: dict[Path, dict[str, Any]] = {}
        for path in paths:
            listed = lists.setdefault(path.parent, _list_beside(path.parent)).get(path.name, {})
            frames, fps = _decoded(path, Path(cache_dir))
            items.append(
                Item(
                    name=path.stem,
                    frames=frames,
                    fps=fps,
                    person=str(listed.get("person", path.stem)),
                    source=str(listed.get("source", path.parent.name)),
                    ordered=ordered and len(frames) > 1,
                )
            )
    return items


def item_weights(items: Sequence[Item]) -> np.ndarray:
    """Probability of drawing each item, float64 [len(items)], summing to 1.

    Each source counts by the square root of its people, each person of a source alike, each take by its frames: a
    studio that gave hundreds of short takes of the same few people does not drown the rest.
    """
    people: dict[str, dict[str, int]] = {}
    for item in items:
        of_source = people.setdefault(item.source, {})
        of_source[item.person] = of_source.get(item.person, 0) + len(item.frames)
    weights = np.array([len(people[i.source]) ** -0.5 * len(i.frames) / people[i.source][i.person] for i in items])
    return weights / weights.sum()


def _files(source: Path) -> Iterator[Path]:
    """Videos and pictures of one source, sorted by name."""
    if source.is_dir():
        found: Iterable[Path] = source.iterdir()
    elif source.exists():
        found = [source]
    else:
        found = source.parent.glob(source.name) if source.parent.is_dir() else []
    yield from sorted(p for p in found if p.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES and p.is_file())


def _list_beside(folder: Path) -> dict[str, Any]:
    """Entries of `folder.json` by file name; empty where there is none."""
    path = folder.with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        return {entry["file"]: entry for entry in json.loads(path.read_text())}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not a list of takes with a `file` each ({error})") from error


def _decoded(path: Path, cache_dir: Path) -> tuple[np.ndarray, float]:
    """Frames of one file, from the cache; decodes and stores them first if they are not there."""
    # By what is in it: a copy of the data under another path or with another date is not decoded and kept once more.
    digest = hashlib.sha256(f"{CACHE_VERSION}:".encode())
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise InputError(f"{path}: {reason_of(error)}; give a video or picture that can be read") from error
    stem = f"{path.stem}-{digest.hexdigest()[:16]}"
    data_path, meta_path = cache_dir / f"{stem}.npy", cache_dir / f"{stem}.json"
    kept = _kept(data_path, meta_path)
    if kept is None:
        frames, fps = read_frames(path)
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            _store(data_path, lambda file: np.save(file, frames, allow_pickle=False))
            _store(meta_path, lambda file: file.write(json.dumps({"fps": fps}).encode()))
        except OSError as error:
            size = f"{path.name} takes {frames.nbytes / 2**20:.0f} MiB"
            raise InputError(f"cache {cache_dir}: {reason_of(error)} ({size}); name another folder") from error
        kept = _kept(data_path, meta_path)
        if kept is None:
            raise InputError(f"cache {cache_dir}: {data_path.name} does not come back as it was written")
    return kept


def _kept(data_path: Path, meta_path: Path) -> tuple[np.ndarray, float] | None:
    """What the cache holds of a file. A damaged entry, such as a machine that stopped leaves, counts as none."""
    try:
        fps = float(json.loads(meta_path.read_text())["fps"])
        return np.load(data_path, mmap_mode="r", allow_pickle=False), fps
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _store(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name and rename it: a kill leaves no half file, and two writers do no harm."""
    own = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with own.open("wb") as file:
            write(file)
        os.replace(own, path)
    finally:
        own.unlink(missing_ok=True)


def read_frames(path: Path) -> tuple[np.ndarray, float]:
    """All frames of a video or picture: uint8 RGB [N, H, W, 3] and frames per second (1.0 for a picture).

    They are upright and of square pixels, as a call has them.
    """
    import cv2  # noqa: F401 - before PyAV, or OpenCV windows hang

    import av  # isort: skip

    from sender.videofile import upright

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            fps = float(stream.average_rate or 1.0)
            pictures = [upright(frame, stream.sample_aspect_ratio) for frame in container.decode(stream)]
    except (av.error.FFmpegError, IndexError, OSError) as error:
        why = reason_of(error, "no picture in it")
        raise InputError(f"{path}: cannot be decoded ({why}); give a video or picture that ffmpeg reads") from error
    if not pictures or any(p.shape != pictures[0].shape for p in pictures):
        raise InputError(f"{path}: no frames, or frames of different sizes")
    return np.stack(pictures), fps if len(pictures) > 1 else 1.0
