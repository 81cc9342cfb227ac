"""A small corpus of shapes and tones with known labels, as real media files: for demonstrations and tests.

Colour, tempo, overtones, a drawn mouth and brows tell the emotion; the shape, a nose or none, the ground behind and the pitch
of the tone the perceived gender; a speaker has a pitch and a size of its own. Nobody is in it and nothing is to be learned
from it about people.
"""

import csv
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from mmeg_model.corpora import manifest
from mmeg_model.corpora.utterance import Corpus, CorpusReading
from mmeg_model.labels import EMOTIONS, GENDERS

MANIFEST: Final = "manifest.csv"
NUM_SPEAKERS: Final = 8
_WIDTH, _HEIGHT, _FRAME_RATE_HZ, _SAMPLE_RATE_HZ = 192, 144, 25, 44_100
_SAMPLES_PER_PACKET: Final = 1024  # of AAC
# With macroblock trees the same pictures gave other bytes from one video to the next (x264 core 165).
_X264_OPTIONS: Final = {"preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}

_COLOURS: Final = {
    "neutral": (140, 140, 140),
    "anger": (210, 40, 30),
    "happiness": (235, 205, 50),
    "sadness": (40, 70, 170),
}
_INK: Final = (15, 15, 15)
_MOUTH_CURVES: Final = {"neutral": 0.0, "anger": 0.0, "happiness": -1.4, "sadness": 1.4}
"""How far the corners are below the middle."""
_HARMONICS: Final = {"neutral": 4, "anger": 12, "happiness": 7, "sadness": 2}
_BEATS_PER_SECOND: Final = {"neutral": 2.0, "anger": 8.0, "happiness": 4.0, "sadness": 1.0}
_PITCH_HZ: Final = {"female": 440.0, "male": 180.0}
_GROUNDS: Final = {"female": (30, 70, 30), "male": (80, 30, 80)}


_Timed = tuple[float, av.VideoFrame | av.AudioFrame]
"""A frame and its start in seconds."""


@dataclass(frozen=True)
class _Person:
    emotion: str
    perceived_gender: str
    pitch_factor: float
    radius: float
    """Of the shape, as a part of the picture's height."""


def write_corpus(folder: Path, *, num_videos: int = 8, seconds: float = 3.0, seed: int = 0) -> list[Path]:
    """Write mp4 files (H.264 and AAC) and a manifest of their labels; the same seed, the same bytes.

    Emotions, perceived genders and `NUM_SPEAKERS` speakers take turns.

    Raises:
        ValueError: if num_videos is not positive, or a video would be shorter than a frame.
    """
    if num_videos < 1 or seconds * _FRAME_RATE_HZ < 1:
        raise ValueError(f"{num_videos = } and {seconds * _FRAME_RATE_HZ = } (frames) must be at least 1")
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)  # noqa: S311
    pitch_factors = [chance.uniform(0.9, 1.1) for _ in range(NUM_SPEAKERS)]
    radii = [chance.uniform(0.2, 0.3) for _ in range(NUM_SPEAKERS)]
    rows = []
    for video in range(num_videos):
        speaker = video // len(EMOTIONS) % NUM_SPEAKERS
        person = _Person(
            EMOTIONS[video % len(EMOTIONS)],
            GENDERS[speaker % len(GENDERS)],
            pitch_factors[speaker],
            radii[speaker],
        )
        path = folder / f"{video:04d}-{person.emotion}-{person.perceived_gender}.mp4"
        _write_video(path, person, seconds, phase=chance.random())
        rows.append((path.name, f"synthetic-{speaker:02d}", person.perceived_gender, person.emotion))
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "speaker", "perceived_gender", "emotion"), *rows])
    return [folder / row[0] for row in rows]


def read_manifest(folder: Path) -> CorpusReading:
    """Read what `write_corpus` wrote."""
    return manifest.read_manifest(folder / MANIFEST, corpus="synthetic")


def _write_video(path: Path, person: _Person, seconds: float, *, phase: float) -> None:
    with av.open(path, "w") as container:
        picture = container.add_stream("libx264", rate=_FRAME_RATE_HZ, options=_X264_OPTIONS)
        picture.width, picture.height, picture.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=_SAMPLE_RATE_HZ, layout="mono")
        frames = heapq.merge(
            _pictures(person, seconds, phase), _sounds(person, seconds, phase), key=itemgetter(0)
        )
        for _, frame in frames:
            packets = picture.encode(frame) if isinstance(frame, av.VideoFrame) else sound.encode(frame)
            container.mux(packets)
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))


def _pictures(person: _Person, seconds: float, phase: float) -> Iterator[_Timed]:
    """A shape that swings from side to side on a plain ground."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH] / _HEIGHT
    for number in range(round(seconds * _FRAME_RATE_HZ)):
        beat = _BEATS_PER_SECOND[person.emotion] * number / _FRAME_RATE_HZ / 4 + phase
        dx, dy = x - _WIDTH / _HEIGHT / 2 - 0.3 * np.sin(2 * np.pi * beat), y - 0.5
        if person.perceived_gender == "female":
            inside = dx**2 + dy**2 < person.radius**2
        else:
            inside = np.maximum(abs(dx), abs(dy)) < person.radius
        picture = np.full((_HEIGHT, _WIDTH, 3), _GROUNDS[person.perceived_gender], np.uint8)
        picture[inside] = _COLOURS[person.emotion]
        picture[_features(dx / person.radius, dy / person.radius, person)] = _INK
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, _FRAME_RATE_HZ)
        yield number / _FRAME_RATE_HZ, frame


def _features(x: NDArray[np.float64], y: NDArray[np.float64], person: _Person) -> NDArray[np.bool_]:
    """Where eyes, mouth, brows and nose are drawn on a shape that reaches from -1 to 1, y downwards."""
    beside = abs(x) - 0.35
    eyes = beside**2 + (y + 0.15) ** 2 < 0.12**2
    mouth = (abs(x) < 0.5) & (abs(y - 0.45 - _MOUTH_CURVES[person.emotion] * (x**2 - 0.1)) < 0.08)
    brows = (abs(beside) < 0.25) & (abs(y + 0.45 + 0.7 * beside) < 0.07)
    nose = (abs(x) < 0.09) & (abs(y - 0.1) < 0.2)
    return eyes | mouth | (brows & (person.emotion == "anger")) | (nose & (person.perceived_gender == "male"))


def _sounds(person: _Person, seconds: float, phase: float) -> Iterator[_Timed]:
    """A tone with more or fewer overtones that swells with the beat."""
    time = np.arange(round(seconds * _SAMPLE_RATE_HZ)) / _SAMPLE_RATE_HZ
    pitch_hz = _PITCH_HZ[person.perceived_gender] * person.pitch_factor
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, _HARMONICS[person.emotion] + 1))
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * (_BEATS_PER_SECOND[person.emotion] * time + phase))
    samples = (0.2 * tone * swell).astype(np.float32)
    for start in range(0, len(samples), _SAMPLES_PER_PACKET):
        packet = samples[None, start : start + _SAMPLES_PER_PACKET]
        frame = av.AudioFrame.from_ndarray(packet, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = _SAMPLE_RATE_HZ, start, Fraction(1, _SAMPLE_RATE_HZ)
        yield start / _SAMPLE_RATE_HZ, frame


VIDEOS: Final = Corpus(
    title="synthetic shapes and tones", read=read_manifest, language="none", terms="none: nobody is in it"
)
