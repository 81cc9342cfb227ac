"""Folders and buckets, looked at again and again: what is new there is annotated, slice by slice, in two lanes."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mmeg_model.media.objects import SCHEME
from mmeg_model.media.source import VideoRef, changed_ns
from pipelines.completed import Completed
from pipelines.found import Found
from pipelines.lanes import Lanes
from pipelines.local_run import LocalRun
from pipelines.summary import RunSummary

SETTLED_SECONDS: Final = 5.0
"""A local file that was changed since may still be being written."""


def is_settled(video: VideoRef, *, now_ns: int) -> bool:
    """Whether a video has not been changed for some seconds. An object appears when it is whole.

    A time of change that lies ahead, by the clock of another machine, says nothing.
    """
    if video.location.startswith(SCHEME) or video.version is None:
        return True
    return not 0 <= now_ns - changed_ns(video.version) < SETTLED_SECONDS * 1e9


class NewVideos:
    """Which of the videos that are found, poll by poll, are new and whole.

    Each version of a video is new once; 16 bytes of it are remembered. A local file is whole when two polls in a row
    have found it in the same version, and it is settled.
    """

    def __init__(self, completed: Completed) -> None:
        self._completed = completed
        self._taken: set[bytes] = set()
        self._waiting: set[bytes] = set()

    @property
    def num_waiting(self) -> int:
        """How many were found in the last poll that may not be whole yet, or that there was no room for."""
        return len(self._waiting)

    def take(
        self, found: Iterable[Found], *, now_ns: int, has_room: Callable[[Found], bool] = lambda _: True
    ) -> Iterator[Found]:
        """Yield the new ones of one poll; what could not be found, or has no room, may be taken the next time."""
        waiting: set[bytes] = set()
        for item in found:
            video = item.video
            if video is None or item.failure is not None:
                continue
            key = video.key
            if key in self._taken or self._completed.has_version(video):
                continue
            is_local = not video.location.startswith(SCHEME)
            is_whole = not is_local or (key in self._waiting and is_settled(video, now_ns=now_ns))
            if not is_whole or not has_room(item):
                waiting.add(key)
                continue
            self._taken.add(key)
            yield item
        self._waiting = waiting


def watch(
    run: LocalRun,
    poll: Callable[[], Iterable[Found]],
    completed: Completed,
    summary: RunSummary,
    *,
    poll_seconds: float,
    idle_polls: int | None,
    on_published: Callable[[list[Found]], None],
) -> None:
    """Annotate what each poll finds new, the short beside the long; the tables are never read again.

    When it ends, for whatever reason, nothing is published any more. If a lane fails, the slice at work in the other one
    is given up: the decoders are closed.

    Args:
        run: the slices go there. The long ones leave one of its decoders, of which there must be two, to the short ones.
        poll: finds everything that is there.
        completed: what was done before.
        summary: counts what was published.
        poll_seconds: between the beginnings of two polls; the next begins at once where looking took longer.
        idle_polls: end behind so many polls in a row that found nothing new, or that may become new, while nothing was
            at work; None: never.
        on_published: is told of each slice, one at a time, in whatever thread.

    Raises:
        Exception: whatever ended a pipeline, such as a full disk.
    """
    new = NewVideos(completed)
    slice_indices = itertools.count()
    num_idle = 0

    def annotate(items: list[Found], are_long: bool) -> None:
        run.beside_another(num_spare_decoders=int(are_long)).run(
            items, summary, completed=completed, slice_indices=slice_indices, on_published=on_published
        )

    with contextlib.closing(Lanes(annotate)) as lanes:
        try:
            while True:
                next_poll = time.monotonic() + poll_seconds
                for item in new.take(poll(), now_ns=time.time_ns(), has_room=lanes.has_room):
                    lanes.add(item)
                    lanes.go_on(at_least=run.limits.num_videos)  # a long listing keeps nobody waiting
                lanes.go_on()
                num_idle = num_idle + 1 if lanes.are_at_rest and not new.num_waiting else 0
                if num_idle == idle_polls:
                    return
                while (left_seconds := next_poll - time.monotonic()) > 0:
                    lanes.wait(left_seconds)
                    lanes.go_on()
        except BaseException:
            run.pool.shared().close()  # what is at work fails at once, and publishes nothing
            raise
