from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmeg_model.comparison.grid import Grid, Weighted, read_grid
from mmeg_model.networks.presets import build

GRID = """
data = "corpora"
corpora = ["synthetic"]
output = "out"
weightings = ["uniform", { name = "fixed", label = "emotion-only", arguments = { weights = [1, 0] } }]
seeds = 2
folds = 3
jobs = 1
[training]
num_epochs = 3
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "grid.toml"
    file.write_text(text)
    return file


def test_a_grid_from_its_file(tmp_path: Path):
    grid = read_grid(written(tmp_path, GRID))
    assert (grid.data, grid.output) == (tmp_path / "corpora", tmp_path / "out")  # relative to the file
    assert grid.seeds == (0, 1)
    assert [cell.name for cell in grid.cells[:3]] == [
        "uniform-seed0-fold0",
        "emotion-only-seed0-fold0",
        "uniform-seed0-fold1",
    ]
    assert len({cell.name for cell in grid.cells}) == len(grid.cells) == 2 * 2 * 3
    training = grid.training_of(grid.cells[-1])
    assert (training.weighting, training.weighting_arguments) == ("fixed", {"weights": [1, 0]})
    assert (training.seed, training.num_epochs) == (1, 3)
    assert [w.single_task for w in grid.weightings] == [None, "emotion"]


def test_what_is_given_goes_before_the_file(tmp_path: Path):
    text = GRID.replace('data = "corpora"\n', "")
    grid = read_grid(written(tmp_path, text), {"data": Path("d"), "output": Path("o"), "jobs": 3})
    assert (grid.data, grid.output, grid.jobs) == (Path("d"), Path("o"), 3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("folds = 3", "folds = ", r"grid\.toml is no TOML"),
        ("folds = 3", "", "folds must be given"),
        ('data = "corpora"', "", "data must be given"),
        ("folds = 3", "fold = 3", "unknown key 'fold': did you mean 'folds'"),
        ("folds = 3", "folds = 1", "folds must be at least 2, got 1"),
        ("folds = 3", 'folds = "three"', r"grid\.toml: folds must be a whole number.*, got 'three'"),
        ("num_epochs = 3", 'num_epochs = "3"', r"training\.num_epochs must be a whole number.*, got '3'"),
        ('["synthetic"]', '"synthetic"', "corpora must be a list, got 'synthetic'"),
        ('["synthetic"]', "[]", "corpora must not be empty"),
        ('"corpora"', "3", "data must be a path, got 3"),
        ("folds = 3", "folds = true", "folds must be a whole number.*, got True"),
        ("seeds = 2", 'seeds = "a"', "seeds must be a list, got 'a'"),
        ("seeds = 2", "seeds = true", "seeds must be a list, got True"),
        ("seeds = 2", 'seeds = ["a"]', r"seeds\[0\] must be a whole number.*, got 'a'"),
        ("seeds = 2", "seeds = [-1]", r"seed must be in \[0, 2\^63\), got -1"),
        ("jobs = 1", "smallest_effect_nats = nan", "smallest_effect_nats must be a finite number, got nan"),
        ('"uniform"', "3", "a weighting must be a name or a table, got 3"),
        ('"uniform"', "{ name = 3 }", r"weightings\.name must be a string, got 3"),
        ("{ weights = [1, 0] }", "3", r"weightings\.arguments must be a table, got 3"),
        ("[1, 0]", '[1, "a"]', r"the weighting 'fixed': weights\[1\] must be a finite number, got 'a'"),
        ("{ weights =", "{ tasks = [1], weights =", "unknown argument of the weighting 'fixed', 'tasks'"),
        ("{ weights =", "{ name = 1, weights =", "unknown argument of the weighting 'fixed', 'name'"),
        ("num_epochs = 3", "sizes = 3", r"training\.sizes must be a table, got 3"),
        ("num_epochs = 3", "sizes = { dropout = nan }", r"sizes\.dropout must be a finite number, got nan"),
        ("[training]\nnum_epochs = 3", "training = 3", "training must be a table, got 3"),
        ("jobs = 1", "jobs = 0", "jobs must be positive, got 0"),
        ("seeds = 2", "seeds = [1, 1]", r"seeds must be given, each once, got \[1, 1\]"),
        ('"uniform"', '"unifrom"', "unknown weighting 'unifrom': did you mean 'uniform'"),
        ('"uniform"', '"dwa"', "weightings must include 'uniform' under that label, got dwa, emotion-only"),
        ('"uniform"', '"uniform", "uniform"', "labels of weightings must be given, each once"),
        ("weights = [1, 0]", "weights = [1]", r"weights must be one for each of emotion, gender, got \[1\]"),
        (
            "weights = [1, 0]",
            "weihgts = [1, 0]",
            "unknown argument of the weighting 'fixed', 'weihgts': did you mean 'weights'",
        ),
        ("emotion-only", "emotion/only", "label 'emotion/only' must be of letters"),
        ("label =", "lable =", "unknown key of a weighting 'lable': did you mean 'label'"),
        ('name = "fixed", ', "", "a weighting must have a name"),
        ("num_epochs = 3", "num_epoch = 3", "unknown training choice 'num_epoch': did you mean 'num_epochs'"),
        ("num_epochs = 3", 'preset = "compcat"', "unknown preset 'compcat': did you mean 'compact'"),
        ("num_epochs = 3", "seed = 3", r"seed is the grid's to choose: take it out of \[training\]"),
    ],
)
def test_a_file_that_does_not_do(tmp_path: Path, old: str, new: str, message: str):
    assert old in GRID
    with pytest.raises(ValueError, match=message):
        read_grid(written(tmp_path, GRID.replace(old, new, 1)))


def test_seeds_are_paired_over_weightings(make_grid: Callable[..., Grid]):
    """The same seed, the same first weights, whatever the weighting."""
    grid = make_grid(seeds=(3,))
    trainings = [grid.training_of(cell) for cell in grid.cells]
    assert {training.seed for training in trainings} == {3}
    networks = []
    for training in trainings:
        torch.manual_seed(training.seed)
        networks.append(build(training.preset, training.sizes).state_dict())
    assert all(torch.equal(networks[0][name], w) for network in networks for name, w in network.items())


@pytest.mark.parametrize("weights", ["imagenet", "resnet50.safetensors"])
def test_backbone_weights_are_relative_to_the_file(tmp_path: Path, weights: str):
    training = f'preset = "paper"\nbackbone_weights = "{weights}"'
    grid = read_grid(written(tmp_path, GRID.replace("num_epochs = 3", training)))
    expected = weights if weights == "imagenet" else str(tmp_path / weights)
    assert grid.training.backbone_weights == expected


def test_a_weighting_is_hashable():
    weighted = Weighted(name="fixed", label="f", arguments={"weights": [1, 0]})
    assert {weighted: 1}[Weighted(name="fixed", label="f", arguments={"weights": [1, 0]})] == 1


def test_the_grid_of_the_benchmarks():
    grid = read_grid(
        Path(__file__).parents[3] / "benchmarks/joint_loss.toml", {"data": Path("d"), "output": Path("o")}
    )
    assert (len(grid.weightings), len(grid.seeds), grid.folds) == (7, 5, 4)
    assert {w.single_task for w in grid.weightings} == {None, "emotion", "gender"}
