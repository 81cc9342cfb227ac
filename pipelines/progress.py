"""The progress bars of local runs, on standard error."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmeg_model.media.decoders import Decoders
from pipelines.find_videos import Found

_REFRESH_SECONDS: Final = 0.2
_PLAIN_LINE_SECONDS: Final = 30.0


class Progressing(Protocol):
    """How far something is."""

    @property
    def fraction(self) -> float:
        """From 0 to 1."""

    @property
    def text(self) -> str:
        """Stands beside the bar."""


class RunProgress:
    """How far a run is, measured in bytes of input.

    Within a slice the share of the planned media time that is decoded tells how many of its bytes are done, so
    that the bar moves while one long video is being decoded.
    """

    def __init__(self, decoders: Decoders, *, num_bytes: int, num_videos: int) -> None:
        self._decoders = decoders
        self._num_bytes = max(num_bytes, 1)
        self._num_videos = num_videos
        self._num_videos_done = 0
        self._num_bytes_done = 0
        self._slice_bytes = 0
        self._probed_ms_before = 0
        self._decoded_ms_before = 0

    def start_slice(self, items: list[Found]) -> None:
        self._slice_bytes = sum(item.num_bytes for item in items)
        self._probed_ms_before = self._decoders.probed_ms
        self._decoded_ms_before = self._decoders.decoded_ms

    def end_slice(self, items: list[Found]) -> None:
        self._num_bytes_done += self._slice_bytes
        self._slice_bytes = 0
        self._num_videos_done += sum(item.video is not None for item in items)

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        probed_ms = self._decoders.probed_ms - self._probed_ms_before
        decoded_ms = self._decoders.decoded_ms - self._decoded_ms_before
        share = min(decoded_ms / probed_ms, 1.0) if probed_ms else 0.0
        return min((self._num_bytes_done + share * self._slice_bytes) / self._num_bytes, 1.0)

    @property
    def text(self) -> str:
        minutes = self._decoders.decoded_ms / 60_000
        return f"{self._num_videos_done} of {self._num_videos} videos published, {minutes:.1f} min decoded"


class ShardProgress:
    """How far the writing of shards is: a shard counts when it is there."""

    def __init__(self, decoders: Decoders, files: Sequence[Path]) -> None:
        self._decoders = decoders
        self._files = files

    @property
    def _num_written(self) -> int:
        return sum(file.exists() for file in self._files)

    @property
    def fraction(self) -> float:
        return self._num_written / max(len(self._files), 1)

    @property
    def text(self) -> str:
        minutes = self._decoders.decoded_ms / 60_000
        return f"{self._num_written} of {len(self._files)} shards written, {minutes:.1f} min decoded"


@contextmanager
def shown(progress: Progressing, *, label: str = "annotate") -> Iterator[None]:
    """Show a bar that moves by itself on a terminal, and a line now and then elsewhere."""
    console = Console(stderr=True)
    done = threading.Event()
    if console.is_terminal:
        bar = Progress(
            TextColumn(label),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        task = bar.add_task(progress.text, total=1.0)

        def show() -> None:
            bar.update(task, completed=progress.fraction, description=progress.text)

        interval_seconds = _REFRESH_SECONDS
        bar.start()
    else:
        bar = None

        def show() -> None:
            console.print(f"{progress.fraction:.0%}: {progress.text}", highlight=False)

        interval_seconds = _PLAIN_LINE_SECONDS

    def keep_showing() -> None:
        while not done.wait(interval_seconds):
            show()

    thread = threading.Thread(target=keep_showing, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if bar is not None:
            show()
            bar.stop()
