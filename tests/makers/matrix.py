"""The files that decoding is held against: pairs of container and codec, and what can be odd about a file."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from makers import damage
from makers.damage import Damage
from makers.video import Recipe, frame_times, make_video

# What an encoder puts in front, in samples. Containers that can say so have their zero behind it; in the
# others zero is where it begins, and all else is that much later.
AAC, MP3, MP2, AC3, WMA = 1024, 1105, 481, 256, 2048


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
    damage: Damage | None = None
    """What has befallen the file; it is named like the whole one, with a word in front."""
    word: str = ""
    kept: float = 1.0
    """The share of the file that is as it was."""

    @property
    def sure_seconds(self) -> float:
        """Up to where everything must be there, on the file's own clock."""
        return self.recipe.seconds * self.kept - (0.0 if self.kept == 1 else 2.0)

    def __str__(self) -> str:
        return self.word + self.recipe.name


def make_case(folder: Path, case: Case) -> Path:
    """Write the file of a case and give back its path."""
    path = make_video(folder, replace(case.recipe, name=str(case)))
    if case.damage is not None:
        path.write_bytes(case.damage(path.read_bytes()))
    return path


def _late(recipe: Recipe, samples: int, **how: Any) -> Case:
    late = Fraction(samples, recipe.sample_rate_hz)
    return Case(recipe, video_late=late, sound_late=late, **how)


def _broken(case: Case, how: Callable[[float], Damage], kept: float, word: str) -> Case:
    return replace(case, damage=how(kept), word=word, kept=kept)


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
    Case(Recipe("hevc-aac.mp4", seconds=LONG, gop=50, video="libx265")),
    Case(
        Recipe(
            "hevc-10-bit.mkv", seconds=LONG, gop=75, video="libx265", pixel_format="yuv420p10le", audio="flac"
        )
    ),
    Case(Recipe("av1-opus.webm", seconds=LONG, gop=60, video="libsvtav1", audio="libopus")),
    Case(Recipe("av1-10-bit.mp4", seconds=LONG, gop=50, video="libsvtav1", pixel_format="yuv420p10le")),
    Case(Recipe("h264-10-bit.mkv", seconds=LONG, gop=50, pixel_format="yuv422p10le", audio="libmp3lame")),
    _late(Recipe("h264-aac.flv", seconds=LONG, gop=50, sample_rate_hz=44_100), AAC),
    _late(
        Recipe("flv-mp3.flv", seconds=LONG, gop=50, video="flv", audio="libmp3lame", sample_rate_hz=44_100),
        MP3,
    ),
    Case(
        Recipe("h264-amr.3gp", seconds=LONG, gop=50, audio="libopencore_amrnb", sample_rate_hz=8_000),
        sound_late=Fraction(-10, 8000),
        is_exact=False,
    ),
    _late(
        Recipe("wmv2-wma2.wmv", seconds=LONG, gop=50, video="wmv2", audio="wmav2", sample_rate_hz=44_100), WMA
    ),
    _late(
        Recipe("mpeg2-ac3.mpg", seconds=LONG, gop=12, video="mpeg2video", audio="ac3", format="vob"),
        AC3,
        is_exact=False,
    ),
    _late(Recipe("h264-eac3.ts", seconds=LONG, gop=50, audio="eac3"), AC3, is_exact=False),
    Case(Recipe("aac-5.1.mp4", seconds=LONG, gop=50, layout="5.1")),
    Case(Recipe("flac-96-khz.mkv", seconds=LONG, gop=50, audio="flac", sample_rate_hz=96_000, layout="5.1")),
    Case(
        Recipe(
            "pcm-24-bit.wav", seconds=LONG, video=None, audio="pcm_s24le", sample_rate_hz=96_000, layout="5.1"
        )
    ),
    _late(
        Recipe(
            "interlaced.ts", seconds=LONG, gop=12, video="mpeg2video", audio="libmp3lame", interlaced=True
        ),
        MP3,
    ),
    Case(Recipe("interlaced.mp4", seconds=LONG, gop=50, interlaced=True)),
    Case(
        Recipe(
            "open-gop-hevc.mp4",
            seconds=LONG,
            gop=40,
            video="libx265",
            video_options={
                "x265-params": "log-level=none:open-gop=1:bframes=3:scenecut=0:pools=none:frame-threads=1"
            },
        )
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
    _late(Recipe("noise.ts", audio="ac3", sample_rate_hz=44_100), AC3, is_exact=False),
    Case(Recipe("noise.mp4", seconds=12.0, audio_options={"aac_pns": "1", "b": "48k"}), is_exact=False),
]

