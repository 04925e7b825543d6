"""The browser shows what Python shows: networks exported here, run by ONNX Runtime Web."""

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from watch_files import base64s, clip, codec, psnr_db, runtime
from web_browser import START_MS, START_S, chromium, within

from vidcodec.codec import FRAME_SIZE
from vidcodec.watch.export import copy_runtime, export_model
from vidcodec.watch.files import WatchFiles
from vidcodec.watch.server import WatchServer

FRAMES = 40
GPU_FRAMES = 3
"""As many where a CPU runs the shaders, which takes it 5 to 25 s a frame: one without and two with a reference."""
HAS_GPU = "async () => Boolean(await navigator.gpu?.requestAdapter())"
DECODE = """async ({ model, runtime, packets, where }) => {
    const { SymbolReader } = await import("/watch/symbols.js");
    const { parsePacket } = await import("/watch/packet.js");
    const { loadNetworks } = await import("/watch/networks.js");
    const url = (path) => new URL(path, location.href).href;
    const bytes = async (name) => new Uint8Array(await (await fetch(model + name)).arrayBuffer());
    const description = await (await fetch(model + "symbols.json")).json();
    const reader = new SymbolReader(description, (await bytes("symbols.bin")).buffer);
    const networks = await loadNetworks(description, bytes, url(runtime), where);
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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, WatchFiles]]:
    """Where the pages and their files are, and the files."""
    pytest.importorskip("onnxscript", reason="no onnxscript here: pip install -e '.[watch]'")
    folder = tmp_path_factory.mktemp("watch")
    copy_runtime(runtime(), folder / "runtime")
    export_model(folder)
    info = codec().info
    files = WatchFiles.find(folder, info.model_id, info.weights_sha256)
    assert files.missing == ""
    opened = WatchServer("127.0.0.1:0", files)
    try:
        yield opened.url, files
    finally:
        opened.close()


@pytest.mark.parametrize(("where", "count"), [("wasm", FRAMES), ("webgpu", GPU_FRAMES)])
def test_pictures_of_a_clip_are_those_of_python(server: tuple[str, WatchFiles], where: str, count: int) -> None:
    url, files = server
    coded = clip()[:count]
    packets = base64s([frame.packet.to_bytes() for frame in coded])
    with within(2 * START_S, "decoding pictures"), chromium(gpu=where == "webgpu") as browser:
        page = browser.new_page()
        page.goto(url.partition("#")[0], timeout=START_MS)  # without the token the page itself stands still
        if where == "webgpu" and not page.evaluate(HAS_GPU):
            pytest.skip("this browser has no WebGPU, not even one without a graphics card")
        given = {"model": files.model, "runtime": files.runtime, "packets": packets, "where": where}
        texts = page.evaluate(DECODE, given)
    shape = (FRAME_SIZE, FRAME_SIZE, 4)
    pictures = [np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape) for text in texts]
    assert len(pictures) == count
    for frame, picture in zip(coded, pictures, strict=True):
        assert (picture[..., 3] == 255).all()
        shown = picture[..., :3]
        assert abs(psnr_db(shown, frame.original) - psnr_db(frame.picture, frame.original)) < 0.1
        assert psnr_db(shown, frame.picture) > 45.0
