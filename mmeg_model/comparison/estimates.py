"""What cells that share speakers, folds and seeds say of a quantity, and how sure they are of it.

The cells of a grid are not independent: each speaker is heard by the networks of all seeds, each network hears many
speakers. So whole speakers and whole seeds are resampled, never cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NUM_SAMPLES: Final = 10_000
"""Of the bootstrap."""
NUM_FLIPS: Final = 20_000
"""Of the permutation test, where speakers are too many for all of them."""
LEVEL: Final = 0.95
_MOST_FOR_ALL_FLIPS: Final = 12
_DRAWS_AT_ONCE: Final = 2_000_000


@dataclass(frozen=True, eq=False)
class Ratio:
    """Sums over speakers divided by sums over speakers, such as a mean loss: losses over clips."""

    numerators: NDArray[np.float64]
    """(speakers, folds, seeds)."""
    denominators: NDArray[np.float64]
    """(speakers, folds), the same for all seeds; 0 where a speaker is not in this fold."""


Quantity = tuple[Ratio, ...]
"""The sum of its ratios."""


def minus(first: Quantity, second: Quantity) -> Quantity:
    """The paired difference of two quantities; ratio by ratio if they are over the same clips."""
    if len(first) == len(second) and all(
        np.array_equal(a.denominators, b.denominators) for a, b in zip(first, second, strict=True)
    ):
        return tuple(
            Ratio(a.numerators - b.numerators, a.denominators) for a, b in zip(first, second, strict=True)
        )
    return (*first, *(Ratio(-b.numerators, b.denominators) for b in second))


@dataclass(frozen=True)
class Estimate:
    """A quantity over all cells."""

    mean: float
    """Over seeds, of all speakers' sums."""
    interval: tuple[float, float]
    """95 %, percentile, of the bootstrap over speakers and seeds."""
    p: float
    """Two-sided, of a mean of 0, by flipping the signs of speakers' parts; not adjusted."""
    agreeing_speakers: tuple[int, int]
    """How many speakers' parts have the sign of the mean, and of how many."""
    agreeing_seeds: tuple[int, int]
    agreeing_folds: tuple[int, int]


def estimate(quantities: Sequence[Quantity], *, seed: int = 0) -> list[Estimate]:
    """Estimate quantities that have their speakers in common.

    The interval is the percentile interval of a bootstrap that draws speakers and, if there are several, seeds, each
    with replacement and independently (the pigeonhole bootstrap, Owen 2007); folds
    stay as they are. The test averages over seeds, takes what each speaker adds to the mean, and compares with the
    means under random signs: all of them for up to 12 speakers.
    """
    if not quantities:
        return []
    parts = np.array([speaker_parts(quantity) for quantity in quantities])  # (quantities, speakers)
    intervals = _intervals(quantities, np.random.default_rng(seed))
    p_values = sign_flip_p(parts, seed=seed)
    return [
        Estimate(
            mean=float(of_speakers.sum()),
            interval=interval,
            p=float(p),
            agreeing_speakers=_agreeing(of_speakers[_present(quantity)], of_speakers.sum()),
            agreeing_seeds=_agreeing(_by_seed(quantity), of_speakers.sum()),
            agreeing_folds=_agreeing(_by_fold(quantity), of_speakers.sum()),
        )
        for quantity, of_speakers, interval, p in zip(quantities, parts, intervals, p_values, strict=True)
    ]


def speaker_parts(quantity: Quantity) -> NDArray[np.float64]:
    """What each speaker adds to the mean over seeds, (speakers,); they sum to it."""
    parts = [r.numerators.sum(axis=1).mean(axis=1) / r.denominators.sum() for r in quantity]
    return np.sum(parts, axis=0)


