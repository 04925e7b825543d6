"""A browser's acknowledgements are those of the Python receiver: the same words at the same times, byte for byte."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from web_browser import watch_page

from vidcodec.link.acks import AckQueue
from vidcodec.link.framing import FrameStatus, join_acks
from vidcodec.watch.files import WatchFiles

Event = tuple[float, str, int, int]
PLAY = """async (events) => {
    const { AckQueue } = await import("/watch/framing.js");
    const queue = new AckQueue();
    const said = [];
    for (const [atMs, kind, number, status] of events) {
        while (queue.dueMs <= atMs) {
            const dueMs = queue.dueMs;
            const message = queue.take(dueMs);
            said.push([dueMs, message ? [...new Uint8Array(message)] : []]);
        }
        if (kind === "judged") queue.judged(number, status, atMs);
        else queue[kind](number, atMs);
    }
    return said;
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with watch_page(WatchFiles.find(tmp_path_factory.mktemp("watch"), "s-1", "ab" * 32), "acknowledging") as opened:
        yield opened


def course(seed: int, loss: float) -> list[Event]:
    """Ten seconds of arrivals, verdicts, repairs and repeats, in time order."""
    draw, events, now_ms = random.Random(seed), [], 1000.0
    for number in range(250):
        now_ms += draw.uniform(25.0, 55.0)
        at_ms = now_ms
        if draw.random() < loss:
            if draw.random() < 0.2:
                continue
            at_ms += draw.uniform(60.0, 400.0)
        events.append((at_ms, "arrived", number, 0))
        status = FrameStatus.OK if draw.random() < 0.95 else FrameStatus.MISSING_REFERENCE
        events.append((at_ms + draw.uniform(5.0, 100.0), "judged", number, int(status)))
        if draw.random() < loss:
            events.append((at_ms + draw.uniform(20.0, 90.0), "again", number, 0))
    return sorted(events)


def said_by_python(events: list[Event]) -> list[tuple[float, bytes]]:
    """What `AckQueue` says, taken whenever it is due."""
    queue, said, now_ms = AckQueue(), [], 0.0
    for at_ms, kind, number, status in events:
        while (due_ms := now_ms + queue.due_in_ms(now_ms)) <= at_ms:
            now_ms = due_ms
            entries = queue.take(now_ms)
            said.append((now_ms, join_acks(entries, now_ms) if entries else b""))
        now_ms = at_ms
        if kind == "judged":
            queue.judged(number, FrameStatus(status), at_ms)
        else:
            getattr(queue, kind)(number, at_ms)
    return said


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.4])
def test_browser_says_what_python_says_and_when(page: Any, loss: float) -> None:
    events = course(3, loss)
    expected = said_by_python(events)
    said = page.evaluate(PLAY, events)
    assert len(expected) > 250
    assert [at_ms for at_ms, _ in said] == pytest.approx([at_ms for at_ms, _ in expected], abs=1e-3)
    assert [bytes(message) for _, message in said] == [message for _, message in expected]
