from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mmeg_model.corpora.synthetic import read_manifest, write_corpus
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.sampling import label_tensors, sampling_weights, training_batches


def utterances(corpus: str, emotion: str | None, number: int) -> list[Utterance]:
    return [
        Utterance(Path(f"{corpus}/{emotion}/{n}"), corpus, f"{corpus}/{emotion}/{n}", "s", emotion, "female")
        for n in range(number)
    ]


def test_sampling_weights_by_hand():
    """Corpora of 4 and 16 are drawn 2 : 4; within the second, 1 and 15 of two emotions equally often."""
    drawn = [*utterances("x", "anger", 4), *utterances("y", "anger", 1), *utterances("y", None, 15)]

    weights = sampling_weights(drawn)

    assert weights.sum() == pytest.approx(1)
    assert weights[:4] == pytest.approx([1 / 3 / 4] * 4)
    assert weights[4] == pytest.approx(1 / 3)
    assert weights[5:] == pytest.approx([1 / 3 / 15] * 15)


def test_label_tensors():
    a = Utterance(Path("a"), "c", "a", "s", "sadness", None)
    b = Utterance(Path("b"), "c", "b", "s", None, "female")
    assert {task: labels.tolist() for task, labels in label_tensors([a, b]).items()} == {
        "emotion": [3, -1],
        "gender": [-1, 0],
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, num_videos=8, seconds=1.0)
    return folder


def test_training_batches(corpus: Path, tmp_path: Path):
    config = TrainingConfig(clips_per_epoch=20, batch_size=8, crop_seconds=0.6, modality_dropout=0.0)

    batches = list(
        training_batches(read_manifest(corpus).utterances, config, np.random.default_rng(0), cache=tmp_path)
    )

    assert [len(batch.frames) for batch, _ in batches] == [8, 8, 4]
    assert all(batch.has_audio.all() and batch.has_video.all() for batch, _ in batches)
    assert (
        max(batch.frames.shape[1] for batch, _ in batches) <= 15 / 0.88 + 1
    )  # cropped, then at most so slow
    assert Counter(len(labels[task]) for _, labels in batches for task in labels) == {8: 4, 4: 2}


def test_the_same_random_state_gives_the_same_epoch(corpus: Path, tmp_path: Path):
    config = TrainingConfig(clips_per_epoch=6, batch_size=3)
    examples = read_manifest(corpus).utterances
    first, second = (
        list(training_batches(examples, config, np.random.default_rng(1), cache=tmp_path)) for _ in range(2)
    )
    for (batch, labels), (other, other_labels) in zip(first, second, strict=True):
        assert all(np.array_equal(vars(batch)[name], vars(other)[name]) for name in vars(batch))
        assert all((labels[task] == other_labels[task]).all() for task in labels)
