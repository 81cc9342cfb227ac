"""The main pipeline: video references in, three Parquet tables out."""

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from mmeg_model.media.shards import ShardReading
from mmeg_model.media.source import VideoRef
from pipelines.dataflow import resource_hints
from pipelines.decode_clips import PARTS, DecodeClips, DecoderPool, PlanSpans, Span
from pipelines.gather_parts import GatherParts
from pipelines.index_shards import IndexShards, Shard
from pipelines.inference import ClipModelHandler
from pipelines.options import AnnotateOptions
from pipelines.outcomes import RunConstants
from pipelines.publish import PublishShards
from pipelines.slice_list import SliceList
from pipelines.spread import Spread, spread_key
from pipelines.tables import VideoPart


class AnnotateSpans(beam.PTransform):
    """Spans -> VideoParts: decode, infer, gather, as one fused stage, so that no pixel crosses a shuffle.

    Resource hints belong on this composite: on a step inside they would cut the stage in two.
    """

    def __init__(self, *, pool: DecoderPool, handler: ClipModelHandler) -> None:
        super().__init__()
        self._pool = pool
        self._handler = handler

    def expand(self, spans: beam.PCollection[Span]) -> beam.PCollection[VideoPart]:
        decoded = spans | "Decode" >> beam.ParDo(DecodeClips(self._pool)).with_outputs(PARTS, main="clips")
        inferred = (
            decoded["clips"]
            | "Infer" >> RunInference(self._handler)
            | "Gather" >> beam.ParDo(GatherParts()).with_output_types(VideoPart)
        )
        return (decoded[PARTS], inferred) | "Outcomes" >> beam.Flatten()


class AnnotateVideos(beam.PTransform):
    """VideoRefs -> VideoParts, whose sum for each video is its outcome."""

    def __init__(self, *, pool: DecoderPool, handler: ClipModelHandler, window_ms: int) -> None:
        super().__init__()
        self._pool = pool
        self._handler = handler
        self._window_ms = window_ms

    def expand(self, videos: beam.PCollection[VideoRef]) -> beam.PCollection[VideoPart]:
        planned = videos | "Plan" >> beam.ParDo(
            PlanSpans(self._pool, window_ms=self._window_ms)
        ).with_outputs(PARTS, main="spans")
        hints = resource_hints(videos.pipeline.options.view_as(AnnotateOptions))
        annotated = (
            planned["spans"]
            # Spans are cheap to move, pixels are not: decoded only behind this.
            | "Spread" >> Spread(lambda span: spread_key(span.video, span.first_clip_index))
            | "Annotate spans"
            >> AnnotateSpans(pool=self._pool, handler=self._handler).with_resource_hints(**hints)
        )
        return (planned[PARTS], annotated) | "All parts" >> beam.Flatten()


def build_pipeline(
    pipeline: beam.Pipeline,
    *,
    videos: Sequence[VideoRef],
    shards: Sequence[Shard],
    reading: ShardReading,
    not_found: Sequence[VideoPart],
    pool: DecoderPool,
    handler: ClipModelHandler,
    window_ms: int,
    output: str,
    slice_index: int,
    num_shards: int,
    constants: RunConstants,
) -> None:
    """Lay out one slice: annotate `videos` and what is in `shards`, and publish their rows beside those of what was
    not found.
    """
    of_slice = f"run={constants.run_id}/{{}}-{slice_index:06d}"
    loose = pipeline | "Videos" >> SliceList(videos, output=output, name=of_slice.format("videos"))
    indexed = (
        pipeline
        | "Shards" >> SliceList(shards, output=output, name=of_slice.format("shards"))
        | "Index" >> beam.ParDo(IndexShards(pool, reading)).with_outputs(PARTS, main="members")
    )
    members = indexed["members"] | "Spread members" >> Spread(spread_key)
    parts = (
        (loose, members)
        | "All videos" >> beam.Flatten()
        | "Annotate" >> AnnotateVideos(pool=pool, handler=handler, window_ms=window_ms)
    )
    missing = pipeline | "Not found" >> beam.Create(not_found)
    publish = PublishShards(
        output=output, slice_index=slice_index, num_shards=num_shards, constants=constants
    )
    _ = (indexed[PARTS], parts, missing) | "Every outcome" >> beam.Flatten() | "Publish" >> publish
