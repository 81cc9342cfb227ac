import tempfile
import tracemalloc
from collections.abc import Iterator

import pytest

from mmeg_model.media.source import VideoRef
from pipelines.found import Found
from pipelines.spooled import Spooled
from pipelines.tables import Failure


def test_what_is_spooled_comes_back_in_order_as_often_as_asked() -> None:
    items = [
        Found(VideoRef("/caf\udce9.mp4", "1"), 7),
        Found(None, failure=Failure("find", "NothingFound", "nothing there")),
    ]
    with Spooled(items) as spooled:
        assert len(spooled) == 2
        assert list(spooled) == items
        next(iter(spooled))
        assert list(spooled) == items
    with Spooled[Found]([]) as empty:
        assert list(empty) == []


def test_memory_does_not_grow_with_the_number() -> None:
    def many(number: int) -> Iterator[Found]:
        return (Found(VideoRef(f"/archive/{i}.mp4", str(i)), i) for i in range(number))

    peaks = []
    for number in (1_000, 10_000):
        tracemalloc.start()
        with Spooled(many(number)) as spooled:
            assert sum(item.num_bytes for item in spooled) == number * (number - 1) // 2
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_what_cannot_be_found_to_its_end_leaves_no_file() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("the manifest ends here")

    with pytest.raises(ValueError, match="the manifest ends here"):
        Spooled(broken())


@pytest.mark.parametrize("num_items", [1, 10_000])
def test_a_full_folder_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch, num_items: int) -> None:
    """Also where it is found out at the end, since little was written."""
    monkeypatch.setattr(tempfile, "tempdir", "/some/where")
    with open("/dev/full", "wb") as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda prefix: full)
        with pytest.raises(OSError, match=r"^/some/where, where temporary files lie, is full .* in TMPDIR$"):
            Spooled(range(num_items))
        assert full.closed
