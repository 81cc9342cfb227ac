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
    ],
)
def test_outside_the_range(name: str, value: float, message: str):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**{name: value})
