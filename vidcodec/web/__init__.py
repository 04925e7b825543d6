"""A web page that shows a call: original | ours | baseline with exact pixels, live charts, numbers and controls.

    view = WebView("127.0.0.1:0", title="receiver", controls=call_controls(qualities=16), on_control=changed)
    print(view.url)                                  # with its token
    view.show((original, ours, baseline), number)    # uint8 RGB [H, W, 3] each, or None; the newest wins
    view.figures({"wire_kbps": 41.2, "psnr_db": 33.1, "baseline": {...}, "latency_ms": {...}, "link": {...}})
    view.settings({"bitrate": 40.0, "crop": "face"})  # what the controls stand at
    view.close()

`show`, `figures` and `settings` may be called from any thread and return at once, whether nobody, a fast or a stuck
page is looking. `on_control(Change(name, value))` is called on the page's own thread with checked values: it must not
block. Figures have the names of the report (`vidcodec.report`); `link` holds counters by their W3C webrtc-stats names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidcodec.web.controls import Change, Control, call_controls
    from vidcodec.web.view import WebView

_HOME = {"WebView": "view", "Change": "controls", "Control": "controls", "call_controls": "controls"}

__all__ = ["Change", "Control", "WebView", "call_controls"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
