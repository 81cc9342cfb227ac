import dataclasses
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef, local_version
from mmeg_model.media.windows import fixed_windows

SCRIPTED = (sys.executable, "-P", str(Path(__file__).with_name("scripted_decoder.py")))
MEMORY_BYTES = 256 << 20
DURATION_MS = 30_000
WINDOWS = fixed_windows(DURATION_MS)
INFO = VideoInfo(
    duration_ms=DURATION_MS,
    stated_duration_ms=None,
    container="scripted",
    video_codec="h264",
    width=96,
    height=96,
    rotation_degrees=0,
    audio_codec="aac",
)


_of_others = set[int]()
"""Children that other tests have left, such as multiprocessing's resource tracker."""


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """No test may leave a process, a zombie or an open descriptor."""
    gc.collect()
    num_descriptors = psutil.Process().num_fds()
    _of_others.clear()
    _of_others.update(child_pids())
    yield
    gc.collect()
    assert child_pids() == []
    assert psutil.Process().num_fds() == num_descriptors


@pytest.fixture
def make_decoders():
    opened = []

    def make(*, num_decoders=1, deadline_seconds=60.0, command=SCRIPTED):
        limits = DecoderLimits(deadline_seconds=deadline_seconds, memory_bytes=MEMORY_BYTES)
        opened.append(Decoders(num_decoders=num_decoders, limits=limits, command=command))
        return opened[-1]

    yield make
    for decoders in opened:
        decoders.close()


@pytest.fixture
def make_video(tmp_path):
    def make(name="video", **script):
        path = tmp_path / name
        path.write_text(json.dumps({"duration_ms": DURATION_MS} | script))
        return VideoRef(str(path))

    return make


def child_pids():
    return [child.pid for child in psutil.Process().children() if child.pid not in _of_others]


def decode_until_error(decoders, video):
    """The clips, and the error that ends them if one does."""
    clips = []
    try:
        for clip in decoders.decode(video, INFO, WINDOWS):
            clips.append(clip)
    except MediaError as error:
        return clips, error
    return clips, None


def assert_are_clips(clips, windows, *, without=()):
    assert [(clip.start_ms, clip.end_ms) for clip in clips] == list(windows)
    for clip in clips:
        value = clip.start_ms // 40 % 251
        assert (clip.frames == (0 if "picture" in without else value)).all()
        assert (clip.frames_valid == ("picture" not in without)).all()
        assert (clip.samples == (0 if "sound" in without else -value)).all()
        assert (clip.samples_valid == ("sound" not in without)).all()


@pytest.mark.parametrize("without", [(), ("picture",), ("sound",), ("picture", "sound")])
def test_clips_arrive_as_they_were_decoded(make_decoders, make_video, without):
    decoders = make_decoders()
    clips = list(decoders.decode(make_video(without=without), INFO, WINDOWS))
    assert_are_clips(clips, WINDOWS, without=without)


def test_clips_may_be_written_to(make_decoders, make_video):
    (clip,) = make_decoders().decode(make_video(), INFO, WINDOWS[:1])
    for array in (clip.frames, clip.frames_valid, clip.samples, clip.samples_valid):
        array[0] = 1


def test_counters(make_decoders, make_video):
    decoders = make_decoders()
    video = make_video(num_damaged_packets=3)
    decoders.probe(video)
    assert decoders.probed_ms == DURATION_MS
    cpu_seconds = []
    clips = decoders.decode(video, INFO, WINDOWS, on_cpu_seconds=cpu_seconds.append)
    for num_clips, clip in enumerate(clips, start=1):
        assert len(cpu_seconds) == num_clips
        assert 0 <= cpu_seconds[-1] < 60
        assert decoders.decoded_ms == clip.end_ms
        assert decoders.num_damaged_packets == 3 * num_clips
    assert decoders.num_retries == 0


def test_one_child_serves_one_request_after_the_other(make_decoders, make_video):
    decoders = make_decoders()
    decoders.start()
    (pid,) = child_pids()
    for i in range(3):
        video = make_video(f"video {i}", duration_ms=1_000 + i)
        assert decoders.probe(video).duration_ms == 1_000 + i
        assert_are_clips(decoders.decode(video, INFO, WINDOWS), WINDOWS)
        assert child_pids() == [pid]


def test_no_windows_no_clips(make_decoders, make_video):
    assert list(make_decoders().decode(make_video(), INFO, [])) == []


def test_byte_range_is_all_that_a_child_reads(make_decoders, tmp_path):
    shard = tmp_path / "shard"
    member = json.dumps({"duration_ms": 4_321}).encode()
    shard.write_bytes(b"}" * 1_000 + member + b"{" * 1_000)
    video = VideoRef(str(shard), member="a", start_byte=1_000, num_bytes=len(member))
    assert make_decoders().probe(video).duration_ms == 4_321


