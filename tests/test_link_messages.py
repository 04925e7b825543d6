"""Control messages: what is valid comes back equal, what is not is refused with one line."""

import json
import random
from dataclasses import replace

import pytest

from vidcodec.errors import PeerError
from vidcodec.link.messages import (
    MAX_CONTROL_BYTES,
    Bye,
    Control,
    Hello,
    InvalidMessage,
    Ping,
    Pong,
    Refresh,
    Stats,
    check_hello,
    from_json,
    to_json,
)

HELLO = Hello(1, "seed", "0123456789abcdef" * 4, 29.97, 192, 192, {"bitrate_kbps": 40, "baseline": "vp8"})
MESSAGES: list[Control] = [
    HELLO,
    Ping(12.5),
    Pong(12.5, 13.0, 13.25),
    Refresh(None, "lost frame 12"),
    Refresh(1 << 40),
    Stats({"frames": [{"number": 1, "mse": 1e-4}]}),
    Bye({"frames_shown": 12}),
    Bye(error="other weights"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_comes_back_equal(message: Control) -> None:
    assert from_json(to_json(message)) == message
    assert from_json(to_json(message).encode()) == message


def changed(**fields: object) -> str:
    return json.dumps(json.loads(to_json(HELLO)) | fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"type":["hello"]}',
        '{"type":"eval","code":"1"}',
        '{"type":"ping"}',
        '{"type":"ping","sent_ms":1,"more":2}',
        '{"type":"ping","sent_ms":"1"}',
        '{"type":"ping","sent_ms":true}',
        '{"type":"ping","sent_ms":NaN}',
        '{"type":"ping","sent_ms":-1}',
        '{"type":"ping","sent_ms":1e400}',
        '{"type":"refresh","have":1.5,"reason":""}',
        '{"type":"refresh","have":null,"reason":"\\u001b[2J"}',
        '{"type":"stats","payload":[]}',
        '{"type":"bye","stats":{},"error":"' + "x" * 301 + '"}',
        '{"type":"stats","payload":' + '{"a":' * 5000 + "1" + "}" * 5000 + "}",
        "[" * 50_000,
        '{"type":"ping","sent_ms":' + "9" * 5000 + "}",
        changed(weights_sha256="ab"),
        changed(weights_sha256="G" * 64),
        changed(model_id="x" * 65),
        changed(width=0),
        changed(width=192.0),
        changed(fps=0),
        changed(fps=1000),
        changed(options={"x": "y" * 9000}),
        changed(options=None),
        changed(protocol=-1),
        '{"type":"stats","payload":{"x":"' + "y" * MAX_CONTROL_BYTES + '"}}',
    ],
)
def test_invalid_message_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        from_json(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_message_nested_to_any_depth_is_taken_or_refused() -> None:
    refused = 0
    for depth in range(1, 1100):
        try:
            from_json('{"type":"stats","payload":{"a":' + "[" * depth + "]" * depth + "}}")
        except InvalidMessage:
            refused += 1
    assert 0 < refused < 1000


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidMessage):
        from_json(b"\xff\xfe\x00")


def test_mutated_messages_give_a_message_or_invalid_message() -> None:
    generator = random.Random(2)
    texts = [to_json(message).encode() for message in MESSAGES]
    accepted = 0
    for _ in range(5_000):
        data = bytearray(generator.choice(texts))
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(data))
            data[place : place + generator.randint(0, 2)] = generator.randbytes(generator.randint(0, 2))
        try:
            message = from_json(bytes(data))
        except InvalidMessage:
            continue
        accepted += 1
        assert isinstance(message, Control)
    assert accepted < 4_000


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}, {"x": "y" * MAX_CONTROL_BYTES}])
def test_what_cannot_be_sent_is_refused_at_the_source(payload: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        to_json(Stats(payload))


def test_hello_must_match_in_version_model_and_weights() -> None:
    check_hello(HELLO, replace(HELLO, fps=15.0, width=64, options={}))
    for other, word in [
        (replace(HELLO, protocol=2), "same version"),
        (replace(HELLO, bitstream=2), "same version"),
        (replace(HELLO, model_id="s"), "--model"),
        (replace(HELLO, weights_sha256="f" * 64), "weights"),
    ]:
        with pytest.raises(PeerError, match=word):
            check_hello(HELLO, other)
