from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.ffmpeg_command import decode_with_ffmpeg, need_ffmpeg_command
from makers.matrix import CASES, DAMAGED, ODDITIES, Case, expected_numbers, make_case
from makers.video import number_of, sound_at

from mmeg_model.clip import FRAME_MS, SAMPLES_PER_FRAME, Clip
from mmeg_model.media.decode import decode_span
from mmeg_model.media.probe import VideoInfo, probe
from mmeg_model.media.windows import fixed_windows

MS = 16  # samples


class Videos:
    """Makes each video once, and decodes it whole once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = cache(lambda case: make_case(folder, case))
        self.info = cache(lambda case: _probe(self.path(case)))
        self.whole = cache(
            lambda case: decode(self.path(case), self.info(case), 0, self.info(case).duration_ms)
        )


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    return Videos(tmp_path_factory.mktemp("videos"))


def _probe(path: Path) -> VideoInfo:
    with path.open("rb") as file:
        return probe(file)


def decode(path: Path, info: VideoInfo, start_ms: int, end_ms: int) -> Clip:
    with path.open("rb") as file:
        (clip,) = decode_span(file, info, [(start_ms, end_ms)])
    return clip


def alignment(clip: Clip, reference: np.ndarray) -> dict[int, tuple[int, float]]:
    """By how many samples each second of the sound is late, and how alike the two then are, at most 1.

    Seconds that are not full of sound are left out.
    """
    samples = clip.samples
    found = {}
    for second in range(len(samples) // 16_000):
        part = slice(second * 16_000, (second + 1) * 16_000)
        ours, theirs = samples[part].astype(float), reference[part].astype(float)
        if not clip.samples_valid[part].all():
            continue
        products = np.fft.irfft(np.fft.rfft(ours, 1 << 15) * np.conj(np.fft.rfft(theirs, 1 << 15)))
        best = int(np.argmax(products))
        likeness = float(products[best] / np.linalg.norm(ours) / np.linalg.norm(theirs))
        found[second] = best if best < 1 << 14 else best - (1 << 15), likeness
    return found


def test_matrix_covers_what_is_promised():
    recipes = [case.recipe for case in CASES]
    suffixes = {Path(recipe.name).suffix for recipe in recipes}
    pictures = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".ogg", ".flv", ".3gp", ".wmv", ".mpg"}
    assert suffixes >= pictures | {".wav", ".flac", ".mp3", ".m4a", ".aac"}
    assert {Path(case.recipe.name).suffix for case in DAMAGED} >= pictures - {".mov", ".webm", ".3gp"}
    assert {recipe.video for recipe in recipes} >= {
        "libx264",
        "libvpx-vp9",
        "mpeg2video",
        "mpeg4",
        "mjpeg",
        "libx265",
        "libsvtav1",
        "wmv2",
        "flv",
        None,
    }
    assert {recipe.audio for recipe in recipes} >= {
        "aac",
        "libmp3lame",
        "libopus",
        "vorbis",
        "flac",
        "pcm_s16le",
        "ac3",
        "eac3",
        "wmav2",
        "libopencore_amrnb",
        None,
    }
    assert {round(float(recipe.frame_rate), 3) for recipe in recipes} >= {12, 23.976, 25, 29.97, 50, 60}
    assert {recipe.sample_rate_hz for recipe in recipes} >= {8_000, 22_050, 44_100, 48_000, 96_000}
    assert {recipe.layout for recipe in recipes} >= {"mono", "stereo", "5.1"}
    assert {recipe.pixel_format for recipe in recipes} >= {"yuv420p", "yuv420p10le", "yuv422p10le"}
    assert any(recipe.interlaced for recipe in recipes)


@pytest.mark.parametrize("case", [case for case in CASES if case.recipe.video], ids=str)
def test_each_frame_shows_the_number_that_belongs_there(videos, case):
    whole = videos.whole(case)
    shown = [
        number_of(rgb) if valid else None for rgb, valid in zip(whole.frames, whole.frames_valid, strict=True)
    ]
    expected = expected_numbers(case, len(shown))
    if case.kept < 1:
        num_sure = int(25 * case.sure_seconds)
        assert shown[:num_sure] == expected[:num_sure]
        return
    num_valid = int(whole.frames_valid.sum()) + expected.count(None)
    last_frame_begins = expected.index(expected[-1])
    assert num_valid >= last_frame_begins
    assert shown[:num_valid] == expected[:num_valid]
    assert shown[num_valid:] == [None] * (len(shown) - num_valid)
    assert num_valid >= len(shown) - 1 or videos.info(case).video_end_ms < videos.info(case).duration_ms


@pytest.mark.parametrize("case", [case for case in CASES if case.recipe.audio], ids=str)
def test_sound_lies_within_1_ms_of_where_it_belongs(videos, case):
    whole = videos.whole(case)
    times = np.arange(len(whole.samples)) / 16_000 - float(case.sound_late)
    expected = np.where(whole.samples_valid, sound_at(times) * 32_000, 0)
    found = alignment(whole, expected)
    if case.kept < 1:
        sure = range(int(case.sure_seconds))
        assert set(found) >= set(sure[1:])
        assert all(abs(found[k][0]) <= MS and found[k][1] > 0.8 for k in sure if k in found), found
        return
    assert all(abs(lag) <= MS and likeness > 0.8 for lag, likeness in found.values()), found
    assert len(found) >= np.count_nonzero(whole.samples_valid) // 16_000 - 2
    start = float(case.recipe.audio_start + case.sound_late)
    seconds = case.recipe.seconds if case.recipe.audio_seconds is None else case.recipe.audio_seconds
    gap_start, gap_end = case.recipe.sound_gap or (0, 0)
    one_frame = 0.1  # a codec's frame, and its padding at the end
    end = min(start + seconds, len(times) / 16_000)
    assert whole.samples_valid.sum() / 16_000 == pytest.approx(
        end - max(start, 0) - (gap_end - gap_start), abs=one_frame
    )
    if not case.recipe.sound_gap:
        assert np.argmax(whole.samples_valid) / 16_000 == pytest.approx(max(start, 0), abs=one_frame)
    assert not whole.samples[~whole.samples_valid].any()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_the_ffmpeg_command(videos, case, tmp_path):
    need_ffmpeg_command()
    path, whole = videos.path(case), videos.whole(case)
    video, audio = case.recipe.video is not None, case.recipe.audio is not None
    command = decode_with_ffmpeg(path, tmp_path, video=video, audio=audio)
    slots = range(len(whole.frames_valid))
    ours = {k for k in slots if whole.frames_valid[k]}
    theirs = {k for k in command.pictures if k in slots}
    assert theirs <= ours
    assert ours == theirs or (not case.same_end and min(ours - theirs) > max(theirs))
    for k in theirs:
        np.testing.assert_array_equal(whole.frames[k], command.pictures[k], err_msg=f"slot {k}")
    reference, end = np.zeros(len(whole.samples), np.int16), 0
    for start_seconds, samples in command.sound:
        first = round(start_seconds * 16_000)
        first = end if abs(first - end) < 20 * MS else first
        part = samples[max(-first, 0) : max(len(reference) - first, 0)]
        reference[max(first, 0) : max(first, 0) + len(part)] = part
        end = first + len(samples)
    found = alignment(whole, reference)
    assert all(abs(lag) <= MS and likeness > 0.95 for lag, likeness in found.values()), found
    if audio:
        loudness = [
            np.sqrt(np.mean(np.square(sound[whole.samples_valid], dtype=float)))
            for sound in (whole.samples, reference)
        ]
        assert loudness[0] == pytest.approx(loudness[1], rel=0.05)


def assert_part_equals_cut(videos: Videos, case: Case, start_ms: int, end_ms: int) -> None:
    whole = videos.whole(case)
    part = decode(videos.path(case), videos.info(case), start_ms, end_ms)
    first = start_ms // FRAME_MS
    frames = slice(first, first + len(part.frames_valid))
    np.testing.assert_array_equal(part.frames_valid, whole.frames_valid[frames])
    np.testing.assert_array_equal(part.frames, whole.frames[frames])
    samples = slice(first * SAMPLES_PER_FRAME, (first + len(part.frames_valid)) * SAMPLES_PER_FRAME)
    np.testing.assert_array_equal(part.samples_valid, whole.samples_valid[samples])
    if case.is_exact:
        np.testing.assert_array_equal(part.samples, whole.samples[samples])
    else:
        for mine, cut in zip(_blocks(part.samples), _blocks(whole.samples[samples]), strict=True):
            assert _decibels(mine) == pytest.approx(_decibels(cut), abs=1)


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_a_part_alone_equals_the_cut_out_of_the_whole(videos, case, data):
    info = videos.info(case)
    first = data.draw(st.integers(0, (info.duration_ms - 1) // FRAME_MS), "first slot")
    last_ms = min((first + 250) * FRAME_MS, info.duration_ms)
    end_ms = data.draw(st.integers(first * FRAME_MS + 1, last_ms), "end_ms")
    assert_part_equals_cut(videos, case, first * FRAME_MS, end_ms)


@pytest.mark.parametrize("case", DAMAGED, ids=str)
def test_a_seek_lands_right_without_an_index_or_a_true_header_or_a_tail(videos, case):
    duration_ms = videos.info(case).duration_ms
    for start_ms in range(1_960, duration_ms, 3_000):
        assert_part_equals_cut(videos, case, start_ms, min(start_ms + 400, duration_ms))


@pytest.mark.parametrize("case", ODDITIES, ids=str)
def test_a_part_that_begins_where_a_stream_does_or_ends(videos, case):
    info = videos.info(case)
    edges_ms = {info.video_end_ms, info.audio_end_ms, *(round(1_000 * start) for start in _starts(case))}
    for edge_ms in (edge_ms for edge_ms in edges_ms if edge_ms is not None and edge_ms > FRAME_MS):
        for start_ms in range(edge_ms // FRAME_MS * FRAME_MS - FRAME_MS, edge_ms + 2 * FRAME_MS, FRAME_MS):
            if start_ms < info.duration_ms:
                assert_part_equals_cut(videos, case, start_ms, min(start_ms + 200, info.duration_ms))


def _starts(case: Case) -> list[Fraction]:
    gap = case.recipe.sound_gap or (0.0, 0.0)
    return [case.recipe.video_start, case.recipe.audio_start, *map(Fraction, gap)]


def _blocks(samples: np.ndarray) -> list[np.ndarray]:
    return np.array_split(samples, max(1, len(samples) // 3_200))


def _decibels(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=float)) + 100))  # silence is at 20


@pytest.mark.parametrize("name", ["h264-aac.mp4", "vp9-opus.webm", "h264-aac.ts", "pcm.wav"])
def test_windows_of_one_span_are_cut_from_one_decode(videos, name):
    (case,) = [case for case in CASES if str(case) == name]
    whole, info = videos.whole(case), videos.info(case)
    windows = fixed_windows(info.duration_ms)
    with videos.path(case).open("rb") as file:
        clips = list(decode_span(file, info, windows))
    assert [(clip.start_ms, clip.end_ms) for clip in clips] == windows
    for field in ("frames", "frames_valid", "samples", "samples_valid"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(clip, field) for clip in clips]), getattr(whole, field)
        )
