"""The files that decoding is held against: pairs of container and codec, and what can be odd about a file."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from makers.video import Recipe, frame_times

# What an encoder puts in front, in samples. Containers that can say so have their zero behind it; in the
# others zero is where it begins, and all else is that much later.
AAC, MP3, MP2 = 1024, 1105, 481


@dataclass(frozen=True, eq=False)
class Case:
    """A recipe, and how its file differs from it by no fault of the decoder."""

    recipe: Recipe
    video_late: Fraction = Fraction(0)
    """How much later than in the recipe the picture is on the file's own clock, in seconds."""
    sound_late: Fraction = Fraction(0)
    is_exact: bool = True
    """Whether the sound's decoder makes the same of a part as of the whole."""
    same_end: bool = True
    """Whether the command lets the last frame stand for as long: versions differ."""

    def __str__(self) -> str:
        return self.recipe.name


def _late(recipe: Recipe, samples: int, **how: bool) -> Case:
    late = Fraction(samples, recipe.sample_rate_hz)
    return Case(recipe, video_late=late, sound_late=late, **how)


def _film(rate: str) -> Fraction:
    return Fraction(*map(int, rate.split("/")))


LONG = 21.0
"""Seconds: past two times at which the sound's place is set anew."""
_SQUARES = [Fraction(k * k, 900) for k in range(54)]

PAIRS = [
    Case(Recipe("h264-aac.mp4", seconds=LONG, gop=50)),
    Case(
        Recipe(
            "h264-aac.mov",
            seconds=LONG,
            gop=250,
            frame_rate=_film("24000/1001"),
            sample_rate_hz=44_100,
            layout="stereo",
        )
    ),
    Case(
        Recipe(
            "h264-mp3.mkv",
            seconds=LONG,
            gop=70,
            frame_rate=_film("30000/1001"),
            audio="libmp3lame",
            sample_rate_hz=44_100,
        )
    ),
    Case(
        Recipe("h264-flac.mkv", seconds=LONG, gop=100, frame_rate=Fraction(50), audio="flac", layout="stereo")
    ),
    Case(Recipe("vp9-opus.webm", seconds=LONG, gop=60, video="libvpx-vp9", audio="libopus")),
    Case(
        Recipe(
            "vp9-vorbis.webm",
            seconds=LONG,
            gop=40,
            video="libvpx-vp9",
            audio="vorbis",
            frame_rate=_film("30000/1001"),
            sample_rate_hz=44_100,
            layout="stereo",
        )
    ),
    Case(
        # AVI has no stamps: what the encoder puts in front stays in front, and the picture is not shifted.
        Recipe(
            "mpeg4-mp3.avi",
            seconds=LONG,
            video="mpeg4",
            audio="libmp3lame",
            frame_rate=Fraction(12),
            container_options={"avoid_negative_ts": "disabled"},
        ),
        sound_late=Fraction(MP3, 48_000),
    ),
    Case(
        Recipe(
            "mjpeg-pcm.avi",
            seconds=LONG,
            video="mjpeg",
            pixel_format="yuvj420p",
            audio="pcm_s16le",
            sample_rate_hz=8_000,
        )
    ),
    _late(Recipe("h264-aac.ts", seconds=LONG, gop=90, frame_rate=Fraction(60), sample_rate_hz=44_100), AAC),
    _late(Recipe("mpeg2-mp3.ts", seconds=LONG, video="mpeg2video", audio="libmp3lame"), MP3),
    Case(
        Recipe(
            "mjpeg-pcm.mov",
            seconds=LONG,
            video="mjpeg",
            pixel_format="yuvj422p",
            audio="pcm_s16le",
            sample_rate_hz=22_050,
            layout="stereo",
        )
    ),
    Case(
        Recipe("mpeg4-aac.mp4", seconds=LONG, video="mpeg4", video_options={"bf": "2"}, sample_rate_hz=22_050)
    ),
    Case(Recipe("vp8-vorbis.ogg", seconds=LONG, gop=50, video="libvpx", audio="vorbis", layout="stereo")),
    Case(Recipe("opus.ogg", seconds=LONG, video=None, audio="libopus")),
    Case(Recipe("flac.ogg", seconds=LONG, video=None, audio="flac", sample_rate_hz=44_100)),
    Case(Recipe("cover.flac", seconds=LONG, video=None, audio="flac", sample_rate_hz=44_100, cover=True)),
    Case(
        Recipe("cover.mp3", seconds=LONG, video=None, audio="libmp3lame", sample_rate_hz=44_100, cover=True)
    ),
    Case(Recipe("cover.m4a", format="mp4", seconds=LONG, video=None, sample_rate_hz=44_100, cover=True)),
    Case(
        Recipe("pcm.wav", seconds=LONG, video=None, audio="pcm_s16le", sample_rate_hz=22_050, layout="stereo")
    ),
    _late(Recipe("adts.aac", seconds=LONG, video=None, sample_rate_hz=44_100), AAC),
    # FFmpeg's MP2 decoder dithers by a state that it keeps: equal to the last bit or two.
    _late(
        Recipe("mpeg2-mp2.mpg", seconds=LONG, video="mpeg2video", audio="mp2", video_options={"bf": "0"}),
        MP2,
        is_exact=False,
    ),
]

