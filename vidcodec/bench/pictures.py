"""Sets of single pictures: portraits stored as the frames of a video, frames of clips, picture files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.bench.clips import VIDEO_ENDINGS, to_square
from vidcodec.errors import InputError

Frame = NDArray[np.uint8]

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm")
LONG = 1.25


def squares(picture: Frame) -> list[Frame]:
    """The picture's square parts as `[192, 192, 3]`: one, or two (both ends) when it is long."""
    height, width = picture.shape[:2]
    side = min(height, width)
    if max(height, width) < LONG * side:
        return [to_square(picture)]
    return [to_square(picture[:side, :side]), to_square(picture[height - side :, width - side :])]


def read_pictures(sources: Sequence[str | Path], most: int) -> NDArray[np.uint8]:
    """At most `most` pictures `[N, 192, 192, 3]` uint8 RGB, spread evenly over all that the sources hold.

    Args:
        sources: pictures, videos (every frame is a picture), or folders of either.
        most: how many to keep.

    Raises:
        InputError: a source is missing or holds nothing readable.
    """
    files = [file for source in sources for file in _files(Path(source))]
    counts = [_count(file) for file in files]
    total = sum(counts)
    wanted = np.unique(np.linspace(0, total - 1, min(most, total)).round().astype(int)) if total else np.empty(0, int)
    kept: list[Frame] = []
    first = 0
    for file, count in zip(files, counts, strict=True):
        inside = wanted[(wanted >= first) & (wanted < first + count)] - first
        for picture in _read(file, set(inside.tolist())):
            kept += squares(picture)
        first += count
    if not kept:
        raise InputError(f"pictures {', '.join(map(str, sources))}: nothing readable in there")
    return np.stack(kept)


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_ENDINGS + PICTURE_ENDINGS)
    if not source.is_file():
        raise InputError(f"pictures {source}: no such file or folder")
    return [source]


def _count(file: Path) -> int:
    """How many pictures a file holds."""
    if file.suffix.lower() in PICTURE_ENDINGS:
        return 1
    capture = cv2.VideoCapture(str(file))
    try:
        said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if said > 0:
            return said
        count = 0
        while capture.grab():
            count += 1
        return count
    finally:
        capture.release()


def _read(file: Path, wanted: set[int]) -> Iterator[Frame]:
    """The wanted pictures of a file, by their place in it."""
    if not wanted:
        return
    if file.suffix.lower() in PICTURE_ENDINGS:
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"picture {file}: cannot be read")
        yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
        return
    capture = cv2.VideoCapture(str(file))
    try:
        for place in range(max(wanted) + 1):
            if not capture.grab():
                return
            if place in wanted:
                done, frame = capture.retrieve()
                if done:
                    yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()
