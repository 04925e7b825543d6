"""The browser shows what Python shows: networks exported here, run by ONNX Runtime Web."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from watch_files import base64s, clip, codec, psnr_db, runtime
from web_browser import START_MS, START_S, chromium, within

from vidcodec.codec import FRAME_SIZE
from vidcodec.watch.export import copy_runtime, export_model
from vidcodec.watch.files import WatchFiles
from vidcodec.watch.server import WatchServer

FRAMES = 40
DECODE = """async ({ model, runtime, packets }) => {
    const { SymbolReader } = await import("/watch/symbols.js");
    const { parsePacket } = await import("/watch/packet.js");
    const { loadNetworks } = await import("/watch/networks.js");
    const url = (path) => new URL(path, location.href).href;
    const bytes = async (name) => new Uint8Array(await (await fetch(model + name)).arrayBuffer());
    const description = await (await fetch(model + "symbols.json")).json();
    const reader = new SymbolReader(description, (await bytes("symbols.bin")).buffer);
    const networks = await loadNetworks(description, bytes, url(runtime), "wasm");
    const pictures = [];
    let state = null;
    for (const text of packets) {
        const packet = parsePacket(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
        state = await networks.decode(reader.read(packet), packet.distance ? state : networks.blank());
        let letters = "";
        for (let from = 0; from < state.pixels.length; from += 8192)
            letters += String.fromCharCode(...state.pixels.subarray(from, from + 8192));
        pictures.push(btoa(letters));
    }
    return pictures;
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, WatchFiles]]:
    pytest.importorskip("onnxscript", reason="no onnxscript here: pip install 'vidcodec[watch]'")
    folder = tmp_path_factory.mktemp("watch")
    copy_runtime(runtime(), folder / "runtime")
    export_model(folder)
    info = codec().info
    files = WatchFiles.find(folder, info.model_id, info.weights_sha256)
    assert files.missing == ""
    server = WatchServer("127.0.0.1:0", files)
    try:
        with within(2 * START_S, "decoding pictures"), chromium() as browser:
            opened = browser.new_page()
            opened.goto(server.url, timeout=START_MS)
            yield opened, files
    finally:
        server.close()


def test_pictures_of_a_clip_are_those_of_python(page: tuple[Any, WatchFiles]) -> None:
    opened, files = page
    coded = clip()[:FRAMES]
    packets = base64s([frame.packet.to_bytes() for frame in coded])
    texts = opened.evaluate(DECODE, {"model": files.model, "runtime": files.runtime, "packets": packets})
    shape = (FRAME_SIZE, FRAME_SIZE, 4)
    pictures = [np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape) for text in texts]
    assert len(pictures) == FRAMES
    for frame, picture in zip(coded, pictures, strict=True):
        assert (picture[..., 3] == 255).all()
        shown = picture[..., :3]
        assert abs(psnr_db(shown, frame.original) - psnr_db(frame.picture, frame.original)) < 0.1
        assert psnr_db(shown, frame.picture) > 45.0
