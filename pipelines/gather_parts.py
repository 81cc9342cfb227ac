"""Inferred clips become the parts that travel to the publisher."""

from collections.abc import Iterator
from typing import Any, Final

import apache_beam as beam
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.inference import Inferred
from pipelines.tables import Annotation, Failure, VideoPart, encode_annotations


class GatherParts(beam.DoFn):
    """Inferred clips -> VideoParts: neighbouring clips of one video become one element.

    Works on a bundle and needs no state: the sums do not depend on where a bundle ends.
    """

    _MOST_CLIPS: Final = 1_000

    def start_bundle(self) -> None:
        self._pending: list[Inferred] = []
        self._place: tuple[Any, Any] = (None, None)

    def process(
        self,
        inferred: Inferred,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[WindowedValue]:
        if self._pending and (
            self._pending[-1].video != inferred.video
            or self._place[1] != window
            or len(self._pending) >= self._MOST_CLIPS
        ):
            yield self._gathered()
        self._pending.append(inferred)
        self._place = (timestamp, window)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._pending:
            yield self._gathered()

    def _gathered(self) -> WindowedValue:
        clips, self._pending = self._pending, []
        timestamp, window = self._place
        return WindowedValue(gather(clips), timestamp, [window])


def gather(clips: list[Inferred]) -> VideoPart:
    """One VideoPart for clips of one video."""
    annotations = [c.outcome for c in clips if isinstance(c.outcome, Annotation)]
    failures = tuple(c.outcome for c in clips if isinstance(c.outcome, Failure))
    return VideoPart(
        video=clips[0].video,
        annotations=encode_annotations(annotations) if annotations else b"",
        num_annotations=len(annotations),
        failed_clips=len(failures),
        failures=failures,
        num_valid_frames=sum(c.num_valid_frames for c in clips),
        num_valid_samples=sum(c.num_valid_samples for c in clips),
        decode_seconds=sum(c.decode_seconds for c in clips),
        inference_seconds=sum(c.inference_seconds for c in clips),
    )
