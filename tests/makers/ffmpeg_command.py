"""The ffmpeg command line as an oracle: what it makes of a file, by time stamp."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def need_ffmpeg_command() -> None:
    """Skip the test where the command is missing; under CI that is a failure."""
    if shutil.which("ffmpeg") is None:
        reason = "the ffmpeg command line, the oracle of this test, is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@dataclass(frozen=True)
class Decoded:
    """What the command made of a file, on the clock of the FFmpeg inside PyAV."""

    pictures: dict[int, np.ndarray]
    """Slot k, shown at k * 40 ms -> RGB, (96, 96, 3)."""
    sound: list[tuple[Fraction, np.ndarray]]
    """Start in seconds and int16 samples at 16 kHz, mono."""


def decode_with_ffmpeg(path: Path, work: Path, *, video: bool, audio: bool) -> Decoded:
    """Run the command with the filters of this project.

    Picture and sound are mapped in one command: else its zero would be the first stamp of what is mapped.
    """
    output = work / f"{path.name}.nut"
    maps = ["-map", "0:v:0", "-vf", "fps=25,scale=96:96,format=rgb24", "-c:v", "rawvideo"] if video else []
    maps += ["-map", "0:a:0", "-ar", "16000", "-ac", "1", "-c:a", "pcm_s16le"] if audio else []
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-filter_threads", "1"]
    ahead_seconds = _ahead_seconds(path)
    # NUT has no negative stamps, and what comes before our zero must not be lost.
    later_seconds = 1 if ahead_seconds else 0
    command += ["-itsoffset", f"{float(ahead_seconds + later_seconds):.6f}", "-i", str(path), *maps]
    command += ["-fps_mode", "passthrough", "-avoid_negative_ts", "disabled", "-f", "nut", "-y", str(output)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    pictures: dict[int, np.ndarray] = {}
    sound = []
    with av.open(output) as made:
        for packet in made.demux():
            if packet.pts is None or not packet.size:
                continue
            time = packet.pts * packet.time_base - later_seconds
            if packet.stream.type == "video":
                pictures[round(time * 25)] = np.frombuffer(bytes(packet), np.uint8).reshape(96, 96, 3)
            else:
                sound.append((time, np.frombuffer(bytes(packet), np.int16)))
    return Decoded(pictures, sound)


def _ahead_seconds(path: Path) -> Fraction:
    """By how much the command's zero lies before that of PyAV: they disagree on codec delay in Matroska."""
    command = ["ffprobe", "-v", "error", "-show_entries", "format=start_time", "-of", "default=nw=1:nk=1"]
    printed = subprocess.run([*command, str(path)], check=True, capture_output=True, text=True).stdout.strip()
    with av.open(path) as container:
        ours = Fraction(container.start_time or 0, av.time_base)
    return (Fraction(printed) if printed not in ("", "N/A") else Fraction(0)) - ours
