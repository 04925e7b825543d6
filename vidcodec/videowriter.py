"""Writing pictures to a video file: lossless FFV1, viewable H.264, or a row of PNG files, by the file's ending."""

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import cv2

# PyAV after OpenCV: the other way round cv2.imshow hangs.
# isort: split
import av

from vidcodec.codec import Frame
from vidcodec.errors import InputError, UsageError, reason_of

T = TypeVar("T")
ENDINGS = (".mkv", ".mp4", ".png")


class VideoWriter:
    """Writes RGB pictures of one size.

    `.mkv` is FFV1 in RGB: the very pixels come back. `.mp4` is H.264, fragmented every second, so that a file cut short
    by a kill still plays. `.png` numbers the files: `face.png` becomes `face_00000.png`, `face_00001.png`, ...

    Args:
        path: the file to write; its folder must exist.
        fps: frames a second.

    Raises:
        UsageError: another ending.
        InputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path = Path(path)
        self.frames = 0
        # A rate too low for such a fraction would be rounded to none, and a picture would have no time.
        self._rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        self._container: Any = None
        self._file: Any = None
        self._stream: Any = None
        ending = self.path.suffix.lower()
        if ending not in ENDINGS:
            raise UsageError(f"{path}: cannot write {ending or 'a file without ending'}; use {', '.join(ENDINGS)}")
        self._png = ending == ".png"
        if self._png:
            if not self.path.parent.is_dir():
                raise InputError(f"{path}: no such folder")
            return
        # A path that cannot be written is known now; what stands there is not written over before the first picture.
        is_new = not self.path.exists()
        self._guarded(lambda: open(self.path, "ab").close())
        if is_new:
            self.path.unlink()

    @property
    def names(self) -> str:
        """The file that was written, or the first and the last of several."""
        if not self._png or not self.frames:
            return str(self.path)
        first, last = self._numbered(0), self._numbered(self.frames - 1)
        return str(first) if first == last else f"{first} .. {last.name}"

    def _numbered(self, index: int) -> Path:
        return self.path.with_name(f"{self.path.stem}_{index:05d}.png")

    def _add_stream(self, height: int, width: int) -> None:
        is_mkv = self.path.suffix.lower() == ".mkv"
        options = {"flush_packets": "1"}
        if not is_mkv:
            # A fragment a second: what was written before a kill can be played, and the file is no larger for it.
            options["movflags"] = "frag_keyframe+empty_moov+default_base_moof"
        self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115 (closed in close)
        self._container = av.open(self._file, "w", format="matroska" if is_mkv else "mp4", options=options)
        if is_mkv:
            stream = self._container.add_stream("ffv1", rate=self._rate)
            stream.pix_fmt = "bgr0"
        else:
            stream = self._container.add_stream("libx264", rate=self._rate)
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "16", "preset": "veryfast", "g": str(max(1, round(self._rate)))}
        stream.height, stream.width = height, width
        self._stream = stream

    def write(self, picture: Frame) -> None:
        """Append a picture, `[H, W, 3]` uint8 RGB; H.264 wants even sides.

        Raises:
            InputError: the disk is full or the file went away.
        """
        if self._png:
            file = self._numbered(self.frames)
            # cv2.imwrite gives no reason, takes few names on Windows, and crashes on one that is not UTF-8.
            data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
            try:
                file.write_bytes(data.tobytes())
            except OSError as error:
                raise InputError(f"{file}: {reason_of(error)}") from error
        else:
            if self._stream is None:
                self._guarded(lambda: self._add_stream(*picture.shape[:2]))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = self.frames
            frame.time_base = 1 / self._rate
            self._guarded(lambda: self._container.mux(self._stream.encode(frame)))
        self.frames += 1

    def close(self) -> None:
        """Finish the file. A writer that got no picture leaves no file behind, and one that was there as it was.

        Raises:
            InputError: the disk is full or the file went away.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        with ExitStack() as closing:
            if not self.frames:
                closing.callback(self.path.unlink, missing_ok=True)
            closing.callback(file.close)
            if self._container is not None:
                closing.callback(self._guarded, self._container.close)
            if self.frames:
                self._guarded(lambda: self._container.mux(self._stream.encode(None)))

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(f"{self.path}: {reason_of(error)}") from error

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
