"""What panes count, which hold again what earlier ones held; batch runs are in tests/end_to_end/test_metrics.py."""

from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from makers.published import constants, failed, ok

from mmeg_model.media.source import VideoRef
from pipelines import metrics
from pipelines.metrics import RunMetrics
from pipelines.panes import PublishPanes
from pipelines.tables import VideoPart

A, B, C = (VideoRef(f"/{name}.mp4", "1") for name in "abc")


def run_panes(output: Path, parts: Sequence[VideoPart], sums: RunMetrics) -> None:
    """A pane of a window, over what earlier ones left."""
    pipeline = beam.Pipeline(runner="FnApiRunner")
    publish = PublishPanes(
        output=str(output), num_shards=1, constants=constants("run-1", keeps_versions=True)
    )
    _ = (
        pipeline
        | beam.Create(parts)
        | beam.Map(lambda part: TimestampedValue(part, 60))
        | beam.WindowInto(FixedWindows(600))
        | publish
    )
    result = pipeline.run()
    result.wait_until_finish()
    sums.add(result)


def test_a_video_counts_once_however_many_panes_hold_it(tmp_path: Path) -> None:
    sums = RunMetrics()
    run_panes(tmp_path, [ok(A)], sums)
    assert sums.counters["videos_ok"] == 1
    run_panes(tmp_path, [ok(A), failed(B), ok(C)], sums)
    run_panes(tmp_path, [ok(A), failed(B), ok(C)], sums)
    counted = {name: number for name, number in sums.counters.items() if number}
    assert counted == {"videos_ok": 2, "videos_failed": 1, "clips": 4, "failures_find": 1}


def test_the_page_for_operators_names_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    counters = [
        *metrics.VIDEOS.values(), *metrics.FAILURES.values(), *metrics.MEMBERS_DONE_BEFORE.values(),
        *(value for value in vars(metrics).values() if hasattr(value, "metric_name")),
    ]  # fmt: skip
    names = {counter.metric_name.name for counter in counters}
    assert len(names) > 15
    assert {name for name in names if f"`{name}`" not in page} == set()
