from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmeg_model.clip import Clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.predictions import Predictions, join, labelled_for_all, predict_clips
from mmeg_model.networks.presets import build

Make = Callable[..., Predictions]
SIZES = {"num_features": 16, "video": {"channels": [4, 4, 4]}}


def clip(seed: int, *, has_audio: bool = True) -> Clip:
    random = np.random.default_rng(seed)
    samples = random.integers(-(2**15), 2**15, 5 * 640).astype(np.int16) * has_audio
    frames = random.integers(0, 256, (5, 96, 96, 3), np.uint8)
    return Clip(0, 200, frames, np.ones(5, bool), samples, np.full(5 * 640, has_audio))


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("compact", SIZES)


FIRST = Utterance(Path("1.mp4"), "x", "x/1", "a", "anger", "male")
FACE = Utterance(Path("2.png"), "faces", "faces/2", "b", "sadness", None)


def test_what_is_labelled_stands_once_a_set_of_modalities(network: torch.nn.Module):
    of = predict_clips(network, [(FIRST, clip(0)), (FACE, clip(1, has_audio=False))])
    assert of["emotion"].labels.tolist() == [1, 1, 1, 3]
    assert of["emotion"].modalities.tolist() == ["audio+video", "audio", "video", "video"]
    assert of["emotion"].speakers.tolist() == ["a", "a", "a", "b"]
    assert of["emotion"].corpora.tolist() == ["x", "x", "x", "faces"]
    assert of["emotion"].logits.shape == (4, 4)
    assert of["gender"].labels.tolist() == [1, 1, 1]
    assert of["gender"].clips is not None
    assert of["emotion"].clips is not None
    assert of["gender"].clips.tolist() == of["emotion"].clips[:3].tolist()


def test_a_clip_has_one_name_and_others_have_others(network: torch.nn.Module):
    """Two parts of one file too."""
    of = predict_clips(network, [(FIRST, clip(0)), (replace(FIRST, recording="x/2"), clip(1))])["emotion"]
    assert of.clips is not None
    assert len(np.unique(of.clips)) == 2


def test_no_clip_gives_empty_predictions(network: torch.nn.Module):
    assert {task: of.logits.shape for task, of in predict_clips(network, []).items()} == {
        "emotion": (0, 4),
        "gender": (0, 2),
    }


def test_predictions_behind_each_other(predictions: Make):
    first = predictions([[1, 0]], [0], ["a"], clips=["1"])
    second = predictions([[0, 1]], [1], ["b"], clips=["2"])
    joined = join([first, second])
    assert joined.labels.tolist() == [0, 1]
    assert joined.clips is not None
    assert joined.clips.tolist() == ["1", "2"]
    assert join([first, replace(second, clips=None)]).clips is None


def test_rows_of_clips_that_are_labelled_for_all_tasks(predictions: Make):
    """Clip 1 with sound and with picture, clip 2 with picture: as different rows, in one order in both tasks."""
    emotion = predictions(
        np.eye(4), [0, 1, 2, 3], list("abcd"), clips=list("2113"), modalities=["v", "v", "a", "v"]
    )
    gender = predictions([[1, 0]] * 3, [0, 1, 0], list("bca"), clips=list("112"), modalities=["a", "v", "v"])

    of = labelled_for_all({"emotion": emotion, "gender": gender})

    for of_task in of.values():
        assert of_task.clips is not None
        assert list(zip(of_task.clips, of_task.modalities, strict=True)) == [
            ("1", "a"),
            ("1", "v"),
            ("2", "v"),
        ]
    assert of["emotion"].labels.tolist() == [2, 1, 0]
    assert of["gender"].labels.tolist() == [0, 1, 0]


def test_tasks_side_by_side_need_clips_that_are_known(predictions: Make):
    of = predictions([[1, 0]], [0], ["a"])
    with pytest.raises(ValueError, match=r"of which clips the predictions of gender are must be known"):
        labelled_for_all({"gender": of})
