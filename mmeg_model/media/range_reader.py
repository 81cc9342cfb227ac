"""Random access by few, large reads of ranges, in bounded memory: a request to a bucket costs tens of milliseconds."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import takewhile
from typing import Final

from mmeg_model.media.errors import MediaError

BLOCK_BYTES: Final = 1 << 18
MOST_BLOCKS_AT_ONCE: Final = 4
"""1 MiB in 50 ms or so, while the one before is decoded: enough for a decoder that takes 20 MB/s."""
MOST_BLOCKS_KEPT: Final = 64
"""16 MiB: the index of an hour or two of mp4 is a few."""
_STREAK_OF_A_READER: Final = 3  # two may follow each other by chance, at a header
_MOST_PLACES: Final = 8  # of sequential readers; mp4 has one for the picture and one for the sound


class RangeReader:
    """A `mmeg_model.media.video_file.Source` of something whose ranges `fetch` reads; for one thread at a time.

    Whoever reads on where a fetch ended gets twice as much fetched as before, up to MOST_BLOCKS_AT_ONCE, also
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
        self._streaks: OrderedDict[int, int] = OrderedDict()
        """Index of a block -> how many fetches, each behind the other, ended just before it."""
        self._last_read = -1
        self._ahead: tuple[int, int, Future[bytes]] | None = None
        """Index of the first block, how many, and their bytes: what another thread is fetching."""

    def read_at(self, offset: int, num_bytes: int, /) -> bytes:
        """Read the bytes [offset, offset + num_bytes), which lie within the source.

        Raises:
            MediaError: if they cannot be read.
        """
        first, end = offset // BLOCK_BYTES, -(-(offset + num_bytes) // BLOCK_BYTES)
        content = b"".join(self._block(index, end) for index in range(first, end))
        self._last_read = end - 1
        start = offset - first * BLOCK_BYTES
        return content[start : start + num_bytes]

    def read_ahead(self) -> None:
        """Have another thread fetch what follows, if somebody reads on and on and has little left."""
        if self._ahead is not None:
            return
        for num_left in range(MOST_BLOCKS_AT_ONCE // 2 + 1):
            index = self._last_read + 1 + num_left
            if self._streaks.get(index, 0) >= _STREAK_OF_A_READER and index * BLOCK_BYTES < self.num_bytes:
                self._start_fetching(index)
                return

    def _start_fetching(self, index: int) -> None:
        num_blocks, start, end = self._next_range(index, 1)
        content: Future[bytes] = Future()

        def fetch() -> None:
            try:
                content.set_result(self._fetch(start, end))
            except Exception as error:  # who asks for it, if anybody does, will hear of it
                content.set_exception(error)

        self._ahead = (index, num_blocks, content)
        threading.Thread(target=fetch, name="read ahead", daemon=True).start()

    def _block(self, index: int, end_index: int) -> bytes:
        """A block, of those up to end_index that are wanted."""
        if index not in self._blocks:
            self._take_what_was_ahead(index)
        if index not in self._blocks:
            missing = takewhile(lambda i: i not in self._blocks, range(index, end_index))
            num_blocks, start, end = self._next_range(index, len(list(missing)))
            self._keep(index, num_blocks, self._fetch(start, end))
        self._blocks.move_to_end(index)
        return self._blocks[index]

    def _take_what_was_ahead(self, index: int) -> None:
        """Wait for what is being fetched if this block is in it; put it away if it has come."""
        if self._ahead is None:
            return
        first, num_blocks, content = self._ahead
        if first <= index < first + num_blocks or content.done():
            self._ahead = None
            with suppress(MediaError):  # it is asked for again
                self._keep(first, num_blocks, content.result())

    def _next_range(self, index: int, num_wanted: int) -> tuple[int, int, int]:
        """How many blocks to fetch at once from this one on, and which bytes these are."""
        num_blocks = max(num_wanted, min(1 << self._streaks.get(index, 0), MOST_BLOCKS_AT_ONCE))
        start = index * BLOCK_BYTES
        return num_blocks, start, min(start + num_blocks * BLOCK_BYTES, self.num_bytes)

    def _keep(self, index: int, num_blocks: int, content: bytes) -> None:
        self._streaks[index + num_blocks] = self._streaks.pop(index, 0) + 1
        while len(self._streaks) > _MOST_PLACES:
            self._streaks.popitem(last=False)
        for i in range(num_blocks):
            if block := content[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES]:
                self._blocks[index + i] = block
        while len(self._blocks) > MOST_BLOCKS_KEPT:
            self._blocks.popitem(last=False)
