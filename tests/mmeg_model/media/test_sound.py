from fractions import Fraction

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmeg_model.media.container import Clock
from mmeg_model.media.sound import Sound, _planes, _silence

MS = 16  # samples


def tone(first: float, num_samples: int, rate_hz: int) -> np.ndarray:
    """A rising tone, as a function of the time since zero."""
    times = (first + np.arange(num_samples)) / rate_hz
    return 8_000 * np.sin(2 * np.pi * (200 * times + 20 * times**2))


def frame(
    first: int,
    num_samples: int,
    *,
    rate_hz: int = 48_000,
    stamp_ms: int | None = None,
    layout: str = "mono",
    sample_format: str = "s16",
) -> AudioFrame:
    """The samples that belong at `first`, stamped to the millisecond if not otherwise."""
    mono = tone(first, num_samples, rate_hz)
    if sample_format.startswith("u8"):
        array = (mono / 256 + 128).round().astype(np.uint8)
    elif sample_format.startswith("flt"):
        array = (mono / 32_768).astype(np.float32)
    else:
        array = mono.round().astype(np.int16)
    num_channels = av.AudioLayout(layout).nb_channels
    planar = sample_format.endswith("p")
    channels = np.stack([array] * num_channels, axis=0 if planar else 1)
    made = AudioFrame.from_ndarray(channels if planar else channels.reshape(1, -1), sample_format, layout)
    made.sample_rate = rate_hz
    made.time_base = Fraction(1, 1_000)
    made.pts = round(first * 1_000 / rate_hz) if stamp_ms is None else stamp_ms
    return made


def resampled(frames: list[AudioFrame], *, first: int = 0, end: int) -> tuple[np.ndarray, np.ndarray]:
    """16 kHz samples [first, end) and which of them are valid."""
    samples, valid = np.zeros(end - first, np.int16), np.zeros(end - first, np.bool_)

    def put(start: int, part: np.ndarray) -> None:
        assert first <= start < start + len(part) <= end
        assert not valid[start - first : start - first + len(part)].any()
        samples[start - first : start - first + len(part)] = part
        valid[start - first : start - first + len(part)] = True

    sound = Sound(Clock(start_us=0, unit=Fraction(1, 1_000)), first_sample=first, end_sample=end, put=put)
    for each in frames:
        sound.add(each)
    sound.finish()
    assert sound.done_ms == end // MS
    return samples, valid


