"""The sound's branch of `compact`: functionals of contours, and one layer on top."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from mmeg_model.networks.contours import ContourExtractor
from mmeg_model.ranges import require_positive, require_share

_INPUT_SCALE: Final = 0.2
"""Of standardised features. A step of Adam changes what comes out of a layer in proportion to how many inputs it
has; with this, a thousand features learn at the rate of the rest (Yang and Hu 2022, arXiv 2203.03466)."""


@dataclass(frozen=True)
class AudioConfig:
    """Sizes of the sound's branch.

    Raises:
        ValueError: if a value is outside its range.
    """

    lags: tuple[int, ...] = (1, 2, 4, 8, 16)
    """In steps of 20 ms: how far apart the values are whose rises and falls are averaged."""
    input_dropout: float = 0.5

    def __post_init__(self) -> None:
        require_positive(self, "lags")
        require_share(self, "input_dropout")


class AudioBranch(nn.Module):
    """Int16 samples -> one vector per clip, from how contours lie, spread, drift and move over the clip.

    Functionals of low-level descriptors are what classical emotion recognition from speech rests on (Schuller et
    al. 2013, Interspeech: ComParE). With few speakers they generalise better than convolutions did.
    """

    def __init__(self, config: AudioConfig, num_outputs: int) -> None:
        super().__init__()
        self.lags = config.lags
        self.contours = ContourExtractor()
        num_contours = self.contours.num_spectral + self.contours.num_vocal
        num_features = num_contours * (5 + 2 * len(config.lags)) + 4
        self.standardise = Standardise(num_features)
        self.project = nn.Sequential(
            nn.Dropout(config.input_dropout), nn.Linear(num_features, num_outputs), nn.ReLU()
        )

    def forward(self, samples: Tensor, samples_valid: Tensor) -> Tensor:
        """Embed samples, int16 (B, N), where samples_valid, (B, N), to (B, num_outputs)."""
        return self.project(_INPUT_SCALE * self.standardise(self.features(samples, samples_valid)))

    def measure(self, samples: Tensor, samples_valid: Tensor) -> None:
        """Find out how features lie and spread over clips of a corpus, before a training; arguments as of `forward`."""
        self.standardise.measure(self.features(samples, samples_valid))

    @torch.no_grad()
    def features(self, samples: Tensor, samples_valid: Tensor) -> Tensor:
        """Functionals of all contours and how often they are active and voiced, (B, features)."""
        # In bfloat16 logarithms of powers would lose what tells voices apart.
        with torch.autocast(samples.device.type, enabled=False):
            contours = self.contours(samples, samples_valid)
            return torch.cat(
                [
                    functionals(contours.spectrum, contours.active, self.lags),
                    functionals(contours.voice, contours.voiced, self.lags),
                    share_and_changes(contours.active, contours.valid),
                    share_and_changes(contours.voiced, contours.valid),
                ],
                dim=1,
            )


class Standardise(nn.Module):
    """Shift and scale of each feature, as measured over clips of a corpus before a training; nothing is learned.

    A step of the optimiser would be large beside the spread of some features, nothing beside others.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(num_features))
        self.register_buffer("scale", torch.ones(num_features))

    def measure(self, x: Tensor) -> None:
        """Take over mean and spread of x, (N, features); N is at least 2."""
        spread, mean = torch.std_mean(x, dim=0)
        self.shift.copy_(mean)
        self.scale.copy_(1 / (spread + 1e-3))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise x, (B, features), kept in [-5, 5]."""
        return ((x - self.shift) * self.scale).clamp(-5, 5)


def functionals(x: Tensor, where: Tensor, lags: tuple[int, ...]) -> Tensor:
    """Where x, (B, C, S), lies, how it spreads, leans, drifts and moves, (B, C (5 + 2 lags)).

    Mean, standard deviation, skewness; linear and quadratic trend, in units of x, over time that is standardised
    too; then, for each lag, the mean rise and the mean fall. Only steps that where, (B, S), names count, and pairs
    of two such; without any, 0.
    """
    mean = _mean(x, where)  # (B, C)
    centred = (x - mean.unsqueeze(-1)).masked_fill(~where.unsqueeze(1), 0)
    deviation = _mean(centred.square(), where).sqrt()
    skewness = _mean((centred / (deviation.unsqueeze(-1) + 1e-3)) ** 3, where)
    time = torch.arange(x.shape[-1], device=x.device).expand(len(x), 1, -1).float()
    time = time - _mean(time, where).unsqueeze(-1)
    time = time / (_mean(time.square(), where).sqrt().unsqueeze(-1) + 1e-3)  # (B, 1, S)
    trends = [_mean(centred * basis, where) for basis in (time, time.square() - 1)]
    moves = []
    for lag in lags:
        difference, both = centred[..., lag:] - centred[..., :-lag], where[:, lag:] & where[:, :-lag]
        moves += [_mean(difference.clamp(min=0), both), _mean(difference.clamp(max=0), both)]
    return torch.cat([mean, deviation, skewness, *trends, *moves], dim=1)


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
