"""A long list of videos becomes consecutive pipelines, each of which publishes what it did."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.find_videos import Found


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
