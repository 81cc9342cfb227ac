from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mmeg_model.evaluation.predictions import Predictions


@pytest.fixture
def predictions() -> Callable[..., Predictions]:
    """Make predictions from lists; of one corpus and one set of modalities unless said otherwise."""

    def make(
        logits: Sequence[Sequence[float]],
        labels: Sequence[int],
        speakers: Sequence[str],
        *,
        corpora: Sequence[str] | None = None,
        modalities: Sequence[str] | None = None,
        clips: Sequence[str] | None = None,
    ) -> Predictions:
        return Predictions(
            np.array(logits, np.float32),
            np.array(labels, np.int64),
            np.array(speakers, np.str_),
            np.array(corpora or ["c"] * len(labels), np.str_),
            np.array(modalities or ["audio"] * len(labels), np.str_),
            None if clips is None else np.array(clips, np.str_),
        )

    return make
