"""Finds the members of shards, and opens those that must be unpacked, by way of decoder processes."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Protocol, TypeVar

from mmeg_model.media.decoder_client import DecoderClient
from mmeg_model.media.errors import MediaError, Stage
from mmeg_model.media.opening import Handle, Handles, opened
from mmeg_model.media.shard_client import Index, Unpacked, UnpackedTooLargeError, unpack
from mmeg_model.media.shards import Indexed, Pack, ShardReading, is_compressed
from mmeg_model.media.source import VideoRef
from mmeg_model.media.unpacked import UnpackedPacks

T = TypeVar("T")


class Answers(Protocol):
    """Asks a decoder process, and if that fails another one; see `mmeg_model.media.decoders.Decoders`."""

    def __call__(
        self,
        stage: Stage,
        opening: AbstractContextManager[Handles],
        ask: Callable[[DecoderClient, Handle, int], Iterator[T]],
    ) -> Generator[T, None, None]: ...


class ShardReader:
    """What `Decoders` knows of shards."""

    def __init__(self, answers: Answers, *, unpacked_bytes: int, patience_seconds: float) -> None:
        """Read nothing yet.

        Args:
            answers: asks a decoder process.
            unpacked_bytes: the most that may be kept unpacked, and that one pack may take.
            patience_seconds: for how long a request to a bucket is repeated.
        """
        self._answers = answers
        self._unpacked_bytes = unpacked_bytes
        self._patience_seconds = patience_seconds
        self._packs = UnpackedPacks(self._fill, most_bytes=unpacked_bytes)

    def close(self) -> None:
        """Let go of what was unpacked."""
        self._packs.close()

    def opened(self, video: VideoRef) -> AbstractContextManager[Handles]:
        """Open a video, wherever it lies, as `mmeg_model.media.opening.opened` does."""
        return self._packs.opened(video) if video.is_packed else self._open(video)

    def _open(self, video: VideoRef) -> AbstractContextManager[Handles]:
        return opened(video, patience_seconds=self._patience_seconds)

    def index(
        self, shard: VideoRef, reading: ShardReading, *, on_others: Callable[[int], None]
    ) -> Iterator[Indexed]:
        """As `Decoders.index`."""
        index = Index(shard, reading)
        try:
            with closing(self._index(index, shard)) as found:
                yield from found
        except MediaError as error:
            yield Indexed(shard, MediaError("find", error.error, error.message))
        on_others(index.num_others)

    def _index(self, index: Index, shard: VideoRef) -> Generator[Indexed, None, None]:
        def ask(child: DecoderClient, handle: Handle, _: int) -> Iterator[Indexed]:
            size = os.fstat(handle.descriptor).st_size if handle.num_bytes is None else handle.num_bytes
            return index.ask(child, handle, size)

        if not is_compressed(shard):
            yield from self._answers("find", self._open(shard), ask)
            return
        with self._packs.whole(Pack(shard)) as (unpacked, descriptor):
            handle = Handle(descriptor, 0, unpacked.num_bytes)
            if unpacked.num_bytes:
                for found in self._answers("find", nullcontext(lambda: nullcontext(handle)), ask):
                    # That the tar ends where its content does is no second error.
                    if found.video != shard or unpacked.error is None:
                        yield found
            if unpacked.error is not None:
                yield Indexed(shard, unpacked.error)

    def _fill(self, pack: Pack, unpacked: Unpacked) -> None:
        def ask(child: DecoderClient, handle: Handle, _: int) -> Iterator[None]:
            return unpack(child, handle, pack, unpacked, most_bytes=self._unpacked_bytes)

        try:
            for _ in self._answers("find", self._open(pack.shard), ask):
                pass
        except MediaError as error:
            unpacked.error = MediaError("find", error.error, error.message)
        except UnpackedTooLargeError:
            message = f"unpacked it takes more than {self._unpacked_bytes} bytes; see --unpacked-gib"
            unpacked.error = MediaError("find", "UnpackedTooLarge", message)
        except OSError as error:
            unpacked.clear()
            message = f"the temporary folder could not take it: {error.strerror}; set TMPDIR to a larger one"
            unpacked.error = MediaError("find", type(error).__name__, message)
