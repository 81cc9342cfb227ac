"""The sound's branch of `compact`: moments of contours, and one layer on top."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmeg_model.networks.contours import ContourExtractor


@dataclass(frozen=True)
class AudioConfig:
    """Sizes of the sound's branch."""

    lags: tuple[int, ...] = (1, 4, 16)
    """In steps of 20 ms: how far apart the values are whose differences are averaged."""
    input_dropout: float = 0.2


class AudioBranch(nn.Module):
    """Int16 samples -> one vector per clip, from how contours lie, spread and move over the clip.

    Functionals of low-level descriptors are what classical emotion recognition from speech rests on (Schuller et
    al. 2013, Interspeech: ComParE). With few speakers they generalise better than convolutions did.
    """

    def __init__(self, config: AudioConfig, num_outputs: int) -> None:
        super().__init__()
        self.lags = config.lags
        self.contours = ContourExtractor()
        self.num_features = (self.contours.num_spectral + 1) * (2 + len(config.lags)) + 4
        self.standardise = Standardise(self.num_features)
        self.project = nn.Sequential(
            nn.Dropout(config.input_dropout), nn.Linear(self.num_features, num_outputs), nn.ReLU()
        )

    def forward(self, samples: Tensor, samples_valid: Tensor) -> Tensor:
        """Embed samples, int16 (B, N), where samples_valid, (B, N), to (B, num_outputs)."""
        present = samples_valid.any(dim=1)  # (B,)
        features = torch.zeros(len(samples), self.num_features, device=samples.device)
        if present.any():
            with torch.no_grad():
                features[present] = self.features(samples[present], samples_valid[present]).to(features)
        return self.project(self.standardise(features, present))

    def features(self, samples: Tensor, samples_valid: Tensor) -> Tensor:
        """Moments of all contours and how often they are active and voiced, (B, features)."""
        contours = self.contours(samples, samples_valid)
        return torch.cat(
            [
                moments(contours.spectrum, contours.active, self.lags),
                moments(contours.pitch, contours.voiced, self.lags),
                share_and_changes(contours.active, contours.valid),
                share_and_changes(contours.voiced, contours.valid),
            ],
            dim=1,
        )


class Standardise(nn.Module):
    """Shift and scale of each feature: measured on the first batch of the training, trained from then on.

    Data-dependent initialisation, as the actnorm of Kingma and Dhariwal 2018 (arXiv 1807.03039, section 3.1).
    """

    measured: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(num_features))
        self.scale = nn.Parameter(torch.ones(num_features))
        self.register_buffer("measured", torch.tensor(False))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Standardise x, (B, features), kept in [-5, 5]; rows that are not present, (B,), are not measured."""
        if self.training and not self.measured and present.sum() > 1:
            spread, mean = torch.std_mean(x[present], dim=0)
            self.shift.data.copy_(mean)
            self.scale.data.copy_(1 / (spread + 1e-3))
            self.measured.fill_(True)
        return ((x - self.shift) * self.scale).clamp(-5, 5)


def moments(x: Tensor, where: Tensor, lags: tuple[int, ...]) -> Tensor:
    """Mean, standard deviation, and mean absolute difference over each lag, of x, (B, C, S), to (B, C (2 + lags)).

    Only steps that where, (B, S), names count, and pairs of two such; without any, 0.
    """
    mean = _mean(x, where)  # (B, C)
    deviation = _mean((x - mean.unsqueeze(-1)).square(), where).sqrt()
    differences = [
        _mean((x[..., lag:] - x[..., :-lag]).abs(), where[:, lag:] & where[:, :-lag]) for lag in lags
    ]
    return torch.cat([mean, deviation, *differences], dim=1)


def share_and_changes(state: Tensor, valid: Tensor) -> Tensor:
    """How much of the valid time a state, (B, S), holds, and how often per step it changes, (B, 2)."""
    duration = valid.sum(dim=1).clamp(min=1)
    changes = (state[:, 1:] != state[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    return torch.stack([state.sum(dim=1) / duration, changes.sum(dim=1) / duration], dim=1)


def _mean(x: Tensor, where: Tensor) -> Tensor:
    """Over the last axis of x, (B, C, S), where (B, S)."""
    mask = where.unsqueeze(1)
    # Not x * mask: what lies outside may be anything.
    return x.masked_fill(~mask, 0).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