_MP4 = Recipe("h264-aac.mp4", seconds=LONG, gop=50)
_FASTSTART = replace(_MP4, container_options={"movflags": "faststart"})
_FRAGMENTS = replace(_MP4, container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"})
_MKV = Recipe("h264-flac.mkv", seconds=LONG, gop=50, audio="flac")
_AVI = Recipe("mjpeg-pcm.avi", seconds=LONG, video="mjpeg", pixel_format="yuvj420p", audio="pcm_s16le")
_TS = Recipe("h264-mp3.ts", seconds=LONG, gop=50, audio="libmp3lame")
_FLV = Recipe("h264-mp3.flv", seconds=LONG, gop=50, audio="libmp3lame", sample_rate_hz=44_100)
_WMV = Recipe("wmv2-wma2.wmv", seconds=LONG, gop=50, video="wmv2", audio="wmav2", sample_rate_hz=44_100)
_MPG = Recipe("mpeg2-mp2.mpg", seconds=LONG, video="mpeg2video", audio="mp2", video_options={"bf": "0"})
_OGG = Recipe("vp8-vorbis.ogg", seconds=LONG, gop=50, video="libvpx", audio="vorbis", layout="stereo")
_WAV = Recipe("pcm.wav", seconds=LONG, video=None, audio="pcm_s16le", sample_rate_hz=22_050)
_NO_FLV_DURATION = replace(_FLV, container_options={"flvflags": "no_duration_filesize"})

WITHOUT_INDEX = [
    Case(_MKV, damage=damage.without_cues, word="no-cues-"),
    Case(replace(_MKV, container_options={"live": "1"}), word="live-"),
    Case(_FRAGMENTS, video_late=Fraction(2, 25), sound_late=Fraction(2, 25), word="fragmented-"),
    _broken(
        Case(_FRAGMENTS, video_late=Fraction(2, 25), sound_late=Fraction(2, 25)),
        damage.cut,
        0.7,
        "fragmented-cut-",
    ),
    _late(_NO_FLV_DURATION, MP3, word="no-duration-"),
    _broken(Case(_AVI), damage.cut, 0.7, "cut-"),
]
WRONG_DURATIONS = [
    Case(_MKV, damage=damage.matroska_duration(3), word="long-"),
    Case(_MKV, damage=damage.matroska_duration(0.2), word="short-"),
    Case(_MP4, damage=damage.mov_durations(3), word="long-"),
    Case(_MP4, damage=damage.mov_durations(0.2), word="short-"),
    Case(_AVI, damage=damage.avi_lengths(3), word="long-"),
    Case(_AVI, damage=damage.avi_lengths(0.2), word="short-"),
    _late(_FLV, MP3, damage=damage.flv_duration(3_600), word="long-"),
    _late(_FLV, MP3, damage=damage.flv_duration(2), word="short-"),
    _late(_WMV, WMA, damage=damage.asf_duration(3), word="long-"),
    _late(_WMV, WMA, damage=damage.asf_duration(0.2), word="short-"),
    Case(_WAV, damage=damage.wav_size(3), word="long-"),
]
BROKEN_TAILS = [
    case
    for recipe, samples, is_exact in [
        (_FASTSTART, 0, True),
        (_MKV, 0, True),
        (_TS, MP3, True),
        (_FLV, MP3, True),
        (_WMV, WMA, True),
        (_MPG, MP2, False),
        (_OGG, 0, True),
        (_WAV, 0, True),
    ]
    for case in (
        _broken(_late(recipe, samples, is_exact=is_exact), damage.cut, 0.6, "half-"),
        _broken(_late(recipe, samples, is_exact=is_exact), damage.noisy_tail, 0.8, "noisy-tail-"),
    )
]
DAMAGED = [*WITHOUT_INDEX, *WRONG_DURATIONS, *BROKEN_TAILS]

CASES = [*PAIRS, *ODDITIES, *DAMAGED]


_TICKS = {
    ".mkv": Fraction(1, 1_000),
    ".webm": Fraction(1, 1_000),
    ".flv": Fraction(1, 1_000),
    ".wmv": Fraction(1, 1_000),
    ".ts": Fraction(1, 90_000),
    ".mpg": Fraction(1, 90_000),
}
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
