import av
import numpy as np
import pytest
from makers.video import Recipe, make_video

from mmeg_model.media.decode import decode_span
from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import probe
from mmeg_model.media.source import VideoRef
from mmeg_model.media.windows import fixed_windows

LIMITS = DecoderLimits(deadline_seconds=120.0, memory_bytes=1 << 30)


@pytest.fixture(scope="module")
def decoders():
    with Decoders(num_decoders=1, limits=LIMITS) as decoders:
        yield decoders


@pytest.fixture(scope="module")
def video_path(tmp_path_factory):
    """A video of 14 s, whose sound ends after 8 s."""
    recipe = Recipe("video.mp4", seconds=14.0, audio_seconds=8.0)
    return make_video(tmp_path_factory.mktemp("videos"), recipe)


def assert_same_clips(clips, expected):
    assert [(clip.start_ms, clip.end_ms) for clip in clips] == [
        (clip.start_ms, clip.end_ms) for clip in expected
    ]
    for clip, same in zip(clips, expected, strict=True):
        for name in ("frames", "frames_valid", "samples", "samples_valid"):
            np.testing.assert_array_equal(getattr(clip, name), getattr(same, name))


def test_a_child_decodes_as_this_process_would(decoders, video_path):
    with video_path.open("rb") as file:
        info = probe(file)
        windows = fixed_windows(info.duration_ms)
        expected = list(decode_span(file, info, windows))
    video = VideoRef(str(video_path))
    assert decoders.probe(video) == info
    assert_same_clips(list(decoders.decode(video, info, windows)), expected)
    assert [(clip.has_video, clip.has_audio) for clip in expected] == [
        (True, True),
        (True, True),
        (True, False),
    ]


def test_a_byte_range_is_a_video_of_its_own(decoders, video_path, tmp_path):
    content = video_path.read_bytes()
    shard = tmp_path / "shard"
    shard.write_bytes(content[:5_000] + content + content[:7_000])
    whole = VideoRef(str(video_path))
    member = VideoRef(str(shard), member="a.mp4", start_byte=5_000, num_bytes=len(content))
    info = decoders.probe(whole)
    assert decoders.probe(member) == info
    windows = fixed_windows(info.duration_ms)
    assert_same_clips(
        list(decoders.decode(member, info, windows)), list(decoders.decode(whole, info, windows))
    )


def test_what_is_no_video_is_refused_as_in_this_process(decoders, tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("this is no video\n" * 100)
    with path.open("rb") as file, pytest.raises(MediaError, match=r"^open: ") as expected:
        probe(file)
    with pytest.raises(MediaError, match=r"^open: ") as error:
        decoders.probe(VideoRef(str(path)))
    assert error.value.args == expected.value.args


def test_memory_that_a_codec_does_not_get_is_no_damage(tmp_path):
    """H.264 calls a packet damaged if there is no memory for its frame: frames would be missing without a word."""
    path = tmp_path / "many_references.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 2048
        stream.options = {"preset": "ultrafast", "x264-params": "ref=16:bframes=0:keyint=100"}
        for k in range(24):  # 24 frames of 6 MB, 16 of which a decoder has to keep
            frame = av.VideoFrame(2048, 2048, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([16 + k]) * plane.buffer_size)
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = VideoRef(str(path))
    with Decoders(num_decoders=1, limits=DecoderLimits(120.0, memory_bytes=512 << 20)) as roomy:
        info = roomy.probe(video)
        (clip,) = roomy.decode(video, info, [(0, 960)])
    assert clip.frames_valid.all()
    with (
        Decoders(num_decoders=1, limits=DecoderLimits(120.0, memory_bytes=160 << 20)) as tight,
        pytest.raises(MediaError, match=r"^decode: MemoryLimitExceeded: .* limit of 160 MiB"),
    ):
        list(tight.decode(video, info, [(0, 960)]))
