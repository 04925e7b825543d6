"""The web page of a receiver: what a call shows and measures goes to it, what a viewer changes goes to the sender.

measuring thread -- measured() --> WebView --> pages      (all panels of one frame, as they are recorded)
screen thread ----- shown() ----->    |                   (ours alone, when measuring is late)
figures thread ---- figures() --->    |
page's thread <-------------------- changes --> link --> sender
"""

import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.calllog import CallLog
from vidcodec.errors import UsageError
from vidcodec.link.receiver import ReceiverLink
from vidcodec.sidechannel import SidePictures
from vidcodec.web.controls import Action, Change, Control, offered_controls
from vidcodec.web.view import PANELS, WebView

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]

LATE_S = 0.25
"""When no frame was measured for this long, ours is shown without waiting for the pictures to compare with."""

LOSS_S = 2.0
REFRESH = Action("refresh", "Refresh")


class CallPage:
    """A page for the calls of a receiver, one after another. All methods return at once.

    Args:
        listen: `HOST:PORT` of the page.
        loopback: whether there are an original and a baseline to show beside ours.
        token: what a viewer has to show; made when none is given.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, listen: str, loopback: bool, token: str | None = None) -> None:
        self._panels = PANELS if loopback else ("ours",)
        self._view = WebView(listen, title="receiver", panels=self._panels, on_control=self._changed, token=token)
        self._link: ReceiverLink | None = None
        self._offer: object = None
        self._began_s = self._measured_s = 0.0
        self._label = ""
        self._lost: deque[tuple[float, int, int]] = deque()

    @property
    def url(self) -> str:
        """What to open in a browser, token included."""
        return self._view.url

    def begin(self, link: ReceiverLink) -> None:
        """A call begins."""
        self._link = link
        self._offer = None
        self._began_s = self._measured_s = time.monotonic()
        self._label = ""
        self._lost.clear()
        self._view.offer((REFRESH,))

    def heard(self, steering: object) -> None:
        """The sender says what it offers and what it stands at. Anything unsound is logged and ignored."""
        if not isinstance(steering, Mapping) or not isinstance(steering.get("settings"), Mapping):
            log.warning("the sender's settings are unusable")
            return
        offer = steering.get("offer")
        try:
            if offer != self._offer and isinstance(offer, Mapping):
                controls: tuple[Control, ...] = (*offered_controls(offer), REFRESH)
                self._offer = offer
                self._view.offer(controls)
        except UsageError as error:
            log.warning("the sender's controls are unusable: %s", error)
            return
        self._view.settings({str(name)[:40]: value for name, value in list(steering["settings"].items())[:40]})

    def shown(self, number: int, picture: Picture) -> None:
        """A frame was shown. With nothing to compare it with, or late, it goes to the page at once."""
        if len(self._panels) == 1:
            self._view.show((picture,), number)
        elif time.monotonic() - self._measured_s > LATE_S:
            self._view.show((None, picture, None), number)

    def measured(self, number: int, picture: Picture, side: SidePictures) -> None:
        """A frame was measured: now its original and its baseline are there too."""
        if len(self._panels) > 1 and (side.original is not None or side.baseline is not None):
            self._measured_s = time.monotonic()
            self._label = side.label or self._label
            self._view.show((side.original, picture, side.baseline), number)

    def figures(self, call: CallLog, model: str, baseline: str, link: Mapping[str, Any]) -> None:
        """New figures, a few times a second; `link` are its counters."""
        live = call.live()
        now_s = time.monotonic()
        self._lost.append((now_s, live.frames_sent, live.frames_lost))
        while now_s - self._lost[0][0] > LOSS_S:
            self._lost.popleft()
        sent, lost = (self._lost[-1][column] - self._lost[0][column] for column in (1, 2))
        mse, baseline_mse = (
            None if value is None else 10 ** (-value / 10) for value in (live.psnr_db, live.baseline_psnr_db)
        )
        latency = {stage: asdict(values) for stage, values in _by_stage(call).items()}
        self._view.figures(
            {
                **{name: value for name, value in asdict(live).items() if not name.startswith("baseline_")},
                "time_s": now_s - self._began_s,
                "mse": mse,
                "loss_percent": min(100.0, max(0.0, 100.0 * lost / sent)) if sent > 0 else 0.0,
                "baseline": {
                    "name": self._label or baseline,
                    "kbps": live.baseline_kbps,
                    "psnr_db": live.baseline_psnr_db,
                    "mse": baseline_mse,
                },
                "latency_ms": latency,
                "codec": {"model_id": model},
                "link": link,
            }
        )

    def end(self, reason: str) -> None:
        """The call is over."""
        self._link = None
        self._view.end(reason)

    def close(self) -> None:
        """Close the page."""
        self._view.close()

    def _changed(self, change: Change) -> None:
        link = self._link
        if link is None:
            raise UsageError("there is no call now")
        if change.name == REFRESH.name:
            link.request_refresh(None, "asked for by the viewer")
        else:
            link.send_stats({"wish": {"name": change.name, "value": change.value}})


def _by_stage(call: CallLog) -> dict[str, Any]:
    latency = call.recent_latency()
    return {stage: getattr(latency, stage) for stage in latency.__dataclass_fields__}