def sign_flip_p(parts: NDArray[np.float64], *, seed: int = 0) -> NDArray[np.float64]:
    """Two-sided p of a mean of 0 under random signs (Fisher 1935), (quantities,), of parts (quantities, speakers).

    With all signs it is exact; with some of them the observed ones count as one more (Phipson and Smyth 2010).
    """
    num_speakers = parts.shape[1]
    observed = np.abs(parts.sum(axis=1)) * (1 - 1e-9)
    if flips_are_all(num_speakers):
        bits = np.arange(2**num_speakers)[:, None] >> np.arange(num_speakers)
        flips = np.abs((1 - 2 * (bits & 1)) @ parts.T)  # (flips, quantities)
        p = (flips >= observed).mean(axis=0)
    else:
        random = np.random.default_rng(seed)
        reached = np.ones(len(parts))
        for number in _chunks(NUM_FLIPS, num_speakers):
            signs = 1.0 - 2 * random.integers(2, size=(number, num_speakers))
            reached += (np.abs(signs @ parts.T) >= observed).sum(axis=0)
        p = reached / (NUM_FLIPS + 1)
    return np.where(np.isnan(observed), np.nan, p)


def flips_are_all(num_speakers: int) -> bool:
    """Whether `sign_flip_p` goes through all signs."""
    return num_speakers <= _MOST_FOR_ALL_FLIPS


def smallest_p(num_speakers: int) -> float:
    """What `sign_flip_p` gives where all speakers' parts have one sign."""
    return max(2 / 2**num_speakers, 1 / (NUM_FLIPS + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust for their number so that any false alarm among them keeps its level (Holm 1979); NaN stays out."""
    p = np.asarray(p_values, np.float64)
    adjusted = np.full(len(p), np.nan)
    order = [i for i in np.argsort(p) if not np.isnan(p[i])]
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted.tolist()


def _intervals(quantities: Sequence[Quantity], random: np.random.Generator) -> list[tuple[float, float]]:
    num_speakers = len(quantities[0][0].denominators)
    samples: list[list[NDArray[np.float64]]] = [[] for _ in quantities]
    for number in _chunks(NUM_SAMPLES, num_speakers):
        speakers = _draws(number, num_speakers, random)
        for quantity, of_quantity in zip(quantities, samples, strict=True):
            num_seeds = quantity[0].numerators.shape[2]
            seeds = _draws(number, num_seeds, random) / num_seeds
            value = np.zeros(number)
            for ratio in quantity:
                sums = ((speakers @ ratio.numerators.sum(axis=1)) * seeds).sum(axis=1)
                with np.errstate(invalid="ignore"):  # 0 / 0 where nobody was drawn who has such a clip
                    value += sums / (speakers @ ratio.denominators.sum(axis=1))
            of_quantity.append(value)
    return [_percentiles(np.concatenate(of_quantity)) for of_quantity in samples]


def _percentiles(samples: NDArray[np.float64]) -> tuple[float, float]:
    known = samples[~np.isnan(samples)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _draws(number: int, of: int, random: np.random.Generator) -> NDArray[np.float64]:
    """How often each of so many is drawn, (number, of)."""
    return random.multinomial(of, [1 / of] * of, number).astype(np.float64)


def _chunks(total: int, width: int) -> list[int]:
    """Cut so many rows of a width into parts that fit into memory."""
    at_once = max(1, _DRAWS_AT_ONCE // width)
    return [min(at_once, total - start) for start in range(0, total, at_once)]


def _present(quantity: Quantity) -> NDArray[np.bool_]:
    return np.any([ratio.denominators.sum(axis=1) > 0 for ratio in quantity], axis=0)


def _by_seed(quantity: Quantity) -> NDArray[np.float64]:
    return np.sum([r.numerators.sum(axis=(0, 1)) / r.denominators.sum() for r in quantity], axis=0)


def _by_fold(quantity: Quantity) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # 0 / 0 where a fold has no such clip
        parts = [r.numerators.sum(axis=0).mean(axis=1) / r.denominators.sum(axis=0) for r in quantity]
    return np.sum(parts, axis=0)


def _agreeing(values: NDArray[np.float64], mean: float) -> tuple[int, int]:
    """How many are on the mean's side of 0; what is exactly 0 is on neither."""
    return int(((np.sign(values) == np.sign(mean)) & (values != 0)).sum()), len(values)
