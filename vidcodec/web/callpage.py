"""The page of a call, at either end: what is shown and measured goes to it, what a viewer changes goes to the sender.

measuring thread -- measured() --> WebView --> pages      (all panels of one frame, as they are recorded)
screen thread ----- shown() ----->    |                   (ours alone, when measuring is late)
figures thread ---- figures() --->    |
page's thread <-------------------- changes --> wish()    (over the link, at the receiver)
"""

import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vidcodec.calllog import CallLog
from vidcodec.errors import UsageError
from vidcodec.web.controls import Action, Change, Control, Switch, offered_controls
from vidcodec.web.figures import CallFigures
from vidcodec.web.metrics import MetricsServer
from vidcodec.web.pixels import Picture
from vidcodec.web.view import WebView

log = logging.getLogger(__name__)

LATE_S = 0.25
"""When no frame was measured for this long, ours is shown without waiting for the pictures to compare with."""

MAX_WORD, MAX_NUMBER = 32, 1e9
REFRESH = Action("refresh", "Refresh")
RECORD = Switch("record", "Record")


class CallPage:
    """A page for calls, one after another, and their figures for Prometheus. All methods return at once.

    Args:
        listen: `HOST:PORT` of the page, None for no page.
        title: which end this is.
        token: what a viewer has to show; made when none is given.
        metrics: `HOST:PORT` of the figures for Prometheus, None for none.
        tls: to serve the page by https.

    Raises:
        UsageError: an address cannot be listened on.
    """

    def __init__(
        self,
        listen: str | None,
        title: str,
        token: str | None = None,
        *,
        metrics: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._panels: tuple[str, ...] = ("ours",)
        self._view: WebView | None = None
        self._metrics = None if metrics is None else MetricsServer(metrics)
        if listen is not None:
            try:
                self._view = WebView(
                    listen, title=title, panels=self._panels, on_control=self._changed, token=token, tls=tls
                )
            except BaseException:
                self.close()
                raise
        self._wish: Callable[[Change], object] | None = None
        self._refresh: Callable[[], object] | None = None
        self._record: Callable[[bool], object] | None = None
        self._recording = False
        self._offer: object = None
        self._steered: frozenset[str] = frozenset()
        self._complained = False
        self._measured_s = 0.0
        self._figures = CallFigures(0.0)
        self._label = ""

    @property
    def lines(self) -> list[str]:
        """What to tell the user: where the call can be watched, and where its figures are."""
        page = [] if self._view is None else [f"watch the call at {self._view.url}"]
        return page if self._metrics is None else [*page, f"figures for Prometheus at {self._metrics.url}"]

    def begin(
        self,
        panels: Sequence[str],
        wish: Callable[[Change], object],
        refresh: Callable[[], object],
        record: Callable[[bool], object] | None = None,
    ) -> None:
        """A call begins.

        Args:
            panels: which pictures it has, out of `vidcodec.web.view.PANELS`.
            wish: has the sender change something; must not block.
            refresh: asks it for a frame without reference; must not block.
            record: goes on with the recording that runs, or pauses it; None where there is none.
        """
        self._wish, self._refresh, self._record = wish, refresh, record
        self._recording = record is not None
        self._offer = None
        self._steered = frozenset()
        self._complained = False
        self._measured_s = time.monotonic()
        self._figures = CallFigures(self._measured_s)
        self._label = ""
        self._panels = tuple(panels)
        if self._view is not None:
            self._view.offer(self._own_controls, self._panels)
            self._view.settings(self._own_settings)

    def heard(self, steering: object) -> None:
        """The sender says what it offers and what it stands at. Anything unsound is ignored, and logged once a call."""
        view = self._view
        if view is None:
            return
        if not isinstance(steering, Mapping) or not isinstance(steering.get("settings"), Mapping):
            return self._complain("the sender's settings are unusable")
        offer = steering.get("offer")
        try:
            if offer != self._offer and isinstance(offer, Mapping):
                own = self._own_controls
                names = {control.name for control in own}
                offered = [control for control in offered_controls(offer) if control.name not in names]
                view.offer([*offered, *own])
                self._offer, self._steered = offer, frozenset(control.name for control in offered)
        except UsageError as error:
            return self._complain(f"the sender's controls are unusable: {error}")
        stand = {name: value for name, value in steering["settings"].items() if name in self._steered}
        view.settings({name: value for name, value in stand.items() if _is_setting(value)} | self._own_settings)

    def shown(self, number: int, picture: Picture) -> None:
        """A frame was shown. With nothing to compare it with, or late, it goes to the page at once."""
        if self._view is None:
            return
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
            if self._view is not None:
                pictures = {"original": original, "ours": ours, "baseline": baseline}
                self._view.show([pictures[panel] for panel in self._panels], number)

    def figures(self, log: CallLog, model: str, baseline: str, link: Mapping[str, Any]) -> None:
        """New figures, a few times a second; `link` are its counters by W3C names."""
        figures = self._figures.now(time.monotonic(), log, model, self._label or baseline, link)
        if self._view is not None:
            self._view.figures(figures)
        if self._metrics is not None:
            self._metrics.update(figures)

    def end(self, reason: str) -> None:
        """The call is over."""
        self._wish = self._refresh = None
        if self._view is not None:
            self._view.end(reason)
        if self._metrics is not None:
            self._metrics.update(None)

    def close(self) -> None:
        """Close the page and the figures."""
        for part in (self._view, self._metrics):
            if part is not None:
                part.close()

    @property
    def _own_controls(self) -> tuple[Control, ...]:
        """What is done at this end, whatever the sender offers."""
        return (REFRESH,) if self._record is None else (RECORD, REFRESH)

    @property
    def _own_settings(self) -> dict[str, Any]:
        return {} if self._record is None else {RECORD.name: self._recording}

    def _complain(self, text: str) -> None:
        """Once a call: a sender may say it hundreds of times a second."""
        if not self._complained:
            self._complained = True
            log.warning("%s", text)

    def _changed(self, change: Change) -> None:
        wish, refresh = self._wish, self._refresh
        if wish is None or refresh is None:
            raise UsageError("there is no call now")
        if change.name == REFRESH.name:
            refresh()
        elif change.name == RECORD.name and self._record is not None:
            self._recording = bool(change.value)
            self._record(self._recording)
            if self._view is not None:
                self._view.settings(self._own_settings)
        else:
            wish(change)


def _is_setting(value: object) -> bool:
    """Whether a control could stand at this. The page keeps what it is told, so nothing else may get there."""
    if isinstance(value, str):
        return len(value) <= MAX_WORD
    return value is None or (isinstance(value, int | float) and abs(value) <= MAX_NUMBER)
