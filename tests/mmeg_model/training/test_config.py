import re

import pytest

from mmeg_model.training.config import TrainingConfig


def test_unknown_choice():
    with pytest.raises(
        ValueError, match="unknown training choice 'learning-rate': did you mean 'learning_rate'"
    ):
        TrainingConfig.from_plain({"learning-rate": 1})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_epochs", 0, "num_epochs must be positive, got 0"),
        ("learning_rate", -1.0, r"learning_rate must be positive, got -1\.0"),
        ("modality_dropout", 0.6, r"modality_dropout must be in \[0, 0\.5\], got 0\.6"),
        ("average_decay", 1.0, r"average_decay must be in \[0, 1\), got 1\.0"),
        ("learning_rate", float("inf"), "learning_rate must be finite, got inf"),
        ("patience", float("nan"), "patience must be finite, got nan"),
        ("weight_decay", -1, "weight_decay must be at least 0, got -1"),
        ("max_gradient_norm", 0, "max_gradient_norm must be positive, got 0"),
        ("max_gradient_norm", -1, "max_gradient_norm must be positive, got -1"),
        ("max_gradient_norm", float("nan"), "max_gradient_norm must be finite, got nan"),
        ("crop_seconds", 0.001, r"crop_seconds must be at least 0\.04, a frame, and finite, got 0\.001"),
        ("crop_seconds", float("nan"), r"crop_seconds must be at least 0\.04, a frame, and finite, got nan"),
        ("modality_dropout", float("nan"), r"modality_dropout must be in \[0, 0\.5\], got nan"),
        ("augmentation", 1.5, r"augmentation must be in \[0, 1\], got 1\.5"),
        ("seed", -1, r"seed must be in \[0, 2\^63\), got -1"),
        ("seed", 2**63, r"seed must be in \[0, 2\^63\), got 9223372036854775808"),
    ],
)
def test_outside_the_range(name: str, value: object, message: str):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**{name: value})


def test_faces_from_stills_is_of_compact():
    with pytest.raises(ValueError, match="faces_from_stills is of the preset 'compact', not of 'paper'"):
        TrainingConfig(preset="paper", faces_from_stills=True)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_epochs", "3", "a whole number"),
        ("num_epochs", [3], "a whole number"),
        ("num_epochs", True, "a whole number"),
        ("batch_size", 2.5, "a whole number"),
        ("patience", float("nan"), "a whole number"),
        ("seed", 2**100, "a whole number of at most 64 bits"),
        ("learning_rate", "0.1", "a finite number"),
        ("learning_rate", float("inf"), "a finite number"),
        ("weight_decay", float("nan"), "a finite number"),
        ("preset", 3, "a string"),
        ("weighting", 3, "a string"),
        ("mixed_precision", ["no"], "a string"),
        ("backbone_weights", 3, "a string"),
        ("sizes", 3, "a table"),
        ("weighting_arguments", "a", "a table"),
    ],
)
def test_another_type(name: str, value: object, expected: str):
    with pytest.raises(
        ValueError, match=rf"^training\.{name} must be {expected}.*, got {re.escape(repr(value))}$"
    ):
        TrainingConfig.from_plain({name: value})


def test_whole_numbers_are_numbers():
    assert TrainingConfig.from_plain({"learning_rate": 1}).learning_rate == 1
