"""The main pipeline: video references in, three Parquet tables out."""

from collections.abc import Sequence
from typing import Final

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

LONG_MS: Final = 300_000
"""A longer video is long where that matters: more than five spans, each some seconds of decoding."""


def is_of_long(span: Span) -> bool:
    """Whether a span is one of a long video."""
    return span.info.duration_ms > LONG_MS


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

    def __init__(
        self, *, pool: DecoderPool, handler: ClipModelHandler, window_ms: int, long_apart: bool = False
    ) -> None:
        """Nothing runs yet.

        Args:
            pool: decodes.
            handler: annotates.
            window_ms: of a clip.
            long_apart: whether the spans of long videos get a stage of their own, so that those of others, which come
                later, need not wait for them: runners take the elements of a stage in turn.
        """
        super().__init__()
        self._long_apart = long_apart
        self._pool = pool
        self._handler = handler
        self._window_ms = window_ms

    def expand(self, videos: beam.PCollection[VideoRef]) -> beam.PCollection[VideoPart]:
        planned = videos | "Plan" >> beam.ParDo(
            PlanSpans(self._pool, window_ms=self._window_ms)
        ).with_outputs(PARTS, main="spans")
        spans = {"": planned["spans"]}
        if self._long_apart:
            of_short, of_long = planned["spans"] | "Part" >> beam.Partition(
                lambda span, _: int(is_of_long(span)), 2
            )
            spans = {"": of_short, " of long videos": of_long}
        annotated = [self._annotated(some, which) for which, some in spans.items()]
        return (planned[PARTS], *annotated) | "All parts" >> beam.Flatten()

    def _annotated(self, spans: beam.PCollection[Span], which: str) -> beam.PCollection[VideoPart]:
        hints = resource_hints(spans.pipeline.options.view_as(AnnotateOptions))
        return (
            spans
            # Spans are cheap to move, pixels are not: decoded only behind this.
            | f"Spread{which}" >> Spread(lambda span: spread_key(span.video, span.first_clip_index))
            | f"Annotate spans{which}"
            >> AnnotateSpans(pool=self._pool, handler=self._handler).with_resource_hints(**hints)
        )


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
