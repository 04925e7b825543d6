"""Training for looks: where the face counts, which frames are looked at, and that the loss has a gradient."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_train_loop import STAGE, config_for, pictures  # noqa: F401  (a fixture)
from vidcodec.errors import InputError
from vidcodec.perceptual import load_lpips
from vidcodec.train.checkpoint import load_checkpoint
from vidcodec.train.config import ScoreConfig, config_from_dict
from vidcodec.train.export import trained_for
from vidcodec.train.loop import Trainer
from vidcodec.train.perceptual import FACE_MIDDLE, Looks, PerceptualConfig, View, face_map

WHOLE = np.array([[0.0, 0.0, 1.0]], np.float32)


@pytest.fixture(scope="module")
def lpips_weights() -> None:
    try:
        load_lpips()
    except InputError as error:
        pytest.skip(str(error))


def test_whole_picture_counts_as_before_and_its_face_more() -> None:
    weights = face_map(WHOLE, 192, 2.0)[0, 0]
    assert weights.shape == (192, 192) and float(weights.mean()) == pytest.approx(1, abs=1e-5)
    top = np.unravel_index(int(weights.argmax()), weights.shape)
    assert abs(top[1] / 192 - FACE_MIDDLE[0]) < 0.01 and abs(top[0] / 192 - FACE_MIDDLE[1]) < 0.01
    assert 1.5 < float(weights.max() / weights.min()) <= 2.0


def test_crop_has_the_weights_of_its_place() -> None:
    whole = face_map(WHOLE, 192, 2.0)[0, 0]
    places = np.array([[0.25, 0.5, 0.5], [0.0, 0.0, 0.5], [0.75, 0.75, 0.25]], np.float32)
    crops = face_map(places, 96, 2.0)[:, 0]
    assert torch.allclose(crops[0], whole[96:, 48:144], atol=1e-5)
    assert torch.allclose(crops[1], whole[:96, :96], atol=1e-5)
    assert crops[2].max() < 1 < crops[0].max(), "a crop of background counts for less than one of the face"


def test_frames_looked_at_stand_for_all_of_a_window() -> None:
    looks = Looks(PerceptualConfig(frames=0.5))
    assert looks.chosen(6, np.random.default_rng(0)) == {}, "without LPIPS there is nothing to look at"
    looks.config = PerceptualConfig(weight=0.01, frames=0.5)
    chosen = looks.chosen(6, np.random.default_rng(0))
    assert (
        len(chosen) == 3
        and set(chosen) <= set(range(6))
        and sum(view.stands_for for view in chosen.values()) == pytest.approx(6)
    )
    assert len({view.side for view in chosen.values()}) == 3, "each from another place"


def test_view_is_a_part_of_the_picture_enlarged() -> None:
    ramp = torch.linspace(0, 1, 128).expand(1, 1, 128, 128)
    part = View(0.5, 0.25, 0.5, 1.0).of(ramp)
    assert part.shape == ramp.shape
    assert float(part.min()) == pytest.approx(0.25, abs=0.01) and float(part.max()) == pytest.approx(0.75, abs=0.01)
    assert torch.equal(View(0.0, 0.0, 1.0, 1.0).of(ramp), ramp)


@pytest.mark.parametrize("values", [{"weight": -1.0}, {"frames": 0.0}, {"face_weight": 0.5}, {"faces": 2.0}])
def test_wrong_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises((ValueError, TypeError)):
        config_from_dict({"stage": [{"steps": 1}], "perceptual": values})


def test_lpips_has_a_gradient_even_where_nothing_fires(lpips_weights: None) -> None:
    shown = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    target = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    value = load_lpips()(shown, target)
    value.sum().backward()
    assert shown.grad is not None and bool(torch.isfinite(shown.grad).all()) and float(shown.grad.abs().max()) > 0
    weighted = load_lpips()(shown, target, torch.ones(1, 1, 64, 64))
    assert float(weighted.detach()) == pytest.approx(float(value.detach()), rel=1e-5)


def test_run_for_looks_learns_scores_and_says_so(pictures: Path, tmp_path: Path, lpips_weights: None) -> None:  # noqa: F811
    stage = replace(STAGE, steps=4, quality_skew=2.0)
    config = config_for(
        pictures,
        stages=(stage,),
        perceptual=PerceptualConfig(weight=0.01, frames=0.5, face_weight=2.0),
        score=ScoreConfig(every=4, frames=2, qualities=(10,)),
    )
    lines: list[str] = []
    best = Trainer(config, tmp_path / "run", lines.append).train()
    assert np.isfinite(best) and any("LPIPS 0." in line for line in lines)
    plain = Trainer(replace(config, perceptual=PerceptualConfig()), tmp_path / "plain", lines.append)
    plain.train()
    kept = load_checkpoint(tmp_path / "run/last.pt")["model"]
    assert any(not torch.equal(kept[name], t) for name, t in plain.model.state_dict().items())


def test_card_of_a_model_for_looks_says_what_it_was_trained_for() -> None:
    assert trained_for(PerceptualConfig()) == {}
    said = trained_for(PerceptualConfig(weight=0.012, face_weight=2.0))["trained_for"]
    assert "0.012 of LPIPS" in said and "weighted by 2," in said
