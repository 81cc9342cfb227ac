import io
import json
import struct
from dataclasses import asdict
from fractions import Fraction

import av
import pytest
from makers.video import Recipe, make_video

from mmeg_model.media.decode import decode_span
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import VideoInfo, probe
from mmeg_model.media.windows import fixed_windows


def make_info(folder, **recipe) -> VideoInfo:
    return probe(io.BytesIO(make_video(folder, Recipe(**recipe)).read_bytes()))


def test_what_a_video_is(tmp_path):
    info = make_info(
        tmp_path, name="a.mov", width=160, height=96, seconds=2.0, audio_seconds=1.0, audio="pcm_s16le"
    )
    assert info == VideoInfo(
        duration_ms=2_000,
        stated_duration_ms=2_000,
        container="mov,mp4,m4a,3gp,3g2,mj2",
        video_codec="h264",
        width=160,
        height=96,
        rotation_degrees=0,
        audio_codec="pcm_s16le",
        video_end_ms=2_000,
        audio_end_ms=1_000,
    )
    assert VideoInfo(**json.loads(json.dumps(asdict(info)))) == info


@pytest.mark.parametrize(
    ("video", "audio", "name", "codecs"),
    [
        ("libvpx-vp9", "libopus", "a.webm", ("vp9", "opus")),
        ("mpeg2video", "libmp3lame", "a.ts", ("mpeg2video", "mp3")),
        ("mpeg4", "aac", "a.mp4", ("mpeg4", "aac")),
        (None, "vorbis", "a.ogg", (None, "vorbis")),
        ("mjpeg", None, "a.avi", ("mjpeg", None)),
    ],
)
def test_codecs_are_called_by_their_usual_names(tmp_path, video, audio, name, codecs):
    info = make_info(
        tmp_path,
        name=name,
        video=video,
        audio=audio,
        layout="stereo",
        pixel_format="yuvj420p" if video == "mjpeg" else "yuv420p",
    )
    assert (info.video_codec, info.audio_codec) == codecs


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.m4a"])
def test_cover_art_is_no_picture(tmp_path, name):
    audio = {"a.mp3": "libmp3lame", "a.flac": "flac", "a.m4a": "aac"}[name]
    info = make_info(
        tmp_path, name=name, format="mp4" if audio == "aac" else None, video=None, audio=audio, cover=True
    )
    assert (info.video_codec, info.width, info.height, info.video_end_ms) == (None, None, None, None)
    assert info.audio_end_ms == info.duration_ms == pytest.approx(3_000, abs=50)


@pytest.mark.parametrize(
    ("rotation", "shown_turned_by"),
    [
        ((0, False, False), 0),
        ((90, False, False), 90),
        ((180, False, False), 180),
        ((270, False, False), 270),
    ],
)
def test_the_size_is_that_of_the_picture_as_shown(tmp_path, rotation, shown_turned_by):
    info = make_info(tmp_path, name="a.mp4", width=160, height=96, seconds=0.2, rotation=rotation)
    assert (info.width, info.height, info.rotation_degrees) == (160, 96, shown_turned_by)


@pytest.mark.parametrize(
    ("name", "states"),
    [("a.mp4", True), ("a.mkv", True), ("a.webm", True), ("a.avi", True), ("a.ts", False), ("a.flv", False)],
)
def test_only_a_container_with_an_index_states_a_duration(tmp_path, name, states):
    webm = name == "a.webm"
    info = make_info(
        tmp_path,
        name=name,
        video="libvpx-vp9" if webm else "libx264",
        audio="libopus" if webm else "libmp3lame",
        sample_rate_hz=48_000 if webm else 44_100,
        video_options={} if webm else {"bf": "0"},
    )
    assert info.duration_ms == pytest.approx(3_000, abs=60)
    assert (info.stated_duration_ms is not None) is states
    assert not states or info.stated_duration_ms == pytest.approx(3_000, abs=60)


