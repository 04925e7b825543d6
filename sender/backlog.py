"""A receiver that decodes more slowly than frames come: seen in its verdicts, and given fewer frames. Told the time.

    acknowledgements --> References --ready, judged--> Backlog --> FramePath: no frame while it is full
                                                          '------> DecoderPace --> frames a second

An acknowledgement says first that a frame arrived and later what the decoder made of it. Frames that arrived with all
that they need and have no verdict are the queue in front of the decoder, wherever it stands and however long the way.
"""

from collections import OrderedDict, deque

from sender.cadence import Cadence

SAME_S = 0.02
"""Frames that arrive so close together came in one message, or behind a repaired loss."""

FULL_FRAMES, FULL_S = 2, 0.15
"""No frame is sent while so many wait that were there before the newest arrived, and the first of them for so long."""

SLOW_FRAMES, SLOW_S = 1, 0.12
"""A decoder that cannot keep up. A good verdict rides along with the next arrival, so the newest frames always wait."""

LOST_S = 1.0
"""Neither an arrival nor a verdict for so long, which a receiver says three times within half a second: what it said
was lost, and it will say no more of the frames that wait. The next frame has to go, for its verdict counts for them."""

MEASURE_S = 1.0
BACK_OFF = 0.9
LASTING_S, AGAIN_S, MEMORY_S = 0.35, 0.5, 10.0
"""A stall that ends sooner changes no pace, unless the decoder was slow lately. The effect of a change has to be seen
before the next."""

GROWTH, MOST_GROWTH = 0.05, 0.8
"""A second; doubles with every second in which the decoder kept up. Near its limit each probe is a short queue."""

LEAST_FPS = 5.0


class Backlog:
    """Frames that the receiver could decode and has not."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, float] = OrderedDict()
        self._newest_s = float("-inf")
        self._judged = -1
        self._verdicts_s: deque[float] = deque()

    def ready(self, number: int, now_s: float) -> None:
        """Frame `number` arrived, and all that it needs."""
        if number > self._judged and number not in self._waiting:
            self._waiting[number] = self._newest_s = now_s

    def judged(self, number: int, now_s: float) -> None:
        """The decoder has come to frame `number`: what is older, it has seen or skipped."""
        self._verdicts_s.append(now_s)
        while now_s - self._verdicts_s[0] > MEASURE_S:
            self._verdicts_s.popleft()
        self._judged = max(self._judged, number)
        for older in [waiting for waiting in self._waiting if waiting <= number]:
            del self._waiting[older]

    def clear(self) -> None:
        """Another receiver, which holds nothing."""
        self._waiting.clear()
        self._judged = -1

    def _holds(self, frames: int, seconds: float, now_s: float) -> bool:
        if now_s - max(self._newest_s, self._verdicts_s[-1] if self._verdicts_s else 0.0) > LOST_S:
            return False
        behind = [then_s for then_s in self._waiting.values() if self._newest_s - then_s > SAME_S]
        return len(behind) >= frames and now_s - behind[0] > seconds

    def full(self, now_s: float) -> bool:
        """Whether another frame would only wait."""
        return self._holds(FULL_FRAMES, FULL_S, now_s)

    def slow(self, now_s: float) -> bool:
        """Whether the decoder is behind."""
        return self._holds(SLOW_FRAMES, SLOW_S, now_s)

    def decoded_fps(self) -> float:
        """Frames a second that the decoder came to in its last second, 0 where it came to fewer than two."""
        times_s = self._verdicts_s
        return (len(times_s) - 1) / max(times_s[-1] - times_s[0], 1e-3) if len(times_s) > 1 else 0.0


SURE_S = 60.0
"""Longer than this without a backlog changes nothing; a power of the time would overflow in the end."""


class DecoderPace:
    """Frames a second that the receiver's decoder is given: less than it did when it fell behind, then slowly more."""

    def __init__(self, fps: float) -> None:
        self._most = fps
        self._observed_s: float | None = None
        self._lowered_s = float("-inf")
        self._slow_s = self._free_s = 0.0
        self.fps = fps

    def observe(self, slow: bool, decoded_fps: float, now_s: float) -> None:
        """Look once a frame whether the decoder is behind, and how many frames a second it did lately."""
        since_s = 0.0 if self._observed_s is None else min(now_s - self._observed_s, 0.2)
        self._observed_s = now_s
        if not slow:
            self._slow_s, self._free_s = 0.0, min(self._free_s + since_s, SURE_S)
            gain = min(GROWTH * 2.0**self._free_s, MOST_GROWTH)
            self.fps = min(self._most, self.fps * (1.0 + gain) ** since_s)
            return
        self._slow_s, self._free_s = self._slow_s + since_s, 0.0
        lasting_s = LASTING_S if now_s - self._lowered_s > MEMORY_S else 0.0
        if self._slow_s >= lasting_s and now_s - self._lowered_s >= AGAIN_S:
            self._lowered_s = now_s
            self.fps = max(min(LEAST_FPS, self._most), min(self.fps, BACK_OFF * decoded_fps))

    def limit(self, cadence: Cadence) -> Cadence:
        """A cadence that the decoder can follow; frames share a message only where they come often enough."""
        if self.fps >= cadence.fps:
            return cadence
        return Cadence(self.fps, cadence.per_message if self.fps > cadence.messages_per_s else 1)
