"""What a process does once, before a call, so that its threads do not hold each other up."""

import gc
import os
import sys
import threading
from collections.abc import Callable

import numpy as np

from vidcodec.codec import Codec, Frame

SWITCH_INTERVAL_S = 0.001
WARM_FRAMES = 3
WARM_STEP, BLOCK = 3, 12
"""Pixels that the scene of the warm-up moves from frame to frame, and the side of its squares."""


def call_threads(asked: int | None) -> int:
    """CPU threads for the network in a call: as asked, else a quarter of the cores, 1 to 4.

    A call is several threads at once in each of two processes, which in loopback share one machine. Threads that wait
    for each other inside one network step cost more delay than they save where the cores are not idle.
    """
    return asked if asked is not None else max(1, min(4, (os.cpu_count() or 1) // 4))


def moving_scene(size: int, frames: int) -> list[Frame]:
    """Coloured squares that move sideways, `[size, size, 3]` uint8 RGB each: nothing of them can be skipped."""
    width = size + frames * WARM_STEP
    blocks = np.random.default_rng(0).integers(30, 226, (-(-size // BLOCK), -(-width // BLOCK), 3))
    whole = blocks.astype(np.uint8).repeat(BLOCK, 0).repeat(BLOCK, 1)[:size, :width]
    return [np.ascontiguousarray(whole[:, start : start + size]) for start in range(0, frames * WARM_STEP, WARM_STEP)]


def warm_up(codec: Codec) -> None:
    """Run every part of a codec: frames with and without a reference, moving, at several qualities, both ways.

    Much is laid out on first use: packed weights, work space of the matrix library, code of the entropy coder. A still
    picture is not enough, because nothing of it is searched or synthesised: with such a warm-up the first frame of a
    call took four times as long as the others at both ends, and what came behind it waited.
    """
    coded = held = codec.blank_state()
    last = codec.info.qualities - 1
    for place, picture in enumerate(moving_scene(coded.picture.shape[0], WARM_FRAMES)):
        packet, coded = codec.encode(picture, coded, last * (place + 1) // (WARM_FRAMES + 1))
        _, held = codec.decode(packet, held)


def prepare(codec: Codec) -> None:
    """Make the first frames as quick as the others, and pauses short.

    The codec runs warm. What was loaded so far is left out of garbage collection, threads take turns every millisecond,
    and OpenCV, whose pictures here are small, works in the thread that calls it.
    """
    prepare_beside(codec)()


def prepare_beside(codec: Codec) -> Callable[[], None]:
    """The same, the codec running warm in a thread. Call what is returned to wait for it, before the codec is used.

    It raises what went wrong. A process that ends before waits for the thread all the same: torch aborts one that ends
    while it computes, and the exit status would be that of the abort.
    """
    failures: list[BaseException] = []

    def warm() -> None:
        try:
            warm_up(codec)
        except BaseException as error:  # raised where it is waited for
            failures.append(error)

    thread = threading.Thread(target=warm, name="warm-up")
    thread.start()

    def ready() -> None:
        import cv2

        thread.join()
        if failures:
            raise failures[0]
        cv2.setNumThreads(1)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()

    return ready
