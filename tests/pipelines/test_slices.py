import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.find_videos import Found
from pipelines.slices import SliceLimits, cut_into_slices, num_shards_of


def sizes(found: list[list[Found]]) -> list[list[int]]:
    return [[item.num_bytes for item in one] for one in found]


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [
        ([], []),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),  # three videos fill a slice
        ([6, 5, 5, 1], [[6], [5, 5], [1]]),  # ten bytes fill one
        ([99, 1], [[99], [1]]),  # one larger than the limit stands alone
    ],
)
def test_slices_by_hand(num_bytes: list[int], expected: list[list[int]]) -> None:
    found = [Found(None, n) for n in num_bytes]
    assert sizes(list(cut_into_slices(found, SliceLimits(num_videos=3, num_bytes=10)))) == expected


@given(st.lists(st.integers(0, 30)), st.integers(1, 5), st.integers(1, 40))
def test_slices_keep_order_and_limits(num_bytes: list[int], num_videos: int, limit: int) -> None:
    found = [Found(None, n) for n in num_bytes]
    slices = list(cut_into_slices(found, SliceLimits(num_videos=num_videos, num_bytes=limit)))
    assert [item for one in slices for item in one] == found
    assert all(1 <= len(one) <= num_videos for one in slices)
    assert all(len(one) == 1 or sum(item.num_bytes for item in one) <= limit for one in slices)


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"self.num_videos = 0"):
        SliceLimits(num_videos=0, num_bytes=1)


@pytest.mark.parametrize(("num_bytes", "expected"), [([], 1), ([15 * 10**9], 1), ([9 * 10**9] * 4, 3)])
def test_larger_slices_become_more_files(num_bytes: list[int], expected: int) -> None:
    assert num_shards_of([Found(None, n) for n in num_bytes]) == expected  # one for each 16 GB
