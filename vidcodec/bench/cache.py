"""Results kept between runs, keyed by everything they depend on, so that a second run measures only what changed."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from vidcodec.bench.clips import Clip
from vidcodec.bench.coders import LOOKS_MODELS, MODELS, Spec
from vidcodec.bench.measure import LPIPS_FRAMES, METHOD, MS_SSIM_EVERY, Point

_CODEC_SOURCES = ("codec.py", "packet.py", "entropy.py", "stills.py", "learned.py", "devices.py", "networks/*.py")
_PEER_SOURCES = ("colour.py", "baselines/scaling.py", "baselines/video.py", "baselines/still.py")


def default_folder() -> Path:
    """`vidcodec/bench` in the user's cache folder (XDG_CACHE_HOME or ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidcodec" / "bench"


class Cache:
    """A folder of small JSON files, one a point.

    Args:
        folder: where; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._versions = {True: _versions(_CODEC_SOURCES), False: _versions(_PEER_SOURCES)}

    def key(self, clip: Clip, spec: Spec, level: int, lpips: bool) -> str:
        """Hexadecimal name of a point: clip content, codec settings, versions of the code that makes it."""
        own = getattr(spec, "model", None) in MODELS + LOOKS_MODELS
        parts: dict[str, Any] = {
            "clip": clip.sha256,
            "spec": spec.key(),
            "level": level,
            "method": [METHOD, MS_SSIM_EVERY, LPIPS_FRAMES if lpips else 0],
            "code": self._versions[own],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def get(self, key: str, clip: Clip, spec: Spec) -> Point | None:
        """A point measured before, or None. A damaged file counts as none."""
        if self.folder is None:
            return None
        try:
            values = json.loads((self.folder / f"{key}.json").read_text("utf-8"))
            return Point.from_json({**values, "clip": clip.name, "codec": spec.name})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, point: Point) -> None:
        """Keep a point; a full or read-only disk costs only the time of the next run."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = self.folder / f"{key}.{os.getpid()}.partial"
            partial.write_text(json.dumps(point.to_json()), "utf-8")
            partial.replace(self.folder / f"{key}.json")
        except OSError:
            self.folder = None


def _versions(patterns: tuple[str, ...]) -> dict[str, str]:
    """Library versions, and a digest of the source files that make the packets and the pictures."""
    import cv2  # before av, or OpenCV windows hang

    import av  # isort: skip

    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(package.glob(pattern)):
            digest.update(path.read_bytes())
    return {"av": av.__version__, "cv2": cv2.__version__, "source": digest.hexdigest()}
