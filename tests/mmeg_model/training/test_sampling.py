from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmeg_model.corpora.fer2013 import read_pictures
from mmeg_model.corpora.synthetic import read_manifest, write_corpus
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.joint_loss import UNLABELLED
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.sampling import Batch, TrainingBatches, label_tensors, sampling_weights, sounds


def utterances(corpus: str, emotion: str | None, number: int, speaker: str = "s") -> list[Utterance]:
    return [
        Utterance(
            Path(f"{corpus}/{emotion}/{n}"), corpus, f"{corpus}/{emotion}/{n}", speaker, emotion, "female"
        )
        for n in range(number)
    ]


def test_sampling_weights_by_hand():
    """Corpora of one and of three speakers are drawn 1 : 3; within the second, 2 and 30 of two emotions alike."""
    drawn = [
        *utterances("x", "anger", 4),
        *utterances("y", "anger", 2),
        *utterances("y", None, 15, "t"),
        *utterances("y", None, 15, "u"),
    ]
    weights = sampling_weights(drawn)

    assert weights.sum() == pytest.approx(1)
    assert weights[:4] == pytest.approx([1 / 4 / 4] * 4)
    assert weights[4:6] == pytest.approx([3 / 4 / 2 / 2] * 2)
    assert weights[6:] == pytest.approx([3 / 4 / 2 / 30] * 30)


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
        (frames, frames_valid, samples, samples_valid), labels, _ = batches[step]
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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of stills as FER2013 is published: twelve grey ramps, three of each emotion."""
    folder = tmp_path_factory.mktemp("fer2013")
    pixels = " ".join(str(n % 256) for n in range(48 * 48))
    rows = [f"{number},{pixels},Training" for number in (0, 3, 4, 6) for _ in range(3)]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows, ""]))
    return folder


def test_a_batch_is_of_recordings_or_of_stills(corpus: Path, pictures: Path, tmp_path: Path):
    """Three in four, and evenly; stills are labelled for emotion alone, and are put as faces into frames."""
    examples = [*read_manifest(corpus).utterances, *read_pictures(pictures).utterances]
    config = TrainingConfig(num_epochs=2, clips_per_epoch=16, batch_size=4, still_share=0.75)
    batches = TrainingBatches(examples, config, cache=tmp_path)

    of_stills = []
    for step in range(len(batches)):
        (frames, frames_valid, _, samples_valid), labels, _ = batches[step]
        stills = frames.shape[1] == 1
        of_stills.append(stills)
        assert samples_valid.any().item() is not stills
        assert (labels["gender"] == UNLABELLED).all().item() is stills
        assert (labels["emotion"] != UNLABELLED).all()
        if stills:
            assert frames_valid.all()
            assert not torch.equal(frames[0], frames[1])  # the same picture in other places
    assert of_stills == [False, True, True, True] * 2


@pytest.mark.parametrize("faces_from_stills", [False, True])
def test_faces_are_taught_by_stills_alone_if_there_are_any(
    corpus: Path, pictures: Path, tmp_path: Path, faces_from_stills: bool
):
    recordings, stills = read_manifest(corpus).utterances, read_pictures(pictures).utterances
    config = TrainingConfig(
        num_epochs=1, clips_per_epoch=4, batch_size=2, still_share=0.5, faces_from_stills=faces_from_stills
    )
    for examples, teaches in (
        ([*recordings, *stills], [not faces_from_stills, True]),
        (recordings, [True, True]),
        (stills, [True, True]),
    ):
        batches = TrainingBatches(examples, config, cache=tmp_path)
        assert [batches[step].teaches_faces for step in range(2)] == teaches


def test_stills_alone(pictures: Path, tmp_path: Path):
    config = TrainingConfig(num_epochs=1, clips_per_epoch=8, batch_size=4)
    examples = read_pictures(pictures).utterances
    batches = TrainingBatches(examples, config, cache=tmp_path)
    assert all(batches[step].clips[0].shape == (4, 1, 96, 96, 3) for step in range(2))
    assert len(sounds(examples, config, cache=tmp_path)[0]) == 0


def test_sounds_are_of_recordings_as_they_are(corpus: Path, pictures: Path, tmp_path: Path):
    recordings = read_manifest(corpus).utterances
    broken = replace(recordings[0], path=tmp_path / "none.mp4")
    examples = [*recordings[1:], broken, *read_pictures(pictures).utterances]
    config = TrainingConfig(crop_seconds=0.4)

    samples, valid = sounds(examples, config, cache=tmp_path)

    assert samples.shape == valid.shape == (len(recordings) - 1, 6400)
    assert valid.all()
    assert torch.equal(sounds(examples, config, cache=tmp_path)[0], samples)


def test_draws_follow_the_weights(corpus: Path, tmp_path: Path):
    """3,000 draws of four examples of one speaker, one a corpus of its own: within four standard errors."""
    examples = [
        replace(u, corpus="a" if n < 1 else "b") for n, u in enumerate(read_manifest(corpus).utterances[:4])
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
