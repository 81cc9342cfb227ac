"""Everything that is counted while a pipeline runs, as Beam metrics: what Flink's page and Dataflow show of them.

All stand in the namespace `mmeg`. RunInference adds its own there, of which `inference_request_batch_size` (clips) and
`inference_batch_latency_micro_secs` are worth a look. `docs/operations.md` says what they tell.
"""

import collections
import threading
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.runner import PipelineResult

from mmeg_model.media import objects
from mmeg_model.media.decoders import Decoders
from mmeg_model.media.errors import Stage
from mmeg_model.media.source import VideoRef
from pipelines.tables import Status

NAMESPACE: Final = "mmeg"
_MENDED: Final = "mmeg_mended_shards"
_STATUSES: Final[tuple[Status, ...]] = get_args(Status)

VIDEOS: Final = {status: Metrics.counter(NAMESPACE, f"videos_{status}") for status in _STATUSES}
"""Published, by what became of them."""
FAILURES: Final = {stage: Metrics.counter(NAMESPACE, f"failures_{stage}") for stage in get_args(Stage)}
"""Rows of `errors`, published, by stage."""
CLIPS: Final = Metrics.counter(NAMESPACE, "clips")
"""Annotated, published."""
FAILED_CLIPS: Final = Metrics.counter(NAMESPACE, "failed_clips")

DECODED_CLIPS: Final = Metrics.counter(NAMESPACE, "decoded_clips")
"""On their way from a decoder to the network: what moves while a slice is at work."""
DECODED_MS: Final = Metrics.counter(NAMESPACE, "decoded_media_ms")
"""The media time of these."""
DECODE_MS: Final = Metrics.distribution(NAMESPACE, "decode_clip_cpu_ms")
"""Processor time that decoding one clip took."""
DAMAGED_PACKETS: Final = Metrics.counter(NAMESPACE, "damaged_packets")
"""Did not decode, and were skipped."""
DECODER_RETRIES: Final = Metrics.counter(NAMESPACE, "decoder_retries")
"""Requests that a second decoder process tried, since the first died or ran out of time or memory."""
BYTES_READ: Final = Metrics.counter(NAMESPACE, "bytes_read_from_buckets")
"""Ranges of videos and shards; local files are read by the decoders themselves, and not counted."""

MEMBERS_DONE_BEFORE: Final = {
    status: Metrics.counter(NAMESPACE, f"members_done_before_{status}") for status in _STATUSES
}
"""Members of shards that an earlier run has published."""
MEMBERS_OF_OTHER_VERSIONS: Final = Metrics.counter(NAMESPACE, "members_of_other_versions")
"""Of those: whose version is another one now."""
MEMBERS_OF_OTHER_KINDS: Final = Metrics.counter(NAMESPACE, "members_of_other_kinds")
"""Neither video nor sound by their names."""


@dataclass
class Published:
    """What stands in the files of one shard."""

    num_videos: collections.Counter[Status] = field(default_factory=collections.Counter)
    num_clips: int = 0
    num_failed_clips: int = 0
    num_failures: collections.Counter[Stage] = field(default_factory=collections.Counter)

    def add(self, videos: Iterable[Mapping[str, Any]], errors: Iterable[Mapping[str, Any]]) -> None:
        """Add rows of `videos` and of `errors`."""
        for row in videos:
            self.num_videos[row["status"]] += 1
            self.num_clips += row["clips"] - row["failed_clips"]
            self.num_failed_clips += row["failed_clips"]
        self.num_failures.update(row["stage"] for row in errors)

    def less(self, before: "Published") -> "Published":
        """What is in files that took the place of others, and was not in those."""
        return Published(
            self.num_videos - before.num_videos,
            self.num_clips - before.num_clips,
            self.num_failed_clips - before.num_failed_clips,
            self.num_failures - before.num_failures,
        )

    def count(self) -> None:
        """Count them in the step that is at work."""
        for status, number in self.num_videos.items():
            VIDEOS[status].inc(number)
        for stage, number in self.num_failures.items():
            FAILURES[stage].inc(number)
        CLIPS.inc(self.num_clips)
        FAILED_CLIPS.inc(self.num_failed_clips)


_lock = threading.Lock()
_told: "weakref.WeakKeyDictionary[Decoders, tuple[int, int]]" = weakref.WeakKeyDictionary()
_told_bytes = 0


def count_reading(decoders: Decoders) -> None:
    """Count what the decoders of this process did and what it read from buckets, since this was called last.

    By whatever thread: threads share decoders and connections, and only the sums of a process are right.
    """
    global _told_bytes
    with _lock:
        packets, retries = _told.get(decoders, (0, 0))
        _told[decoders] = decoders.num_damaged_packets, decoders.num_retries
        num_bytes, _told_bytes = objects.num_bytes_read() - _told_bytes, objects.num_bytes_read()
        now_packets, now_retries = _told[decoders]
    DAMAGED_PACKETS.inc(now_packets - packets)
    DECODER_RETRIES.inc(now_retries - retries)
    BYTES_READ.inc(num_bytes)


@dataclass
class RunMetrics:
    """The sums over the pipelines of a run."""

    counters: collections.Counter[str] = field(default_factory=collections.Counter)
    distributions: dict[str, dict[str, float]] = field(default_factory=dict)
    """By name: count, sum, min and max."""

    def add(self, result: PipelineResult) -> None:
        """Add what a pipeline that has run counted."""
        found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
        for counter in found["counters"]:
            self.counters[counter.key.metric.name] += counter.result
        for distribution in found["distributions"]:
            it, one = distribution.key.metric.name, distribution.result
            if not one.count:
                continue
            sums = self.distributions.setdefault(it, {"count": 0, "sum": 0, "min": one.min, "max": one.max})
            sums["count"] += one.count
            sums["sum"] += one.sum
            sums["min"] = min(sums["min"], one.min)
            sums["max"] = max(sums["max"], one.max)

    def of(self, counter: Any) -> int:
        """One of the counters above."""
        return self.counters[counter.metric_name.name]

    def as_json(self) -> dict[str, Any]:
        """All counters and distributions, by name."""
        return dict(sorted([*self.counters.items(), *self.distributions.items()]))


def mended_shard(shard: VideoRef) -> Any:
    """The counter of a shard that is whole now and was not before; its name is the shard's."""
    return Metrics.counter(_MENDED, shard.name_key.hex())


def mended_shards(result: PipelineResult) -> list[bytes]:
    """`VideoRef.name_key` of each shard that was counted so."""
    found = result.metrics().query(MetricsFilter().with_namespace(_MENDED))["counters"]
    return [bytes.fromhex(counter.key.metric.name) for counter in found]
