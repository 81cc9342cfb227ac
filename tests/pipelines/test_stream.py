"""Which poll of a stream finds what: the same one, whenever it is made."""

import os
from pathlib import Path

from apache_beam.utils.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from mmeg_model.media.source import VideoRef
from pipelines.find_files import find_file
from pipelines.found import Found
from pipelines.stream import PollInputs, is_of_poll

SECOND_NS = 1_000_000_000
NOW_NS = 1_800_000_000 * SECOND_NS


def local(appeared_ns: int) -> Found:
    return Found(VideoRef("/v/a.mp4", "7-1"), 7, appeared_ns=appeared_ns)


def remote(appeared_ns: int) -> Found:
    return Found(VideoRef("gs://a-bucket/a.mp4", "1"), 7, appeared_ns=appeared_ns)


def test_a_file_is_found_by_the_first_poll_that_was_due_when_it_had_rested() -> None:
    appeared_ns = NOW_NS - 30 * SECOND_NS
    late = {"now_ns": NOW_NS}
    assert not is_of_poll(local(appeared_ns), due_ns=appeared_ns + 5 * SECOND_NS - 1, **late)
    assert is_of_poll(local(appeared_ns), due_ns=appeared_ns + 5 * SECOND_NS, **late)
    assert not is_of_poll(remote(appeared_ns), due_ns=appeared_ns - 1, **late)
    assert is_of_poll(remote(appeared_ns), due_ns=appeared_ns, **late)
    assert is_of_poll(remote(0), due_ns=appeared_ns, **late), "nobody knows since when"


def test_a_clock_that_is_ahead_hides_nothing() -> None:
    assert is_of_poll(local(NOW_NS + 1), due_ns=NOW_NS, now_ns=NOW_NS)


@given(
    st.sampled_from([local, remote]), st.integers(0, 10**11), st.integers(0, 10**11), st.integers(0, 10**11)
)
def test_a_poll_that_is_made_again_finds_what_it_found(
    found, due_ns: int, first_ns: int, again_ns: int
) -> None:
    item = found(NOW_NS)
    # It was there at the first time, which is not before the poll was due.
    due_ns += NOW_NS - 10**10
    first_ns += max(NOW_NS, due_ns)
    first, again = (is_of_poll(item, due_ns=due_ns, now_ns=t) for t in (first_ns, first_ns + again_ns))
    assert first == again


def test_a_file_appears_when_it_gets_its_name_however_old_it_is(tmp_path: Path) -> None:
    hidden = tmp_path / ".a.mp4"
    hidden.write_bytes(b"video")
    os.utime(hidden, (1, 1))
    before_ns = hidden.stat().st_ctime_ns
    while (tmp_path / "clock").write_bytes(b"") or (tmp_path / "clock").stat().st_ctime_ns == before_ns:
        pass  # until the file system's clock has moved
    found = find_file(str(hidden.rename(tmp_path / "a.mp4")))
    assert found.video
    assert found.video.version == "5-1000000000"
    assert found.appeared_ns > before_ns


def test_a_manifest_that_is_being_written_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"video")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('"a.mp4"\n{"ur')
    polls = PollInputs([str(manifest)], poll_seconds=1, parquet_shards=False)
    due = Timestamp.now() + 60
    num_found = len(list(polls._find(None, due)))
    manifest.write_text('"a.mp4"\n')
    assert num_found <= 1
    assert [item.video.uri for item in polls._find(None, due) if item.video] == [str(tmp_path / "a.mp4")]
