"""Videos in buckets, decoded by real child processes."""

import gc
import json
import struct
import sys
import threading
from pathlib import Path

import pytest
from makers.buckets import BUCKET, LOCAL_BUCKET, Fault
from makers.video import Recipe, make_video

from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.errors import MediaError
from mmeg_model.media.objects import look_up
from mmeg_model.media.source import VideoRef
from mmeg_model.media.windows import fixed_windows

LIMITS = DecoderLimits(deadline_seconds=120.0, memory_bytes=1 << 30)
SCRIPTED = (sys.executable, "-P", str(Path(__file__).with_name("scripted_decoder.py")))
TWO_GB = 2_000_000_000


@pytest.fixture(scope="module")
def decoders():
    with Decoders(num_decoders=1, limits=LIMITS) as decoders:
        yield decoders


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Mp4 of 75 s, whose index stands at its end."""
    recipe = Recipe("long.mp4", seconds=75.0, video_options={"preset": "ultrafast"})
    return make_video(tmp_path_factory.mktemp("videos"), recipe)


def write_with_a_hole(path: Path, video: Path) -> None:
    """Put a box of zeros in front of the index, so that the file is 2 GB; the disk holds none of them."""
    content = video.read_bytes()
    index_start = content.rindex(b"moov") - 4
    hole = TWO_GB - len(content)
    with path.open("wb") as file:
        file.write(content[:index_start] + struct.pack(">I4sQ", 1, b"free", hole))
        file.seek(index_start + hole)
        file.write(content[index_start:])
    assert path.stat().st_size == TWO_GB


def write_silence(path: Path) -> None:
    """Write 2 GB of sound: 16 bits, one channel, 16 kHz, seventeen hours."""
    rate = 16_000
    data = TWO_GB - 44
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        TWO_GB - 8,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        2 * rate,
        2,
        16,
        b"data",
        data,
    )
    with path.open("wb") as file:
        file.write(head)
        file.truncate(TWO_GB)


def test_clips_of_an_object_are_those_of_the_file(buckets, decoders, long_video):
    buckets.upload("v.mp4", long_video.read_bytes())
    found = look_up(f"gs://{BUCKET}/v.mp4", stage="find")
    near, far = VideoRef(str(long_video)), VideoRef(found.uri, found.generation)
    info = decoders.probe(near)
    assert decoders.probe(far) == info
    windows = fixed_windows(info.duration_ms)[5:8]
    expected = list(decoders.decode(near, info, windows))
    for clip, same in zip(decoders.decode(far, info, windows), expected, strict=True):
        assert (clip.frames == same.frames).all()
        assert (clip.samples == same.samples).all()


@pytest.mark.parametrize("write", ["hole", "silence"])
def test_a_minute_of_two_gigabytes_costs_a_few_megabytes(buckets, decoders, long_video, write):
    path = buckets.folder / write
    if write == "hole":
        write_with_a_hole(path, long_video)
    else:
        write_silence(path)
    video = VideoRef(f"gs://{LOCAL_BUCKET}/{write}", "1")
    info = decoders.probe(video)
    windows = fixed_windows(info.duration_ms)
    start = (len(windows) - 10) // 2
    clips = list(decoders.decode(video, info, windows[start : start + 10]))
    assert len(clips) == 10
    assert all(clip.has_audio for clip in clips)
    # A minute of the sound is 1.9 MB, of the video 1.1 MB. The rest is the index, probing, reading ahead:
    # 4.9 MB and 6.7 MB altogether.
    assert buckets.num_bytes_sent < 8_000_000


def test_an_object_that_was_overwritten_after_it_was_found_is_one_clear_row(buckets, decoders, long_video):
    buckets.upload("v.mp4", long_video.read_bytes())
    found = look_up(f"gs://{BUCKET}/v.mp4", stage="find")
    buckets.upload("v.mp4", b"another")
    with pytest.raises(
        MediaError, match=rf"^open: VersionChanged: {found.uri} is now \d+, it was {found.generation}"
    ):
        decoders.probe(VideoRef(found.uri, found.generation))


def test_an_object_that_is_overwritten_while_it_is_read_is_one_clear_row(buckets, decoders, long_video):
    buckets.upload("v.mp4", long_video.read_bytes())
    found = look_up(f"gs://{BUCKET}/v.mp4", stage="find")

    def overwrite(path: str) -> None:
        if "alt=media" in path and buckets.num_requests("alt=media") == 2:
            buckets.upload("v.mp4", long_video.read_bytes()[::-1])

    buckets.on_request = overwrite
    with pytest.raises(MediaError, match=r"^open: VersionChanged: "):
        decoders.probe(VideoRef(found.uri, found.generation))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("alt=media", 403, times=10**6), "open: Forbidden: .*the role Storage Object Viewer"),
        (Fault("/o/", 404, times=10**6), "open: NotFound: .*does not exist"),
        (Fault("/o/", 401, times=10**6), "open: NoCredentials: .*gcloud auth application-default login"),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning"
)  # of answers that the library does not read
def test_what_cannot_be_read_is_one_clear_row_and_the_next_video_is_well(
    buckets, decoders, long_video, fault, message
):
    buckets.upload("v.mp4", long_video.read_bytes())
    video = VideoRef(f"gs://{BUCKET}/v.mp4")
    buckets.faults.append(fault)
    with pytest.raises(MediaError, match=message):
        decoders.probe(video)
    fault.times = 0
    num_retries = decoders.num_retries
    assert decoders.probe(video).duration_ms == 75_000
    assert decoders.num_retries == num_retries
    gc.collect()


def test_a_connection_that_drops_now_and_then_changes_nothing(buckets, decoders, long_video):
    buckets.upload("v.mp4", long_video.read_bytes())
    video = VideoRef(f"gs://{BUCKET}/v.mp4")
    info = decoders.probe(video)
    windows = fixed_windows(info.duration_ms)[:2]
    expected = list(decoders.decode(VideoRef(str(long_video)), info, windows))
    buckets.faults.append(Fault("alt=media", times=2))
    for clip, same in zip(decoders.decode(video, info, windows), expected, strict=True):
        assert (clip.frames == same.frames).all()
        assert (clip.samples == same.samples).all()
    assert buckets.faults[0].times == 0


def test_a_decoder_that_dies_over_an_object_is_followed_by_one_with_a_socket_of_its_own(buckets, tmp_path):
    script = {"duration_ms": 12_000, "do": "SIGSEGV", "once": str(tmp_path / "done"), "at_ms": 6_000}
    buckets.upload("v", json.dumps(script).encode())
    video = VideoRef(f"gs://{BUCKET}/v")
    threads = set(threading.enumerate())
    with Decoders(num_decoders=1, limits=LIMITS, command=SCRIPTED) as decoders:
        info = decoders.probe(video)
        assert len(list(decoders.decode(video, info, [(0, 6_000), (6_000, 12_000)]))) == 2
        assert decoders.num_retries == 1
    for thread in set(threading.enumerate()) - threads:
        if thread.name == "answer reads":
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_bucket_that_does_not_answer_is_told_of_before_the_deadline(buckets, long_video):
    buckets.upload("v.mp4", long_video.read_bytes())
    buckets.faults.append(Fault("alt=media", 503, times=10**6))
    limits = DecoderLimits(deadline_seconds=2.0, memory_bytes=1 << 30)
    with (
        Decoders(num_decoders=1, limits=limits) as decoders,
        pytest.raises(MediaError, match=r"open: ServiceUnavailable: .*however often it was tried"),
    ):
        decoders.probe(VideoRef(f"gs://{BUCKET}/v.mp4"))
    gc.collect()
