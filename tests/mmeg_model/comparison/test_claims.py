import pytest

from mmeg_model.comparison.analysis import Difference
from mmeg_model.comparison.claims import (
    CANNOT_BE_TOLD,
    DOES_NOT_HOLD,
    HOLDS,
    PAPERS_METRIC,
    UNWEIGHTED,
    judge,
    judge_claim,
)
from mmeg_model.comparison.estimates import Estimate
from mmeg_model.comparison.measured import GAP_JOINT, GAP_SUM, JOINT, TEST_SUM


def difference(
    low: float, high: float, p: float = 0.001, *, quantity: str = JOINT, against: str = "uniform"
) -> Difference:
    value = Estimate((low + high) / 2, (low, high), p, (1, 1), (1, 1), (1, 1))
    return Difference("softmax", against, quantity, 5, value, p)


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict", "reason"),
    [
        (-0.3, -0.1, 0.01, HOLDS, "lower"),
        (-0.04, -0.01, 0.01, HOLDS, "lower, by less than 0.05 nats"),
        (-0.3, -0.1, 0.2, CANNOT_BE_TOLD, "the interval is below 0, the adjusted p is not low enough"),
        (-0.3, 0.1, 0.01, CANNOT_BE_TOLD, "anything from -0.300 to +0.100 nats is possible"),
        (-0.02, 0.4, 0.9, DOES_NOT_HOLD, "an advantage of 0.05 nats or more is excluded"),
        (-0.02, -0.01, 0.3, DOES_NOT_HOLD, "an advantage of 0.05 nats or more is excluded"),
        (0.1, 0.2, 0.3, DOES_NOT_HOLD, "an advantage of 0.05 nats or more is excluded"),
        (0.1, 0.2, 0.01, DOES_NOT_HOLD, "the opposite: higher"),
    ],
)
def test_one_difference(low: float, high: float, p: float, verdict: str, reason: str):
    judgement = judge(difference(low, high, p), smallest_effect_nats=0.05)
    assert (judgement.verdict, judgement.reason) == (verdict, reason)


LOWER, EQUAL, UNSURE = (-0.3, -0.1, 0.01), (-0.01, 0.01, 0.9), (-0.3, 0.1, 0.3)


@pytest.mark.parametrize(
    ("claim", "view", "verdict", "reason"),
    [
        (0, PAPERS_METRIC, HOLDS, "holds against uniform, emotion-only"),
        (
            1,
            PAPERS_METRIC,
            CANNOT_BE_TOLD,
            "holds against uniform; cannot be told here against emotion-only",
        ),
        (
            0,
            UNWEIGHTED,
            DOES_NOT_HOLD,
            "does not hold against uniform; cannot be told here against emotion-only",
        ),
        (
            1,
            UNWEIGHTED,
            DOES_NOT_HOLD,
            "does not hold against uniform; cannot be told here against emotion-only",
        ),
    ],
)
def test_a_claim_holds_if_it_holds_against_each_static_weighting(
    claim: int, view: str, verdict: str, reason: str
):
    differences = [
        difference(*LOWER, quantity=JOINT),
        difference(*LOWER, quantity=GAP_JOINT),
        difference(*EQUAL, quantity=TEST_SUM),
        difference(*LOWER, quantity=GAP_SUM),
        difference(*LOWER, quantity=JOINT, against="emotion-only"),
        difference(*UNSURE, quantity=GAP_JOINT, against="emotion-only"),
        difference(*UNSURE, quantity="test NLL, emotion", against="emotion-only"),
        difference(*LOWER, quantity="gap, emotion", against="emotion-only"),
    ]
    judgement = judge_claim(claim, view, differences, smallest_effect_nats=0.05)
    assert (judgement.verdict, judgement.reason) == (verdict, reason)


def test_nothing_compared_tells_nothing():
    judgement = judge_claim(0, UNWEIGHTED, [], smallest_effect_nats=0.05)
    assert (judgement.verdict, judgement.reason) == (CANNOT_BE_TOLD, "there is nothing to compare")
