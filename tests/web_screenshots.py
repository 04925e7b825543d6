"""The screenshots of docs/web.md, from a real loopback call: `python tests/web_screenshots.py [DIR] [OPTIONS ...]`."""

import re
import signal
import sys
from pathlib import Path

from call_commands import ROOT, Command
from web_browser import chromium

SHOTS = [(width, scheme) for width in (1280, 360) for scheme in ("light", "dark")]
SETTLE_MS = 12_000


def main(folder: Path, options: list[str]) -> int:
    """Make a call, take the four pictures, hang up."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        chromium() as browser,
        Command("sender", "--loopback", "--input", "sample", "--display", "web", *options) as call,
    ):
        found = re.search(r"http://\S+", call.wait_for("watch the call at"))
        assert found is not None
        pages = []
        for width, scheme in SHOTS:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            page.goto(found[0])
            page.wait_for_selector("#pictures[data-number]", timeout=60_000)
            if not pages:
                page.wait_for_timeout(SETTLE_MS)
            # What is out of sight is drawn now and then only: in a window as high as the page everything is up to date.
            height = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(2500)
            page.screenshot(path=folder / f"web_{width}_{scheme}.png", full_page=True)
            context.close()
            pages.append(page)
        call.send_signal(signal.SIGINT)
        return call.wait()


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "images", sys.argv[2:]))
