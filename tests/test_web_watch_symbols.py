"""The browser reads the very symbols that Python reads, from good packets and from damaged ones."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from watch_files import base64s, clip, codec
from web_browser import watch_page

from vidcodec.errors import DamagedPacket
from vidcodec.packet import Packet
from vidcodec.watch.files import WatchFiles, model_folder
from vidcodec.watch.integers import describe
from vidcodec.weights import load_weights

READ = """async ({ model, packets }) => {
    const { SymbolReader } = await import("/watch/symbols.js");
    const { DamagedPacket, parsePacket } = await import("/watch/packet.js");
    const description = await (await fetch(model + "symbols.json")).json();
    const reader = new SymbolReader(description, await (await fetch(model + "symbols.bin")).arrayBuffer());
    const found = [];
    for (const text of packets) {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        try {
            const { vectors, z, y } = reader.read(parsePacket(bytes));
            const symbols = Int16Array.from([...vectors, ...z, ...y]);
            const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", symbols));
            found.push([...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""));
        } catch (error) {
            found.push(error instanceof DamagedPacket ? "damaged" : String(error.stack));
        }
    }
    return found;
}"""
MUTATIONS = 150


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """A page of the server, and where the model's files are."""
    folder = tmp_path_factory.mktemp("watch")
    info, weights = codec().info, load_weights("s")
    held = model_folder(folder, weights.sha256)
    held.mkdir()
    described, arrays = describe(weights, info.model_id)
    (held / "symbols.json").write_bytes(described)
    (held / "symbols.bin").write_bytes(arrays)
    files = WatchFiles.find(folder, info.model_id, info.weights_sha256)
    with watch_page(files, "reading symbols") as opened:
        yield opened, files.model


def read(page: tuple[Any, str], packets: list[bytes]) -> list[str]:
    """What the browser makes of packets: SHA-256 of the symbols, or that it is damaged."""
    opened, model = page
    found: list[str] = opened.evaluate(READ, {"model": model, "packets": base64s(packets)})
    return found


def expected(packet: bytes) -> str:
    """What Python makes of a packet."""
    try:
        symbols = codec().decode_symbols(Packet.from_bytes(packet))
    except DamagedPacket:
        return "damaged"
    whole = np.concatenate([part.reshape(-1) for part in (symbols.vectors, symbols.z, symbols.y)])
    return hashlib.sha256(whole.astype("<i2").tobytes()).hexdigest()


def test_symbols_of_a_whole_clip_are_those_of_python(page: tuple[Any, str]) -> None:
    packets = [coded.packet.to_bytes() for coded in clip()]
    found = read(page, packets)
    assert len(packets) > 60 and len(set(found)) > 40
    assert found == [expected(packet) for packet in packets]


def test_damaged_packets_are_told_as_python_tells_them(page: tuple[Any, str]) -> None:
    draw = random.Random(7)
    packets = []
    for number in range(MUTATIONS):
        data = bytearray(draw.choice(clip()).packet.to_bytes())
        if number % 3 == 0:
            data = data[: draw.randrange(len(data))]
        elif number % 3 == 1:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        else:
            data[4:] = draw.randbytes(draw.randrange(1, 400))
        packets.append(bytes(data))
    found = read(page, packets)
    assert found == [expected(packet) for packet in packets]
    assert found.count("damaged") > 0.9 * MUTATIONS


def test_page_says_in_one_line_what_is_missing(page: tuple[Any, str]) -> None:
    opened, _ = page
    notice = opened.locator("#notice")
    notice.wait_for(timeout=20_000)
    text = notice.text_content()
    assert "ONNX Runtime Web is not in" in text and "python -m vidcodec export-web" in text and "\n" not in text