ODDITIES = [
    Case(Recipe("60-fps.mkv", frame_rate=Fraction(60))),
    Case(Recipe("variable.mp4", frame_times=_SQUARES), same_end=False),
    Case(Recipe("variable.mkv", frame_times=_SQUARES)),
    Case(Recipe("slides.mkv", seconds=LONG, gop=2, frame_times=[Fraction(t) for t in (0, 1, 7, 18, 20)])),
    Case(
        Recipe(
            "open-gop.mp4",
            seconds=LONG,
            gop=40,
            video_options={"preset": "medium", "x264-params": "open-gop=1:scenecut=0:bframes=3"},
        )
    ),
    # Nobody says when a frame is shown: by the order of decoding, two frames of reordering late.
    Case(Recipe("b-frames.avi", seconds=LONG, gop=40, audio="pcm_s16le"), video_late=Fraction(2, 25)),
    Case(Recipe("edit-list.mp4", video_start=Fraction(-1, 5), audio_start=Fraction(-1, 5))),
    Case(Recipe("edit-list-of-picture.mp4", video_start=Fraction(-1, 5))),
    Case(
        # Matroska cannot begin before zero: the file begins 0.2 s later, and so does its clock.
        Recipe("negative.mkv", audio="flac", video_start=Fraction(-1, 5), audio_start=Fraction(-1, 5)),
        video_late=Fraction(1, 5),
        sound_late=Fraction(1, 5),
    ),
    Case(Recipe("late-sound.mp4", audio="pcm_s16le", format="mov", audio_start=Fraction(7, 10))),
    Case(Recipe("late-sound.mkv", audio="flac", audio_start=Fraction(7, 10))),
    Case(Recipe("late-sound.ts", audio="libmp3lame", audio_start=Fraction(7, 10))),
    Case(
        Recipe(
            "very-late-sound.mkv",
            seconds=LONG,
            audio="flac",
            audio_start=Fraction(113, 10),
            audio_seconds=6.0,
        )
    ),
    Case(Recipe("late-picture.mp4", video_start=Fraction(1, 2)), same_end=False),
    Case(Recipe("late-picture.mkv", video_start=Fraction(1, 2))),
    _late(Recipe("late-picture.ts", video_start=Fraction(1, 2)), AAC),
    Case(
        Recipe(
            "very-late-picture.mkv",
            seconds=8.0,
            video_start=Fraction(113, 10),
            audio="flac",
            sample_rate_hz=44_100,
            audio_seconds=LONG,
        )
    ),
    Case(Recipe("short-sound.mp4", audio_seconds=1.2)),
    Case(Recipe("short-sound.mkv", seconds=LONG, audio="flac", audio_seconds=1.2)),
    Case(Recipe("short-picture.mkv", seconds=1.2, audio="flac", audio_seconds=LONG)),
    Case(Recipe("gap-in-sound.mkv", seconds=LONG, audio="flac", sound_gap=(4.0, 17.0))),
    Case(Recipe("no-sound.ts", audio=None, seconds=LONG, gop=100)),
    Case(Recipe("sound-only.webm", video=None, audio="libopus", seconds=LONG)),
    Case(Recipe("non-square.mp4", sample_aspect=Fraction(4, 3))),
    Case(Recipe("odd-size.webm", video="libvpx-vp9", audio="libopus", width=99, height=75)),
    Case(Recipe("tall.mp4", width=80, height=240, pixel_format="yuv444p")),
    Case(
        Recipe(
            "full-range.mp4",
            video_options={"preset": "ultrafast", "x264-params": "range=pc:colormatrix=bt709:scenecut=0"},
        )
    ),
    *(
        Case(
            Recipe(
                f"rotated-{degrees}{'-flipped' * flip}.mp4",
                width=160,
                audio=None,
                seconds=1.0,
                rotation=(degrees, flip, False),
            )
        )
        for degrees in (0, 90, 180, 270)
        for flip in (False, True)
        if degrees or flip
    ),
    Case(Recipe("one-frame.mp4", seconds=0.04)),
    Case(Recipe("live.mkv", seconds=LONG, gop=50, audio="libmp3lame", container_options={"live": "1"})),
    _late(Recipe("noise.ts", audio="ac3", sample_rate_hz=44_100), 256, is_exact=False),
    Case(Recipe("noise.mp4", seconds=12.0, audio_options={"aac_pns": "1", "b": "48k"}), is_exact=False),
]

CASES = [*PAIRS, *ODDITIES]


_TICKS = {".mkv": Fraction(1, 1_000), ".webm": Fraction(1, 1_000), ".ts": Fraction(1, 90_000)}
"""What containers round stamps to, where it is coarse."""


def expected_numbers(case: Case, num_slots: int) -> list[int | None]:
    """The number of the frame that each slot of 40 ms shows; None before the first. The last one stands on."""
    tick = _TICKS.get(Path(case.recipe.name).suffix, Fraction(1, 360_000))
    times = [round((time + case.video_late) / tick) * tick for time in frame_times(case.recipe)]
    slots = [int(time * 25 + Fraction(1, 2)) if time >= 0 else -1 for time in times]
    numbers: list[int | None] = [None] * num_slots
    for number, (slot, end) in enumerate(pairwise([*slots, num_slots])):
        for k in range(max(slot, 0), min(end, num_slots)):
            numbers[k] = number
    return numbers
