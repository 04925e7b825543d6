"""A decoder in a process of its own: it sees packets and nothing else.

What a benchmark measures is what this process returns, so no encoder state, no original and no cached picture can
leak into a figure. It lives as long as its parent holds it, and ends when the pipe closes.
"""

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.bench.coders import Spec
from vidcodec.bench.processes import end_with_parent
from vidcodec.errors import VidcodecError

Frame = NDArray[np.uint8]

START_S = 120.0


@dataclass(frozen=True)
class Decoded:
    """Pictures and the CPU time that each took."""

    pictures: list[Frame]
    decode_ms: list[float]


class RemoteDecoder:
    """Decodes packet lists in another process. Use as a context manager."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True, name="decoder")
        self._process.start()
        theirs.close()

    def decode(self, spec: Spec, packets: list[bytes]) -> Decoded:
        """Decode a stream from its first packet.

        Raises:
            VidcodecError: what the decoder raised, as its message, or that the process died. The next stream gets
                another process.
        """
        try:
            self._pipe.send((spec, packets))
            answer: Any = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.close()
            self._start()
            raise VidcodecError(f"{spec.name}: the decoder process died ({type(error).__name__})") from error
        if isinstance(answer, str):
            raise VidcodecError(f"{spec.name}: the decoder process says: {answer}")
        assert isinstance(answer, Decoded)
        return answer

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def close(self) -> None:
        """Close the pipe; the process ends by itself."""
        self._pipe.close()
        self._process.join(5)

    def __enter__(self) -> "RemoteDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(pipe: Connection) -> None:
    """The process: answer each (spec, packets) with `Decoded` or a line of text."""
    import cv2

    end_with_parent()
    cv2.setNumThreads(1)
    while True:
        try:
            spec, packets = pipe.recv()
        except EOFError:
            return
        answer: Decoded | str
        try:
            answer = _decode(spec, packets)
        except Exception as error:  # whatever it is, the parent must hear of it
            answer = f"{type(error).__name__}: {error}"
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return


def _decode(spec: Spec, packets: list[bytes]) -> Decoded:
    decoder = spec.open_decoder()
    pictures: list[Frame] = []
    times_ms: list[float] = []
    for packet in packets:
        start = time.process_time()
        pictures.append(decoder.decode(packet))
        times_ms.append((time.process_time() - start) * 1000)
    return Decoded(pictures, times_ms)
