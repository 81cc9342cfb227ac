"""Shards that must be unpacked to reach their members: each is read through once, and kept for a while."""

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from mmeg_model.media.errors import MediaError
from mmeg_model.media.opening import Handle, Handles
from mmeg_model.media.shard_client import Unpacked
from mmeg_model.media.shards import Pack
from mmeg_model.media.source import VideoRef

MOST_PACKS: Final = 64
"""Kept at a time: each costs a descriptor."""


class UnpackedPacks:
    """What was unpacked last, in files without names in the temporary folder, shared by all threads.

    What has been let go of and is asked for again is unpacked again. Files end with this process, however it ends.
    """

    def __init__(self, fill: Callable[[Pack, Unpacked], None], *, most_bytes: int) -> None:
        """Keep nothing yet.

        Args:
            fill: unpacks, and leaves in the `Unpacked` the error that ended it, if one did.
            most_bytes: what may be kept; what is being read does not count.
        """
        self._fill = fill
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Pack, Unpacked] = OrderedDict()
        self._filling: dict[Pack, threading.Lock] = {}

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            while self._kept:
                self._kept.popitem()[1].file.close()

    @contextmanager
    def whole(self, pack: Pack) -> Iterator[tuple[Unpacked, int]]:
        """Lend a pack's content: what is known of it, and a descriptor of its file."""
        unpacked, descriptor = self._lent(pack)
        try:
            yield unpacked, descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def opened(self, video: VideoRef) -> Iterator[Handles]:
        """Open a member, as `mmeg_model.media.opening.opened` does.

        Raises:
            MediaError: if it could not be unpacked, or is null.
        """
        with self.whole(Pack.of(video)) as (unpacked, descriptor):
            start_byte, num_bytes = _place(video, unpacked)
            yield lambda: nullcontext(Handle(descriptor, start_byte, num_bytes))

    def _lent(self, pack: Pack) -> tuple[Unpacked, int]:
        with self._lock:
            filling = self._filling.setdefault(pack, threading.Lock())
        with filling:
            with self._lock:
                if unpacked := self._kept.get(pack):
                    self._kept.move_to_end(pack)
                    return unpacked, os.dup(unpacked.file.fileno())
            unpacked = Unpacked(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - kept until it is let go of
            try:
                self._fill(pack, unpacked)
            except BaseException:
                unpacked.file.close()
                raise
            with self._lock:
                descriptor = os.dup(unpacked.file.fileno())
                if before := self._kept.pop(pack, None):  # let go of and unpacked again by another thread
                    before.file.close()
                self._kept[pack] = unpacked
                self._let_go()
            return unpacked, descriptor

    def _let_go(self) -> None:
        """Close what was used longest ago, until the rest is little enough; who reads it has its own descriptor."""
        while len(self._kept) > MOST_PACKS or (
            len(self._kept) > 1 and sum(kept.num_bytes for kept in self._kept.values()) > self._most_bytes
        ):
            pack, unpacked = self._kept.popitem(last=False)
            unpacked.file.close()
            self._filling.pop(pack, None)


def _place(video: VideoRef, unpacked: Unpacked) -> tuple[int, int]:
    """The range of a member in the unpacked file."""
    row = video.parquet_row
    if row is None:
        end = video.start_byte + (video.num_bytes or 0)
        if end <= unpacked.num_bytes:
            return video.start_byte, video.num_bytes or 0
    elif row.row_in_group < len(unpacked.values):
        start_byte, num_bytes = unpacked.values[row.row_in_group]
        if num_bytes is None:
            raise MediaError("open", "NullBytes", f"the column {row.column} is null in this row")
        return start_byte, num_bytes
    if unpacked.error is not None:
        raise MediaError("open", unpacked.error.error, unpacked.error.message) from unpacked.error
    raise MediaError("open", "MissingMember", "the shard ends before this member")
