"""Videos that carry their own answer: each frame shows its number, and the sound is a function of time.

A frame is a chequer of 4 x 4 blocks: 12 bits of its number in the middle and at the edges, and four corners
that tell which way is up. The sound has, in each second, one chirp and one click, and no two neighbouring
seconds sound alike, so that a shift of any length shows.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

NUM_BITS = 12
CORNERS = {0: True, 3: False, 12: False, 15: False}
"""Block -> whether it is white, counted row by row."""
_BIT_BLOCKS = [block for block in range(16) if block not in CORNERS]

_TICKS = 90_000


@dataclass(frozen=True)
class Recipe:
    """What to make. Times in seconds."""

    name: str
    """A file name; its ending chooses the container unless `format` does."""
    video: str | None = "libx264"
    audio: str | None = "aac"
    seconds: float = 3.0
    frame_rate: Fraction = Fraction(25)
    frame_times: Sequence[Fraction] | None = None
    """When each frame is shown, for a variable frame rate; else frame k at k / frame_rate."""
    width: int = 128
    height: int = 96
    sample_rate_hz: int = 48_000
    layout: str = "mono"
    video_start: Fraction = Fraction(0)
    audio_start: Fraction = Fraction(0)
    """Where the sound's first stamp lies; what sounds at time t of the video is `sound_at(t)` all the same."""
    audio_seconds: float | None = None
    """How long the sound is, if not as long as the picture."""
    sound_gap: tuple[float, float] | None = None
    """The packets that begin in [start, end) are left out."""
    pixel_format: str = "yuv420p"
    interlaced: bool = False
    """Whether each frame is coded as two fields, the upper one first; both show the frame's number."""
    gop: int = 12
    video_options: Mapping[str, str] = field(default_factory=dict)
    audio_options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)
    format: str | None = None
    rotation: tuple[int, bool, bool] | None = None
    """How the stored picture is turned to be shown: degrees counter-clockwise, then flipped left to right,
    and upside down. It is stored so that it shows upright, and its size as shown is width x height."""
    sample_aspect: Fraction | None = None
    cover: bool = False
    """Whether a still picture is attached."""


def frame_times(recipe: Recipe) -> list[Fraction]:
    """When each frame of a recipe is shown."""
    if recipe.frame_times is not None:
        return [recipe.video_start + time for time in recipe.frame_times]
    num_frames = int(recipe.seconds * recipe.frame_rate)
    return [recipe.video_start + k / recipe.frame_rate for k in range(num_frames)]


@lru_cache(maxsize=1_500)
def frame_with_number(number: int, *, width: int, height: int) -> np.ndarray:
    """RGB, (height, width, 3)."""
    white = dict(CORNERS)
    white.update({block: bool(number >> bit & 1) for bit, block in enumerate(_BIT_BLOCKS)})
    blocks = np.array([white[block] for block in range(16)]).reshape(4, 4)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    grey = np.where(blocks[rows][:, columns], 200.0, 50.0)
    y, x = np.mgrid[:height, :width]
    phases = (0.0, 2.0, 4.0)  # colour, and a texture that moves: a wrong matrix or frame must not look alike
    texture = [25 * np.sin(0.21 * x + 0.13 * y + 0.7 * number + phase) for phase in phases]
    return np.clip(np.stack([grey + part for part in texture], axis=-1), 0, 255).astype(np.uint8)


def number_of(rgb: np.ndarray) -> int | None:
    """The number that a decoded frame, of any size, shows; None if its corners are not where they belong."""
    height, width = rgb.shape[:2]
    grey = rgb.astype(float).mean(axis=-1)
    white = []
    for block in range(16):
        row, column = divmod(block, 4)
        y, x = int((row + 0.5) * height / 4), int((column + 0.5) * width / 4)
        white.append(
            bool(grey[y - height // 16 : y + height // 16, x - width // 16 : x + width // 16].mean() > 125)
        )
    if any(white[block] is not value for block, value in CORNERS.items()):
        return None
    return sum(white[block] << bit for bit, block in enumerate(_BIT_BLOCKS))


def sound_at(times: np.ndarray) -> np.ndarray:
    """The sound, in [-1, 1], at times in seconds: a chirp and a click in each second."""
    second = np.floor(times)
    into = times - second
    start_hz = 250.0 + 130.0 * np.mod(second * 3, 7)
    rate_hz = 1_500.0 + 250.0 * np.mod(second, 5)
    since = into - 0.1
    fade = np.clip(np.minimum(since, 0.6 - since) / 0.02, 0, 1)
    chirp = np.sin(2 * np.pi * (start_hz * since + rate_hz / 2 * since**2)) * fade
    click = np.exp(-(((into - 0.85) / 0.0004) ** 2))
    return 0.35 * chirp + 0.6 * click


def make_video(folder: Path, recipe: Recipe) -> Path:
    """Write a file and give back its path."""
    path = folder / recipe.name
    with av.open(path, "w", format=recipe.format, container_options=dict(recipe.container_options)) as output:
        packets: list[Packet] = []
        encoders = []
        if recipe.video is not None:
            encoders.append(_encode_video(output, recipe))
        if recipe.audio is not None:
            encoders.append(_encode_audio(output, recipe))
        cover = (
            output.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p")
            if recipe.cover
            else None
        )
        if cover is not None:
            cover.disposition = Disposition.attached_pic
        output.start_encoding()
        # SVT-AV1, if root runs it, puts this thread on real-time priority, and whatever it starts later with it.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        for encoder in encoders:
            packets += encoder
        if cover is not None:
            still = VideoFrame.from_ndarray(frame_with_number(4095, width=64, height=64), "rgb24")
            packets += cover.encode(still) + cover.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            output.mux(packet)
    return path


def _encode_video(output: Any, recipe: Recipe) -> Iterator[Packet]:
    stream = output.add_stream(recipe.video, rate=recipe.frame_rate, options=_video_options(recipe))
    stored = _turned_back(np.empty((recipe.height, recipe.width, 3)), recipe)
    stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], recipe.pixel_format
    stream.codec_context.gop_size = recipe.gop
    stream.codec_context.thread_count = 1
    if recipe.frame_times is not None:
        stream.codec_context.time_base = Fraction(1, _TICKS)
    if recipe.sample_aspect is not None:
        stream.codec_context.sample_aspect_ratio = recipe.sample_aspect
    if recipe.rotation is not None:
        degrees, hflip, vflip = recipe.rotation
        stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)

    def encode() -> Iterator[Packet]:
        unit = stream.codec_context.time_base
        reformatter = VideoReformatter()
        times = recipe.frame_times or [
            k / recipe.frame_rate for k in range(int(recipe.seconds * recipe.frame_rate))
        ]
        for number, time in enumerate(times):
            rgb = _turned_back(frame_with_number(number, width=recipe.width, height=recipe.height), recipe)
            frame = VideoFrame.from_ndarray(rgb, "rgb24")
            frame = reformatter.reformat(frame, format=recipe.pixel_format, threads=1)
            frame.time_base = unit
            frame.pts = round(time / unit)
            yield from _shifted(stream.encode(frame), recipe.video_start)
        yield from _shifted(stream.encode(None), recipe.video_start)

    return encode()


