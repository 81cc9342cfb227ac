"""A clip with less than it has: what training drops and evaluation withholds."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mmeg_model.clip import Clip


def without_audio(clip: Clip) -> Clip:
    """The same clip, its sound not valid."""
    return replace(clip, samples=np.zeros_like(clip.samples), samples_valid=np.zeros_like(clip.samples_valid))


def without_video(clip: Clip) -> Clip:
    """The same clip, its picture not valid."""
    return replace(clip, frames=np.zeros_like(clip.frames), frames_valid=np.zeros_like(clip.frames_valid))


def by_modalities(clip: Clip) -> Iterator[tuple[str, Clip]]:
    """The clip with each set of modalities that it has: audio+video, audio, video."""
    if clip.has_audio and clip.has_video:
        yield "audio+video", clip
    if clip.has_audio:
        yield "audio", without_video(clip)
    if clip.has_video:
        yield "video", without_audio(clip)
