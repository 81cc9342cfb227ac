"""What is annotated soon does not wait behind what takes long: two lanes, each in a thread of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from pipelines.found import SOUND_EXTENSIONS, Found

LONG_VIDEO_BYTES: Final = 32 << 20
"""A larger file is long: about a minute of 1080p, or five of 360p."""
LONG_SOUND_BYTES: Final = 2 << 20
"""The same of a sound: about a minute of uncompressed speech, or two of MP3."""
MOST_WAITING: Final = 10_000
"""Videos that a lane keeps in memory."""


def is_long(item: Found) -> bool:
    """Whether a video is taken for a long one, by the size of its file; a file of many videos always is."""
    assert item.video is not None
    is_sound = item.video.location.lower().endswith(SOUND_EXTENSIONS)
    return item.is_shard or item.num_bytes > (LONG_SOUND_BYTES if is_sound else LONG_VIDEO_BYTES)


class Lanes:
    """Annotates short and long videos side by side: each lane takes all that waits for it, and then what came meanwhile.

    For the use of one thread.
    """

    def __init__(self, annotate: Callable[[list[Found], bool], object]) -> None:
        """Start nothing yet.

        Args:
            annotate: what a lane does with its videos, in a thread of its own; is told whether they are long.
        """
        self._annotate = annotate
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="lane")
        self._waiting: dict[bool, list[Found]] = {False: [], True: []}
        """By whether they are long."""
        self._at_work: dict[bool, Future[object]] = {}
        self._one_is_over = threading.Event()

    def close(self) -> None:
        """Wait for what is at work; what waits is left."""
        self._threads.shutdown()

    @property
    def are_at_rest(self) -> bool:
        """Whether nothing is at work or waits."""
        return not self._at_work and not any(self._waiting.values())

    def has_room(self, item: Found) -> bool:
        """Whether a video may wait in its lane."""
        return len(self._waiting[is_long(item)]) < MOST_WAITING

    def add(self, item: Found) -> None:
        """Let a video wait in its lane."""
        self._waiting[is_long(item)].append(item)

    def go_on(self, *, at_least: int = 1) -> None:
        """Let each lane that is not at work take what waits for it, if that is enough.

        Raises:
            Exception: what ended one, as `annotate` raised it.
        """
        for lane, items in self._waiting.items():
            if lane in self._at_work and self._at_work[lane].done():
                self._at_work.pop(lane).result()
            if lane not in self._at_work and len(items) >= at_least:
                self._waiting[lane] = []
                self._at_work[lane] = self._threads.submit(self._annotate, items, lane)
                self._at_work[lane].add_done_callback(lambda _: self._one_is_over.set())

    def wait(self, seconds: float) -> None:
        """Wait until one that was at work is over, but no longer than so many seconds."""
        if self._one_is_over.wait(seconds):
            self._one_is_over.clear()
