"""Files that are broken, forged or odd: each ends as an outcome, and what can be decoded is."""

import io
import struct
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from makers.video import Recipe, frame_with_number, make_video, number_of

from mmeg_model.clip import Clip
from mmeg_model.media.decode import decode_span
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import probe


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A minute: many times what is read at a time."""
    recipe = Recipe(
        "a.mkv",
        video="ffv1",
        width=256,
        height=192,
        audio="pcm_s16le",
        seconds=60.0,
        audio_seconds=5.0,
        frame_rate=Fraction(12),
    )
    content = make_video(tmp_path_factory.mktemp("large"), recipe).read_bytes()
    assert len(content) > 8_000_000
    return content


def decode(content: bytes, start_ms: int, end_ms: int) -> tuple[Clip, int]:
    """The clip, and how many packets of it were damaged."""
    damaged: list[None] = []
    file = io.BytesIO(content)
    (clip,) = decode_span(
        file, probe(file), [(start_ms, end_ms)], on_damaged_packet=lambda: damaged.append(None)
    )
    return clip, len(damaged)


def numbers(clip: Clip) -> list[int | None]:
    return [
        number_of(rgb) if valid else None for rgb, valid in zip(clip.frames, clip.frames_valid, strict=True)
    ]


def spoilt(path: Path, kind: str, start: float, end: float) -> bytes:
    """The file with the packets of one kind of stream that are shown in [start, end) overwritten."""
    content = bytearray(path.read_bytes())
    with av.open(path) as container:
        for packet in container.demux():
            time = -1 if packet.pts is None else packet.pts * packet.time_base
            if packet.stream.type == kind and start <= time < end:
                content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    return bytes(content)


def test_a_damaged_packet_is_skipped_and_told(tmp_path):
    path = make_video(tmp_path, Recipe("a.mp4", audio="flac", seconds=4.0, gop=25, video_options={"bf": "0"}))
    content = spoilt(path, "video", 1.19, 1.59)
    clip, num_damaged = decode(content, 0, 4_000)
    assert num_damaged == 10
    assert numbers(clip)[:30] == list(range(30))
    assert numbers(clip)[30:40] == [29] * 10  # the last good frame stands
    assert numbers(clip)[50:] == list(range(50, 100))
    assert clip.samples_valid.all()


def test_damage_outside_of_the_windows_is_not_told(tmp_path):
    path = make_video(tmp_path, Recipe("a.mp4", seconds=4.0, gop=25))
    # Decoding begins at the keyframe at 2 s.
    assert decode(spoilt(path, "video", 2.1, 2.3), 2_600, 3_000)[1] == 0
    assert decode(spoilt(path, "video", 2.5, 2.7), 2_600, 3_000)[1] > 0


def test_damaged_sound_is_a_gap_in_it(tmp_path):
    path = make_video(tmp_path, Recipe("a.mp4", audio="flac", seconds=3.0))
    clip, num_damaged = decode(spoilt(path, "audio", 1.0, 2.0), 0, 3_000)
    assert num_damaged > 5
    assert clip.frames_valid.all()
    assert clip.samples_valid[:15_000].all()
    assert not clip.samples_valid[18_000:31_000].any()
    assert clip.samples_valid[34_000:].all()


def test_where_nothing_decodes_nothing_is_valid(tmp_path):
    path = make_video(tmp_path, Recipe("a.mp4", audio="flac"))
    content = spoilt(path, "video", 0, 9)
    clip, num_damaged = decode(content, 0, 3_000)
    assert (clip.has_video, clip.has_audio) == (False, True)
    assert num_damaged == 75
    path.write_bytes(content)
    clip, _ = decode(spoilt(path, "audio", 0, 9), 0, 3_000)
    assert (clip.has_video, clip.has_audio) == (False, False)
    assert not clip.frames.any()
    assert not clip.samples.any()


def test_windows_behind_the_end_are_empty(tmp_path):
    file = io.BytesIO(make_video(tmp_path, Recipe("a.mp4", audio="flac")).read_bytes())
    clips = list(decode_span(file, probe(file), [(2_000, 8_000), (8_000, 20_000)]))
    assert [int(clip.frames_valid.sum()) for clip in clips] == [25, 0]
    assert [int(clip.samples_valid.sum()) for clip in clips] == [16_000, 0]
    (clip,) = decode_span(file, probe(file), [(600_000, 606_000)])
    assert (clip.has_video, clip.has_audio) == (False, False)


def test_a_picture_that_changes_its_size_goes_on(tmp_path):
    same = {"audio": None, "seconds": 2.0, "video_options": {"bf": "0"}}
    parts = [
        make_video(tmp_path, Recipe("a.ts", **same)),
        make_video(tmp_path, Recipe("b.ts", width=80, height=160, video_start=Fraction(2), **same)),
    ]
    content = b"".join(part.read_bytes() for part in parts)
    clip, _ = decode(content, 0, 4_000)
    assert numbers(clip) == [*range(50), *range(50)]
    part, _ = decode(content, 2_400, 4_000)
    np.testing.assert_array_equal(part.frames, clip.frames[60:])


def test_a_still_that_came_with_exif_is_turned_as_it_says():
    """PyAV 18 and 19 know no EXIF side data and raise on every frame that has it (av/sidedata/sidedata.py)."""
    turn_clockwise = struct.pack("<HHII", 0x112, 3, 1, 6)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + turn_clockwise + struct.pack("<I", 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as output:
        stream = output.add_stream("mjpeg", rate=25, width=96, height=128, pix_fmt="yuvj420p")
        for number in range(5):
            stored = np.ascontiguousarray(np.rot90(frame_with_number(number, width=128, height=96)))
            frame = VideoFrame.from_ndarray(stored, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in stream.encode(frame):
                jpeg = bytes(packet)
                marked = Packet(jpeg[:2] + segment + jpeg[2:])
                marked.pts, marked.dts, marked.time_base = packet.pts, packet.dts, packet.time_base
                marked.stream, marked.is_keyframe = stream, True
                output.mux(marked)
    clip, _ = decode(file.getvalue(), 0, 200)
    assert numbers(clip) == [0, 1, 2, 3, 4]
    info = probe(file)
    assert (info.width, info.height, info.rotation_degrees) == (128, 96, 270)


def _wav(*, num_channels: int, rate_hz: int, seconds: float) -> bytes:
    samples = bytes(2 * num_channels * int(seconds * rate_hz))
    layout = struct.pack(
        "<HHIIHH", 1, num_channels, rate_hz, 2 * num_channels * rate_hz, 2 * num_channels, 16
    )
    chunks = (
        b"WAVEfmt "
        + struct.pack("<I", len(layout))
        + layout
        + b"data"
        + struct.pack("<I", len(samples))
        + samples
    )
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


@pytest.mark.parametrize(("num_channels", "seconds"), [(13, 1.0), (13, 0.1), (64, 1.0)])
def test_channels_that_nobody_can_mix_are_damage(num_channels, seconds):
    clip, num_damaged = decode(_wav(num_channels=num_channels, rate_hz=8_000, seconds=seconds), 0, 1_000)
    assert not clip.has_audio
    assert num_damaged > 0 or seconds < 0.2


def test_stamps_eleven_days_apart_cost_neither_time_nor_memory(tmp_path):
    second = 1_000_000
    recipe = Recipe("a.mkv", audio=None, gop=1, frame_times=[Fraction(0), Fraction(1), Fraction(second)])
    content = make_video(tmp_path, recipe).read_bytes()
    assert numbers(decode(content, 0, 6_000)[0]) == [0] * 25 + [1] * 125
    assert numbers(decode(content, second * 500, second * 500 + 400)[0]) == [1] * 10
    assert numbers(decode(content, second * 1_000 - 200, second * 1_000 + 40)[0]) == [1] * 5 + [2]


class _Failing(io.BytesIO):
    """A file whose reading fails behind some place."""

    def __init__(self, content: bytes, error: Exception) -> None:
        super().__init__(content)
        self.error = error
        self.limit = len(content) + 1

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self.limit:
            raise self.error
        return super().read(size)


def test_a_file_that_cannot_be_read_is_an_error_that_says_so(large):
    file = _Failing(large, OSError("the network is gone"))
    info = probe(file)
    file.limit = 0
    with pytest.raises(MediaError, match=r"open: OSError: the file cannot be read: the network is gone"):
        list(decode_span(file, info, [(0, 1_000)]))
    file.limit = len(large) // 2
    with pytest.raises(MediaError, match=r"decode: OSError: the file cannot be read: the network is gone"):
        list(decode_span(file, info, [(0, 30_000)]))


def test_out_of_memory_is_not_swallowed(large):
    file = _Failing(large, MemoryError("no more"))
    info = probe(file)
    for limit in (0, len(large) // 2):
        file.limit = limit
        with pytest.raises(MemoryError, match="no more"):
            list(decode_span(file, info, [(0, 30_000)]))


@pytest.mark.parametrize("windows", [[], [(0, 1_000), (2_000, 3_000)], [(1_000, 2_000), (0, 1_000)]])
def test_windows_must_be_neighbours(windows):
    info = probe(io.BytesIO(_wav(num_channels=1, rate_hz=8_000, seconds=1)))
    with pytest.raises(ValueError, match=r"windows must be neighbours, at least one, got \["):
        next(decode_span(io.BytesIO(), info, windows))


class _Counting(io.BytesIO):
    num_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        self.num_bytes += len(part)
        return part


def test_a_clip_comes_as_soon_as_it_is_complete(large):
    file = _Counting(large)
    info = probe(file)
    file.num_bytes = 0
    clips = decode_span(file, info, [(start, start + 4_000) for start in range(0, 60_000, 4_000)])
    assert next(clips).start_ms == 0
    assert file.num_bytes < len(large) / 4
    # The sound ended at 5 s: nobody reads to the end of the file for more of it.
    assert next(clips).start_ms == 4_000
    assert file.num_bytes < len(large) / 2


def test_a_part_is_read_from_near_its_start(large):
    file = _Counting(large)
    info = probe(file)
    file.num_bytes = 0
    (clip,) = decode_span(file, info, [(30_000, 32_000)])
    assert clip.frames_valid.all()
    assert file.num_bytes < len(large) / 4


def test_what_is_given_away_is_not_kept(large):
    file = io.BytesIO(large)
    clips = decode_span(file, probe(file), [(start, start + 1_000) for start in range(0, 60_000, 1_000)])
    first = weakref.ref(next(clips).frames)
    next(clips)
    assert first() is None
