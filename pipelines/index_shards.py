"""Shards become the videos in them, less those that are done."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.runners.runner import PipelineResult

from mmeg_model.media.decoders import Decoders
from mmeg_model.media.errors import MediaError
from mmeg_model.media.shards import ShardReading
from mmeg_model.media.source import VideoRef
from pipelines.completed import Completed
from pipelines.decode_clips import PARTS, DecoderPool, TaggedPart
from pipelines.done_videos import DoneVideos
from pipelines.found import MEDIA_EXTENSIONS, Found
from pipelines.metrics import (
    MEMBERS_DONE_BEFORE,
    MEMBERS_OF_OTHER_KINDS,
    MEMBERS_OF_OTHER_VERSIONS,
    RunMetrics,
    count_reading,
    mended_shard,
    mended_shards,
)
from pipelines.tables import Failure, Status, VideoPart

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """A shard of a slice, and what of it is done."""

    video: VideoRef
    """The whole file."""
    status: Status | None
    """What became of the shard itself, if it could not be indexed before; None also if it is to be tried again."""
    has_row: bool
    """Whether there is a row of it, in whatever version."""
    done: DoneVideos
    """Of its members."""

    @classmethod
    def of(cls, video: VideoRef, completed: Completed) -> "Shard":
        return cls(
            video,
            completed.videos.status(video),
            completed.videos.row(video.name_key) is not None,
            completed.members_done(video.location),
        )


def shard_reading(*, bytes_column: str | None, key_column: str | None) -> ShardReading:
    """Members count as videos by the same names as files in a folder do."""
    return ShardReading(MEDIA_EXTENSIONS, bytes_column=bytes_column, key_column=key_column)


def shard_failure(errors: Sequence[MediaError]) -> Failure:
    """What is wrong with a shard as a whole, in one row."""
    return Failure("find", errors[0].error, "; ".join(error.message for error in errors))


class IndexShards(beam.DoFn):
    """Shard -> VideoRefs of its members that are still to be done; tagged `parts`, what cannot be read."""

    def __init__(self, pool: DecoderPool, reading: ShardReading) -> None:
        self._pool = pool
        self._reading = reading

    def process(self, shard: Shard) -> Iterator[VideoRef | TaggedPart]:
        errors: list[MediaError] = []
        decoders = self._pool.shared()
        for indexed in decoders.index(shard.video, self._reading, on_others=MEMBERS_OF_OTHER_KINDS.inc):
            if indexed.error is not None and indexed.video == shard.video:
                errors.append(indexed.error)
            elif (status := shard.done.status(indexed.video)) is not None:
                MEMBERS_DONE_BEFORE[status].inc()
                MEMBERS_OF_OTHER_VERSIONS.inc(int(shard.done.is_other_version(indexed.video)))
            elif indexed.error is not None:
                _log.info("%s: %s", indexed.video.label, indexed.error)
                failure = Failure.of(indexed.error)
                yield TaggedOutput(PARTS, VideoPart(indexed.video, failures=(failure,)))
            else:
                yield indexed.video
        count_reading(decoders)
        if not errors and shard.has_row:
            mended_shard(shard.video).inc()
        if errors and shard.status is not None:
            MEMBERS_DONE_BEFORE[shard.status].inc()
        elif errors:
            _log.info("%s: %s", shard.video.label, shard_failure(errors).message)
            yield TaggedOutput(PARTS, VideoPart(shard.video, failures=(shard_failure(errors),)))


@dataclass(frozen=True)
class MembersPassedOver:
    """Members of shards that became no rows."""

    done_before: dict[Status, int]
    num_other_versions: int
    """Of those that are done: whose version is another one now."""
    num_others: int
    """Neither video nor sound by their names."""
    mended: list[bytes]
    """`VideoRef.name_key` of shards that are whole now, and whose rows speak of what was wrong with them."""

    @classmethod
    def of(cls, result: PipelineResult) -> "MembersPassedOver":
        """What `IndexShards` counted in a pipeline that has run."""
        metrics = RunMetrics()
        metrics.add(result)
        return cls(
            {status: metrics.of(counter) for status, counter in MEMBERS_DONE_BEFORE.items()},
            metrics.of(MEMBERS_OF_OTHER_VERSIONS),
            metrics.of(MEMBERS_OF_OTHER_KINDS),
            mended_shards(result),
        )


def members_of(shard: VideoRef, decoders: Decoders, reading: ShardReading) -> Iterator[Found]:
    """The members of a shard in its order, found outside a pipeline, and last what is wrong with it."""
    errors: list[MediaError] = []
    for indexed in decoders.index(shard, reading):
        if indexed.error is None:
            yield Found(indexed.video, indexed.video.num_bytes or 0)
        elif indexed.video == shard:
            errors.append(indexed.error)
        else:
            yield Found(indexed.video, failure=Failure.of(indexed.error))
    if errors:
        yield Found(shard, failure=shard_failure(errors))