def frames_of(rate_hz: int, first: int, end: int, *, samples_per_frame: int = 1_024) -> list[AudioFrame]:
    return [
        frame(start, samples_per_frame, rate_hz=rate_hz)
        for start in range(first, end - samples_per_frame + 1, samples_per_frame)
    ]


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 44_099, 48_000, 96_000])
def test_output_sample_m_is_the_sound_at_m_sixteen_thousandths(rate_hz):
    frames = frames_of(rate_hz, 0, 2 * rate_hz)
    samples, valid = resampled(frames, end=40_000)
    num_valid = -(-len(frames) * 1_024 * 16_000 // rate_hz)  # m is valid while m / 16000 < n / rate
    assert valid[:num_valid].all()
    assert not valid[num_valid:].any()
    inner = slice(100, num_valid - 100)  # without what the filter lacks at both ends
    np.testing.assert_allclose(samples[inner], tone(0, 40_000, 16_000)[inner], atol=40)


@pytest.mark.parametrize("sample_format", ["u8", "u8p", "s16", "s16p", "flt", "fltp"])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_formats_and_layouts_are_mixed_to_mono(sample_format, layout):
    # Starting at 1001 needs silence in front, to a source sample that an output sample falls onto.
    made = frame(1_001, 20_000, rate_hz=44_100, stamp_ms=23, sample_format=sample_format, layout=layout)
    made.time_base, made.pts = Fraction(1, 44_100), 1_001
    samples, valid = np.zeros(8_000, np.int16), np.zeros(8_000, np.bool_)

    def put(start: int, part: np.ndarray) -> None:
        samples[start : start + len(part)], valid[start : start + len(part)] = part, True

    sound = Sound(Clock(start_us=0, unit=Fraction(1, 44_100)), first_sample=0, end_sample=8_000, put=put)
    sound.add(made)
    sound.finish()
    assert np.flatnonzero(valid)[[0, -1]].tolist() == [
        364,
        7_619,
    ]  # ceil(1001 / 2.75625), ceil(21001 / 2.75625) - 1
    gain = 1 if layout != "5.1" else samples[1_000:2_000].std() / tone(0, 8_000, 16_000)[1_000:2_000].std()
    assert 0.5 < gain < 1.5
    np.testing.assert_allclose(samples[464:7_500], gain * tone(0, 8_000, 16_000)[464:7_500], atol=200)


@settings(max_examples=25, deadline=None)
@given(
    rate_hz=st.sampled_from([8_000, 22_050, 44_100, 48_000]),
    samples_per_frame=st.sampled_from([160, 960, 1_024, 1_152]),
    first_frame=st.integers(0, 60),
    offset=st.integers(-5, 5),
)
@example(rate_hz=44_100, samples_per_frame=1_024, first_frame=13, offset=0)
def test_from_an_anchor_on_a_late_start_changes_nothing(rate_hz, samples_per_frame, first_frame, offset):
    """Stamps are rounded to 1 ms: at another first frame, another count begins, until the anchor at 10 s."""
    first = 9 * rate_hz + offset
    frames = lambda: frames_of(rate_hz, first, 12 * rate_hz, samples_per_frame=samples_per_frame)  # noqa: E731
    span = {"first": 10 * 16_000 + 500 * MS, "end": 12 * 16_000}
    skipped = min(first_frame, int(0.9 * rate_hz) // samples_per_frame)
    for whole, part in zip(resampled(frames(), **span), resampled(frames()[skipped:], **span), strict=True):
        np.testing.assert_array_equal(whole, part)


def test_rounded_stamps_do_not_tear_the_sound():
    samples, valid = resampled(frames_of(44_100, 0, 9 * 44_100), end=8 * 16_000)
    assert valid.all()
    np.testing.assert_allclose(samples[100:], tone(0, 8 * 16_000, 16_000)[100:], atol=40)


@pytest.mark.parametrize("late_ms", [(5, 10), (10, 5)])
def test_at_an_anchor_the_count_follows_the_stamp(late_ms):
    stamps_ms = {k: round(k * 1_024 / 48 + late_ms[k >= 469]) for k in range(460, 500)}  # 469: behind 10 s
    frames = [frame(k * 1_024, 1_024, stamp_ms=stamp_ms) for k, stamp_ms in stamps_ms.items()]
    samples, valid = resampled(frames, first=9 * 16_000 + 15_000, end=10 * 16_000 + 8_000)
    assert valid.all()
    behind = slice(1_300, -1_000)
    late = stamps_ms[469] * MS - 469 * 1_024 / 3
    expected = tone(9 * 16_000 + 15_000 - late, len(samples), 16_000)
    np.testing.assert_allclose(samples[behind], expected[behind], atol=40)


def test_a_gap_is_not_valid():
    frames = [frame(0, 4_800), frame(2 * 4_800, 4_800)]
    _, valid = resampled(frames, end=8_000)
    assert np.flatnonzero(np.diff(valid)).tolist() == [1_599, 3_199, 4_799]


def test_an_overlap_keeps_what_came_first():
    frames = [frame(0, 4_800), frame(2_400, 4_800)]
    samples, valid = resampled(frames, end=8_000)
    assert np.flatnonzero(valid)[[0, -1]].tolist() == [0, 2_399]
    np.testing.assert_allclose(samples[100:2_300], tone(0, 2_400, 16_000)[100:2_300], atol=1_500)


def test_a_gap_of_a_thousand_years_takes_neither_time_nor_memory():
    years_ms = 1_000 * 366 * 24 * 3_600_000
    _, valid = resampled([frame(0, 4_800), frame(0, 4_800, stamp_ms=years_ms)], end=16_000)
    assert np.flatnonzero(valid)[[0, -1]].tolist() == [0, 1_599]
    _, valid = resampled([frame(0, 4_800, stamp_ms=-years_ms), frame(0, 4_800)], end=16_000)
    assert np.flatnonzero(valid)[[0, -1]].tolist() == [0, 1_599]


def test_a_change_of_format_goes_on_where_the_old_one_ended():
    frames = [
        frame(0, 4_800),
        frame(800, 1_600, rate_hz=8_000, stamp_ms=100),
        frame(14_400, 4_800, layout="stereo"),
    ]
    samples, valid = resampled(frames, end=6_400)
    assert valid.all()
    for part in (slice(100, 1_500), slice(1_700, 4_700), slice(4_900, 6_300)):
        np.testing.assert_allclose(samples[part], tone(0, 6_400, 16_000)[part], atol=40)


def test_frames_without_a_stamp_are_counted_on_and_lost_where_there_is_no_count():
    def unstamped(*args: int) -> AudioFrame:
        made = frame(*args)
        made.pts = None
        return made

    _, valid = resampled([unstamped(0, 4_800), frame(4_800, 4_800), unstamped(9_600, 4_800)], end=6_400)
    assert np.flatnonzero(valid)[[0, -1]].tolist() == [1_600, 4_799]


def test_what_cannot_be_mixed_down_is_told_each_time():
    sound = Sound(
        Clock(start_us=0, unit=Fraction(1, 1_000)), first_sample=0, end_sample=16_000, put=pytest.fail
    )
    for k in range(2):
        with pytest.raises(av.error.FFmpegError, match="Invalid argument"):
            sound.add(frame(k * 48_000, 48_000, layout="13C"))
    sound.add(frame(96_000, 480, layout="13C"))  # shorter than what is resampled at a time
    with pytest.raises(av.error.FFmpegError, match="Invalid argument"):
        sound.finish()
    assert sound.done_ms == 1_000


@pytest.mark.parametrize("rate_hz", [1, 999, 768_001])
def test_absurd_rates_are_no_sound(rate_hz):
    _, valid = resampled([frame(0, 100, rate_hz=rate_hz)], end=1_600)
    assert not valid.any()


@pytest.mark.parametrize("num_channels", [1, 6, 8, 9, 12, 37])
def test_silence_is_written_to_the_planes_that_are_there_and_no_others(num_channels):
    """Of more than eight channels, PyAV lists what happens to lie behind: writing there ends the process."""
    like = AudioFrame("fltp", f"{num_channels} channels", 100)
    like.sample_rate = 48_000
    silence = _silence(like, 50)
    assert len(_planes(silence)) == num_channels
    assert all(not any(bytes(plane)) for plane in _planes(silence))
    assert len(_planes(AudioFrame("flt", f"{num_channels} channels", 100))) == 1
