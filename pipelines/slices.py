"""A long list of videos becomes consecutive pipelines, each of which publishes what it did."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pipelines.found import Found


@dataclass(frozen=True)
class SliceLimits:
    """A slice is full at whichever comes first.

    Raises:
        ValueError: if a limit is not positive.
    """

    num_videos: int
    num_bytes: int

    def __post_init__(self) -> None:
        if self.num_videos < 1 or self.num_bytes < 1:
            raise ValueError(f"a slice needs {self.num_videos = } >= 1 and {self.num_bytes = } >= 1")


LOCAL_SLICES: Final = SliceLimits(num_videos=64, num_bytes=4 * 10**9)
CLUSTER_SLICES: Final = SliceLimits(num_videos=100_000, num_bytes=2 * 10**12)
"""The names of a slice's videos are part of its job's description, compressed, of which Dataflow takes 10 MB."""
BYTES_PER_SHARD: Final = 16 * 10**9
"""Of input: a shard's rows travel as one record on Flink, and should stay far below 100 MB."""


def num_shards_of(items: Iterable[Found]) -> int:
    """How many files of each table a slice becomes."""
    return 1 + sum(item.num_bytes for item in items) // BYTES_PER_SHARD


def cut_into_slices(found: Iterable[Found], limits: SliceLimits) -> Iterator[list[Found]]:
    """Group neighbours; a slice holds at least one, and a single one larger than the limit stands alone."""
    current: list[Found] = []
    num_bytes = 0
    for item in found:
        if current and (len(current) >= limits.num_videos or num_bytes + item.num_bytes > limits.num_bytes):
            yield current
            current, num_bytes = [], 0
        current.append(item)
        num_bytes += item.num_bytes
    if current:
        yield current
