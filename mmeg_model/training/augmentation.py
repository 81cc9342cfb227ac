"""Clips as they might also have been recorded. On numpy, before padding."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from mmeg_model.clip import FRAME_MS, FRAME_SIZE, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Clip
from mmeg_model.modalities import without_audio, without_video
from mmeg_model.training.face_placement import place

Random = np.random.Generator


def crop(clip: Clip, max_frames: int, random: Random) -> Clip:
    """A random part of at most max_frames frames, sound and picture of the same time."""
    num_frames = len(clip.frames_valid)
    if num_frames <= max_frames:
        return clip
    start = int(random.integers(num_frames - max_frames + 1))
    frames, samples = (slice(start * n, (start + max_frames) * n) for n in (1, SAMPLES_PER_FRAME))
    return Clip(
        0, max_frames * FRAME_MS,
        clip.frames[frames], clip.frames_valid[frames], clip.samples[samples], clip.samples_valid[samples],
    )  # fmt: skip


def drop_modality(clip: Clip, probability: float, random: Random) -> Clip:
    """With that probability without its sound, as often without its picture; never without both."""
    if not (clip.has_audio and clip.has_video):
        return clip
    chance = random.random()
    if chance < probability:
        return without_audio(clip)
    return without_video(clip) if chance < 2 * probability else clip


def augment(clip: Clip, random: Random) -> Clip:
    """Another speed, room, microphone and noise; another light, framing and side."""
    clip = _change_speed(clip, random.uniform(0.88, 1.14))
    if clip.has_audio:
        samples_valid = _lose_parts(clip.samples_valid, random)
        clip = replace(
            clip, samples=_record_again(clip.samples, random) * samples_valid, samples_valid=samples_valid
        )
    if clip.has_video:
        frames_valid = _keep_some(clip.frames_valid, random)
        frames = np.zeros_like(clip.frames)
        frames[frames_valid] = _film_again(clip.frames[frames_valid], random)
        clip = replace(clip, frames=frames, frames_valid=frames_valid)
    return clip


def place_faces(pictures: Sequence[Clip], random: Random) -> list[Clip]:
    """Single pictures of faces as faces somewhere in frames, in grey."""
    luma = torch.from_numpy(np.stack([clip.frames[0] for clip in pictures]).mean(axis=-1, dtype=np.float32))
    frames, _ = place(luma, random)
    grey = frames.byte().numpy()[:, None, :, :, None]  # (N, 1, H, W, 1)
    return [
        replace(clip, frames=np.broadcast_to(of_clip, clip.frames.shape))
        for clip, of_clip in zip(pictures, grey, strict=True)
    ]


def _change_speed(clip: Clip, factor: float) -> Clip:
    """Play faster by a factor, pitch and formants with it, as a tape would."""
    num_frames = max(1, round(len(clip.frames_valid) / factor))
    frame = np.minimum((np.arange(num_frames) * factor).astype(int), len(clip.frames_valid) - 1)
    num_samples = num_frames * SAMPLES_PER_FRAME
    sound = torch.from_numpy(clip.samples).float().view(1, 1, -1)
    samples = torch.nn.functional.interpolate(sound, num_samples, mode="linear").view(-1).short().numpy()
    samples_valid = clip.samples_valid[np.linspace(0, len(clip.samples) - 1, num_samples).astype(int)]
    return Clip(
        0, num_frames * FRAME_MS,
        clip.frames[frame], clip.frames_valid[frame], samples * samples_valid, samples_valid,
    )  # fmt: skip


def _record_again(samples: NDArray[np.int16], random: Random) -> NDArray[np.int16]:
    """Another microphone, room and level, and noise of white to brown colour 5 to 40 dB below the sound.

    The microphone is a smooth random gain of ±8 dB over six octaves; at times a band is gone.
    """
    spectrum = torch.fft.rfft(torch.from_numpy(samples).float())
    octaves = np.log2(np.linspace(1 / 64, 1, len(spectrum))) + 6  # 0 to 6: 125 Hz to 8 kHz
    gain_db = np.interp(octaves, np.arange(7), random.uniform(-8, 8, 7))
    if random.random() < 0.3:
        low = random.uniform(0, 6)
        gain_db[(octaves >= low) & (octaves < low + random.uniform(0.2, 0.8))] -= 30
    spectrum *= torch.from_numpy(10 ** (gain_db / 20)).float()
    if random.random() < 0.7:
        noise = torch.from_numpy(random.standard_normal((len(spectrum), 2), np.float32))
        noise *= torch.from_numpy(2 ** (-octaves * random.uniform(0, 1))).float().unsqueeze(1)
        level = spectrum.abs().square().sum().sqrt() / noise.square().sum().sqrt()
        spectrum += torch.view_as_complex(noise) * level * 10 ** (-random.uniform(5, 40) / 20)
    sound = torch.fft.irfft(spectrum, len(samples)) * 10 ** (random.uniform(-12, 6) / 20)
    return sound.clamp(-32768, 32767).short().numpy()


def _lose_parts(valid: NDArray[np.bool_], random: Random) -> NDArray[np.bool_]:
    """Up to two parts of up to 0.3 s go missing (time masking, Park et al. 2019, arXiv 1904.08779)."""
    valid = valid.copy()
    for _ in range(random.integers(3)):
        start = random.integers(len(valid))
        valid[start : start + random.integers(SAMPLE_RATE_HZ * 3 // 10)] = False
    return valid


def _keep_some(valid: NDArray[np.bool_], random: Random) -> NDArray[np.bool_]:
    """A quarter of the frames, one at least: the network looks at one in five, so at others each time."""
    kept = valid & (random.random(len(valid)) < 0.25)
    kept[random.choice(valid.nonzero()[0])] = True
    return kept


def _film_again(frames: NDArray[np.uint8], random: Random) -> NDArray[np.uint8]:
    """Another side, framing and light; the same for all frames of a clip."""
    zoom = random.uniform(0.8, 1.15, 2) if random.random() < 0.3 else np.repeat(random.uniform(0.75, 1.15), 2)
    shift = random.uniform(-10, 10, 2)
    middle = (FRAME_SIZE - 1) / 2
    y, x = (
        np.rint((np.arange(FRAME_SIZE) - middle) * zoom[axis] + middle + shift[axis])
        .clip(0, FRAME_SIZE - 1)
        .astype(int)
        for axis in (0, 1)
    )
    if random.random() < 0.5:
        x = x[::-1]
    light = (random.uniform(0.6, 1.4) * random.uniform(0.85, 1.15, 3)).astype(np.float32)
    pictures = frames[:, y][:, :, x] * light + np.float32(random.uniform(-25, 25))
    return pictures.clip(0, 255).astype(np.uint8)
