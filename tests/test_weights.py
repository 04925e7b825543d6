"""Weights: found, checked by hash, and a bad file is one clear error."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import moving_face
from vidcodec.codec import LEARNED_MODELS, load_codec, model_of
from vidcodec.errors import InputError
from vidcodec.packet import Packet
from vidcodec.weights import load_weights, save_weights, weights_dir


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.int32)}
    save_weights(tmp_path / "m.safetensors", arrays, {"model_id": "m"}, {"sizes": {"width": 4}})
    weights = load_weights("m", tmp_path / "m.safetensors")
    assert np.array_equal(weights.arrays["a"], arrays["a"]) and weights.arrays["b"].dtype == np.int32
    assert weights.card["model_id"] == "m" and weights.settings == {"sizes": {"width": 4}}
    assert weights.sha256 == weights.card["sha256"] == hashlib.sha256(weights.path.read_bytes()).hexdigest()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.safetensors"]


def test_other_settings_are_other_weights_to_a_peer(tmp_path: Path) -> None:
    arrays = {"a": np.zeros(3)}
    for name, boost in (("m", 12.0), ("n", 13.0)):
        save_weights(tmp_path / f"{name}.safetensors", arrays, {}, {"sizes": {"intra_boost": boost}})
    one, other = (load_weights("m", tmp_path / f"{name}.safetensors").sha256 for name in ("m", "n"))
    assert one != other


@pytest.mark.parametrize("damage", ["missing", "garbage", "no card", "bad card", "type that numpy lacks"])
def test_bad_weights_are_one_clear_error(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "m.safetensors"
    save_weights(file, {"a": np.zeros(3)}, {})
    match damage:
        case "missing":
            file.unlink()
        case "garbage":
            file.write_bytes(b"\x80\x04pickle")
        case "no card":
            file.with_suffix(".json").unlink()
        case "bad card":
            file.with_suffix(".json").write_text("{")
        case "type that numpy lacks":
            head = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
            file.write_bytes(len(head).to_bytes(8, "little") + head + bytes(2))
    with pytest.raises(InputError, match=r"m\.json" if "card" in damage else r"m\.safetensors") as caught:
        load_weights("m", file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("card", sorted(weights_dir().glob("*.json")), ids=lambda p: p.stem)
def test_bundled_weights_are_those_of_their_card(card: Path) -> None:
    fields = json.loads(card.read_text())
    data = card.with_suffix(".safetensors").read_bytes()
    assert model_of(fields["model_id"]) == card.stem
    assert fields["sha256"] == hashlib.sha256(data).hexdigest()
    assert fields["data"] and fields["terms"] and (fields.get("training") or fields["steps"])


@pytest.mark.parametrize("model", LEARNED_MODELS)
def test_bundled_learned_models_code_in_one_format(model: str) -> None:
    codec = load_codec(model, "cpu", "fp32")
    packet, state = codec.encode(moving_face(1)[0], codec.blank_state(), 6)
    shown, _ = codec.decode(Packet.from_bytes(packet.to_bytes()), codec.blank_state())
    assert np.array_equal(shown, state.picture)
    assert model_of(codec.info.model_id) == model and codec.info.qualities == 64


def test_models_for_squared_error_and_for_looks_say_which_they_are() -> None:
    cards = {model: load_weights(model).card for model in LEARNED_MODELS}
    assert "trained_for" not in cards["s"]
    assert cards["s-p"]["trained_for"].startswith("looks") and "LPIPS" in cards["s-p"]["trained_for"]
    sizes = {model: load_weights(model).settings["sizes"] for model in LEARNED_MODELS}
    assert sizes["s"] == sizes["s-p"]


@pytest.mark.parametrize(
    ("model_id", "model"),
    [("s", "s"), ("s-36080", "s"), ("s-p", "s-p"), ("s-p-37480", "s-p"), ("seed", "seed"), ("other-3", "other-3")],
)
def test_model_is_found_by_the_id_in_a_stream(model_id: str, model: str) -> None:
    assert model_of(model_id) == model
