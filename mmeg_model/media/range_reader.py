"""Random access by few, large reads of ranges, in bounded memory: a request to a bucket costs tens of milliseconds."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mmeg_model.media.errors import MediaError

BLOCK_BYTES: Final = 1 << 18
MOST_BLOCKS_AT_ONCE: Final = 8
"""2 MiB: a decoder takes about as long over a block as this takes to come, so that reading ahead hides it."""
MOST_BLOCKS_KEPT: Final = 64
"""16 MiB: the index of an hour or two of mp4 is a few."""
_MOST_PLACES: Final = 8  # of sequential readers; mp4 has one for the picture and one for the sound


class RangeReader:
    """A `mmeg_model.media.video_file.Source` of something whose ranges `fetch` reads; for one thread at a time.

    Whoever reads on where a read ended gets twice as much at a time as before, up to MOST_BLOCKS_AT_ONCE, also
    when such readers take turns at several places.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], *, num_bytes: int) -> None:
        """Read nothing yet.

        Args:
            fetch: gives the bytes [start, end), or raises MediaError.
            num_bytes: how many there are altogether.
        """
        self.num_bytes = num_bytes
        self._fetch = fetch
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._fetched_before: OrderedDict[int, int] = OrderedDict()
        """Index of a block -> how many blocks were fetched at once that ended just before it."""
        self._last_read = -1

    def read_at(self, offset: int, num_bytes: int, /) -> bytes:
        """Read the bytes [offset, offset + num_bytes), which lie within the source.

        Raises:
            MediaError: if they cannot be read.
        """
        first, end = offset // BLOCK_BYTES, -(-(offset + num_bytes) // BLOCK_BYTES)
        content = b"".join(map(self._block, range(first, end)))
        start = offset - first * BLOCK_BYTES
        return content[start : start + num_bytes]

    def read_ahead(self) -> None:
        """Fetch what follows the block that was read last, if somebody reads on and on there."""
        place = self._last_read + 1
        if self._fetched_before.get(place, 0) > 1 and place * BLOCK_BYTES < self.num_bytes:
            with suppress(MediaError):  # who asks for it, if anybody does, will hear of it
                self._fetch_from(place)

    def _block(self, index: int) -> bytes:
        if index not in self._blocks:
            self._fetch_from(index)
        self._blocks.move_to_end(index)
        self._last_read = index
        return self._blocks[index]

    def _fetch_from(self, index: int) -> None:
        num_blocks = min(2 * self._fetched_before.get(index, 0) or 1, MOST_BLOCKS_AT_ONCE)
        start = index * BLOCK_BYTES
        content = self._fetch(start, min(start + num_blocks * BLOCK_BYTES, self.num_bytes))
        self._fetched_before.pop(index, None)
        self._fetched_before[index + num_blocks] = num_blocks
        while len(self._fetched_before) > _MOST_PLACES:
            self._fetched_before.popitem(last=False)
        for i in range(num_blocks):
            if block := content[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES]:
                self._blocks[index + i] = block
        while len(self._blocks) > MOST_BLOCKS_KEPT:
            self._blocks.popitem(last=False)
