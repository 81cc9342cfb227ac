"""The pipeline of a stream: whatever is found, again and again, in; three Parquet tables out, each video once."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.trigger import (
    AccumulationMode,
    AfterCount,
    AfterProcessingTime,
    AfterWatermark,
)
from apache_beam.transforms.window import FixedWindows
from apache_beam.utils.timestamp import Timestamp

from mmeg_model.media.shards import ShardReading
from pipelines.annotate import AnnotateVideos
from pipelines.decode_clips import PARTS, DecoderPool
from pipelines.find_videos import Found, find_videos
from pipelines.index_shards import IndexShards
from pipelines.inference import ClipModelHandler
from pipelines.notifications import read_notification
from pipelines.once import SHARDS, PassOnce, SortOut, gate_key, needs_second_look
from pipelines.outcomes import RunConstants
from pipelines.panes import PublishPanes
from pipelines.spread import Spread, spread_key
from pipelines.watch import SETTLED_SECONDS

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamWindows:
    """When the files of a stream are written. What is late by less than the lateness is in them all the same.

    Raises:
        ValueError: if a duration is not positive.
    """

    window_seconds: int = 600
    early_seconds: int = 30
    lateness_seconds: int = 86_400

    def __post_init__(self) -> None:
        if min(self.window_seconds, self.early_seconds, self.lateness_seconds) < 1:
            raise ValueError(
                f"a stream needs {self.window_seconds = }, {self.early_seconds = } and "
                f"{self.lateness_seconds = } of at least 1"
            )

    def into(self) -> beam.WindowInto:
        """Fixed windows, of which each pane holds all that has come so far."""
        return beam.WindowInto(
            FixedWindows(self.window_seconds),
            trigger=AfterWatermark(early=AfterProcessingTime(self.early_seconds), late=AfterCount(1)),
            accumulation_mode=AccumulationMode.ACCUMULATING,
            allowed_lateness=self.lateness_seconds,
        )


def is_of_poll(found: Found, *, due_ns: int, now_ns: int) -> bool:
    """Whether something that lies there now is found by a poll that was due at a time, however late it is made.

    After a lost worker, polls are made again, and each must find what it found before: a video that was then found by
    an earlier poll would stand in the files of two windows. A time that lies ahead, by the clock of another machine,
    says nothing.
    """
    rest_ns = round(SETTLED_SECONDS * 1e9) if needs_second_look(found) else 0
    return found.appeared_ns > now_ns or found.appeared_ns + rest_ns <= due_ns


class PollInputs(beam.PTransform):
    """Nothing -> what lies in folders and buckets, at each poll, with the time at which that was due as event time."""

    def __init__(self, inputs: Sequence[str], *, poll_seconds: float, parquet_shards: bool) -> None:
        super().__init__()
        self._inputs = tuple(inputs)
        self._poll_seconds = poll_seconds
        self._parquet_shards = parquet_shards

    def _find(self, _: Any, due: Any = beam.DoFn.TimestampParam) -> Iterator[Found]:
        due_ns, now_ns = 1_000 * due.micros, time.time_ns()
        try:
            for item in find_videos(self._inputs, parquet_shards=self._parquet_shards):
                if item.failure is not None:
                    _log.warning("%s", item.failure.message)  # it may be there at the next poll
                elif is_of_poll(item, due_ns=due_ns, now_ns=now_ns):
                    yield item
        except ValueError as error:  # a manifest that is being written
            _log.warning("%s", error)

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Found]:
        return (
            begin
            | "Poll" >> PeriodicImpulse(start_timestamp=Timestamp.now(), fire_interval=self._poll_seconds)
            | "Find" >> beam.FlatMap(self._find).with_output_types(Found)
        )


class ReadNotifications(beam.PTransform):
    """Nothing -> the videos that a subscription announces, with the time of publishing as event time."""

    def __init__(self, subscription: str, *, parquet_shards: bool) -> None:
        super().__init__()
        self._subscription = subscription
        self._parquet_shards = parquet_shards

    def _read(self, message: Any) -> Iterator[Found]:
        found = read_notification(message.attributes or {}, message.data, parquet_shards=self._parquet_shards)
        if found is not None:
            yield found

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Found]:
        from apache_beam.io.gcp.pubsub import ReadFromPubSub

        return (
            begin
            | "Messages" >> ReadFromPubSub(subscription=self._subscription, with_attributes=True)
            | "Read" >> beam.FlatMap(self._read).with_output_types(Found)
        )


class AnnotateStream(beam.PTransform):
    """Found, repeatedly and in any order -> files."""

    def __init__(
        self,
        *,
        pool: DecoderPool,
        handler: ClipModelHandler,
        reading: ShardReading,
        window_ms: int,
        output: str,
        num_shards: int,
        constants: RunConstants,
        windows: StreamWindows = StreamWindows(),
    ) -> None:
        super().__init__()
        self._pool = pool
        self._handler = handler
        self._reading = reading
        self._window_ms = window_ms
        self._output = output
        self._num_shards = num_shards
        self._constants = constants
        self._windows = windows

    def expand(self, found: beam.PCollection[Found]) -> beam.PCollection[None]:
        new = (
            found
            | "Key" >> beam.Map(lambda item: (gate_key(item), item)).with_output_types(tuple[bytes, Found])
            | "Once" >> beam.ParDo(PassOnce()).with_output_types(Found)
            | "Window" >> self._windows.into()
            | "Sort out"
            >> beam.ParDo(SortOut(output=self._output, run_id=self._constants.run_id)).with_outputs(
                SHARDS, PARTS, main="videos"
            )
        )
        indexed = new[SHARDS] | "Index" >> beam.ParDo(IndexShards(self._pool, self._reading)).with_outputs(
            PARTS, main="members"
        )
        members = indexed["members"] | "Spread members" >> Spread(spread_key)
        parts = (
            (new["videos"], members)
            | "All videos" >> beam.Flatten()
            | "Annotate"
            >> AnnotateVideos(
                pool=self._pool, handler=self._handler, window_ms=self._window_ms, long_apart=True
            )
        )
        publish = PublishPanes(output=self._output, num_shards=self._num_shards, constants=self._constants)
        return (new[PARTS], indexed[PARTS], parts) | "Every outcome" >> beam.Flatten() | "Publish" >> publish
