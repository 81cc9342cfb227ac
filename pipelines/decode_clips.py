"""Video references become spans, and spans, behind the reshuffle, clips."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from mmeg_model.clip import Clip
from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef
from mmeg_model.media.windows import SPAN_MS, Window, fixed_windows, group_into_spans
from pipelines.cores import num_cores
from pipelines.inference import DecodedClip
from pipelines.metrics import DECODE_MS, DECODED_CLIPS, DECODED_MS, count_reading
from pipelines.tables import Failure, VideoPart

_log = logging.getLogger(__name__)

PARTS: Final = "parts"
"""The tag of what goes straight to the publisher."""
TaggedPart: TypeAlias = TaggedOutput[Literal["parts"], VideoPart]

LONGEST_OVERSTATEMENT_MS = 1_000
"""A header that states more than this past the real end promises something that is not there."""


@dataclass(frozen=True)
class Span:
    """Neighbouring windows of one video: the unit of decoding and of its retry."""

    video: VideoRef
    info: VideoInfo
    first_clip_index: int
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class DecoderPool:
    """How the decoders of a process are set up; equal values share one set of children."""

    num_decoders: int | None
    """None: as many as the process that uses them has cores."""
    limits: DecoderLimits

    @property
    def size(self) -> int:
        """How many there are at most in this process."""
        return self.num_decoders or num_cores()

    def shared(self) -> Decoders:
        """The children of this process, made ready at the first call and kept over pipelines."""
        with _lock:
            if self not in _decoders:
                _decoders[self] = Decoders(num_decoders=self.size, limits=self.limits)
            return _decoders[self]

    def close(self) -> None:
        """End the children of this process, also those at work; a later call of `shared` makes new ones."""
        with _lock:
            decoders = _decoders.pop(self, None)
        if decoders is not None:
            decoders.close()


# In an imported module, since the globals of a launching script are copied when DoFns are pickled.
_decoders: dict[DecoderPool, Decoders] = {}
_lock = threading.Lock()


def plan_spans(video: VideoRef, info: VideoInfo, *, window_ms: int) -> list[Span]:
    """Cut a video into windows, and group neighbouring windows into spans of about a minute."""
    spans, first_clip_index = [], 0
    for windows in group_into_spans(fixed_windows(info.duration_ms, window_ms=window_ms), span_ms=SPAN_MS):
        spans.append(Span(video, info, first_clip_index, tuple(windows)))
        first_clip_index += len(windows)
    return spans


def broken_promises(info: VideoInfo) -> tuple[Failure, ...]:
    """What the header of a container with an index states and its packets do not keep."""
    stated_ms = info.stated_duration_ms
    if stated_ms is None or stated_ms <= info.duration_ms + LONGEST_OVERSTATEMENT_MS:
        return ()
    message = (
        f"the header states {stated_ms / 1000:.3f} s, but the last packet ends at "
        f"{info.duration_ms / 1000:.3f} s: the end of the file is missing"
    )
    return (Failure("probe", "ShorterThanStated", message, info.duration_ms, stated_ms),)


class PlanSpans(beam.DoFn):
    """VideoRef -> Spans; and, tagged `parts`, the VideoPart that says what is planned or why nothing is."""

    def __init__(self, pool: DecoderPool, *, window_ms: int) -> None:
        self._pool = pool
        self._window_ms = window_ms

    def process(self, video: VideoRef) -> Iterator[Span | TaggedPart]:
        decoders = self._pool.shared()
        try:
            info = decoders.probe(video)
        except MediaError as error:
            _log.info("%s: %s", video.label, error)
            yield TaggedOutput(PARTS, VideoPart(video, failures=(Failure.of(error),)))
            return
        finally:
            count_reading(decoders)
        spans = plan_spans(video, info, window_ms=self._window_ms)
        num_clips = sum(len(span.windows) for span in spans)
        part = VideoPart(video, info=info, planned_clips=num_clips, failures=broken_promises(info))
        yield TaggedOutput(PARTS, part)
        yield from spans


class DecodeClips(beam.DoFn):
    """Span -> DecodedClips, as they come from a child process; tagged `parts`, what could not be decoded."""

    def __init__(self, pool: DecoderPool) -> None:
        self._pool = pool

    def process(self, span: Span) -> Iterator[DecodedClip | TaggedPart]:
        num_done = 0
        empty: list[Clip] = []
        cpu_seconds: list[float] = []
        decoders = self._pool.shared()
        clips = decoders.decode(span.video, span.info, span.windows, on_cpu_seconds=cpu_seconds.append)
        try:
            for clip in clips:
                clip_index = span.first_clip_index + num_done
                num_done += 1
                DECODED_CLIPS.inc()
                DECODED_MS.inc(clip.end_ms - clip.start_ms)
                DECODE_MS.update(round(1000 * cpu_seconds[-1]))
                if clip.has_audio or clip.has_video:
                    yield DecodedClip(span.video, clip_index, clip, cpu_seconds[-1])
                else:
                    empty.append(clip)
        except MediaError as error:
            if lost := span.windows[num_done:]:  # else the file broke off behind what was wanted
                _log.info("%s, from %.3f s: %s", span.video.label, lost[0][0] / 1000, error)
                failure = Failure.of(error, start_ms=lost[0][0], end_ms=lost[-1][1])
                yield TaggedOutput(PARTS, VideoPart(span.video, failed_clips=len(lost), failures=(failure,)))
        finally:
            count_reading(decoders)
        if empty:
            message = (
                f"neither picture nor sound could be decoded for {len(empty)} of {len(span.windows)} clips"
            )
            failure = Failure("decode", "NothingDecoded", message, empty[0].start_ms, empty[-1].end_ms)
            yield TaggedOutput(PARTS, VideoPart(span.video, failed_clips=len(empty), failures=(failure,)))
