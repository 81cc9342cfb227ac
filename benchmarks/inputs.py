"""Videos to measure with: moving pictures with grain, x264 with B-frames, AAC; made once and kept."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent.parent / "build" / "benchmarks"
FRAME_RATE_HZ = 25
SAMPLE_RATE_HZ = 48_000
LOOP_SECONDS = 32  # a whole number of AAC packets
BITS_PER_SECOND = {360: 800_000, 720: 2_500_000, 1080: 5_000_000}


def benchmark_video(height: int, *, seconds: int) -> Path:
    """Give back a video of this height (360, 720 or 1080), whose content repeats."""
    path = FOLDER / f"h264_{height}p_{seconds}s.mp4"
    if path.exists():
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with av.open(unfinished, "w", format="mp4") as output:
        loop = _encode(output, height)
        for start_seconds in range(0, seconds, LOOP_SECONDS):
            for packet in loop:
                _mux_later(output, packet, start_seconds, end_seconds=seconds)
    unfinished.rename(path)
    return path


def _mux_later(output: OutputContainer, packet: Packet, loop_seconds: int, *, end_seconds: int) -> None:
    assert packet.pts is not None
    assert packet.dts is not None
    later = int(loop_seconds / packet.time_base)
    if (packet.pts + later) * packet.time_base >= end_seconds:
        return
    copy = Packet(bytes(packet))
    copy.stream, copy.time_base, copy.is_keyframe = packet.stream, packet.time_base, packet.is_keyframe
    copy.pts, copy.dts, copy.duration = packet.pts + later, packet.dts + later, packet.duration
    output.mux_one(copy)


def _encode(output: OutputContainer, height: int) -> list[Packet]:
    """One loop of picture and sound, in the order of decoding."""
    width = height * 16 // 9
    video = output.add_stream(
        "libx264",
        rate=FRAME_RATE_HZ,
        options={
            "preset": "faster",
            "bf": "3",
            "b": str(BITS_PER_SECOND[height]),
            "x264-params": "open-gop=0",
        },
    )
    video.width, video.height, video.pix_fmt = width, height, "yuv420p"
    video.codec_context.gop_size = 5 * FRAME_RATE_HZ
    audio = output.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo", options={"b": "128k"})
    output.start_encoding()
    packets: list[Packet] = []
    for number, planes in enumerate(_pictures(width, height)):
        frame = VideoFrame.from_ndarray(planes, "yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE_HZ)
        packets += video.encode(frame)
    packets += video.encode(None)
    samples_per_frame = 1024
    for start in range(0, LOOP_SECONDS * SAMPLE_RATE_HZ, samples_per_frame):
        sound = AudioFrame.from_ndarray(_sound(start, samples_per_frame), "fltp", "stereo")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE_HZ, start, Fraction(1, SAMPLE_RATE_HZ)
        packets += audio.encode(sound)
    # The first packet of the next loop, the encoder's priming, takes the place of the last one.
    packets += [
        packet for packet in audio.encode(None) if (packet.pts or 0) < (LOOP_SECONDS * SAMPLE_RATE_HZ - 1024)
    ]
    return sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base)


def _pictures(width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """A camera that pans over a landscape, something bright that moves in front of it, and grain."""
    random = np.random.default_rng(0)
    wide, high = 2 * width, 2 * height
    spectrum = np.fft.rfft2(random.standard_normal((high, wide)))
    distance = np.hypot(np.fft.fftfreq(high)[:, None] * high, np.fft.rfftfreq(wide)[None] * wide)
    landscape = np.fft.irfft2(spectrum / np.maximum(distance, 1) ** 1.3, (high, wide))
    landscape = (128 + 40 * landscape / landscape.std()).clip(20, 230).astype(np.int16)
    grain = [random.normal(0, 3, (height, width)).astype(np.int16) for _ in range(16)]
    y, x = np.mgrid[:height, :width]
    chroma = np.empty((height // 2, width), np.uint8)
    for number in range(LOOP_SECONDS * FRAME_RATE_HZ):
        time = number / FRAME_RATE_HZ
        turn = 2 * np.pi * time / LOOP_SECONDS
        top = round((0.5 + 0.5 * np.sin(turn)) * height)
        left = round((0.5 + 0.5 * np.cos(turn)) * width)
        luma = landscape[top : top + height, left : left + width] + grain[random.integers(16)]
        centre_y, centre_x = (
            height * (0.5 + 0.2 * np.sin(1.7 * time)),
            width * (0.5 + 0.3 * np.cos(1.3 * time)),
        )
        box = np.s_[
            max(0, int(centre_y - height / 5)) : int(centre_y + height / 5),
            max(0, int(centre_x - height / 7)) : int(centre_x + height / 7),
        ]
        inside = ((y[box] - centre_y) * 5 / height) ** 2 + ((x[box] - centre_x) * 7 / height) ** 2 < 1
        luma[box][inside] = luma[box][inside] // 3 + 130
        chroma[:] = 128 + 20 * np.sin(0.01 * np.arange(width) + turn)
        yield np.concatenate([luma.clip(16, 235).astype(np.uint8), chroma])


def _sound(start: int, num_samples: int) -> NDArray[np.float32]:
    """Voices of a kind: a few harmonics that rise and fall, and a breath of noise."""
    time = (start + np.arange(num_samples)) / SAMPLE_RATE_HZ
    pitch = 150 + 40 * np.sin(2 * np.pi * time)
    loud = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    voice = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 12))
    noise = np.random.default_rng(start).normal(0, 0.02, num_samples)
    return np.stack([0.15 * loud * voice + noise, 0.12 * loud * voice - noise]).astype(np.float32)
