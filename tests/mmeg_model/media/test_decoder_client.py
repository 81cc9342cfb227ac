"""What a decoder process says is taken for hostile."""

import dataclasses
import json
import os
import struct
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef

LIMITS = DecoderLimits(deadline_seconds=60.0, memory_bytes=128 << 20)
INFO = VideoInfo(
    duration_ms=30_000,
    stated_duration_ms=None,
    container="mov,mp4,m4a,3gp,3g2,mj2",
    video_codec="h264",
    width=96,
    height=96,
    rotation_degrees=0,
    audio_codec="aac",
)
TALKER = """
import os, sys
channel = int(sys.argv[3])
os.write(channel, bytes.fromhex(sys.argv[1]))
os.read(channel, 1 << 16)
os.write(channel, bytes.fromhex(sys.argv[2]))
"""


def framed(text):
    return struct.pack("!I", len(text)) + text


def message(value):
    return framed(json.dumps(value).encode())


def info_message(**changes):
    return message({"info": dataclasses.asdict(INFO) | changes})


GOOD_ANSWER = info_message()


@contextmanager
def decoders_that_answer(answer):
    """Decoders whose processes give one answer, whatever they are asked, and end."""
    command = (sys.executable, "-I", "-S", "-c", TALKER, message({"ready": True}).hex(), answer.hex())
    with Decoders(num_decoders=1, limits=LIMITS, command=command) as decoders:
        yield decoders


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "video"
    path.touch()
    return VideoRef(str(path))


