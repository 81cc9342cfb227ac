import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmeg_model.corpora import read_corpora
from mmeg_model.evaluation.metrics import negative_log_likelihoods
from mmeg_model.evaluation.predictions import Predictions, predict
from mmeg_model.splits import Split, speaker_folds
from mmeg_model.training import loop
from mmeg_model.training.checkpoint import load_checkpoint
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.loop import balanced_loss, train

TINY = {
    "num_features": 32,
    "video": {"channels": [8, 16, 16, 32]},
    "dropout": 0.0,
}
CONFIG = TrainingConfig(
    sizes=TINY,
    num_epochs=8,
    clips_per_epoch=128,
    batch_size=8,
    learning_rate=0.005,
    average_decay=0.8,
    augmentation=0.0,
    modality_dropout=0.4,
)


@pytest.fixture(scope="module")
def split(synthetic_data: Path) -> Split:
    return speaker_folds(read_corpora(synthetic_data, ["synthetic"]).utterances, 4, seed=0)[0]


@pytest.fixture(scope="module")
def trained(
    split: Split, clip_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[loop.Trained, Path]:
    folder = tmp_path_factory.mktemp("run")
    return train(CONFIG, split, folder=folder, cache=clip_cache), folder


def accuracy(predictions: Predictions, modalities: str) -> float:
    chosen = predictions.where(predictions.modalities == modalities)
    return float((chosen.logits.argmax(axis=1) == chosen.labels).mean())


def test_learns_shapes_and_tones_of_speakers_it_never_met(trained, split: Split, clip_cache: Path):
    """Both tasks, from both modalities together and from each alone; chance is .25 and .5."""
    predictions = predict(trained[0].network, split.test, cache=clip_cache)
    for modalities in ("audio+video", "audio", "video"):
        assert accuracy(predictions["emotion"], modalities) >= 0.75
        assert accuracy(predictions["gender"], modalities) >= 0.9


def test_the_log_tells_every_epoch_and_the_checkpoint_is_the_best(trained):
    result, folder = trained
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]

    assert [line["epoch"] for line in lines] == [*range(1, len(lines) + 1)]
    assert all(line["weights"] == {"emotion": 0.5, "gender": 0.5} for line in lines)
    sums = [sum(line["validation"].values()) for line in lines]
    assert result.epoch == 1 + int(np.argmin(sums))
    assert sum(result.validation_losses.values()) == min(sums)
    best = load_checkpoint(folder / "best.pt")
    assert best["epoch"] == result.epoch
    assert all(torch.equal(best["network"][name], w) for name, w in result.network.state_dict().items())


def test_calibration_lowers_the_validation_loss(trained, split: Split, clip_cache: Path):
    result, _ = trained
    for task, of_task in predict(result.network, split.test, cache=clip_cache).items():
        scaled = Predictions(of_task.logits / result.temperatures[task], *list(vars(of_task).values())[1:])
        assert negative_log_likelihoods(scaled).mean() <= negative_log_likelihoods(of_task).mean() + 1e-6


def test_the_same_seed_gives_the_same_weights(split: Split, clip_cache: Path, tmp_path: Path):
    config = TrainingConfig(sizes=TINY, num_epochs=1, clips_per_epoch=16, batch_size=8)
    first, second = (train(config, split, folder=tmp_path / run, cache=clip_cache).network for run in "ab")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_stops_when_nothing_gets_better(
    split: Split, clip_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    losses = iter([3.0, 3.0, 2.0, 2.0, 2.5, 2.5, 2.5, 2.5, 0.0])  # two tasks an epoch: sums of 6, 4, 5, 5
    monkeypatch.setattr(loop, "balanced_loss", lambda _: next(losses))
    config = TrainingConfig(sizes=TINY, num_epochs=9, clips_per_epoch=8, batch_size=8, patience=2)

    result = train(config, split, folder=tmp_path, cache=clip_cache)

    assert result.epoch == 2
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4


def test_a_single_task_leaves_the_other_head_alone(split: Split, clip_cache: Path, tmp_path: Path):
    config = TrainingConfig(
        sizes=TINY,
        num_epochs=1,
        clips_per_epoch=32,
        batch_size=16,
        weight_decay=1e-9,
        average_decay=0.0,
        weighting="fixed",
        weighting_arguments={"weights": [1, 0]},
    )
    torch.manual_seed(config.seed)
    untrained = loop.build(config.preset, config.sizes)

    network = train(config, split, folder=tmp_path, cache=clip_cache).network

    before, after = untrained.state_dict(), network.state_dict()
    assert torch.allclose(before["heads.gender.weight"], after["heads.gender.weight"], atol=1e-6)
    assert not torch.allclose(before["heads.emotion.weight"], after["heads.emotion.weight"], atol=1e-3)


def test_a_loss_that_is_not_finite_ends_it_and_leaves_the_best_checkpoint(
    split: Split, clip_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calm = loop.task_losses
    steps = 0

    def explode(logits, labels):
        nonlocal steps
        steps += 1
        losses, counts = calm(logits, labels)
        return (losses * torch.tensor([1.0, torch.inf]) if steps > 2 else losses), counts

    monkeypatch.setattr(loop, "task_losses", explode)
    config = TrainingConfig(sizes=TINY, num_epochs=3, clips_per_epoch=16, batch_size=8)
    with pytest.raises(FloatingPointError, match="a loss must be finite, that of gender is inf"):
        train(config, split, folder=tmp_path, cache=clip_cache)
    assert load_checkpoint(tmp_path / "best.pt")["epoch"] == 1


def test_balanced_loss_by_hand():
    """Three clips of one corpus lose log 2 each, one of another log 4: the mean of groups, not of clips."""
    predictions = Predictions(
        np.array([[0, 0], [0, 0], [0, 0], [0, np.log(3)]], np.float32),
        np.array([0, 1, 0, 0]),
        np.array(["a"] * 4),
        np.array(["x", "x", "x", "y"]),
        np.array(["audio"] * 4),
    )
    assert balanced_loss(predictions) == pytest.approx((np.log(2) + np.log(4)) / 2)
