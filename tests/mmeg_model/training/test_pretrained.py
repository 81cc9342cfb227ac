import json
from pathlib import Path

import numpy as np
import pytest

from mmeg_model.bundle import load
from mmeg_model.clip import Clip, pad
from mmeg_model.evaluation.predictions import Predictions
from mmeg_model.training import pretrained


@pytest.fixture(scope="module")
def output(synthetic_data: Path, clip_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole command, small, in this process and its children; over a bundle that is there already."""
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "bundle").mkdir()
    (folder / "bundle" / "of_old").touch()
    status = pretrained.main(
        ["--data", str(synthetic_data), "--corpora", "synthetic", "--output", str(folder / "bundle"),
         "--folder", str(folder / "runs"), "--cache", str(clip_cache),
         "--folds", "2", "--epochs", "1", "--clips-per-epoch", "32", "--jobs", "2"]
    )  # fmt: skip
    assert status == 0
    return folder


def test_the_bundle_is_whole_and_the_old_one_gone(output: Path):
    assert sorted(path.name for path in output.iterdir()) == ["bundle", "runs"]
    assert sorted(path.name for path in (output / "bundle").iterdir()) == [
        "LICENSE",
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_it_predicts(output: Path):
    clip = Clip(
        0,
        40,
        np.zeros((1, 96, 96, 3), np.uint8),
        np.ones(1, bool),
        np.zeros(640, np.int16),
        np.ones(640, bool),
    )
    for probabilities in load(output / "bundle").predict(pad([clip])).values():
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_the_card_tells_of_every_speaker_once(output: Path):
    card = (output / "bundle" / "README.md").read_text(encoding="utf-8")
    for task in ("emotion", "gender"):
        for modalities in ("audio", "audio+video", "video"):
            assert f"| {task} | synthetic | {modalities} | 32, 8 |" in card
    temperatures = json.loads((output / "bundle" / "config.json").read_text())["temperatures"]
    assert f"emotion {temperatures['emotion']:.2f}, gender {temperatures['gender']:.2f}" in card


def test_each_fold_and_what_ships_has_a_folder_of_its_own(output: Path):
    assert sorted(path.name for path in (output / "runs").iterdir()) == ["fold-0", "fold-1", "shipped"]
    assert all((output / "runs" / run / "checkpoint.pt").exists() for run in ("fold-0", "fold-1", "shipped"))


def of_fold(speaker: str, logit: float) -> Predictions:
    """Four clips of one speaker, all judged alike with log-odds of logit for the first of two labels, three rightly."""
    return Predictions(
        np.tile(np.array([[logit, 0]], np.float32), (4, 1)),
        np.array([0, 0, 0, 1]),
        np.array([speaker] * 4),
        np.array(["emodb-speech"] * 4),
        np.array(["audio"] * 4),
    )


def test_nobody_decides_on_the_temperature_of_their_own_predictions():
    """A fold's is that of the others: the wild guesses of c cool those of a and b, and not their own."""
    folds = [of_fold("a", 1.0), of_fold("b", 1.0), of_fold("c", 30.0)]
    calibrated = pretrained.cross_calibrated(folds)
    factors = [
        float(of.logits[0, 0] / given.logits[0, 0]) for of, given in zip(calibrated, folds, strict=True)
    ]
    assert factors[0] == pytest.approx(factors[1])
    assert factors[0] < 0.9
    # Of a and b: log-odds of 1 say .731 where .75 is right.
    assert 1 < factors[2] < 1.1
