"""The page as a component of a call: a server on a thread of its own, fed from any thread, never waited for."""

import logging
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vidcodec.errors import UsageError
from vidcodec.link.whip import Target, check_token
from vidcodec.web.controls import Change, Control, describe, parse_change, parse_message
from vidcodec.web.page import Page
from vidcodec.web.pixels import Frame, Picture, make_frame
from vidcodec.web.samples import SERIES, Samples, plain, to_json
from vidcodec.web.server import Listener, PageServer

PANELS = ("original", "ours", "baseline")

log = logging.getLogger("vidcodec.web")


def _ignore(_: Change) -> None:
    """A call without controls."""


class WebView:
    """A page that shows a call.

    Args:
        listen: `HOST:PORT`; port 0 takes a free one. Bind to 127.0.0.1 unless the viewer is on another machine.
        title: what the page is of, `sender` or `receiver`.
        panels: which pictures there are, out of `PANELS`.
        controls: what the page may change; see `vidcodec.web.controls.call_controls`.
        on_control: called on the page's thread with each checked change; must not block, may raise UsageError with
            the reason why not, which the page shows.
        token: what a viewer has to show; one of 128 bits is made when none is given.
        tls: to serve https.

    Raises:
        UsageError: the address cannot be listened on, or the token is unusable.
    """

    def __init__(
        self,
        listen: str = "127.0.0.1:0",
        *,
        title: str = "call",
        panels: Sequence[str] = PANELS,
        controls: Sequence[Control] = (),
        on_control: Callable[[Change], object] = _ignore,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not panels or set(panels) - set(PANELS):
            raise UsageError(f"panels {list(panels)}: choose from {', '.join(PANELS)}")
        self._title = title
        self._panels = tuple(panels)
        self._controls = tuple(controls)
        self._on_control = on_control
        self._tls = tls
        self.token = secrets.token_urlsafe(16) if token is None else check_token(token)
        self._lock = threading.Lock()
        self._latest: Frame | None = None
        self._pending = False
        self._samples = Samples()
        self._figures = ""
        self._settings: dict[str, Any] = {}
        self._end = ""
        self._server = PageServer(self.token, tls is not None, self._opened, self._received)
        self._listener = Listener(self._server.application(), listen, "--web", tls, spared=self._server.let_in)
        self._loop = self._listener.loop

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return self._listener.port

    @property
    def url(self) -> str:
        """What to open in a browser, token included."""
        host = self._listener.host
        reachable = socket.gethostname() if host in ("0.0.0.0", "::") else host
        return Target("https" if self._tls else "http", reachable, self.port, "/", self.token).url

    @property
    def page_count(self) -> int:
        """How many pages are open."""
        return len(self._server.pages)

    def show(self, pictures: Sequence[Picture | None], number: int) -> None:
        """Show pictures, one for each panel: uint8 RGB `[H, W, 3]`, all of one size, or None. Not to be changed later.

        Raises:
            UsageError: wrong count, type or sizes.
        """
        frame = make_frame(number, pictures, len(self._panels))
        with self._lock:
            self._latest = frame
            if self._pending or not self._server.pages:
                return
            self._pending = True
        if not self._loop.call(self._publish):
            self._pending = False

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Show figures: the fields of the report as far as they are known by now, `time_s` since the start,
        `loss_percent`, `baseline.name`, and `link`, a dict of counters under W3C names. A few times a second."""
        self._loop.call(self._publish_figures, plain(figures))

    def offer(self, controls: Sequence[Control], panels: Sequence[str] | None = None) -> None:
        """Offer these controls from now on, and show these panels; a new call begins, and its charts are empty."""
        if panels is not None:
            with self._lock:
                self._panels, self._latest = tuple(panels), None
        self._loop.call(self._begin, tuple(controls))

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Show what the controls stand at, by name; None for one that is not in use now (`quality` at a fixed
        bitrate). Names left out stay as they were."""
        self._loop.call(self._publish_settings, plain(settings))

    def end(self, reason: str) -> None:
        """Say on the page that the call is over, and why."""
        self._loop.call(self._publish_end, reason)

    def close(self) -> None:
        """Close every page and the server. May be called twice."""
        self._listener.close()

    def __enter__(self) -> "WebView":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publish(self) -> None:
        with self._lock:
            self._pending = False
            frame = self._latest
        if frame is not None:
            for page in self._server.pages:
                page.offer_frame(frame)

    def _publish_figures(self, figures: Mapping[str, Any]) -> None:
        self._figures = self._samples.add(figures)
        self._offer_all("figures", self._figures)

    def _begin(self, controls: tuple[Control, ...]) -> None:
        self._controls = controls
        self._samples = Samples()
        self._figures = self._end = ""
        self._settings = {}
        hello = self._hello()
        for page in self._server.pages:
            page.begin(hello)

    def _publish_settings(self, settings: Mapping[str, Any]) -> None:
        self._settings |= settings
        self._offer_all("settings", to_json("settings", settings=self._settings))

    def _publish_end(self, reason: str) -> None:
        self._end = to_json("end", reason=reason)
        self._offer_all("end", self._end)

    def _offer_all(self, kind: str, text: str) -> None:
        for page in self._server.pages:
            page.offer_text(kind, text)

    def _hello(self) -> str:
        return to_json(
            "hello",
            title=self._title,
            panels=self._panels,
            controls=describe(self._controls),
            settings=self._settings,
            series=SERIES,
            rows=self._samples.rows,
        )

    def _opened(self, page: Page) -> None:
        page.offer_text("hello", self._hello())
        for kind, text in (("figures", self._figures), ("end", self._end)):
            if text:
                page.offer_text(kind, text)
        if self._latest is not None:
            page.offer_frame(self._latest)

    def _received(self, page: Page, text: str) -> None:
        try:
            message = parse_message(text)
            if message["type"] == "drawn":
                page.drawn()
            elif message["type"] == "control":
                self._on_control(parse_change(message, self._controls))
            else:
                raise UsageError(f"no message of type {message['type'][:40]!r} is known")
        except UsageError as error:
            page.offer_text("refused", to_json("refused", reason=str(error), settings=self._settings))
        except Exception:
            # A fault in the call's own handler must neither end the page nor stay unseen.
            log.exception("a control of the page failed")
            page.offer_text("refused", to_json("refused", reason="the call failed to do this; its log says why"))