@pytest.mark.parametrize("video", ["libx264", None])
@pytest.mark.parametrize("audio", ["libmp3lame", "pcm_s16le"])
def test_what_ffmpeg_guesses_of_a_live_file_is_not_stated(tmp_path, video, audio):
    recipe = Recipe("a.mkv", video=video, seconds=12.0, audio=audio, container_options={"live": "1"})
    path = make_video(tmp_path, recipe)
    with av.open(path) as container:
        # Where each stream has a constant bit rate, FFmpeg makes a duration up from the size of the file.
        assert (container.duration is None) is (video is not None)
    info = probe(io.BytesIO(path.read_bytes()))
    assert info.stated_duration_ms is None
    assert info.duration_ms == pytest.approx(12_000, abs=60)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_each_stream_has_its_own_end(tmp_path, name):
    bf = {"video_options": {"bf": "0"}}
    info = make_info(tmp_path, name=name, seconds=15.0, audio="libmp3lame", audio_seconds=2.0, **bf)
    assert info.video_end_ms == info.duration_ms == pytest.approx(15_000, abs=60)
    assert info.audio_end_ms == pytest.approx(2_000, abs=100)
    info = make_info(tmp_path, name=name, seconds=2.0, audio="libmp3lame", audio_seconds=15.0, **bf)
    assert info.audio_end_ms == info.duration_ms == pytest.approx(15_000, abs=100)
    assert info.video_end_ms == pytest.approx(2_000, abs=60)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_file_that_was_cut_off_ends_where_its_packets_do(tmp_path, name):
    recipe = Recipe(
        name,
        seconds=20.0,
        audio="libmp3lame",
        video_options={"bf": "0"},
        container_options={"movflags": "faststart"} if name == "a.mp4" else {},
    )
    content = make_video(tmp_path, recipe).read_bytes()
    file = io.BytesIO(content[: len(content) // 2])
    info = probe(file)
    assert info.stated_duration_ms == pytest.approx(20_000, abs=60)
    assert 6_000 < info.duration_ms < 14_000
    *_, last = decode_span(file, info, fixed_windows(info.duration_ms))
    assert last.frames_valid[:-5].all()
    assert last.samples_valid[: -1_000 * 16].all()


@pytest.mark.parametrize("stated_ms", [1, 2_000, 3_600_000])
def test_a_header_that_lies_is_not_believed(tmp_path, stated_ms):
    content = bytearray(make_video(tmp_path, Recipe("a.mkv", seconds=8.0, audio=None)).read_bytes())
    place = content.index(b"\x44\x89\x88") + 3  # the element Duration: a float64, in ms
    assert struct.unpack(">d", content[place : place + 8]) == (8_000.0,)
    content[place : place + 8] = struct.pack(">d", stated_ms)
    info = probe(io.BytesIO(bytes(content)))
    assert (info.duration_ms, info.stated_duration_ms) == (8_000, stated_ms)


def test_one_wild_stamp_does_not_make_a_file_long(tmp_path):
    path = make_video(tmp_path, Recipe("a.mkv", audio=None, seconds=8.0, gop=1, video_options={"bf": "0"}))
    content = bytearray(path.read_bytes())
    with av.open(path) as container:
        blocks = {packet.pts: packet.pos for packet in container.demux() if packet.size}

    stamp = blocks[3_000] + 1  # behind the number of the track; counted from the start of the cluster
    content[stamp : stamp + 2] = struct.pack(">h", 31_000)
    file = io.BytesIO(bytes(content))
    with av.open(file) as container:
        assert max(packet.pts or 0 for packet in container.demux()) > 31_000
    assert probe(file).duration_ms == 8_000


def test_frames_far_apart_are_believed(tmp_path):
    times = [Fraction(t) for t in (0, 30, 31, 90, 200)]
    assert make_info(
        tmp_path, name="a.mkv", audio=None, gop=1, frame_times=times
    ).duration_ms == pytest.approx(200_040, abs=20)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"open: \w+: the file is empty"),
        (
            b"These are a few words, and no video at all.\n" * 50,
            r"open: InvalidDataError: not a video or sound file that FFmpeg recognises",
        ),
        (
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n",
            r"open: \w+: not a video or sound file that FFmpeg recognises",
        ),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
            r"open: \w+: not a video or sound file that FFmpeg recognises",
        ),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", r"open: \w+: not a video or sound file"),
    ],
    ids=["empty", "text", "sdp", "hls", "concat"],
)
def test_what_is_no_video_is_an_error_that_a_person_understands(content, message):
    with pytest.raises(MediaError, match=message):
        probe(io.BytesIO(content))


def test_an_mp4_without_its_index_is_called_that(tmp_path):
    content = make_video(tmp_path, Recipe("a.mp4")).read_bytes()
    with pytest.raises(
        MediaError, match=r"open: InvalidDataError: an mp4 or mov file whose index \(moov\) is missing"
    ):
        probe(io.BytesIO(content[: content.index(b"moov") - 4]))


def test_a_header_without_packets_is_an_error(tmp_path):
    recipe = Recipe("a.mp4", container_options={"movflags": "faststart"})
    content = make_video(tmp_path, recipe).read_bytes()
    with pytest.raises(
        MediaError, match=r"probe: NoPackets: the file has a header, but no picture and no sound"
    ):
        probe(io.BytesIO(content[: content.index(b"mdat") + 4]))


def test_the_name_of_a_file_plays_no_part(tmp_path):
    class Named(io.BytesIO):
        name = "http://127.0.0.1:1/list.m3u8"

    content = make_video(tmp_path, Recipe("a.mp4")).read_bytes()
    assert probe(Named(content)) == probe(io.BytesIO(content))
    with pytest.raises(MediaError, match=r"open: InvalidDataError: not a video"):
        probe(Named(b"#EXTM3U\n#EXTINF:10,\na.ts\n"))


def test_the_position_of_the_file_plays_no_part(tmp_path):
    file = io.BytesIO(make_video(tmp_path, Recipe("a.mp4")).read_bytes())
    info = probe(file)
    file.seek(777)
    assert probe(file) == info


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"duration_ms": 0}, r"self.duration_ms = 0 must be positive"),
        ({"video_codec": None}, r"a video needs a picture or a sound"),
    ],
)
def test_information_that_cannot_be(wrong, message):
    right = {
        "duration_ms": 1,
        "stated_duration_ms": None,
        "container": "avi",
        "video_codec": "mjpeg",
        "width": 1,
        "height": 1,
        "rotation_degrees": 0,
        "audio_codec": None,
    }
    VideoInfo(**right)
    with pytest.raises(ValueError, match=message):
        VideoInfo(**{**right, **wrong})


def test_lengths_that_no_number_holds_are_cut(tmp_path):
    content = bytearray(
        make_video(tmp_path, Recipe("a.avi", video="mpeg4", audio=None, seconds=1.0)).read_bytes()
    )
    at = content.index(b"strh")
    struct.pack_into("<II", content, at + 28, 2**31 - 1, 1)  # seconds for each frame
    struct.pack_into("<I", content, at + 40, 2**31 - 1)
    assert probe(io.BytesIO(content)).stated_duration_ms == 2**53 - 1
