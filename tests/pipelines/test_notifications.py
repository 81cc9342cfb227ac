import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers.notifications import finalized

from mmeg_model.media.source import VideoRef
from pipelines.found import Found
from pipelines.notifications import read_notification
from pipelines.once import gate_key


def test_a_new_generation_is_a_video() -> None:
    assert read_notification(*finalized("a-bucket", "day 1/ü.mp4", "1764032523456789")) == Found(
        VideoRef("gs://a-bucket/day 1/ü.mp4", "1764032523456789")
    )


def test_a_tar_is_a_shard_and_so_is_parquet_where_a_column_is_named() -> None:
    found = read_notification(*finalized("a-bucket", "shards/1.tar"))
    assert found is not None
    assert found.is_shard
    assert read_notification(*finalized("a-bucket", "1.parquet")) is None
    found = read_notification(*finalized("a-bucket", "1.parquet"), parquet_shards=True)
    assert found is not None
    assert found.is_shard


@pytest.mark.parametrize("event", ["OBJECT_DELETE", "OBJECT_ARCHIVE", "OBJECT_METADATA_UPDATE"])
def test_other_events_are_no_news(event: str) -> None:
    attributes, data = finalized("a-bucket", "a.mp4", eventType=event)
    assert read_notification(attributes, data) is None
    assert read_notification(attributes, b"") is None, "whatever they carry"


@pytest.mark.parametrize("name", ["a.txt", ".a.mp4", ".parts/a.mp4", "folder/", "a.mp4/", "mp4"])
def test_what_a_folder_would_pass_over_is_passed_over(name: str) -> None:
    assert read_notification(*finalized("a-bucket", name)) is None


@pytest.mark.parametrize(
    ("attributes", "data", "reason"),
    [
        ({}, b"hello", "no attribute eventType"),
        ({"eventType": "OBJECT_FINALIZE", "payloadFormat": "NONE"}, b"", "payloadFormat is NONE; make notifications with JSON_API_V1"),
        ({"eventType": "OBJECT_FINALIZE"}, b"", "JSONDecodeError"),
        ({"eventType": "OBJECT_FINALIZE"}, b'{"name": "\xff"}', "UnicodeDecodeError"),
        ({"eventType": "OBJECT_FINALIZE"}, b"[" * 100_000, "RecursionError"),
        ({"eventType": "OBJECT_FINALIZE"}, b"[]", "TypeError"),
        ({"eventType": "OBJECT_FINALIZE"}, b"null", "TypeError"),
        ({"eventType": "OBJECT_FINALIZE"}, b'{"bucket": "a-bucket", "name": "a.mp4"}', "KeyError: 'generation'"),
    ],
)  # fmt: skip
def test_what_is_no_notification_is_a_failure_of_no_video(
    attributes: dict[str, str], data: bytes, reason: str
) -> None:
    found = read_notification(attributes, data)
    assert found is not None
    assert found.video is None
    assert found.failure is not None
    assert (found.failure.stage, found.failure.error) == ("find", "BadNotification")
    assert reason in found.failure.message
    assert len(found.failure.message) < 1000


@pytest.mark.parametrize(
    "changed",
    [
        {"generation": 1}, {"generation": ""}, {"generation": "-1"}, {"generation": "9" * 21}, {"name": ""},
        {"name": ["a.mp4"]}, {"name": "\ud800.mp4"}, {"bucket": ""}, {"bucket": "../etc"}, {"bucket": None},
    ],
)  # fmt: skip
def test_fields_that_cannot_be_are_refused(changed: dict[str, object]) -> None:
    attributes, data = finalized("a-bucket", "a.mp4")
    found = read_notification(attributes, json.dumps({**json.loads(data), **changed}).encode())
    assert found is not None
    assert found.failure is not None


@given(
    st.dictionaries(st.sampled_from(["eventType", "payloadFormat", "bucketId"]), st.text()),
    st.binary() | st.builds(lambda value: json.dumps(value).encode(), st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["bucket", "name", "generation"]) | st.text(), inner),
    )),
)  # fmt: skip
def test_nothing_that_a_message_holds_ends_the_stream(attributes: dict[str, str], data: bytes) -> None:
    found = read_notification({"eventType": "OBJECT_FINALIZE", **attributes}, data)
    if found is not None and found.failure is not None:
        found.failure.message.encode()  # it must fit into a table


@pytest.mark.parametrize("field", ["bucket", "generation"])
def test_poison_that_is_no_text_can_be_written_down(field: str) -> None:
    resource = {"bucket": "a-bucket", "name": "a.mp4", "generation": "1", field: "\ud800"}
    found = read_notification({"eventType": "OBJECT_FINALIZE"}, json.dumps(resource).encode())
    assert found
    assert found.failure
    found.failure.message.encode()
    assert len(gate_key(found)) == 16


def test_poison_is_told_apart_by_all_of_its_content() -> None:
    long = b"x" * 1_000
    first, again, other = (read_notification({}, data) for data in (long, long, long + b"y"))
    assert first
    assert again
    assert other
    assert gate_key(first) == gate_key(again) != gate_key(other)
