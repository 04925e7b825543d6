"""A browser finds out, as a receiver in Python does, that its pictures are no longer the sender's."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from web_browser import watch_page

from tests.tiny import moving_face
from vidcodec.calllog import SenderTotals
from vidcodec.drift import EVERY, difference, sketch
from vidcodec.exchange import sender_stats
from vidcodec.watch.files import WatchFiles

COMPARE = """async ({ stats, pictures, number, toldFirst }) => {
    const { difference, sketch, toldSketch } = await import("/watch/drift.js");
    const { FrameDecoder } = await import("/watch/decoding.js");
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const [ours, theirs] = pictures.map(bytes);
    const asked = [];
    const hooks = { report() {}, show() {}, dropped() {}, refresh: (have, reason) => asked.push([have, reason]) };
    const codec = { read: () => ({}), blank: () => ({}), decode: async () => ({ pixels: ours }) };
    const decoder = new FrameDecoder(codec, hooks, () => 0);
    const tell = () => { const told = toldSketch(stats); if (told) decoder.told(told.number, told.sent); };
    if (toldFirst) tell();
    const packet = { number: 0, quality: 0, distance: 0, checksum: 0, body: new Uint8Array() };
    await decoder.decode({ number, packet, reference: null, receivedMs: 0 });
    if (!toldFirst) tell();
    return { ours: [...sketch(ours)], apart: difference(sketch(ours), sketch(theirs)), asked };
}"""
FACE = moving_face(1)[0]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with watch_page(
        WatchFiles.find(tmp_path_factory.mktemp("watch"), "s-1", "ab" * 32), "comparing pictures"
    ) as opened:
        yield opened


def rgba(picture: np.ndarray) -> str:
    return base64.b64encode(np.dstack([picture, np.full((192, 192), 255, np.uint8)]).tobytes()).decode()


def compare(page: Any, ours: np.ndarray, stats: dict[str, Any], told_first: bool = True) -> dict[str, Any]:
    pictures = [rgba(ours), rgba(FACE)]
    given = {"stats": stats, "pictures": pictures, "number": 2 * EVERY, "toldFirst": told_first}
    found: dict[str, Any] = page.evaluate(COMPARE, given)
    return found


@pytest.mark.parametrize("told_first", [True, False])
def test_browser_asks_for_a_fresh_start_when_its_pictures_are_apart(page: Any, told_first: bool) -> None:
    stats = sender_stats(SenderTotals(), [], (2 * EVERY, sketch(FACE)))
    noise = np.random.default_rng(1).normal(0, 4, FACE.shape)
    ours = np.clip(FACE + noise, 0, 255).astype(np.uint8)
    found = compare(page, ours, stats, told_first)
    assert found["ours"] == sketch(ours).tolist()
    assert found["apart"] == pytest.approx(difference(sketch(ours), sketch(FACE)))
    assert [have for have, _ in found["asked"]] == [None]
    assert not compare(page, FACE, stats, told_first)["asked"]


@pytest.mark.parametrize("picture", [None, 7, {}, {"number": "a", "sketch": ""}, {"number": 128, "sketch": "?"}])
def test_sketch_that_makes_no_sense_changes_nothing(page: Any, picture: object) -> None:
    assert not compare(page, FACE, {"picture": picture})["asked"]
