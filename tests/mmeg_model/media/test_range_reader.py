import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeg_model.media import range_reader
from mmeg_model.media.errors import MediaError
from mmeg_model.media.range_reader import BLOCK_BYTES, MOST_BLOCKS_AT_ONCE, MOST_BLOCKS_KEPT, RangeReader

MANY = 100 * BLOCK_BYTES


class Far:
    """Something whose ranges can be fetched: the byte at i is a function of i. Remembers which were."""

    def __init__(self):
        self.fetched = []
        self.failure = None

    def fetch(self, start, end):
        if self.failure:
            raise self.failure
        self.fetched.append((start, end))
        return content_at(start, end)


def content_at(start, end):
    return bytes((i * 7 + i // 256) % 251 for i in range(start, end))


@pytest.fixture
def far(monkeypatch):
    """With blocks of 16 bytes, so that contents can be compared."""
    monkeypatch.setattr(range_reader, "BLOCK_BYTES", 16)
    return Far()


def test_who_reads_on_gets_twice_as_much_at_a_time():
    fetched = []
    reader = RangeReader(lambda s, e: fetched.append((s, e)) or bytes(e - s), num_bytes=MANY)
    for index in range(30):
        reader.read_at(index * BLOCK_BYTES, BLOCK_BYTES)
    blocks = [(start // BLOCK_BYTES, end // BLOCK_BYTES) for start, end in fetched]
    assert blocks == [(0, 1), (1, 3), (3, 7), *((i, i + 4) for i in range(7, 30, 4))]
    assert MOST_BLOCKS_AT_ONCE == 4


def test_readers_at_two_places_that_take_turns_are_each_read_ahead_for():
    fetched = []
    reader = RangeReader(lambda s, e: fetched.append((s, e)) or bytes(e - s), num_bytes=MANY)
    for index in range(7):
        for place in (0, 50):
            reader.read_at((place + index) * BLOCK_BYTES, BLOCK_BYTES)
    assert sorted((end - start) // BLOCK_BYTES for start, end in fetched) == [1, 1, 2, 2, 4, 4]


def test_who_jumps_about_gets_one_block_at_a_time_and_nothing_ahead():
    fetched = []
    reader = RangeReader(lambda s, e: fetched.append((s, e)) or bytes(e - s), num_bytes=MANY)
    for index in (90, 0, 40, 20, 70):
        reader.read_at(index * BLOCK_BYTES + 5, 10)
        reader.read_ahead()
    assert [end - start for start, end in fetched] == [BLOCK_BYTES] * 5


def test_reading_ahead_goes_on_beside(far):
    reader = RangeReader(far.fetch, num_bytes=1_000)
    for index in range(12):
        assert reader.read_at(index * 16, 16) == content_at(index * 16, index * 16 + 16)
        reader.read_ahead()
    assert reader.read_at(15 * 16, 16) == content_at(15 * 16, 16 * 16)
    # 0; 1 and 2; 3 to 6; at 4, with 5 and 6 left, 7 to 10 ahead; at 8, 11 to 14; at 15, what was begun at 12
    assert far.fetched == [(0, 16), (16, 48), (48, 112), (112, 176), (176, 240), (240, 304)]


def test_what_is_fetched_ahead_is_waited_for_not_fetched_twice():
    """The fetch ahead ends only when somebody has asked for what it fetches."""
    asked, fetched = threading.Event(), []

    def fetch(start, end):
        fetched.append(start // BLOCK_BYTES)
        if start == 7 * BLOCK_BYTES:
            assert asked.wait(60)
        return bytes(end - start)

    reader = RangeReader(fetch, num_bytes=MANY)
    for index in range(6):
        reader.read_at(index * BLOCK_BYTES, BLOCK_BYTES)
    reader.read_ahead()
    reader.read_ahead()
    assert reader.read_at(90 * BLOCK_BYTES, 1) == b"\0"  # others need not wait
    threading.Timer(0.05, asked.set).start()
    reader.read_at(7 * BLOCK_BYTES, 4 * BLOCK_BYTES)
    assert sorted(fetched) == [0, 1, 3, 7, 90]


def test_a_read_that_touches_several_blocks_is_one_fetch():
    fetched = []
    reader = RangeReader(lambda s, e: fetched.append((s, e)) or bytes(e - s), num_bytes=MANY)
    reader.read_at(10 * BLOCK_BYTES - 1, 3 * BLOCK_BYTES)
    reader.read_at(12 * BLOCK_BYTES, 2 * BLOCK_BYTES)
    assert [(s // BLOCK_BYTES, e // BLOCK_BYTES) for s, e in fetched] == [(9, 13), (13, 15)]


def test_memory_is_bounded_and_what_is_read_again_and_again_stays():
    fetched = []
    reader = RangeReader(lambda s, e: fetched.append(s // BLOCK_BYTES) or bytes(e - s), num_bytes=MANY)
    reader.read_at(99 * BLOCK_BYTES, 1)  # an index at the end
    for index in range(MOST_BLOCKS_KEPT + 20):
        reader.read_at(index * BLOCK_BYTES, 1)
        reader.read_at(99 * BLOCK_BYTES, 1)
    assert fetched.count(99) == 1
    assert sum(map(len, reader._blocks.values())) <= MOST_BLOCKS_KEPT * BLOCK_BYTES
    reader.read_at(0, 1)
    assert fetched.count(0) == 2


def test_a_failure_to_read_ahead_is_for_who_asks(far):
    reader = RangeReader(far.fetch, num_bytes=1_000)
    for index in range(6):
        reader.read_at(index * 16, 16)
    far.failure = MediaError("open", "NotFound", "it is gone")
    reader.read_ahead()
    with pytest.raises(MediaError, match="it is gone"):
        reader.read_at(112, 1)
    far.failure = None
    reader.read_ahead()
    assert reader.read_at(112, 20) == content_at(112, 132)


@given(
    num_bytes=st.integers(0, 3_000),
    reads=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 400), st.booleans())),
)
def test_reads_are_what_is_there(num_bytes, reads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_reader, "BLOCK_BYTES", 16)
        far = Far()
        reader = RangeReader(far.fetch, num_bytes=num_bytes)
        for offset, length, is_ahead in reads:
            start = min(offset, num_bytes)
            end = min(start + length, num_bytes)
            assert reader.read_at(start, end - start) == content_at(start, end)
            if is_ahead:
                reader.read_ahead()
        assert all(start < end for start, end in far.fetched)
