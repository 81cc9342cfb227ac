import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmeg_model.comparison.grid import Grid, Weighted
from mmeg_model.comparison.page import write_page
from mmeg_model.comparison.run import Outcomes

EMOTION_ONLY = Weighted(name="fixed", label="emotion-only", arguments={"weights": [1, 0]})
UNIFORM, SOFTMAX = (Weighted(name=name, label=name) for name in ("uniform", "softmax"))
Losses = tuple[float, float, float, float]
"""Emotion and gender on test, then on training."""


@pytest.fixture
def page(
    make_grid: Callable[..., Grid], make_result: Callable[..., dict], tmp_path: Path
) -> Callable[..., str]:
    """The page of a grid, from losses and the weight of gender by label; a label without them has failed."""

    def make(
        losses: dict[str, Losses], gender_weights: dict[str, float], *, num_speakers: int = 20, **values
    ) -> str:
        grid = make_grid(weightings=(UNIFORM, SOFTMAX, EMOTION_ONLY), **{"seeds": (0, 1)} | values)
        results, failed = {}, {}
        for cell in grid.cells:
            if (label := cell.weighted.label) in losses:
                *test, a, b = losses[label]
                results[cell] = make_result(
                    cell,
                    test=dict(zip(("emotion", "gender"), test, strict=True)),
                    train={"emotion": a, "gender": b},
                    weights=(1 - gender_weights[label], gender_weights[label]),
                    num_speakers=num_speakers,
                )
            else:
                failed[cell] = "diverged: a loss must be finite"
        write_page(tmp_path / "page" / "grid.md", grid, Outcomes(results, failed))
        return (tmp_path / "page" / "grid.md").read_text(encoding="utf-8")

    return make


WEIGHTS = {"uniform": 0.5, "softmax": 0.75, "emotion-only": 0.0}


def verdicts(text: str, against: str = "static weights of all tasks") -> list[str]:
    """Of claims 1 and 2, each by the paper's metric and unweighted."""
    return re.findall(rf"^   - .*?, against {against}: \*\*(.*?)\*\*", text, re.MULTILINE)


def test_a_joint_loss_that_fell_by_its_weights_alone(page: Callable[..., str]):
    """Equal networks: the claims hold by the paper's metric alone, and the page says where that comes from."""
    same = (1.0, 0.2, 0.7, 0.1)
    text = page({"uniform": same, "softmax": same, "emotion-only": same}, WEIGHTS)
    assert verdicts(text) == ["holds", "does not hold", "holds", "does not hold"]
    assert "joint loss, `softmax` − uniform: -0.200 [-0.200, -0.200] nats, adjusted p < 0.001" in text
    assert (
        "of that, by the weights alone -0.200 [-0.200, -0.200], by the networks 0.000 [0.000, 0.000]" in text
    )
    assert "| uniform | -0.200 | -0.200 [-0.200, -0.200] | 0.000 [0.000, 0.000] |" in text


def test_networks_that_are_better(page: Callable[..., str]):
    text = page(
        {
            "uniform": (1.0, 0.5, 0.6, 0.2),
            "softmax": (0.8, 0.2, 0.6, 0.1),
            "emotion-only": (1.1, 0.7, 0.6, 0.7),
        },
        WEIGHTS,
    )
    assert verdicts(text) == verdicts(text, "a single task") == ["holds"] * 4
    assert "Too few speakers" not in text


def test_a_gap_that_is_smaller_since_less_is_fitted(page: Callable[..., str]):
    text = page(
        {
            "uniform": (1.0, 0.5, 0.6, 0.2),
            "softmax": (1.2, 0.7, 1.1, 0.6),
            "emotion-only": (1.0, 0.7, 0.6, 0.7),
        },
        WEIGHTS,
    )
    assert verdicts(text)[3] == "does not hold"
    assert "the opposite: higher" in text
    assert "Against uniform the gap is smaller while the loss on test is not lower" in text


def test_a_single_task_is_set_apart(page: Callable[..., str]):
    same = (1.0, 0.2, 0.7, 0.1)
    text = page({"uniform": same, "softmax": same, "emotion-only": (0.9, 0.7, 0.7, 0.7)}, WEIGHTS)
    row = next(line for line in text.splitlines() if line.startswith("| emotion-only | 4 |"))
    assert "| (1.600 [1.600, 1.600]) | 0.900 [0.900, 0.900] | (0.700 [0.700, 0.700]) |" in row
    assert "In brackets: emotion-only train a single task" in text
    assert "| *equal probabilities* |  | 2.079 | 1.386 | 0.693 | 0.250 | 0.500 |" in text
    assert not re.search(r"\| test NLL, unweighted sum \| emotion-only \|", text)


def test_few_speakers_and_one_seed_are_named(page: Callable[..., str]):
    same = (1.0, 0.2, 0.7, 0.1)
    text = page({"uniform": same, "softmax": same, "emotion-only": same}, WEIGHTS, num_speakers=4, seeds=(0,))
    assert "**There is one seed**" in text
    assert "with 4 of them and 8 comparisons the lowest adjusted p can be 1." in text
    assert verdicts(text)[0] == "cannot be told here"


def test_failures_stand_in_the_page(page: Callable[..., str]):
    same = (1.0, 0.2, 0.7, 0.1)
    text = page({"uniform": same, "emotion-only": same}, WEIGHTS)
    assert "**4 of 12 trainings failed.**" in text
    assert "- softmax-seed1-fold0: diverged: a loss must be finite" in text
    assert "| softmax | 0 | – | – |" in text
    assert "Not judged" in text
    assert verdicts(text) == verdicts(text, "a single task") == []


def test_a_page_of_failures_alone(page: Callable[..., str]):
    text = page({}, WEIGHTS)
    assert "**12 of 12 trainings failed.**" in text
    assert "## Results" not in text


def test_its_pictures_lie_beside_it(page: Callable[..., str], tmp_path: Path):
    same = (1.0, 0.2, 0.7, 0.1)
    text = page({"uniform": same, "softmax": same, "emotion-only": same}, WEIGHTS)
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert shown == ["grid-differences.png", "grid-gap.png", "grid-weights.png"]
    for name in shown:
        with Image.open(tmp_path / "page" / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 100
    assert str(tmp_path) not in text


def test_the_configuration_is_told(page: Callable[..., str]):
    same = (1.0, 0.2, 0.7, 0.1)
    text = page({"uniform": same, "softmax": same, "emotion-only": same}, WEIGHTS)
    assert "emotion-only (`fixed`, {'weights': [1, 0]})" in text
    assert "- tested, gender: synthetic: 80 clips with audio+video" in text
    assert "clips_per_epoch = 1024" in text


@pytest.mark.parametrize(("gender_weight", "told"), [(0.54, True), (0.56, False)])
def test_weights_that_hardly_moved_are_named(page: Callable[..., str], gender_weight: float, told: bool):
    same = (1.0, 0.2, 0.7, 0.1)
    text = page(
        {"uniform": same, "softmax": same, "emotion-only": same}, WEIGHTS | {"softmax": gender_weight}
    )
    assert f"`softmax` gave to emotion: {1 - gender_weight:.3f} in the mean" in text
    assert ("**The learned weights hardly moved**" in text) == told
