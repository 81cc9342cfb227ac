"""Pictures of faces, put as faces into frames: anywhere, in any size, before any background."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmeg_model.clip import FRAME_SIZE

HEIGHTS: Final = (0.37, 1.08)
"""Of the face relative to the frame's, as far as they are drawn evenly on a logarithmic scale."""
WIDTHS: Final = (0.6, 1.1)
"""Relative to the height: a frame of 16:9 squeezed to a square makes faces narrow."""
WHOLE_FRAME: Final = 0.2
"""How often the face is the whole frame, more or less."""
MAX_TURN: Final = 0.14
"""In radians, 8 degrees to either side."""

Random = np.random.Generator


def place(pictures: Tensor, random: Random) -> tuple[Tensor, Tensor]:
    """Put each picture, (N, H, W) of luma 0 to 255, as a face into a frame, half of them mirrored.

    Returns:
        frames: (N, 96, 96), luma 0 to 255.
        boxes: (N, 4), where the pictures lie, as `mmeg_model.networks.face_locator.FaceLocator` tells it.
    """
    n = len(pictures)
    boxes = _boxes(n, random)
    turn = random.uniform(-MAX_TURN, MAX_TURN, n)
    cosine, sine = np.cos(turn), np.sin(turn)
    # From a place in the frame to a place in the picture: shift, turn, scale.
    to_picture = np.stack([np.stack([cosine, sine], axis=1), np.stack([-sine, cosine], axis=1)], axis=1)
    to_picture = to_picture / np.exp(boxes[:, 2:, None])
    to_picture[:, 0] *= random.choice([-1, 1], (n, 1))
    shift = -to_picture @ boxes[:, :2, None]
    grid = nn.functional.affine_grid(
        _tensor(np.concatenate([to_picture, shift], axis=2)),
        [n, 1, FRAME_SIZE, FRAME_SIZE],
        align_corners=False,
    )
    faces = nn.functional.grid_sample(
        pictures.unsqueeze(1), grid, padding_mode="border", align_corners=False
    ).squeeze(1)
    opacity = _opacity(grid, random)
    frames = opacity * faces + (1 - opacity) * _backgrounds(n, random)
    contrast, light = random.uniform(0.6, 1.3, n), random.uniform(-25, 35, n)
    frames = (frames - 128) * _of_frames(contrast) + _of_frames(128 + light) + _grain(n, 8, 0.5, random)
    return frames.clamp(0, 255), _tensor(boxes)


def _boxes(n: int, random: Random) -> NDArray[np.float64]:
    whole = random.random(n) < WHOLE_FRAME
    log_height = np.where(whole, np.log(random.uniform(0.92, 1.25, n)), _log_uniform(HEIGHTS, n, random))
    log_width = log_height + np.where(
        whole, np.log(random.uniform(0.85, 1.15, n)), _log_uniform(WIDTHS, n, random)
    )
    sizes = np.stack([log_width, log_height], axis=1)
    room = (1 - np.exp(sizes)).clip(min=0) + 0.08  # a little of a face may lie outside
    return np.concatenate([random.uniform(-1, 1, (n, 2)) * room, sizes], axis=1)


def _log_uniform(bounds: tuple[float, float], n: int, random: Random) -> NDArray[np.float64]:
    """Logarithms, even between those of the bounds."""
    low, high = np.log(bounds)
    return random.uniform(low, high, n)


def _opacity(grid: Tensor, random: Random) -> Tensor:
    """How much of the picture is seen, (N, 96, 96): a rectangle, an ellipse, or all, its edges smeared on."""
    n = len(grid)
    softness = _of_frames(np.exp(random.uniform(np.log(0.02), np.log(0.6), n)))
    rectangle = (1 + softness * _of_frames(random.random(n)) - grid.abs().amax(dim=-1)) / softness
    ellipse = (1.15 - grid.norm(dim=-1)) / softness
    kind = _of_frames(random.random(n))
    opacity = torch.where(kind < 0.2, ellipse, rectangle).clamp(0, 1)
    return torch.where(kind > 0.7, torch.ones_like(opacity), opacity)


def _backgrounds(n: int, random: Random) -> Tensor:
    """Plain, shaded, of clouds, of grain, or all of these."""
    across = torch.linspace(-1, 1, FRAME_SIZE)
    shade = _of_frames(random.uniform(-40, 40, n)) * across + _of_frames(
        random.uniform(-60, 60, n)
    ) * across.unsqueeze(1)
    clouds = nn.functional.interpolate(
        _tensor(random.standard_normal((n, 1, 6, 6), np.float32)),
        size=(FRAME_SIZE, FRAME_SIZE),
        mode="bicubic",
        align_corners=False,
    ).squeeze(1) * _of_frames(random.uniform(0, 70, n) * (random.random(n) < 0.6))
    plain = _of_frames(random.uniform(0, 255, n))
    return (plain + shade + clouds + _grain(n, 12, 0.4, random)).clamp(0, 255)


def _grain(n: int, strongest: float, probability: float, random: Random) -> Tensor:
    strength = random.uniform(0, strongest, n) * (random.random(n) < probability)
    return _tensor(random.standard_normal((n, FRAME_SIZE, FRAME_SIZE), np.float32)) * _of_frames(strength)


def _of_frames(values: NDArray[np.float64]) -> Tensor:
    return _tensor(values).view(-1, 1, 1)


def _tensor(values: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(values).float()
