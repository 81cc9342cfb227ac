"""What the figures say of the paper's two claims, by rules that were fixed before the figures were known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mmeg_model.comparison.analysis import Difference
from mmeg_model.comparison.measured import GAP_JOINT, JOINT

HOLDS: Final = "holds"
DOES_NOT_HOLD: Final = "does not hold"
CANNOT_BE_TOLD: Final = "cannot be told here"
SIGNIFICANT: Final = 0.05
"""The highest adjusted p that counts."""

CLAIMS: Final = (
    "Learned weights give a lower joint loss than static ones.",
    "Learned weights generalise better than static ones: a smaller gap between test and training, and a lower loss "
    "on test speakers.",
)
PAPERS_METRIC: Final = "by the paper's metric"
UNWEIGHTED: Final = "unweighted"


@dataclass(frozen=True)
class Judgement:
    """Of one difference, or of several together."""

    verdict: str
    reason: str


def judge(difference: Difference, *, smallest_effect_nats: float) -> Judgement:
    """Whether a loss or gap is lower than what it is compared with.

    It holds if the interval lies below 0 and the adjusted p is under .05. Else it does not hold if an advantage as
    large as the smallest effect is outside the interval. Else it cannot be told.
    """
    low, high = difference.estimate.interval
    if high < 0 and difference.adjusted_p < SIGNIFICANT:
        small = f", by less than {smallest_effect_nats:g} nats" if low > -smallest_effect_nats else ""
        return Judgement(HOLDS, f"lower{small}")
    if low > 0 and difference.adjusted_p < SIGNIFICANT:
        return Judgement(DOES_NOT_HOLD, "the opposite: higher")
    if low > -smallest_effect_nats:
        return Judgement(DOES_NOT_HOLD, f"an advantage of {smallest_effect_nats:g} nats or more is excluded")
    if high < 0:
        return Judgement(CANNOT_BE_TOLD, "the interval is below 0, the adjusted p is not low enough")
    return Judgement(CANNOT_BE_TOLD, f"anything from {low:+.3f} to {high:+.3f} nats is possible")


def judge_claim(
    claim: int, view: str, differences: Sequence[Difference], *, smallest_effect_nats: float
) -> Judgement:
    """Judge a claim against several static weightings together: it holds if it holds against each of them.

    Args:
        claim: 0 is about the loss on test speakers, 1 about the gap as well.
        view: `PAPERS_METRIC` or `UNWEIGHTED`.
        differences: from those weightings, of all that the claims rest on.
        smallest_effect_nats: see `judge`.
    """
    by_static: dict[str, list[str]] = {}
    for difference in relevant(claim, view, differences):
        verdict = judge(difference, smallest_effect_nats=smallest_effect_nats).verdict
        by_static.setdefault(difference.against, []).append(verdict)
    verdicts = {static: together(verdicts) for static, verdicts in by_static.items()}
    return Judgement(together([*verdicts.values()]), _spelt_out(verdicts))


def relevant(claim: int, view: str, differences: Sequence[Difference]) -> list[Difference]:
    """Those of the differences that decide a claim."""
    return [
        difference
        for difference in differences
        if (difference.quantity in (JOINT, GAP_JOINT)) == (view == PAPERS_METRIC)
        and (claim == 1 or not is_gap(difference.quantity))
    ]


def is_gap(quantity: str) -> bool:
    return quantity.startswith("gap")


def together(verdicts: Sequence[str]) -> str:
    """All must hold; one that does not is enough to turn the whole down."""
    if DOES_NOT_HOLD in verdicts:
        return DOES_NOT_HOLD
    return CANNOT_BE_TOLD if CANNOT_BE_TOLD in verdicts or not verdicts else HOLDS


def _spelt_out(verdicts: Mapping[str, str]) -> str:
    if not verdicts:
        return "there is nothing to compare"
    parts = []
    for verdict in (HOLDS, DOES_NOT_HOLD, CANNOT_BE_TOLD):
        if statics := [static for static, of_static in verdicts.items() if of_static == verdict]:
            parts.append(f"{verdict} against {', '.join(statics)}")
    return "; ".join(parts)
