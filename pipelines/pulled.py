"""Notifications pulled from a subscription of Pub/Sub, on runners for which Beam's Python has no reader of it.

Beam's `ReadFromPubSub` is a part of Dataflow, and elsewhere of Java. Here each poll pulls what waits, and acknowledges
it when the runner says that what came of it is safe: on Flink, behind the next checkpoint. What is lost before that is
delivered again, and what is delivered again is stopped by the gate of the stream.
"""

import functools
import itertools
import logging
import time
from collections.abc import Iterator
from typing import Any, Final

import apache_beam as beam
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from pipelines.found import Found
from pipelines.notifications import read_notification
from pipelines.stream import StreamWindows

_log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 1.0
"""For which a poll waits for a message: less than to the next poll, or an idle subscription would fall behind."""
_MOST_PULLED: Final = 1_000
_MOST_PULLS: Final = 10
"""In one poll: a bundle is acknowledged whole."""
_MOST_LATE: Final = Duration(seconds=StreamWindows.lateness_seconds // 2)
"""Half of what a window allows: what has waited longer counts as that late, instead of being dropped."""


class PullNotifications(beam.PTransform):
    """Nothing -> the videos that a subscription announces, with the time of publishing as event time."""

    def __init__(self, subscription: str, *, parquet_shards: bool) -> None:
        super().__init__()
        self._subscription = subscription
        self._parquet_shards = parquet_shards

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Found]:
        pull = Pull(self._subscription, parquet_shards=self._parquet_shards)
        return (
            begin
            | "Poll" >> PeriodicImpulse(start_timestamp=Timestamp.now(), fire_interval=_POLL_SECONDS)
            | "Pull" >> beam.ParDo(pull).with_output_types(Found)
        )


class Pull(beam.DoFn):
    """A poll -> the videos of the messages that wait."""

    def __init__(self, subscription: str, *, parquet_shards: bool) -> None:
        self._subscription = subscription
        self._parquet_shards = parquet_shards

    def setup(self) -> None:
        from google.cloud.pubsub_v1 import SubscriberClient

        self._subscriber = SubscriberClient()

    def process(
        self,
        _: Any,
        due: Any = beam.DoFn.TimestampParam,
        finalizer: Any = beam.DoFn.BundleFinalizerParam,
    ) -> Iterator[TimestampedValue]:
        is_missed = time.time() - float(due) > 10 * _POLL_SECONDS  # the next one makes up for it
        for received in [] if is_missed else itertools.takewhile(len, map(self._pulled, range(_MOST_PULLS))):
            finalizer.register(functools.partial(self._acknowledge, [each.ack_id for each in received]))
            for message in (each.message for each in received):
                found = read_notification(
                    dict(message.attributes), message.data, parquet_shards=self._parquet_shards
                )
                if found is not None:
                    published = Timestamp.from_utc_datetime(message.publish_time)
                    yield TimestampedValue(found, max(published, due - _MOST_LATE))

    def _pulled(self, _: int) -> list[Any]:
        from google.api_core.exceptions import DeadlineExceeded, ServerError, TooManyRequests

        try:
            answer = self._subscriber.pull(
                subscription=self._subscription,
                max_messages=_MOST_PULLED,
                timeout=_WAIT_SECONDS,
                retry=None,
            )
        except DeadlineExceeded:  # nothing came
            return []
        except (ServerError, TooManyRequests) as error:  # the next poll asks again
            _log.warning("%s could not be read: %s", self._subscription, error)
            return []
        return list(answer.received_messages)

    def _acknowledge(self, ack_ids: list[str]) -> None:
        from google.api_core.exceptions import GoogleAPIError

        try:
            self._subscriber.acknowledge(subscription=self._subscription, ack_ids=ack_ids)
        except GoogleAPIError as error:  # they are delivered again
            _log.warning("%d messages could not be acknowledged: %s", len(ack_ids), error)
