from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmeg_model.comparison.cell import (
    configuration_of,
    measure,
    sha256_of,
    split_of,
    with_all_modalities,
)
from mmeg_model.comparison.grid import Grid
from mmeg_model.corpora import read_corpora
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.predictions import Predictions
from mmeg_model.networks.presets import build


@pytest.fixture
def utterances(synthetic_data: Path) -> tuple[Utterance, ...]:
    return read_corpora(synthetic_data, ["synthetic"]).utterances


def test_an_utterance_counts_once_with_all_that_it_has():
    given = ["audio", "audio+video", "audio", "video", "video", "audio+video", "audio", "video"]
    numbers = np.arange(len(given))
    predictions = Predictions(
        np.zeros((len(given), 2), np.float32),
        numbers,
        *(np.array(["x"] * len(given)) for _ in range(2)),
        np.array(given),
    )
    chosen = with_all_modalities(predictions)
    assert chosen.labels.tolist() == [0, 1, 4, 5]
    assert chosen.modalities.tolist() == ["audio", "audio+video", "video", "audio+video"]
    assert len(with_all_modalities(predictions.where(numbers < 0))) == 0


def test_what_is_measured_by_hand(utterances: tuple[Utterance, ...], clip_cache: Path):
    """A network without weights gives equal probabilities: log 4 and log 2 nats, always the first label."""
    network = build("compact", {"num_features": 16, "video": {"channels": [4, 4, 4]}})
    for weights in network.parameters():
        nn.init.zeros_(weights)
    network.train()
    silent = replace(utterances[0], perceived_gender=None)

    tasks = measure(network, [silent, *utterances[1:8]], cache=clip_cache)["tasks"]

    assert not network.training
    assert tasks["emotion"]["nll"] == pytest.approx(np.log(4))
    assert tasks["gender"]["nll"] == pytest.approx(np.log(2))
    assert tasks["emotion"]["speakers"] == ["synthetic-00", "synthetic-01"]
    assert tasks["emotion"]["nll_sums"] == pytest.approx([4 * np.log(4)] * 2)
    assert tasks["gender"]["nll_sums"] == pytest.approx([3 * np.log(2), 4 * np.log(2)])
    assert tasks["emotion"]["clips"] == [["synthetic", "audio+video", 8]]
    assert tasks["emotion"]["uar"] == 0.25
    assert np.array(tasks["emotion"]["confusions"]).sum(axis=(0, 1)).tolist() == [8, 0, 0, 0]


def test_a_task_that_nobody_is_labelled_for_is_left_out(utterances: tuple[Utterance, ...], clip_cache: Path):
    torch.manual_seed(0)
    network = build("compact", {"num_features": 16, "video": {"channels": [4, 4, 4]}})
    unlabelled = [replace(u, perceived_gender=None) for u in utterances[:4]]
    assert list(measure(network, unlabelled, cache=clip_cache)["tasks"]) == ["emotion"]


def test_sides_share_nobody_and_are_the_same_for_all_cells(
    make_grid: Callable[..., Grid], utterances: tuple[Utterance, ...]
):
    grid = make_grid(folds=4, validation_folds=3, seeds=(0, 7))
    tested = []
    for fold in range(grid.folds):
        split, test = split_of(grid, fold, utterances)
        sides = [{u.speaker for u in side} for side in (split.train, split.test, test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 8
        assert all(sides)
        tested += sides[2]
    assert sorted(tested) == sorted({u.speaker for u in utterances})  # each in one fold


def test_the_configuration_does_not_know_where_the_data_lie(
    make_grid: Callable[..., Grid], utterances: tuple[Utterance, ...], synthetic_data: Path, tmp_path: Path
):
    grid = make_grid(data=synthetic_data)
    moved = [replace(u, path=tmp_path / "moved" / u.path.relative_to(synthetic_data)) for u in utterances]
    first, second, fewer = (
        sha256_of(configuration_of(of_grid, grid.cells[0], of))
        for of_grid, of in (
            (grid, utterances),
            (replace(grid, data=tmp_path / "moved", output=tmp_path, jobs=9), moved),
            (grid, utterances[1:]),
        )
    )
    assert first == second != fewer
