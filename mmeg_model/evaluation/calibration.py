"""Confidence that means what it says."""

import torch

from mmeg_model.evaluation.predictions import Predictions


def fit_temperature(predictions: Predictions) -> float:
    """The temperature that minimises the negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    Fit it on speakers that the network was not trained on. Kept in [0.05, 20], so that a handful of clips
    that are all right, or all wrong, cannot carry it away.
    """
    logits = torch.from_numpy(predictions.logits).double()
    labels = torch.from_numpy(predictions.labels)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / log_temperature.exp(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return float(log_temperature.detach().exp().clamp(0.05, 20))
