from collections.abc import Iterable

from apache_beam.transforms.window import IntervalWindow
from apache_beam.utils.windowed_value import WindowedValue

from mmeg_model.media.source import VideoRef
from pipelines.gather_parts import GatherParts
from pipelines.inference import Inferred
from pipelines.tables import Annotation, Failure, VideoPart, decode_annotations

EARLY, LATE = IntervalWindow(0, 600), IntervalWindow(600, 1200)


def inferred(name: str, index: int, *, failed: bool = False) -> Inferred:
    annotation = Annotation(
        index, 6000 * index, 6000 * (index + 1), "video", {"emotion": (0.1, 0.2, 0.3, 0.4)}
    )
    failure = Failure("infer", "NotFinite", "no", 6000 * index, 6000 * (index + 1))
    return Inferred(VideoRef(name, "1"), failure if failed else annotation, 150, 96_000, 0.5, 0.25)


def gathered(clips: Iterable[tuple[Inferred, IntervalWindow]]) -> list[WindowedValue]:
    """What a bundle of these gives."""
    gather = GatherParts()
    gather.start_bundle()
    parts = [part for clip, window in clips for part in gather.process(clip, window.start, window)]
    return [*parts, *gather.finish_bundle()]


def test_neighbouring_clips_of_a_video_become_one_part() -> None:
    clips = [inferred("/a", 0), inferred("/a", 1, failed=True), inferred("/a", 2), inferred("/b", 0)]
    a, b = gathered((clip, EARLY) for clip in clips)
    part: VideoPart = a.value
    assert (part.video, part.num_annotations, part.failed_clips) == (VideoRef("/a", "1"), 2, 1)
    assert (part.decode_seconds, part.inference_seconds, part.num_valid_frames) == (1.5, 0.75, 450)
    assert [f.error for f in part.failures] == ["NotFinite"]
    rows = decode_annotations(part.annotations).to_pylist()
    assert [row["clip_index"] for row in rows] == [0, 2]
    assert [row["perceived_emotion"] for row in rows] == ["sadness"] * 2
    assert b.value.video == VideoRef("/b", "1")


def test_windows_are_kept_apart_and_kept() -> None:
    early, late = gathered([(inferred("/a", 0), EARLY), (inferred("/a", 1), LATE)])
    assert list(early.windows) == [EARLY]
    assert (early.timestamp, late.timestamp) == (EARLY.start, LATE.start)
    assert list(late.windows) == [LATE]
    assert (early.value.num_annotations, late.value.num_annotations) == (1, 1)


def test_a_bundle_without_clips_gives_nothing() -> None:
    assert gathered([]) == []


def test_parts_stay_small() -> None:
    parts = gathered((inferred("/a", i), EARLY) for i in range(2_500))
    assert [part.value.num_annotations for part in parts] == [1000, 1000, 500]
