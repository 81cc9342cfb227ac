from collections.abc import Callable

import numpy as np
import pytest

from mmeg_model.evaluation.predictions import Predictions
from mmeg_model.evaluation.speaker_report import SpeakerFigures, report_by_speaker


def test_figures_by_hand(predictions: Callable[..., Predictions]):
    """Odds of 3 to 1 throughout. By sound, b is right in two of three: recalls 1 and 1/2; by picture a is wrong."""
    of = predictions(
        [[np.log(3), 0], [np.log(3), 0], [0, np.log(3)], [np.log(3), 0]],
        [0, 1, 1, 1],
        ["b", "b", "b", "a"],
        modalities=["audio", "audio", "audio", "video"],
        corpora=["x", "x", "y", "y"],
    )
    right, wrong = np.log(4 / 3), np.log(4)
    assert report_by_speaker({"gender": of}) == [
        SpeakerFigures(
            "gender", "b", "audio", 3, 0.75, pytest.approx(2 / 3), pytest.approx((2 * right + wrong) / 3)
        ),
        SpeakerFigures("gender", "a", "video", 1, 0.0, 0.0, pytest.approx(wrong)),
    ]
