"""The two vocabularies, in the model's order (Chae et al. 2018, published code)."""

from typing import Final

EMOTIONS: Final = ("neutral", "anger", "happiness", "sadness")
GENDERS: Final = ("female", "male")
LABELS_BY_TASK: Final[dict[str, tuple[str, ...]]] = {"emotion": EMOTIONS, "gender": GENDERS}
"""The tasks in the model's order, each with its labels. Labels are what viewers *perceive*."""