def test_more_threads_than_children(make_decoders, make_video):
    decoders = make_decoders(num_decoders=2)
    most_children = 0

    def work(i):
        nonlocal most_children
        video = make_video(f"video {i}")
        info = decoders.probe(video)
        clips = []
        for clip in decoders.decode(video, info, WINDOWS):
            clips.append(clip)
            most_children = max(most_children, len(child_pids()))
        assert_are_clips(clips, WINDOWS)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(12)))
    assert most_children == 2
    assert decoders.decoded_ms == 12 * DURATION_MS


def test_child_has_few_modules_no_secrets_and_limits(make_decoders, make_video, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    decoders = make_decoders()
    decoders.start()
    (pid,) = child_pids()
    report = json.loads(decoders.probe(make_video()).container)
    assert {"av", "numpy"} <= set(report["modules"])
    assert not {"torch", "apache_beam", "pyarrow", "pipelines"} & set(report["modules"])
    assert set(report["environment"]) <= {
        "PYTHONPATH",
        "OPENBLAS_NUM_THREADS",
        "ARROW_DEFAULT_MEMORY_POOL",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
        "LD_LIBRARY_PATH",
        "PYTHONHOME",
        "LC_CTYPE",  # Python itself sets it in the C locale
    }
    # So that blocks as large as the index of a long mp4 go back to the system at once.
    assert {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} <= set(report["environment"])
    assert report["descriptors"] == 5  # three standard ones, the socket, the video
    assert report["session"] == pid
    assert report["limits"] == {"CORE": [0, 0], "DATA": [MEMORY_BYTES, MEMORY_BYTES]}


FAILURES = [
    ("SIGSEGV", "DecoderKilled", "killed by signal SIGSEGV"),
    ("spin", "DeadlineExceeded", "did not finish within 2 seconds"),
    ("block", "DeadlineExceeded", "did not finish within 2 seconds"),
    ("fill memory", "MemoryLimitExceeded", "more memory than its limit of 256 MiB"),
    ("fill the disk", "DecoderDied", r"exit status 1: OSError: \[Errno 27\] File too large"),
    ("fail", "DecoderDied", "ended with exit status 1: KeyError: 'a bug'"),
    ("exit", "DecoderDied", "ended with exit status 3: nothing on its standard error"),
]


@pytest.mark.parametrize(("deed", "error", "message"), FAILURES)
def test_failing_twice_costs_one_span_and_names_the_cause(make_decoders, make_video, deed, error, message):
    decoders = make_decoders(num_decoders=2, deadline_seconds=2.0)
    bad = make_video("bad", do=deed, at_ms=12_000)
    good = [make_video(f"good {i}") for i in range(4)]
    with ThreadPoolExecutor(5) as threads:
        failing, *finishing = (threads.submit(decode_until_error, decoders, video) for video in [bad, *good])
        for future in finishing:
            clips, no_error = future.result()
            assert no_error is None
            assert_are_clips(clips, WINDOWS)
        clips, failure = failing.result()
    assert_are_clips(clips, WINDOWS[:2])
    with pytest.raises(MediaError, match=f"^decode: {error}: .*{message}"):
        raise failure
    assert decoders.num_retries == 1


@pytest.mark.parametrize(
    ("deed", "error", "message"), [failure for failure in FAILURES if failure[1] != "DeadlineExceeded"]
)
def test_probe_failing_twice(make_decoders, make_video, deed, error, message):
    decoders = make_decoders()
    with pytest.raises(MediaError, match=f"^probe: {error}: .*{message}"):
        decoders.probe(make_video("bad", do=deed))
    assert decoders.num_retries == 1
    assert decoders.probe(make_video()).duration_ms == DURATION_MS


@pytest.mark.parametrize("deed", [deed for deed, _, _ in FAILURES])
def test_failing_once_costs_nothing(make_decoders, make_video, tmp_path, deed):
    decoders = make_decoders(deadline_seconds=2.0)
    video = make_video(do=deed, at_ms=12_000, once=str(tmp_path / "done"))
    assert_are_clips(decoders.decode(video, INFO, WINDOWS), WINDOWS)
    assert decoders.num_retries == 1
    assert decoders.decoded_ms == DURATION_MS


@pytest.mark.parametrize("at_ms", [start_ms for start_ms, _ in WINDOWS])
def test_failing_once_at_any_clip_costs_nothing(make_decoders, make_video, tmp_path, at_ms):
    decoders = make_decoders()
    video = make_video(do="SIGSEGV", at_ms=at_ms, once=str(tmp_path / "done"))
    assert_are_clips(decoders.decode(video, INFO, WINDOWS), WINDOWS)
    assert decoders.num_retries == 1
    assert decoders.decoded_ms == DURATION_MS


def test_probe_failing_once(make_decoders, make_video, tmp_path):
    decoders = make_decoders()
    video = make_video(do="SIGSEGV", once=str(tmp_path / "done"))
    assert decoders.probe(video).duration_ms == DURATION_MS
    assert decoders.num_retries == 1


def kill_when_stopped(pid):
    """Wait until a child has stopped, in the middle of a clip, and send it SIGKILL; False if it ends instead."""
    try:
        # WNOWAIT leaves the news to whom the child belongs; without WEXITED this would not see the child's end.
        news = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    except ChildProcessError:  # it has ended and is forgotten
        return False
    if news.si_code != os.CLD_STOPPED:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def test_killed_from_outside_while_it_sends(make_decoders, make_video, tmp_path):
    decoders = make_decoders(num_decoders=2)
    decoders.start()
    once = {"do": "stop while sending", "at_ms": 6_000, "once": str(tmp_path / "done")}
    with ThreadPoolExecutor(4) as threads:
        killers = [threads.submit(kill_when_stopped, pid) for pid in child_pids()]
        killed = threads.submit(decode_until_error, decoders, make_video("killed", **once))
        others = threads.submit(decode_until_error, decoders, make_video("other"))
        for future in (killed, others):
            clips, error = future.result()
            assert error is None
            assert_are_clips(clips, WINDOWS)
        assert decoders.num_retries == 1
        decoders.close()
    assert sorted(killer.result() for killer in killers) == [False, True]


def test_killed_from_outside_twice(make_decoders, make_video):
    decoders = make_decoders()
    decoders.start()
    video = make_video(do="stop while sending", at_ms=6_000)
    with ThreadPoolExecutor(1) as threads:
        (first,) = child_pids()
        failing = threads.submit(decode_until_error, decoders, video)
        assert kill_when_stopped(first)
        while not (second := [pid for pid in child_pids() if pid != first]):
            pass  # it is about to be started
        assert kill_when_stopped(second[0])
        clips, error = failing.result()
    assert_are_clips(clips, WINDOWS[:1])
    with pytest.raises(
        MediaError, match=r"^decode: DecoderKilled: the decoder was killed by signal SIGKILL$"
    ):
        raise error


@pytest.mark.parametrize("num_clips", range(len(WINDOWS) + 1))
def test_killed_from_outside_between_any_two_clips(make_decoders, make_video, num_clips):
    decoders = make_decoders()
    decoders.start()
    (pid,) = child_pids()
    clips = decoders.decode(make_video(), INFO, WINDOWS)
    before = [next(clips) for _ in range(num_clips)]
    os.kill(pid, signal.SIGKILL)
    assert_are_clips([*before, *clips], WINDOWS)
    assert decoders.num_retries <= 1


def test_error_of_the_video_is_passed_on_and_the_child_kept(make_decoders, make_video):
    decoders = make_decoders()
    decoders.start()
    (pid,) = child_pids()
    clips, error = decode_until_error(decoders, make_video("bad", do="refuse", at_ms=12_000))
    assert_are_clips(clips, WINDOWS[:2])
    with pytest.raises(
        MediaError, match=r"^decode: InvalidDataError: a half \? of a surrogate pair, and more: x+$"
    ):
        raise error
    assert len(error.message) == 1_000
    assert decoders.num_retries == 0
    assert_are_clips(decoders.decode(make_video(), INFO, WINDOWS), WINDOWS)
    assert child_pids() == [pid]


def test_the_deadline_is_for_all_clips_together(make_decoders, make_video):
    decoders = make_decoders(deadline_seconds=1.0)
    _, error = decode_until_error(decoders, make_video(seconds_per_clip=0.75))
    with pytest.raises(
        MediaError, match=r"^decode: DeadlineExceeded: .* within 1 seconds \(--decode-deadline-seconds\)$"
    ):
        raise error


def test_time_in_which_nobody_asks_does_not_count(make_decoders, make_video):
    decoders = make_decoders(deadline_seconds=1.0)
    clips = decoders.decode(make_video(), INFO, WINDOWS)
    first = next(clips)
    threading.Event().wait(1.5)  # longer than the deadline: what is tested, not a synchronisation
    assert_are_clips([first, *clips], WINDOWS)
    assert decoders.num_retries == 0


@pytest.mark.parametrize("num_clips", [0, 1, 3])
def test_abandoned_iterator_leaves_no_dirty_child(make_decoders, make_video, num_clips):
    decoders = make_decoders()
    clips = decoders.decode(make_video(), INFO, WINDOWS)
    for _ in range(num_clips):
        next(clips)
    clips.close()
    assert child_pids() == []
    assert_are_clips(decoders.decode(make_video(), INFO, WINDOWS), WINDOWS)


def test_video_that_is_not_there(make_decoders, tmp_path):
    video = VideoRef(str(tmp_path / "no such file"))
    with pytest.raises(
        MediaError, match=r"^open: FileNotFoundError: .*no such file cannot be opened: No such file"
    ):
        make_decoders().probe(video)
    with pytest.raises(MediaError, match=r"^open: FileNotFoundError: "):
        next(make_decoders().decode(video, INFO, WINDOWS))


def test_video_that_is_no_regular_file(make_decoders, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(MediaError, match=r"^open: ValueError: .*is no regular file"):
            make_decoders().probe(VideoRef(str(path)))


def test_video_that_has_changed(make_decoders, make_video):
    video = make_video()
    now = local_version(os.stat(video.location))
    assert make_decoders().probe(VideoRef(video.location, version=now)).duration_ms == DURATION_MS
    with pytest.raises(
        MediaError, match=f"^open: VersionChanged: .* is now {now}, it was 1-2 when it was found"
    ):
        make_decoders().probe(VideoRef(video.location, version="1-2"))


def test_children_that_do_not_start(make_decoders, make_video):
    decoders = make_decoders(command=(sys.executable, "-c", "import no_such_module"))
    with pytest.raises(
        RuntimeError, match=r"decoder processes do not start: .*No module named 'no_such_module'"
    ):
        decoders.probe(make_video())


def test_program_that_is_not_there(make_decoders, make_video):
    with pytest.raises(FileNotFoundError, match="no such program"):
        make_decoders(command=("no such program",)).probe(make_video())


def test_start_starts_all_of_them_once(make_decoders):
    decoders = make_decoders(num_decoders=3)
    decoders.start()
    decoders.start()
    assert len(child_pids()) == 3


@pytest.mark.parametrize("num_deaths_before", [0, 1])
def test_closing_ends_children_at_work(make_decoders, make_video, num_deaths_before):
    decoders = make_decoders(num_decoders=1)
    with ThreadPoolExecutor(1) as threads:
        clips = decoders.decode(make_video(do="block", at_ms=6_000), INFO, WINDOWS)
        next(clips)
        blocked = threads.submit(next, clips)
        for _ in range(num_deaths_before):
            (pid,) = child_pids()
            os.kill(pid, signal.SIGKILL)
            while child_pids() in ([], [pid]):
                pass  # the next one is about to be started
        decoders.close()
        with pytest.raises(RuntimeError, match="the decoders are closed"):
            blocked.result()
    with pytest.raises(RuntimeError, match="the decoders are closed"):
        decoders.probe(make_video())


def test_memory_of_the_parent_is_that_of_a_clip(make_decoders, make_video):
    decoders = make_decoders()
    windows = fixed_windows(600_000)
    tracemalloc.start()
    try:
        for clip in decoders.decode(make_video(duration_ms=600_000), INFO, windows):
            clip_bytes = clip.frames.nbytes + clip.samples.nbytes + clip.samples_valid.nbytes
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * clip_bytes  # the one that arrives, and the one in the consumer's hands


PARENT = """
import json, os, sys
from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef

spinning, good, info, windows, command = json.loads(sys.argv[1])
decoders = Decoders(
    num_decoders=3, limits=DecoderLimits(deadline_seconds=2.0, memory_bytes=256 << 20), command=command
)
decoders.start()
at_work = [decoders.decode(VideoRef(video), VideoInfo(**info), windows) for video in (spinning, good)]
for clips in at_work:
    next(clips)  # the first child then spins, the second one waits in the middle of a clip, the third one idles
if os.fork() == 0:
    assert decoders.probe(VideoRef(good)).duration_ms == info["duration_ms"]
    decoders.close()
    print("the copy has decoders of its own", flush=True)
    sys.stdin.read()  # it lives longer than the parent
    os._exit(0)
sys.stdin.read()
"""


def has_not_ended(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # nobody may have looked at its end yet
    except psutil.NoSuchProcess:
        return False


def test_children_end_when_their_parent_is_killed(make_video):
    videos = (make_video("spinning", do="spin", at_ms=6_000), make_video("good"))
    values = [*(video.location for video in videos), dataclasses.asdict(INFO), WINDOWS, SCRIPTED]
    command = [sys.executable, "-c", PARENT, json.dumps(values)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"the copy has decoders of its own\n"
        family = psutil.Process(process.pid).children()
        children = [child for child in family if child.cmdline()[2:3] == [SCRIPTED[2]]]
        assert (len(family), len(children)) == (4, 3)
        process.kill()
        process.wait()
        while any(has_not_ended(child) for child in children):
            pass


def test_no_decoders_make_no_sense():
    limits = DecoderLimits(deadline_seconds=1.0, memory_bytes=MEMORY_BYTES)
    with pytest.raises(ValueError, match="num_decoders = 0 must be positive"):
        Decoders(num_decoders=0, limits=limits)
