from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmeg_model.corpora.synthetic import read_manifest, write_corpus
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.sampling import Batch, TrainingBatches, label_tensors, sampling_weights


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


def test_batches_of_a_training(corpus: Path, tmp_path: Path):
    config = TrainingConfig(
        num_epochs=2, clips_per_epoch=20, batch_size=8, crop_seconds=0.6, modality_dropout=0.0
    )
    batches = TrainingBatches(read_manifest(corpus).utterances, config, cache=tmp_path)

    assert len(batches) == 2 * 3  # 20 clips are rounded up to three batches
    for step in range(len(batches)):
        (frames, frames_valid, samples, samples_valid), labels = batches[step]
        assert frames.shape[0] == frames_valid.shape[0] == samples.shape[0] == 8
        assert frames.shape[1] <= 15 / 0.88 + 1  # cropped, then at most so slow
        assert frames_valid.any(dim=1).all()
        assert samples_valid.any(dim=1).all()
        assert all(len(of_task) == 8 for of_task in labels.values())


def test_a_batch_depends_on_its_step_alone(corpus: Path, tmp_path: Path):
    config = TrainingConfig(clips_per_epoch=6, batch_size=3)
    examples = read_manifest(corpus).utterances
    batches, others = (TrainingBatches(examples, config, cache=tmp_path) for _ in range(2))

    assert_equal(batches[4], [others[step] for step in (0, 1, 4)][-1])
    assert not torch.equal(batches[4].clips[2][:, :640], batches[5].clips[2][:, :640])


def test_processes_share_a_batch(corpus: Path, tmp_path: Path):
    """Whatever their number, they take the same clips in a step."""
    config = TrainingConfig(batch_size=7)
    examples = read_manifest(corpus).utterances
    whole = TrainingBatches(examples, config, cache=tmp_path)[3]
    parts = [
        TrainingBatches(examples, config, cache=tmp_path, process=process, num_processes=3)[3]
        for process in range(3)
    ]
    assert [len(part.clips[0]) for part in parts] == [3, 2, 2]
    for process, part in enumerate(parts):
        for task, labels in part.labels.items():
            assert labels.tolist() == whole.labels[task][process::3].tolist()
        for array, of_whole in zip(part.clips, whole.clips, strict=True):
            assert torch.equal(array, of_whole[process::3, : array.shape[1]])  # padded to its own longest


def test_draws_follow_the_weights(corpus: Path, tmp_path: Path):
    """3,000 draws of four examples, two of which are a corpus of their own: within four standard errors."""
    examples = [
        replace(u, corpus="a" if n < 2 else "b") for n, u in enumerate(read_manifest(corpus).utterances[:4])
    ]
    config = TrainingConfig(clips_per_epoch=3000, batch_size=3000, crop_seconds=0.04, augmentation=0.0)
    weights = sampling_weights(examples)

    labels = TrainingBatches(examples, config, cache=tmp_path)[0].labels["emotion"]

    for number, u in enumerate(examples):  # their emotions are different
        share = float((labels == label_tensors([u])["emotion"]).float().mean())
        assert share == pytest.approx(weights[number], abs=4 * (weights[number] / 3000) ** 0.5)


def assert_equal(batch: Batch, other: Batch) -> None:
    assert all(torch.equal(array, of_other) for array, of_other in zip(batch.clips, other.clips, strict=True))
    assert all(torch.equal(labels, other.labels[task]) for task, labels in batch.labels.items())
