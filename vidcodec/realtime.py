"""What a process does once, before a call, so that its threads do not hold each other up."""

import gc
import os
import sys

from vidcodec.codec import Codec

SWITCH_INTERVAL_S = 0.001


def call_threads(asked: int | None) -> int:
    """CPU threads for the network in a call: as asked, else a quarter of the cores, 1 to 4.

    A call is several threads at once in each of two processes, which in loopback share one machine. Threads that wait
    for each other inside one network step cost more delay than they save where the cores are not idle.
    """
    return asked if asked is not None else max(1, min(4, (os.cpu_count() or 1) // 4))


def prepare(codec: Codec) -> None:
    """Make the first frames as quick as the others, and pauses short.

    The codec runs twice on its own grey picture. What was loaded so far is left out of garbage collection, threads take
    turns every millisecond, and OpenCV, whose pictures here are small, works in the thread that calls it.
    """
    import cv2

    state = codec.blank_state()
    for _ in range(2):
        _, state = codec.encode(state.picture, state, codec.info.qualities // 2)
    codec.decode(codec.encode(state.picture, codec.blank_state(), 0)[0], codec.blank_state())
    cv2.setNumThreads(1)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
