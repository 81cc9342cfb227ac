"""How far a figure would move with other speakers."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

LEVEL: Final = 0.95
"""Of confidence, unless said otherwise."""
_DRAWS_AT_ONCE: Final = 2**18
"""Bounds the memory, a few MB, and keeps what is counted in the processor's cache."""


def resampled_sums(
    by_speaker: NDArray[np.number], *, num_samples: int = 10_000, seed: int = 0
) -> NDArray[np.float64]:
    """What as many speakers, drawn with replacement, add up to (Efron 1979): of speakers, not of their utterances.

    What a speaker says stays together: utterances of one voice are not independent.

    Args:
        by_speaker: sums over what each says, (speakers, ...), such as counts or losses.
        num_samples: how often as many are drawn.
        seed: of the drawing.

    Returns:
        (num_samples, ...), sums over the drawn speakers; whole numbers stay exact.
    """
    num_speakers = len(by_speaker)
    rows = by_speaker.reshape(num_speakers, -1).astype(np.float64)
    random = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // num_speakers)
    sums = np.empty((num_samples, rows.shape[1]))
    for start in range(0, num_samples, at_once):
        part = sums[start : start + at_once]
        drawn = random.integers(num_speakers, size=(len(part), num_speakers))
        drawn += np.arange(len(part))[:, None] * num_speakers
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        part[:] = times.astype(np.float64) @ rows
    return sums.reshape(num_samples, *by_speaker.shape[1:])


def percentile_interval(figures: NDArray[np.floating], *, level: float = LEVEL) -> tuple[float, float]:
    """The middle part of the figures of all samples, (num_samples,)."""
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
