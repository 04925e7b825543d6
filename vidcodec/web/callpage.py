"""The page of a call, at either end: what is shown and measured goes to it, what a viewer changes goes to the sender.

measuring thread -- measured() --> WebView --> pages      (all panels of one frame, as they are recorded)
screen thread ----- shown() ----->    |                   (ours alone, when measuring is late)
figures thread ---- figures() --->    |
page's thread <-------------------- changes --> wish()    (over the link, at the receiver)
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vidcodec.calllog import CallLog
from vidcodec.errors import UsageError
from vidcodec.web.controls import Action, Change, Control, offered_controls
from vidcodec.web.pixels import Picture
from vidcodec.web.view import WebView

log = logging.getLogger(__name__)

LATE_S = 0.25
"""When no frame was measured for this long, ours is shown without waiting for the pictures to compare with."""

LOSS_S = 2.0
MAX_SETTINGS = 40
REFRESH = Action("refresh", "Refresh")


class CallPage:
    """A page for calls, one after another. All methods return at once.

    Args:
        listen: `HOST:PORT` of the page.
        title: which end this is.
        token: what a viewer has to show; made when none is given.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, listen: str, title: str, token: str | None = None) -> None:
        self._view = WebView(listen, title=title, panels=("ours",), on_control=self._changed, token=token)
        self._panels: tuple[str, ...] = ("ours",)
        self._wish: Callable[[Change], object] | None = None
        self._refresh: Callable[[], object] | None = None
        self._offer: object = None
        self._began_s = self._measured_s = 0.0
        self._label = ""
        self._lost: deque[tuple[float, int, int]] = deque()

    @property
    def url(self) -> str:
        """What to open in a browser, token included."""
        return self._view.url

    def begin(self, panels: Sequence[str], wish: Callable[[Change], object], refresh: Callable[[], object]) -> None:
        """A call begins.

        Args:
            panels: which pictures it has, out of `vidcodec.web.view.PANELS`.
            wish: has the sender change something; must not block.
            refresh: asks it for a frame without reference; must not block.
        """
        self._wish, self._refresh = wish, refresh
        self._offer = None
        self._began_s = self._measured_s = time.monotonic()
        self._label = ""
        self._lost.clear()
        self._panels = tuple(panels)
        self._view.offer((REFRESH,), self._panels)

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
        self._view.settings(dict(list(steering["settings"].items())[:MAX_SETTINGS]))

    def shown(self, number: int, picture: Picture) -> None:
        """A frame was shown. With nothing to compare it with, or late, it goes to the page at once."""
        if len(self._panels) == 1:
            self._view.show((picture,), number)
        elif time.monotonic() - self._measured_s > LATE_S:
            self._view.show([picture if panel == "ours" else None for panel in self._panels], number)

    def measured(
        self, number: int, original: Picture | None, ours: Picture, baseline: Picture | None, label: str
    ) -> None:
        """A frame was measured: now its original and its baseline, called `label`, are there too."""
        if len(self._panels) > 1 and (original is not None or baseline is not None):
            self._measured_s = time.monotonic()
            self._label = label or self._label
            pictures = {"original": original, "ours": ours, "baseline": baseline}
            self._view.show([pictures[panel] for panel in self._panels], number)

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
        self._wish = self._refresh = None
        self._view.end(reason)

    def close(self) -> None:
        """Close the page."""
        self._view.close()

    def _changed(self, change: Change) -> None:
        wish, refresh = self._wish, self._refresh
        if wish is None or refresh is None:
            raise UsageError("there is no call now")
        if change.name == REFRESH.name:
            refresh()
        else:
            wish(change)


def _by_stage(call: CallLog) -> dict[str, Any]:
    latency = call.recent_latency()
    return {stage: getattr(latency, stage) for stage in latency.__dataclass_fields__}
