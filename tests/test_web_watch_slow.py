"""A browser that is too slow leaves frames out, says so, and shows what is shown without growing delay."""

from typing import Any

import pytest
from web_browser import watch_page

from vidcodec.watch.files import WatchFiles

SENDER = """
    // As docs/link.md has it: after bad news it predicts from what was decoded last.
    let [number, newest, decoded, broken] = [0, -1, -1, false];
    let settings = null;
    const clock = () => performance.timeOrigin + performance.now();
    const send = () => {
        const reference = broken ? decoded : newest;
        broken = false;
        newest = number;
        const distance = reference < 0 || number - reference > 63 ? 0 : number - reference;
        const bits = ((number << 22) | ((distance === 1) << 21)) >>> 0;
        const bytes = [bits >>> 24, (bits >>> 16) & 255, 0, 0, ...(distance === 1 ? [] : [distance])];
        const packet = { number, bytes: Uint8Array.from(bytes), receivedMs: clock() };
        if (!settings.lost.includes(number)) postMessage(packet);
        else setTimeout(() => { broken = true; }, 100); // it sees that no acknowledgement comes
        number += 1;
        if (number < settings.frames) setTimeout(send, settings.beganMs + (number * 1000) / settings.fps - clock());
        else setTimeout(() => postMessage(null), 500);
    };
    onmessage = ({ data }) => {
        if (data.frames) {
            settings = { ...data, beganMs: clock() };
            send();
        } else if (data.status === 1) decoded = Math.max(decoded, data.number);
        else broken = true;
    };
"""
PLAY = """async ({ sender, decodeMs, fps, frames, lost }) => {
    const { FrameDecoder } = await import("/watch/decoding.js");
    const clock = () => performance.timeOrigin + performance.now();
    const told = { shown: [], reports: {}, dropped: 0, asked: [] };
    const worker = new Worker(URL.createObjectURL(new Blob([sender], { type: "text/javascript" })));
    const hooks = {
        report: (number, status) => {
            told.reports[number] = status;
            worker.postMessage({ number, status });
        },
        refresh: (have, reason) => { told.asked.push([have, reason]); worker.postMessage({ status: 3 }); },
        dropped: (count) => { told.dropped += count; },
        show: ({ number, receivedMs }) => told.shown.push([number, clock() - receivedMs]),
    };
    // Decoding holds its thread up, as WebAssembly does.
    const decode = async () => {
        for (const until = clock() + decodeMs; clock() < until;);
        return { pixels: new Uint8Array(4 * 32 * 32) };
    };
    const decoder = new FrameDecoder({ read: () => ({}), blank: () => ({}), decode }, hooks, clock);
    const over = new Promise((done) => {
        worker.onmessage = ({ data }) => {
            if (data === null) return done();
            decoder.push(data);
            return decoder.expire();
        };
    });
    worker.postMessage({ fps, frames, lost });
    await over;
    return told;
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with watch_page(WatchFiles.find(tmp_path_factory.mktemp("watch"), "s-1", "ab" * 32), "playing frames") as opened:
        yield opened


def play(page: Any, decode_ms: float, lost: tuple[int, ...] = ()) -> dict[str, Any]:
    """Four seconds at 25 frames a second with a decoder that takes so long."""
    told: dict[str, Any] = page.evaluate(
        PLAY, {"sender": SENDER, "decodeMs": decode_ms, "fps": 25, "frames": 100, "lost": list(lost)}
    )
    return told


def test_slow_decoder_leaves_frames_out_and_its_delay_stays_flat(page: Any) -> None:
    told = play(page, 100.0)
    shown = told["shown"]
    assert told["dropped"] > 10
    assert any("too slow" in reason and have is not None for have, reason in told["asked"])
    assert len(shown) > 12 and shown[-1][0] > 85  # it goes on to the end
    early, late = shown[: len(shown) // 2], shown[len(shown) // 2 :]
    # Without leaving frames out the last one would be 6 s late.
    assert max(delay_ms for _, delay_ms in late) < 800.0
    assert sum(delay for _, delay in late) / len(late) < 2.0 * sum(delay for _, delay in early) / len(early) + 100.0


def test_quick_decoder_shows_every_frame_and_asks_for_nothing(page: Any) -> None:
    told = play(page, 0.0)
    numbers = [number for number, _ in told["shown"]]
    assert told["dropped"] == 0 and told["asked"] == [] and numbers == list(range(100))
    assert set(told["reports"].values()) == {1}


def test_lost_frame_is_waited_for_and_then_mended(page: Any) -> None:
    told = play(page, 0.0, lost=(40,))
    numbers = [number for number, _ in told["shown"]]
    assert 40 not in numbers and numbers[-1] == 99 and len(numbers) > 85
    assert 3 in told["reports"].values()
