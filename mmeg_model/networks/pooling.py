"""One vector out of a sequence, by attention over its valid positions alone."""

import torch
from torch import Tensor, nn


def masked_softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """Softmax over the last dimension among valid positions; all zeros where none is valid.

    Args:
        scores: (..., T).
        valid: (..., T), bool; broadcast against scores.
    """
    # Not -inf: a row without a valid position would become NaN, and so would its gradient.
    weights = scores.masked_fill(~valid, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return weights * valid


class AttentiveStatistics(nn.Module):
    """Attention-weighted mean and standard deviation over time (Okabe et al. 2018, arXiv 1803.10963)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(num_features, 64), nn.Tanh(), nn.Linear(64, 1))
        self.num_outputs = 2 * num_features

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool x, (B, T, D), where valid, (B, T), to (B, 2 D)."""
        weights = masked_softmax(self.score(x).squeeze(-1), valid).unsqueeze(-1)  # (B, T, 1)
        mean = (weights * x).sum(dim=1)  # (B, D)
        variance = (weights * (x - mean.unsqueeze(1)).square()).sum(dim=1)  # (B, D)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=-1)  # (B, 2 D)
