import contextlib
import wave
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.translations import Stage
from makers.published import INFO

from mmeg_model.media.decoders import DecoderLimits
from mmeg_model.media.source import VideoRef, local_version
from mmeg_model.media.windows import WINDOW_MS
from pipelines.annotate import LONG_MS, AnnotateVideos, build_pipeline, is_of_long
from pipelines.completed import NOTHING_COMPLETED
from pipelines.decode_clips import DecoderPool, Span
from pipelines.index_shards import Shard, shard_reading
from pipelines.inference import ClipModelHandler
from pipelines.metrics import DECODED_CLIPS
from pipelines.outcomes import RunConstants


def optimised_stages() -> list[Stage]:
    """The stages as a runner executes them, after fusion; nothing is run."""
    pipeline = beam.Pipeline(runner="FnApiRunner")
    build_pipeline(
        pipeline,
        videos=[VideoRef("/v.mp4", "1")],
        shards=[Shard.of(VideoRef("/s.tar", "1"), NOTHING_COMPLETED)],
        reading=shard_reading(bytes_column=None, key_column=None),
        not_found=[],
        pool=DecoderPool(1, DecoderLimits(deadline_seconds=10, memory_bytes=1 << 30)),
        handler=ClipModelHandler(bundle=None, device="cpu", tasks=("emotion",), batch_size=8),
        window_ms=WINDOW_MS,
        output="/nowhere",
        slice_index=0,
        num_shards=2,
        constants=RunConstants("run", "model", "m", "s", "{}", "0"),
    )
    proto: beam_runner_api_pb2.Pipeline = pipeline.to_runner_api()
    _, stages = FnApiRunner().create_stages(proto)
    return list(stages)


def stage_of(stages: list[Stage], step: str) -> Stage:
    found = [stage for stage in stages if any(step in t.unique_name for t in stage.transforms)]
    assert len(found) == 1, [stage.name for stage in found]
    return found[0]


def test_decode_inference_and_rows_are_one_fused_stage() -> None:
    stages = optimised_stages()
    stage = stage_of(stages, "Annotate spans/Decode")
    names = [t.unique_name for t in stage.transforms]
    for step in ("Annotate spans/Infer/BatchElements", "BeamML_RunInference", "Annotate spans/Gather"):
        assert any(step in name for name in names), (step, names)
    assert stage is not stage_of(stages, "Annotate/Plan")
    assert stage_of(stages, "Index") is not stage_of(stages, "Annotate/Plan")


def test_only_references_and_parts_cross_a_shuffle() -> None:
    grouped = [
        t.unique_name
        for stage in optimised_stages()
        for t in stage.transforms
        if t.spec.urn == common_urns.primitives.GROUP_BY_KEY.urn
    ]
    assert not [name for name in grouped if "Annotate spans" in name]


def test_the_model_is_not_pickled_with_the_pipeline() -> None:
    import pickle

    handler = ClipModelHandler(bundle=None, device="cpu", tasks=("emotion",), batch_size=8)
    assert len(pickle.dumps(handler)) < 2_000


def test_spans_of_long_videos_have_a_stage_of_their_own_in_a_stream() -> None:
    """What comes behind an hour-long video does not stand in line with its spans."""
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = (
        pipeline
        | beam.Create([VideoRef("/v.mp4", "1")])
        | AnnotateVideos(
            pool=DecoderPool(1, DecoderLimits(deadline_seconds=10, memory_bytes=1 << 30)),
            handler=ClipModelHandler(bundle=None, device="cpu", tasks=("emotion",), batch_size=8),
            window_ms=WINDOW_MS,
            long_apart=True,
        )
    )
    _, stages = FnApiRunner().create_stages(pipeline.to_runner_api())
    of_short = stage_of(stages, "Annotate spans/Decode")
    of_long = stage_of(stages, "Annotate spans of long videos/Decode")
    assert of_short is not of_long
    for stage, which in ((of_short, ""), (of_long, " of long videos")):
        names = [t.unique_name for t in stage.transforms]
        assert any(f"Annotate spans{which}/Infer/BeamML_RunInference" in name for name in names), names


@pytest.mark.parametrize(("duration_ms", "is_long"), [(LONG_MS, False), (LONG_MS + 1, True)])
def test_a_video_is_long_from_five_minutes_on(duration_ms: int, is_long: bool) -> None:
    info = replace(INFO, duration_ms=duration_ms)
    assert is_of_long(Span(VideoRef("/v.mp4", "1"), info, 0, ((0, 6000),))) == is_long


def test_the_spans_of_a_long_video_are_decoded_there(tmp_path: Path) -> None:
    videos = []
    for name, num_seconds in (("short.wav", 6), ("long.wav", 301)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8_000)
            file.writeframes(bytes(2 * 8_000 * num_seconds))
        videos.append(VideoRef(str(tmp_path / name), local_version((tmp_path / name).stat())))
    pool = DecoderPool(1, DecoderLimits(deadline_seconds=60, memory_bytes=1 << 30))
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = (
        pipeline
        | beam.Create(videos)
        | AnnotateVideos(
            pool=pool,
            handler=ClipModelHandler(bundle=None, device="cpu", tasks=("emotion",), batch_size=8),
            window_ms=WINDOW_MS,
            long_apart=True,
        )
    )
    with contextlib.closing(pool):
        result = pipeline.run()
    decoded = result.metrics().query(MetricsFilter().with_name(DECODED_CLIPS.metric_name.name))["counters"]
    assert {counter.key.step.split("/")[1]: counter.result for counter in decoded} == {
        "Annotate spans": 1,
        "Annotate spans of long videos": 51,  # the last second is a clip of its own
    }
