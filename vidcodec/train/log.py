"""What a run says about itself: a progress line, a log of records, and curves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vidcodec.errors import InputError, MissingExtra, reason_of


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises InputError where what is written to a run's folder cannot be."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason_of(error)})") from error


class RunLog:
    """Appends records to `log.jsonl` in a run's folder and draws them as `curves.png`.

    Raises:
        MissingExtra: what draws is not installed.
        InputError: the folder cannot be made or written; so raise `add` and `draw`.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("matplotlib") is None:
            raise MissingExtra("training draws with matplotlib", "bench")
        self.path = folder / "log.jsonl"
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.path.open("a").close()

    def add(self, kind: str, **values: Any) -> None:
        """Append one record; `kind` is `step` or `score`."""
        with writing(self.path), open(self.path, "a") as file:
            file.write(json.dumps({"kind": kind, "time": time.time(), **values}) + "\n")

    def records(self, kind: str) -> list[dict[str, Any]]:
        """All records of a kind, oldest first; a half-written last line is left out."""
        found: list[dict[str, Any]] = []
        if not self.path.is_file():
            return found
        for line in self.path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record["kind"] == kind:
                found.append(record)
        return found

    def draw(self) -> None:
        """Curves of loss, bits per pixel, PSNR and score over steps, as `curves.png` and `curves.json`."""
        from matplotlib.figure import Figure

        steps, scores = self.records("step"), self.records("score")
        figure = Figure(figsize=(10, 6), layout="constrained")
        axes = figure.subplots(2, 2)
        for axis, name in zip(axes.flat[:3], ("loss", "bpp", "psnr_db"), strict=True):
            axis.plot([r["step"] for r in steps], [r[name] for r in steps])
            axis.set(title=name, xlabel="step")
        axes[1, 1].plot([r["step"] for r in scores], [r["score"] for r in scores], "o-")
        axes[1, 1].set(title="score on development clips (lower is better)", xlabel="step")
        with writing(self.folder):
            figure.savefig(self.folder / "curves.png", dpi=80)
        kept = {
            name: [[r["step"], r[name]] for r in records]
            for records, names in ((steps, ("loss", "bpp", "psnr_db", "frames_per_s")), (scores, ("score",)))
            for name in names
        }
        with writing(self.folder):
            (self.folder / "curves.json").write_text(json.dumps(kept))


def progress_line(
    step: int, steps: int, frames_per_s: float, left_s: float, *, loss: float, bpp: float, psnr_db: float
) -> str:
    """One line: where the run is, how fast, how good and how long it will take."""
    left = f"{int(left_s // 3600)}:{int(left_s % 3600 // 60):02d}:{int(left_s % 60):02d}"
    return (
        f"step {step}/{steps}  {frames_per_s:5.1f} frames/s  loss {loss:7.4f}  "
        f"bpp {bpp:.4f}  PSNR {psnr_db:5.2f} dB  left {left}"
    )