def _turned_back(shown: np.ndarray, recipe: Recipe) -> np.ndarray:
    degrees, hflip, vflip = recipe.rotation or (0, False, False)
    flipped = shown[:: -1 if vflip else 1, :: -1 if hflip else 1]
    return np.ascontiguousarray(np.rot90(flipped, -degrees // 90))


def _encode_audio(output: Any, recipe: Recipe) -> Iterator[Packet]:
    rate = recipe.sample_rate_hz
    stream = output.add_stream(recipe.audio, rate=rate, layout=recipe.layout, options=_audio_options(recipe))
    stream.codec_context.thread_count = 1

    def encode() -> Iterator[Packet]:
        seconds = recipe.seconds if recipe.audio_seconds is None else recipe.audio_seconds
        mono = sound_at(np.arange(round(seconds * rate)) / rate + float(recipe.audio_start))
        channels = [mono, *[mono * 0.5] * (stream.codec_context.layout.nb_channels - 1)]
        samples = np.stack(channels, axis=-1).reshape(1, -1)
        frame = AudioFrame.from_ndarray((samples * 32_000).astype(np.int16), "s16", recipe.layout)
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        packets = []
        while part := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
            packets += _shifted(stream.encode(part), recipe.audio_start)
        packets += _shifted(stream.encode(None), recipe.audio_start)
        gap_start, gap_end = recipe.sound_gap or (0, 0)
        for packet in packets:
            if not gap_start <= packet.pts * packet.time_base < gap_end:
                yield packet

    return encode()


def _shifted(packets: list[Packet], offset: Fraction) -> list[Packet]:
    for packet in packets:
        ticks = packet.time_base.denominator * 3  # fine enough for whole frames at any rate used here
        unit = Fraction(1, ticks)
        scale, shift = int(packet.time_base / unit), round(offset / unit)
        packet.pts = packet.pts * scale + shift
        packet.dts = packet.dts * scale + shift
        packet.duration = packet.duration * scale
        packet.time_base = unit
    return packets


def _video_options(recipe: Recipe) -> dict[str, str]:
    usual = {
        "libx264": {"preset": "ultrafast", "bf": "2", "crf": "23", "x264-params": "b-adapt=0:scenecut=0"},
        "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "400k"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "b": "400k"},
        "mpeg2video": {"q:v": "3", "bf": "2", "b": "3M"},
        "mpeg4": {"b": "3M"},
        "mjpeg": {"q:v": "3"},
        "libx265": {
            "preset": "ultrafast",
            "crf": "20",
            "x265-params": "log-level=none:bframes=2:scenecut=0:pools=none:frame-threads=1",
        },
        "libsvtav1": {"preset": "6", "crf": "20", "svtav1-params": "lp=1:scd=0:enable-tf=0"},
        "wmv2": {"b": "3M"},
        "flv": {"b": "3M"},
    }
    fields = {"flags": "+ilme+ildct", "top": "1"} if recipe.interlaced else {}
    return {**usual.get(recipe.video or "", {}), **fields, **recipe.video_options}


def _audio_options(recipe: Recipe) -> dict[str, str]:
    # With noise substitution, FFmpeg's AAC decoder draws random numbers: nothing could be compared exactly.
    usual = {"aac": {"aac_pns": "0"}, "vorbis": {"strict": "experimental"}, "wmav2": {"b": "128k"}}
    return {**usual.get(recipe.audio or "", {}), **recipe.audio_options}