@pytest.mark.parametrize(
    ("answer", "error", "what"),
    [
        (b"", "DecoderDied", "exit status 0: nothing on its standard error"),
        (b"\0\0", "DecoderDied", "exit status 0"),
        (message({"info": {}})[:-1], "DecoderDied", "exit status 0"),
        (b"\xff\xff\xff\xff", "BadMessage", "a message of 4294967295 bytes"),
        (framed(b""), "BadMessage", "a message of 0 bytes"),
        (framed(b"\x80\x81"), "BadMessage", "no JSON object"),
        (framed(b"[" * 60_000), "BadMessage", "no JSON object"),
        (message([]), "BadMessage", "no JSON object"),
        (message({}), "BadMessage", "other fields"),
        (info_message(frames=1), "BadMessage", "other fields"),
        (info_message(width="96"), "BadMessage", "width = '96'"),
        (info_message(width=1 << 32), "BadMessage", "width = 4294967296"),
        (info_message(duration_ms=0.5), "BadMessage", "duration_ms = 0.5"),
        (info_message(duration_ms=True), "BadMessage", "duration_ms = True"),
        (info_message(duration_ms=float("nan")), "BadMessage", "duration_ms = nan"),
        (info_message(duration_ms=0), "BadMessage", "does not fit together: .* must be positive"),
        (info_message(video_codec="\ud800"), "BadMessage", "no JSON object"),
        (
            info_message(duration_ms=172_800_001),
            "DurationOutOfRange",
            r"after 172800 s, and the limit is 172800 s \(--max-video-seconds\)",
        ),
        (message({"error": ["publish", "E", "m"]}), "BadMessage", "an error without"),
        (message({"error": ["probe", "E"]}), "BadMessage", "an error without"),
        (message({"error": ["probe", "E", []]}), "BadMessage", "an error without"),
        (message({"error": ["probe", "E", "m"]}), "E", "m"),
        (message({"out_of_memory": True}), "MemoryLimitExceeded", "128 MiB"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_hostile_answer_to_a_probe(video, answer, error, what):
    with (
        decoders_that_answer(answer) as decoders,
        pytest.raises(MediaError, match=f"^probe: {error}: .*{what}"),
    ):
        decoders.probe(video)


def test_what_a_process_said_before_it_ended_is_heard(video):
    answer = message({"error": ["probe", "E", "the last words"]})
    speak = "import os, sys; os.write(int(sys.argv[2]), bytes.fromhex(sys.argv[1]))"
    command = (sys.executable, "-I", "-S", "-c", speak, (message({"ready": True}) + answer).hex())
    with Decoders(num_decoders=1, limits=LIMITS, command=command) as decoders:
        decoders.start()
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        with pytest.raises(MediaError, match=r"^probe: E: the last words$"):
            decoders.probe(video)
        assert decoders.num_retries == 0


@pytest.mark.parametrize(
    ("answer", "error", "what"),
    [
        ({"clip": [0, 6040], "has_frames": True, "damaged_packets": 0}, "BadMessage", r"\[0, 6000\] was due"),
        ({"clip": [6000, 12000], "damaged_packets": 0}, "BadMessage", r"\[0, 6000\] was due"),
        ({"damaged_packets": 0}, "BadMessage", r"\[0, 6000\] was due"),
        ({"clip": [0, 6000], "damaged_packets": -1}, "BadMessage", "no number damaged_packets"),
        ({"clip": [0, 6000], "damaged_packets": 1 << 31}, "BadMessage", "no number damaged_packets"),
        ({"clip": [0, 6000], "damaged_packets": 0, "cpu_ms": 0.5}, "BadMessage", "no number cpu_ms"),
        (
            {"clip": [0, 6000], "has_frames": True, "damaged_packets": 0, "cpu_ms": 1},
            "DecoderDied",
            "exit status 0",
        ),
    ],
)
def test_hostile_answer_to_a_decode(video, answer, error, what):
    with (
        decoders_that_answer(message(answer)) as decoders,
        pytest.raises(MediaError, match=f"^decode: {error}: .*{what}"),
    ):
        next(decoders.decode(video, INFO, [(0, 6_000), (6_000, 12_000)]))


def test_masks_are_booleans_whatever_a_child_sends(video):
    head = {"clip": [0, 40], "has_frames": True, "has_samples": False, "damaged_packets": 0, "cpu_ms": 1}
    answer = message(head) + b"\x02" + b"\x07" * (96 * 96 * 3) + message({"damaged_packets": 0, "cpu_ms": 0})
    with decoders_that_answer(answer) as decoders:
        (clip,) = decoders.decode(video, INFO, [(0, 40)])
    assert clip.frames_valid.view(np.uint8).tolist() == [1]
    assert (clip.frames == 7).all()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from([field.name for field in dataclasses.fields(VideoInfo)])
ANSWERS = st.one_of(
    st.binary(max_size=64),
    st.dictionaries(st.sampled_from(["info", "error", "clip", "out_of_memory"]), JSON).map(message),
    st.dictionaries(FIELDS, JSON, min_size=1).map(lambda changes: info_message(**changes)),
    st.lists(st.sampled_from(["probe", "decode", "E", "m"]) | JSON, max_size=4).map(
        lambda texts: message({"error": texts})
    ),
)


@given(ANSWERS)
@example(GOOD_ANSWER)
@settings(max_examples=40, deadline=None)
def test_any_answer_is_an_error_or_fit_for_a_table(video, answer):
    with decoders_that_answer(answer) as decoders:
        try:
            info = decoders.probe(video)
        except MediaError as error:
            assert answer != GOOD_ANSWER
            json.dumps([error.stage, error.error, error.message], ensure_ascii=False).encode()
            return
    assert 0 < info.duration_ms <= 172_800_000
    for field in dataclasses.fields(info):
        value = getattr(info, field.name)
        assert type(value) in (int, str, type(None))
        assert not isinstance(value, int) or abs(value) < 2**53 + 1
        if isinstance(value, str):
            value.encode()
    for value in (info.width, info.height, info.rotation_degrees):
        assert value is None or abs(value) < 2**31


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 1 << 30), "deadline_seconds = 0.0 must be positive and finite"),
        ((float("inf"), 1 << 30), "deadline_seconds = inf must be positive and finite"),
        ((1.0, (128 << 20) - 1), "memory_bytes = 134217727 must be at least 134217728 for a child to start"),
    ],
)
def test_limits_that_make_no_sense(values, message):
    with pytest.raises(ValueError, match=message):
        DecoderLimits(*values)
