"""Decoding in child processes: a video that crashes, hangs or eats memory costs one span and no more.

The children are also the parallelism: as many as cores, each a clip or two ahead of the thread that reads it.
"""

import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Final, Self, TypeVar

from mmeg_model.clip import Clip
from mmeg_model.media.crop import WHOLE, Crop
from mmeg_model.media.decoder_client import (
    DECODER_COMMAND,
    DecoderClient,
    DecoderFailedError,
    Delivery,
)
from mmeg_model.media.errors import MediaError, Stage
from mmeg_model.media.limits import DecoderLimits, VideoLimits
from mmeg_model.media.objects import PATIENCE_SECONDS
from mmeg_model.media.opening import Handle, Handles
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.shard_reader import ShardReader
from mmeg_model.media.shards import Indexed, ShardReading
from mmeg_model.media.source import VideoRef
from mmeg_model.media.turns import Turns
from mmeg_model.media.windows import Window

__all__ = ["DecoderLimits", "Decoders", "VideoLimits"]

T = TypeVar("T")

_CLIPS_AHEAD: Final = 2


class Decoders:
    """At most num_decoders child processes, shared by all threads of this process.

    A thread borrows one for as long as its probe or its iterator of clips lasts, and waits its turn if none is free: a
    thread that holds as many as there are and asks for one more waits for ever. A request whose child died,
    or ran out of time or memory, is tried once more in a fresh child.
    """

    def __init__(
        self, *, num_decoders: int, limits: DecoderLimits, command: Sequence[str] = DECODER_COMMAND
    ) -> None:
        """Start nothing yet.

        Args:
            num_decoders: how many children may live at a time; the number of cores is a good one.
            limits: of each child.
            command: starts a child, given its socket's descriptor and the limits as arguments.

        Raises:
            ValueError: if num_decoders is not positive.
        """
        if num_decoders < 1:
            raise ValueError(f"{num_decoders = } must be positive")
        self._num_decoders = num_decoders
        self._limits = limits
        self._command = command
        self.probed_ms = 0
        """Media time of the videos probed so far."""
        self.decoded_ms = 0
        """Media time delivered as clips so far, for whoever polls it from another thread."""
        self.num_damaged_packets = 0
        """Packets of these clips that did not decode and were skipped."""
        self.num_retries = 0
        """Requests that were tried a second time."""
        self._lock = threading.Lock()
        self._free = Turns(num_decoders)
        self._children: set[DecoderClient] = set()
        self._idle: list[DecoderClient] = []
        self._is_closed = False
        self._shards = self._new_shard_reader()
        _forget_when_forked(weakref.ref(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the children now, without waiting, so that nobody has to wait for them later."""
        with self._lock:
            while len(self._children) < self._num_decoders:
                self._idle.append(self._new_child())

    def close(self) -> None:
        """End all children, also those at work: who reads from them gets a RuntimeError."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            at_work = self._children.difference(idle)
        for child in at_work:
            child.kill()
        for child in idle:
            self._discard(child)
        self._shards.close()

    def probe(self, video: VideoRef) -> VideoInfo:
        """Look at a video, as `mmeg_model.media.probe.probe`.

        Raises:
            MediaError: if it cannot be opened or understood, or its decoder failed twice.
            RuntimeError: if this is closed, or children do not start at all.
        """
        with closing(
            self._answers("probe", self._shards.opened(video), lambda child, handle, _: child.probe(handle))
        ) as answers:
            (info,) = answers
        with self._lock:
            self.probed_ms += info.duration_ms
        return info

    def decode(
        self,
        video: VideoRef,
        info: VideoInfo,
        windows: Sequence[Window],
        *,
        crop: Crop = WHOLE,
        on_cpu_seconds: Callable[[float], None] = lambda _: None,
    ) -> Iterator[Clip]:
        """Decode neighbouring windows of a video, as `mmeg_model.media.decode.decode_span`.

        Args:
            video: where it lies.
            info: what `probe` found.
            windows: time ranges [start_ms, end_ms).
            crop: which part of the picture and of the sound.
            on_cpu_seconds: called before each clip with the processor time that its decoding took.

        Raises:
            MediaError: if it cannot be opened or decoded, or its decoder failed twice; after the clips before.
            RuntimeError: if this is closed, or children do not start at all.
        """
        left = list(windows)

        def ask(child: DecoderClient, handle: Handle, clips_ahead: int) -> Iterator[Delivery]:
            if not left:
                return iter(())
            return child.decode(handle, info, tuple(left), clips_ahead=clips_ahead, crop=crop)

        with closing(self._answers("decode", self._shards.opened(video), ask)) as answers:
            for clip, num_damaged_packets, cpu_seconds in answers:
                with self._lock:
                    self.num_damaged_packets += num_damaged_packets
                    self.decoded_ms += clip.end_ms - clip.start_ms if clip else 0
                if clip:
                    del left[0]
                    on_cpu_seconds(cpu_seconds)
                    yield clip

    def index(
        self, shard: VideoRef, reading: ShardReading, *, on_others: Callable[[int], None] = lambda _: None
    ) -> Iterator[Indexed]:
        """Find the members of a shard: of a tar by its headers, of Parquet by its keys; a compressed tar is unpacked.

        Yields each member once and, last, what is wrong with the shard as a whole: it raises no MediaError.

        Args:
            shard: the whole file.
            reading: which members are meant.
            on_others: called, at the end, with the number of members that are no videos by their names.

        Raises:
            RuntimeError: if this is closed, or children do not start at all.
        """
        return self._shards.index(shard, reading, on_others=on_others)

    def _answers(
        self,
        stage: Stage,
        opening: AbstractContextManager[Handles],
        ask: Callable[[DecoderClient, Handle, int], Iterator[T]],
    ) -> Generator[T, None, None]:
        """Yield what ask yields for a borrowed child; if that fails, go on with what it yields for another."""
        with opening as handles, self._free:
            child = self._borrow()
            is_usable = False
            try:
                try:
                    with handles() as handle:
                        yield from ask(child, handle, _CLIPS_AHEAD)
                except DecoderFailedError:
                    self._discard(child)
                    with self._lock:
                        child = self._new_child()
                        self.num_retries += 1
                    # None ahead: a crash shall cost no clip that was decoded before it.
                    with handles() as handle:
                        yield from ask(child, handle, 0)
                is_usable = True
            except MediaError:
                is_usable = True
                raise
            except DecoderFailedError as failure:
                if self._is_closed:
                    raise RuntimeError("the decoders are closed") from failure
                raise MediaError(stage, failure.error, failure.message) from failure
            finally:
                if is_usable:
                    self._give_back(child)
                else:
                    self._discard(child)

    def _borrow(self) -> DecoderClient:
        with self._lock:
            return self._idle.pop() if self._idle else self._new_child()

    def _give_back(self, child: DecoderClient) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(child)
                return
        self._discard(child)

    def _discard(self, child: DecoderClient) -> None:
        child.close()
        with self._lock:
            self._children.discard(child)

    def _new_child(self) -> DecoderClient:
        """Start a child; only with the lock held."""
        if self._is_closed:
            raise RuntimeError("the decoders are closed")
        child = DecoderClient(self._command, self._limits)
        self._children.add(child)
        return child

    def _new_shard_reader(self) -> ShardReader:
        return ShardReader(
            self._answers,
            unpacked_bytes=self._limits.unpacked_bytes,
            # The reason for which a bucket does not answer is told only before the deadline.
            patience_seconds=min(PATIENCE_SECONDS, self._limits.deadline_seconds / 2),
        )

    def _forget_children(self) -> None:
        for child in self._children:
            child.forget()
        self._children, self._idle = set(), []
        self._lock = threading.Lock()
        self._free = Turns(self._num_decoders)
        self._shards = self._new_shard_reader()


def _forget_when_forked(decoders: "weakref.ref[Decoders]") -> None:
    """Close a forked copy's ends of the sockets: else children would not see their real parent die."""

    def forget() -> None:
        if this := decoders():
            this._forget_children()

    os.register_at_fork(after_in_child=forget)
