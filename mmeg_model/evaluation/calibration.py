"""Confidence that means what it says."""

from typing import Final

import numpy as np
import torch

from mmeg_model.evaluation.predictions import Predictions

PRIOR_DEVIATION: Final = 0.5
"""Of the logarithm of a temperature, about 0: most lie between 1/3 and 3."""


def fit_temperature(predictions: Predictions) -> float:
    """The most probable temperature (Guo et al. 2017, arXiv 1706.04599), given what is known beforehand.

    Fit it on speakers that the network was not trained on. The mean over all clips counts as often as there are
    speakers, however many the clips, and a log-normal prior about 1 weighs against it: else a few speakers who are all
    judged right would make the network sure of everybody. Within the mean every clip counts alike, with each set of
    modalities, so a corpus of many clips has more to say. Without a labelled clip there is the prior alone, whose mode
    is 1.
    """
    if not len(predictions):
        return 1.0
    logits = torch.from_numpy(predictions.logits).double()
    labels = torch.from_numpy(predictions.labels)
    num_speakers = len(np.unique(predictions.speakers))
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        likelihood = torch.nn.functional.cross_entropy(logits / log_temperature.exp(), labels)
        value = num_speakers * likelihood + (log_temperature / PRIOR_DEVIATION).square() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return float(log_temperature.detach().exp())
