"""Streams whose messages and times are written down beforehand."""

from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.utils.timestamp import Timestamp
from makers.published import constants

from pipelines.decode_clips import DecoderPool
from pipelines.found import Found
from pipelines.index_shards import shard_reading
from pipelines.inference import ClipModelHandler
from pipelines.stream import AnnotateStream, StreamWindows

Arrival = tuple[Timestamp, Found]
"""Event time, and what is found."""


def start_stream(
    arrivals: Sequence[Arrival],
    output: Path,
    flags: Sequence[str],
    *,
    pool: DecoderPool,
    seconds_between: float,
    num_shards: int = 2,
) -> PipelineResult:
    """What arrives does so one by one; the watermark is the greatest event time so far. Publishes as run-1."""
    start = Timestamp.now()
    pipeline = beam.Pipeline(options=PipelineOptions([*flags, "--streaming"]))
    _ = (
        pipeline
        | "Arrive"
        >> PeriodicImpulse(
            start_timestamp=start,
            stop_timestamp=start + seconds_between * len(arrivals),
            fire_interval=seconds_between,
            data=list(arrivals),
        )
        | "Stream"
        >> AnnotateStream(
            pool=pool,
            handler=ClipModelHandler(bundle=None, device="cpu", tasks=("emotion",), batch_size=8),
            reading=shard_reading(bytes_column=None, key_column=None),
            window_ms=6000,
            output=str(output),
            num_shards=num_shards,
            constants=constants("run-1", keeps_versions=True),
            windows=StreamWindows(early_seconds=1),
        )
    )
    return pipeline.run()
