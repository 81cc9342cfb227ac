"""One run over what was found: slice after slice on this machine, with model and decoders kept alive."""

import collections
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from pipelines.annotate import build_pipeline
from pipelines.completed import Completed
from pipelines.decode_clips import DecoderPool
from pipelines.find_videos import Found
from pipelines.inference import ClipModelHandler
from pipelines.outcomes import RunConstants
from pipelines.slices import SliceLimits, cut_into_slices
from pipelines.tables import Status, VideoPart

LOCAL_RUNNER = "FnApiRunner"


@dataclass
class RunSummary:
    """What a run did, as its published tables say."""

    num_videos: collections.Counter[Status] = field(default_factory=collections.Counter)
    num_done_before: collections.Counter[Status] = field(default_factory=collections.Counter)
    num_other_versions: int = 0
    num_clips: int = 0
    num_failed_clips: int = 0
    num_unnamed_failures: int = 0
    annotated_seconds: float = 0.0
    failures: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)

    @property
    def all_ok(self) -> bool:
        """Whether every input given is ok, now or before."""
        others = sum(
            count
            for counts in (self.num_videos, self.num_done_before)
            for s, count in counts.items()
            if s != "ok"
        )
        return not others and not self.num_unnamed_failures

    def add_published(self, output: Path, run_id: str, slice_index: int) -> None:
        """Count what the files of one slice hold."""
        name = f"run={run_id}/slice-{slice_index:06d}-*.parquet"
        for path in (output / "videos").glob(name):
            for row in pq.read_table(
                path, columns=["status", "clips", "failed_clips", "duration_seconds"]
            ).to_pylist():
                self.num_videos[row["status"]] += 1
                self.num_clips += row["clips"] - row["failed_clips"]
                self.num_failed_clips += row["failed_clips"]
                if row["status"] != "failed":
                    self.annotated_seconds += row["duration_seconds"]
        for path in (output / "errors").glob(name):
            for row in pq.read_table(path, columns=["video_uri", "stage", "error"]).to_pylist():
                self.failures[row["stage"], row["error"]] += 1
                self.num_unnamed_failures += row["video_uri"] is None


def new_run_id() -> str:
    """A name that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def still_to_do(
    found: Iterable[Found], completed: Completed, summary: RunSummary, *, limit: int | None
) -> Iterator[Found]:
    """Leave out, and count, what is done; stop behind the first `limit` videos that are not."""
    num_videos = 0
    for item in found:
        if item.video is not None:
            status = completed.status(item.video)
            if status is not None:
                summary.num_done_before[status] += 1
                summary.num_other_versions += completed.is_other_version(item.video)
                continue
            if num_videos == limit:
                continue
            num_videos += 1
        yield item


def run_slices(
    found: Iterable[Found],
    *,
    output: Path,
    constants: RunConstants,
    pool: DecoderPool,
    handler: ClipModelHandler,
    window_ms: int,
    num_shards: int,
    limits: SliceLimits,
    options: PipelineOptions,
    summary: RunSummary,
    on_slice: Callable[[list[Found]], None],
    on_published: Callable[[list[Found]], None],
) -> None:
    """Annotate and publish slice after slice; what was published stands, whatever comes after.

    Raises:
        Exception: whatever ended a pipeline, such as a full disk.
    """
    if options.view_as(StandardOptions).runner in (None, LOCAL_RUNNER):
        options.view_as(StandardOptions).runner = LOCAL_RUNNER
        options.view_as(DirectOptions).direct_num_workers = pool.num_decoders
        options.view_as(DirectOptions).direct_running_mode = "in_memory"
    for slice_index, items in enumerate(cut_into_slices(found, limits)):
        on_slice(items)
        with beam.Pipeline(options=options) as pipeline:
            build_pipeline(
                pipeline,
                videos=[i.video for i in items if i.video is not None and i.failure is None],
                not_found=[VideoPart(i.video, failures=(i.failure,)) for i in items if i.failure is not None],
                pool=pool,
                handler=handler,
                window_ms=window_ms,
                output=str(output),
                slice_index=slice_index,
                num_shards=num_shards,
                constants=constants,
            )
        summary.add_published(output, constants.run_id, slice_index)
        on_published(items)
    logging.getLogger(__name__).debug("%s: all slices are published", constants.run_id)
