"""What a part is worth is measured with the part really gone, at both ends."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import RICH, TINY, moving_face, tiny_codec
from vidcodec.bench import ablate
from vidcodec.bench.ablate import deprived, parts_of

SAMPLE = Path(__file__).parent.parent / "sender" / "assets" / "sample.mp4"


def test_parts_are_those_that_a_model_has() -> None:
    plain, rich = ({part.name for part in parts_of(sizes)} for sizes in (TINY, RICH))
    assert rich - plain == {"means of y", "layers at 1/4 resolution"}


@pytest.mark.parametrize("part", parts_of(RICH), ids=lambda part: part.name)
def test_codec_without_a_part_still_codes_and_differs_from_the_whole(part) -> None:
    whole = tiny_codec(sizes=RICH)
    less = deprived(whole, part)
    frames, sent, shown = moving_face(3), [], []
    states = [less.blank_state(), less.blank_state(), whole.blank_state()]
    for frame in frames:
        packet, states[0] = less.encode(frame, states[0], 30)
        picture, states[1] = less.decode(packet, states[1])
        assert np.array_equal(picture, states[0].picture)
        sent.append(packet.to_bytes())
        packet, states[2] = whole.encode(frame, states[2], 30)
        shown.append(packet.to_bytes() == sent[-1] and np.array_equal(states[2].picture, picture))
    assert not all(shown)


def test_command_prints_and_writes_the_worth_of_every_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablate.main(["--clips", str(SAMPLE), "--frames", "3", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "ablate.json").read_text())["rows"]
    table = capsys.readouterr().out
    assert all(row["without"] in table for row in rows) and len(rows) >= 6
    worth = {row["without"]: row["percent"]["sample"] for row in rows}
    assert worth["choice by rate and distortion"] > 0
