"""What a viewer may change in a running call: wishes come over the link, are checked, and act on the next frame.

    link thread -- wish() --> Steering --> FramePath (quality, rate, crop, pause), Measurer (baseline)
                                  '------> settings, told to the receiver

The sender says what it offers and what it stands at, so a receiver needs to know nothing of it.
"""

import logging
import queue
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from sender.crop import LiveCropper, Mode
from sender.frames import Orders
from sender.measuring import Measurer
from sender.path import FramePath
from vidcodec.baselines.live import CHOICES, Baseline
from vidcodec.errors import UsageError, VidcodecError
from vidcodec.link.impair import Impairment
from vidcodec.web.controls import Change, Control, offered_controls, parse_change

log = logging.getLogger(__name__)

LOWEST_KBPS, HIGHEST_KBPS = 4, 300
WAITING = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """What a call stands at.

    Attributes:
        quality: the fixed rate point, None while a rate is held.
        bitrate_kbps: payload rate to hold, None at a fixed quality.
        crop: what part of the picture is sent.
        baseline: codec beside ours.
        baseline_scale: its scale, None for the best at the rate.
        paused: no frame is sent.
        impair: the bad network between the ends, None where there is none and none can be had.
    """

    quality: int | None
    bitrate_kbps: float | None
    crop: str
    baseline: str
    baseline_scale: int | None
    paused: bool = False
    impair: Impairment | None = None

    def after(self, change: Change) -> "Settings":
        """The settings after a checked change. Quality and rate exclude each other."""
        value: Any = change.value
        match change.name:
            case "quality":
                return replace(self, quality=value, bitrate_kbps=None)
            case "bitrate":
                return replace(self, quality=None, bitrate_kbps=float(value))
            case "crop":
                return replace(self, crop=value)
            case "baseline_codec":
                return replace(self, baseline=value)
            case "baseline_scale":
                return replace(self, baseline_scale=None if value == "auto" else int(value))
            case "pause":
                return replace(self, paused=value)
            case "impair_delay" | "impair_loss" | "impair_rate" if self.impair is not None:
                field = {"impair_delay": "delay_ms", "impair_loss": "loss_percent", "impair_rate": "rate_kbps"}
                changed: dict[str, Any] = {field[change.name]: float(value), "trace": ()}
                return replace(self, impair=replace(self.impair, **changed))
        return self

    def to_json(self) -> dict[str, Any]:
        """The settings under the names of the controls."""
        impair = (
            {}
            if self.impair is None
            else {
                "impair_delay": self.impair.delay_ms,
                "impair_loss": self.impair.loss_percent,
                "impair_rate": self.impair.rate_kbps,
            }
        )
        return impair | {
            "quality": self.quality,
            "bitrate": self.bitrate_kbps,
            "crop": self.crop,
            "baseline_codec": self.baseline,
            "baseline_scale": "auto" if self.baseline_scale is None else str(self.baseline_scale),
            "pause": self.paused,
        }


def make_offer(qualities: int, settings: Settings) -> dict[str, Any]:
    """What this sender lets a viewer change, for a codec of so many rate points; see `offered_controls`.

    A baseline can be exchanged but neither begun nor ended: how many panels there are is settled with the hello. A bad
    network can be changed where there is one to change.
    """
    others = [] if settings.baseline == "none" else [choice for choice in CHOICES if choice != "none"]
    return {
        "qualities": qualities,
        "bitrate_kbps": [LOWEST_KBPS, HIGHEST_KBPS],
        "baselines": others,
        "crop": True,
        "pause": True,
        "impair": settings.impair is not None,
    }


class Steering:
    """Acts on wishes. `wish` may be called from any thread; the rest belongs to the main thread.

    Args:
        settings: what the call begins with.
        qualities: the codec's number of rate points.
        fps: nominal frame rate.
        cropper: the crop in use.
        tell: sends a message to the receiver.
        impair: changes the bad network between the ends.
    """

    def __init__(
        self,
        settings: Settings,
        qualities: int,
        fps: float,
        cropper: LiveCropper,
        tell: Callable[[Mapping[str, Any]], object],
        *,
        impair: Callable[[Impairment], object],
    ) -> None:
        self.settings = settings
        self._fps = fps
        self._offer = make_offer(qualities, settings)
        self._controls: tuple[Control, ...] = offered_controls(self._offer)
        self._croppers = {settings.crop: cropper}
        self._own_croppers = ExitStack()
        self._tell = tell
        self._impair = impair
        self._wishes: queue.Queue[Any] = queue.Queue(WAITING)
        self._complained: set[str] = set()

    def wish(self, payload: object) -> None:
        """Take a receiver's wish `{"name": ..., "value": ...}`; of too many at once the later ones are dropped."""
        try:
            self._wishes.put_nowait(payload)
        except queue.Full:
            self._complain("many", "the receiver wishes too much at once")

    def say(self) -> None:
        """Tell the receiver what is offered and where it stands."""
        self._tell({"steering": {"offer": self._offer, "settings": self.settings.to_json()}})

    def act(self, path: FramePath, measurer: Measurer) -> None:
        """Do what was wished for since the last time."""
        wished = False
        while True:
            try:
                payload = self._wishes.get_nowait()
            except queue.Empty:
                break
            wished = True
            try:
                if not isinstance(payload, Mapping):
                    raise UsageError("a wish has a name and a value")
                self._follow(parse_change(payload, self._controls), path, measurer)
            except VidcodecError as error:
                self._complain("refused", f"a wish of the receiver is not met: {error}")
        if wished:
            self.say()

    def _complain(self, kind: str, text: str) -> None:
        """Log each kind of bad wish once: a hostile receiver may send two hundred a second."""
        if kind not in self._complained:
            self._complained.add(kind)
            log.warning("%s (further ones are not told)", text)

    def close(self) -> None:
        """End the detectors that were started on the way."""
        self._own_croppers.close()

    def _follow(self, change: Change, path: FramePath, measurer: Measurer) -> None:
        settings = self.settings.after(change)
        if settings == self.settings:
            return
        if (settings.baseline, settings.baseline_scale) != (self.settings.baseline, self.settings.baseline_scale):
            measurer.use(Baseline(settings.baseline, settings.baseline_scale, self._fps))
        if settings.impair is not None and settings.impair != self.settings.impair:
            self._impair(settings.impair)
        self.settings = settings
        path.obey(Orders(self._cropper(settings.crop), settings.quality, settings.bitrate_kbps, settings.paused))

    def _cropper(self, mode: str) -> LiveCropper:
        if mode not in self._croppers:
            modes: dict[str, Mode] = {"face": "face", "center": "center", "none": "none"}
            self._croppers[mode] = self._own_croppers.enter_context(LiveCropper(modes[mode]))
        return self._croppers[mode]
