"""What a decoder process says is taken for hostile."""

import dataclasses
import json
import struct
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmeg_model.media.decoder_client import LONGEST_DURATION_MS
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
TALKER = "import os, sys; os.write(fd := int(sys.argv[2]), bytes.fromhex('{ready}')); os.read(fd, 1 << 16); \
os.write(fd, bytes.fromhex(sys.argv[1]))"


def message(value):
    text = json.dumps(value).encode()
    return struct.pack("!I", len(text)) + text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from([field.name for field in dataclasses.fields(VideoInfo)])
ANSWERS = st.one_of(
    st.binary(max_size=64),
    st.dictionaries(st.sampled_from(["info", "error", "clip", "out_of_memory"]), JSON).map(message),
    st.dictionaries(FIELDS, JSON, min_size=1).map(
        lambda changes: message({"info": dataclasses.asdict(INFO) | changes})
    ),
    st.lists(st.sampled_from(["probe", "decode", "E", "m"]) | JSON, max_size=4).map(
        lambda texts: message({"error": texts})
    ),
)


GOOD_ANSWER = message({"info": dataclasses.asdict(INFO)})


@given(ANSWERS)
@example(GOOD_ANSWER)
@settings(max_examples=40, deadline=None)
def test_any_answer_is_an_error_or_fit_for_a_table(tmp_path_factory, answer):
    path = tmp_path_factory.getbasetemp() / "any video"
    path.touch()
    talker = TALKER.format(ready=message({"ready": True}).hex())
    command = (sys.executable, "-I", "-S", "-c", talker, answer.hex())
    with Decoders(num_decoders=1, limits=LIMITS, command=command) as decoders:
        try:
            info = decoders.probe(VideoRef(str(path)))
        except MediaError as error:
            assert answer != GOOD_ANSWER
            json.dumps([error.stage, error.error, error.message], ensure_ascii=False).encode()
            return
    assert 0 < info.duration_ms <= LONGEST_DURATION_MS
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
