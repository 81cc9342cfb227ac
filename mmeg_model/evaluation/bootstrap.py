"""How far a figure would move with other speakers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def speaker_interval(
    confusion: NDArray[np.integer],
    figure: Callable[[NDArray[np.integer]], NDArray[np.float64]],
    *,
    num_samples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a figure under resampling of speakers (Efron 1979), not of their utterances.

    What a speaker says stays together: utterances of one voice are not independent.

    Args:
        confusion: counts by speaker, (speakers, label, predicted).
        figure: of counts (..., label, predicted), such as `unweighted_average_recall`.
        num_samples: of the bootstrap.
        level: of confidence, in (0, 1).
        seed: of the resampling.
    """
    num_speakers = len(confusion)
    drawn = np.random.default_rng(seed).multinomial(
        num_speakers, [1 / num_speakers] * num_speakers, num_samples
    )
    figures = figure(np.einsum("ns,slp->nlp", drawn, confusion))
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
