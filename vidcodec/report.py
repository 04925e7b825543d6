"""The report of a call: JSON with stable names, the same from both ends.

    frames_captured frames_sent frames_shown frames_lost duration_s fps payload_kbps wire_kbps mse psnr_db ms_ssim
    baseline {codec scale kbps mse psnr_db}
    latency_ms {capture crop encode network decode display total: each {p50 p95 p99}}
    codec {model_id weights_sha256 device precision}   quality {min mean max}   first_frame_s

What was not measured is null; no field is ever missing. `docs/report.md` says how each figure is taken.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vidcodec.errors import InputError, reason_of

STAGES = ("capture", "crop", "encode", "network", "decode", "display", "total")


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that 50, 95 and 99 % of the frames did not exceed; None before the first frame."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, values_ms: Sequence[float]) -> "Percentiles":
        """Nearest-rank percentiles (every one is a value that was measured)."""
        if not values_ms:
            return cls()
        ordered = sorted(values_ms)
        p50, p95, p99 = (round(ordered[-(-len(ordered) * share // 100) - 1], 3) for share in (50, 95, 99))
        return cls(p50, p95, p99)


@dataclass(frozen=True, slots=True)
class Latency:
    """Delay of shown frames by stage, milliseconds; the six stages of a frame add up to its total.

    Attributes:
        capture: from the source's picture to the frame path taking it.
        crop: cropping and resizing.
        encode: coding, up to the link.
        network: from the sender's link to the receiver's.
        decode: waiting for the decoder and decoding.
        display: waiting for the screen and drawing.
        total: from the source's picture to the screen.
    """

    capture: Percentiles = Percentiles()
    crop: Percentiles = Percentiles()
    encode: Percentiles = Percentiles()
    network: Percentiles = Percentiles()
    decode: Percentiles = Percentiles()
    display: Percentiles = Percentiles()
    total: Percentiles = Percentiles()


@dataclass(frozen=True, slots=True)
class BaselineFigures:
    """The same frames through a usual codec: wire rate (headers counted) and error over the shown frames."""

    codec: str = "none"
    scale: int = 1
    kbps: float | None = None
    mse: float | None = None
    psnr_db: float | None = None


@dataclass(frozen=True, slots=True)
class CodecFigures:
    """Which codec ran at the end that wrote the report; None for what was not known when the call failed."""

    model_id: str
    weights_sha256: str | None = None
    device: str | None = None
    precision: str | None = None


@dataclass(frozen=True, slots=True)
class QualityRange:
    """Rate points of the sent frames."""

    min: int | None = None
    mean: float | None = None
    max: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one call; see the module's text and `docs/report.md`."""

    codec: CodecFigures
    frames_captured: int = 0
    frames_sent: int = 0
    frames_shown: int = 0
    frames_lost: int = 0
    duration_s: float = 0.0
    fps: float = 0.0
    payload_kbps: float = 0.0
    wire_kbps: float = 0.0
    mse: float | None = None
    psnr_db: float | None = None
    ms_ssim: float | None = None
    baseline: BaselineFigures = BaselineFigures()
    latency_ms: Latency = Latency()
    quality: QualityRange = field(default_factory=QualityRange)
    first_frame_s: float | None = None

    def to_json(self) -> str:
        """The report as JSON text, fields in the documented order."""
        fields = asdict(self)
        codec = fields.pop("codec")
        quality = fields.pop("quality")
        return json.dumps({**fields, "codec": codec, "quality": quality}, indent=2) + "\n"


def check_writable(path: str | None, option: str) -> None:
    """Fail before a call, not after it.

    Raises:
        InputError: the folder of `path` does not exist and cannot be made, or `path` is a folder.
    """
    if path is None:
        return
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(21, "is a folder")
        existed = target.exists()
        target.open("ab").close()
        if not existed:
            target.unlink()
    except OSError as error:
        raise InputError(f"{option} {path}: {reason_of(error)}; give a file in a folder that can be written") from error


def write_report(report: Report, path: str | Path) -> None:
    """Write a report so that a reader never sees half of it.

    Raises:
        InputError: the file cannot be written.
    """
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(report.to_json(), "utf-8")
        partial.replace(target)
    except OSError as error:
        raise InputError(f"--report {path}: {reason_of(error)}; give a file in a folder that can be written") from error
