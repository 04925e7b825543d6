"""The trainer: schedule as data, resumable, deterministic by seed, and a way from run to weights file."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.tiny import TINY, moving_face
from vidcodec.errors import InputError, UsageError, VidcodecError
from vidcodec.learned import LearnedCodec
from vidcodec.train import main
from vidcodec.train.checkpoint import load_checkpoint, load_matching, save_checkpoint
from vidcodec.train.config import RunConfig, ScoreConfig, Stage, config_from_dict, load_config
from vidcodec.train.data import Augmentation, ClipPool
from vidcodec.train.loop import Trainer, astray
from vidcodec.train.score import score_of

SMALL_WEIGHTS = Path(__file__).parent / "golden/weights/s.safetensors"
STAGE = Stage(steps=4, crop=64, batch=2, window=2, lengths=(2, 6), lr=1e-3, lr_end=1e-4)


@pytest.fixture()
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    for number, frame in enumerate(moving_face(3)):
        cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
    return folder


def config_for(pictures: Path, **changes: object) -> RunConfig:
    raw = {
        "device": "cpu",
        "autocast": "fp32",
        "data": {"pictures": [str(pictures)], "dev": [str(pictures)], "cache": str(pictures.parent / "cache")},
        "model": TINY.to_dict(),
        "score": {"every": 4, "frames": 2, "qualities": [10, 40]},
        "stage": [{k: v for k, v in STAGE.__dict__.items()}],
    }
    return replace(config_from_dict(raw), **changes)


def test_run_ends_with_score_checkpoints_and_curves(pictures: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    best = Trainer(config_for(pictures), tmp_path / "run", lines.append).train()
    assert np.isfinite(best) and any("frames/s" in line and "left" in line for line in lines)
    assert load_checkpoint(tmp_path / "run/best.pt")["score"] == best
    assert (tmp_path / "run/curves.png").stat().st_size > 1000
    assert json.loads((tmp_path / "run/curves.json").read_text())["score"] == [[4, best]]


def test_same_seed_gives_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    runs = []
    for name in "ab":
        Trainer(config_for(pictures), tmp_path / name, lambda line: None).train()
        runs.append(load_checkpoint(tmp_path / name / "last.pt")["model"])
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_killed_run_goes_on_from_its_checkpoint(pictures: Path, tmp_path: Path) -> None:
    short = config_for(pictures, stages=(replace(STAGE, steps=3),), score=ScoreConfig(every=99))
    Trainer(short, tmp_path / "run", lambda line: None).train()
    lines: list[str] = []
    trainer = Trainer(config_for(pictures), tmp_path / "run", lines.append)
    assert lines == ["resumed at step 3"] and trainer.step == 3
    assert all(kept["state"] for kept in trainer.optimiser.state_dict())
    assert trainer.average.weights.keys() == trainer.model.state_dict().keys()
    trainer.train()
    assert load_checkpoint(tmp_path / "run/last.pt")["step"] == 4


def test_run_killed_after_a_score_knows_the_score_when_it_goes_on(pictures: Path, tmp_path: Path) -> None:
    def killed(line: str) -> None:
        if "done" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(config_for(pictures), tmp_path / "run", killed).train()
    again = Trainer(config_for(pictures), tmp_path / "run", lambda line: None)
    assert (again.step, again.best) == (4, load_checkpoint(tmp_path / "run/best.pt")["score"])


def test_kill_loses_no_more_than_was_promised_where_stages_are_short(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count(step=10)
    monkeypatch.setattr("vidcodec.train.loop.time.monotonic", lambda: float(next(ticks)))
    stages = tuple(replace(STAGE, steps=1, name=str(number)) for number in range(9))

    def killed(line: str) -> None:
        if line.startswith("stage 7"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(config_for(pictures, stages=stages, score=ScoreConfig(every=99)), tmp_path / "run", killed).train()
    assert load_checkpoint(tmp_path / "run/last.pt")["step"] >= 5


def test_run_of_another_model_is_refused_in_one_line(pictures: Path, tmp_path: Path) -> None:
    Trainer(config_for(pictures), tmp_path / "run", lambda line: None).train()
    other = config_for(pictures, model=replace(TINY, width=24))
    with pytest.raises(InputError, match=r"last\.pt: of a model of other sizes") as caught:
        Trainer(other, tmp_path / "run", lambda line: None)
    assert "\n" not in str(caught.value)
    (tmp_path / "run/best.pt").replace(tmp_path / "run/last.pt")
    with pytest.raises(InputError, match=r"last\.pt"):
        Trainer(config_for(pictures), tmp_path / "run", lambda line: None)


def test_run_that_cannot_be_written_raises_input_error(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(InputError, match="cannot be written"):
            Trainer(config_for(pictures), folder, lambda line: None)
    (tmp_path / "last.pt").mkdir()
    with pytest.raises(InputError, match=r"last\.pt: cannot be written"):
        save_checkpoint(tmp_path / "last.pt", {"step": 1})
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_schedule_that_wants_a_gpu_is_refused_where_there_is_none(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no CUDA device here"):
        Trainer(config_for(pictures, device="cuda"), tmp_path / "run", print)


def test_schedule_without_data_is_a_usage_error(pictures: Path, tmp_path: Path) -> None:
    config = config_for(pictures)
    config = replace(config, data=replace(config.data, pictures=()))
    with pytest.raises(UsageError, match="no videos and no pictures"):
        Trainer(config, tmp_path / "run", lambda line: None).train()


def test_export_says_what_is_wrong_before_the_work(pictures: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    Trainer(config_for(pictures), run, lambda line: None).train()
    (tmp_path / "file").write_text("in the way")
    words = ["--export", str(run), "--out"]
    assert main([*words, str(tmp_path / "file/s")]) == 3 and "--out" in capsys.readouterr().err
    assert main([*words, "."]) == 2 and "--out" in capsys.readouterr().err
    words.append(str(tmp_path / "s"))
    (run / "config.json").write_text("{")
    assert main(words) == 3 and "config.json" in capsys.readouterr().err
    (run / "config.json").unlink()
    assert main(words) == 3 and "config.json: No such file" in capsys.readouterr().err
    (run / "last.pt").replace(run / "best.pt")
    (run / "config.json").write_text('{"data": {"videos": [], "pictures": []}}')
    assert main(words) == 3 and "not of a run of this version" in capsys.readouterr().err


def test_training_lowers_the_loss_on_one_picture(pictures: Path, tmp_path: Path) -> None:
    stage = replace(STAGE, steps=40, lr=3e-3, lr_end=3e-3, quality_low=30.0, quality_high=30.0, quality_wander=0.0)
    trainer = Trainer(config_for(pictures, stages=(stage,), score=ScoreConfig(every=5)), tmp_path / "run", print)
    trainer.train()
    scores = [r["score"] for r in trainer.log.records("score")]
    assert len(scores) >= 8 and min(scores[-2:]) < scores[0]


def test_run_becomes_a_weights_file_that_codes(pictures: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    config = config_for(pictures)
    data = replace(config.data, videos=config.data.pictures)
    Trainer(replace(config, data=data), tmp_path / "run", lambda line: None).train()
    monkeypatch.setattr("vidcodec.train.export.FIT_FRAMES", (8,))
    assert main(["--export", str(tmp_path / "run"), "--out", str(tmp_path / "s")]) == 0
    assert "s.safetensors" in capsys.readouterr().out
    codec = LearnedCodec.load("s", "cpu", "fp32", None, tmp_path / "s.safetensors")
    frame = moving_face(1)[0]
    packet, state = codec.encode(frame, codec.blank_state(), 20)
    shown, _ = codec.decode(packet, codec.blank_state())
    assert np.array_equal(shown, state.picture) and codec.info.model_id == "s-4"
    lines: list[str] = []
    again = Trainer(replace(config, start=str(tmp_path / "s.safetensors")), tmp_path / "next", lines.append)
    kept = load_checkpoint(tmp_path / "run/best.pt")["average"]
    assert "0 tensors as initialised" in lines[0]
    assert all(torch.allclose(t, kept[name], atol=0.01) for name, t in again.model.state_dict().items())


def test_tables_fitted_anew_code_with_the_same_networks(pictures: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("vidcodec.train.export.FIT_FRAMES", (8,))
    (tmp_path / "faces.toml").write_text('device = "cpu"\n[data]\nvideos = ["faces"]\n[[stage]]\nsteps = 1\n')
    old = SMALL_WEIGHTS
    words = ["--refit", str(old), "--config", str(tmp_path / "faces.toml"), "--data", str(tmp_path)]
    words += ["--cache", str(tmp_path / "cache")]
    assert main(words) == 2 and "--out" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "anew")]) == 0
    before, codec = (LearnedCodec.load("s", "cpu", "fp32", None, at) for at in (old, tmp_path / "anew.safetensors"))
    assert codec.info.model_id == f"{before.info.model_id}-t2" and codec.sizes == before.sizes
    changed = {name for name in codec.arrays if not np.array_equal(codec.arrays[name], before.arrays[name])}
    assert changed and all(name.startswith("tables.") for name in changed)
    packet, state = codec.encode(moving_face(1)[0], codec.blank_state(), 20)
    assert np.array_equal(codec.decode(packet, codec.blank_state())[0], state.picture)
    for model_id, following in (("s-5-t9", "s-5-t10"), ("s-test-5", "s-test-5-t2")):
        card = json.loads((tmp_path / "anew.json").read_text())
        (tmp_path / "anew.json").write_text(json.dumps({**card, "model_id": model_id}))
        words[1] = str(tmp_path / "anew.safetensors")
        assert main([*words, "--out", str(tmp_path / "s-1.5")]) == 0
        assert json.loads((tmp_path / "s-1.5.json").read_text())["model_id"] == following


def test_deeper_model_keeps_what_a_shallow_one_learned() -> None:
    from vidcodec.networks.model import VideoModel

    shallow, deep = VideoModel(TINY), VideoModel(replace(TINY, decoder_blocks=2))
    left = load_matching(deep, shallow.state_dict())
    assert left and all("blocks.1." in name for name in left)
    kept = deep.state_dict()
    assert all(torch.equal(t, kept[name]) for name, t in shallow.state_dict().items())


def test_damaged_checkpoint_raises_input_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"step": 3, "w": torch.ones(2)})
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 3
    for content in (
        (tmp_path / "a.pt").read_bytes()[:100],
        b"",
        b"no checkpoint",
        b"seed = 3",
        b"PK\x03\x04" + bytes(100),
    ):
        (tmp_path / "a.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.pt: not a readable checkpoint$"):
            load_checkpoint(tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"b\.pt: No such file or directory; give a checkpoint$"):
        load_checkpoint(tmp_path / "b.pt")


def test_what_draws_the_curves_is_missed_before_the_first_step(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcodec.train.log.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[bench\]'"):
        Trainer(config_for(pictures), tmp_path / "run", print)


STEPS = "[[stage]]\nsteps = 5\n"


@pytest.mark.parametrize(
    "text",
    [
        "stage = 3",
        f"{STEPS}speed = 2",
        "seed = 1",
        f'{STEPS}crop = "64"',
        f"{STEPS}lengths = [6]",
        f"{STEPS}lengths = [0, 6]",
        f'autocast = "fp16"\n{STEPS}',
        f'device = "gpu"\n{STEPS}',
        f"threads = 0\n{STEPS}",
        f"{STEPS}[score]\nevery = 0",
        f"{STEPS}[score]\nqualities = []",
        f'{STEPS}[data]\nvideos = "takes"',
        f"{STEPS}[data]\nvideos = [3]",
        f'{STEPS}[model]\nwidth = "64"',
        f"model = 3\n{STEPS}",
        f"{STEPS}lr = -1.0",
        f"{STEPS}lr = nan",
        f"{STEPS}quality_high = 64.0",
        f"{STEPS}quality_low = 40.0\nquality_high = 30.0",
        f"{STEPS}quality_skew = 0.0",
        f"{STEPS}lost_share = 2.0",
        f"{STEPS}[augmentation]\nreverse = 2.0",
        f"{STEPS}[augmentation]\nscale_low = 2.0",
        f"{STEPS}[augmentation]\nnoise_high = 0.0",
        f"{STEPS}[augmentation]\njitter_px = -1.0",
        f"{STEPS}[score]\nqualities = [80]",
        f"seed = -1\n{STEPS}",
        f"ema = 2.0\n{STEPS}",
        f"{STEPS}[model]\nwidth = 0",
        f"{STEPS}[model]\ngroups = []",
    ],
)
def test_wrong_schedule_raises_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UsageError):
        load_config(tmp_path / "x.toml")


def test_schedule_that_cannot_be_read_raises_input_error(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "prose.toml").write_text("= =")
    for name in ("missing.toml", "binary.toml", "prose.toml"):
        with pytest.raises(InputError, match=f"--config .*{name}: (No such file|not text|not TOML)"):
            load_config(tmp_path / name)


def test_bundled_schedule_is_valid_and_takes_its_data_folder() -> None:
    schedules = Path(__file__).parent.parent / "vidcodec/train/schedules"
    for path in schedules.glob("*.toml"):
        config = load_config(path, Path("/faces"), Path("/cache"))
        assert config.data.videos[0].startswith("/faces/") and config.data.cache == "/cache"
        assert config.stage_at(0)[0] == 0 and config.stage_at(config.steps)[2] == config.stages[-1].steps


def test_pool_restarts_clips_and_reports_where(pictures: Path) -> None:
    from vidcodec.train.cache import open_cache

    items = open_cache(pictures, pictures.parent / "cache")
    pool = ClipPool([], items, batch=3, crop=64, lengths=(4, 4), augmentation=Augmentation(), seed=0)
    frames, starts, places = pool.take(2)
    assert frames.shape == (2, 3, 64, 64, 3) and starts.all() and places.shape == (2, 3, 3)
    pool.restart(1)
    assert pool.take(2).starts[1]
    assert sum(pool.take(2).starts.sum() for _ in range(20)) >= 3 * 20 / 2 - 6


def test_clip_whose_error_is_no_number_begins_anew() -> None:
    assert astray(torch.tensor([1e-3, float("nan"), 0.5, 0.02])) == [1, 2]


def test_weights_that_are_no_numbers_do_not_replace_the_last_checkpoint(pictures: Path, tmp_path: Path) -> None:
    trainer = Trainer(config_for(pictures), tmp_path / "run", lambda line: None)
    trainer.train()
    kept = (tmp_path / "run/last.pt").read_bytes()
    with torch.no_grad():
        next(trainer.model.parameters()).view(-1)[0] = float("inf")
    with pytest.raises(VidcodecError, match="no numbers any more"):
        trainer.save()
    assert (tmp_path / "run/last.pt").read_bytes() == kept


def test_two_processes_train_together_and_one_of_them_speaks(pictures: Path, tmp_path: Path) -> None:
    config = config_for(pictures)
    parts = {"data": config.data, "model": config.model, "score": config.score}
    tables = [f"[{name}]\n{toml(part.__dict__)}" for name, part in parts.items()]
    text = ["autocast = 'fp32'", *tables, f"[[stage]]\n{toml(STAGE.__dict__)}"]
    (tmp_path / "x.toml").write_text("\n".join(text))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "--"]
    command += ["vidcodec", "train", "--config", str(tmp_path / "x.toml"), "--run", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    best = load_checkpoint(tmp_path / "run/best.pt")
    assert done.stdout.splitlines()[-1] == f"best score {best['score']:.4f}"
    assert done.stdout.count("best score") == done.stdout.count("done at step 4") == 1


def toml(values: dict[str, object]) -> str:
    """Names and numbers, and lists of them, as TOML: JSON writes them alike."""
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def test_score_reads_as_bits_at_equal_error() -> None:
    from vidcodec.train.score import Point

    points = [Point("a", 1, 1000.0, 1e-3), Point("a", 2, 2000.0, 5e-4)]
    dearer = [replace(p, bits=p.bits * 1.1) for p in points]
    assert score_of(dearer) - score_of(points) == pytest.approx(np.log(1.1))


def test_score_stays_where_more_bits_buy_what_they_should() -> None:
    from vidcodec.train.score import Point, slope_at

    points = [Point("a", 4, 700.0, 6e-4), Point("a", 40, 2800.0, 1.6e-4)]
    finer = [replace(p, error=0.9 * p.error, bits=p.bits * 0.9 ** -slope_at(p.quality)) for p in points]
    assert score_of(finer) == pytest.approx(score_of(points))
    assert slope_at(4) < slope_at(40)


def test_train_without_a_schedule_is_a_usage_error(capsys) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: say what to do: --config FILE")
