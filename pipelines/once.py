"""The gate of a stream: whatever is found again, and delivered again, goes through once."""

import functools
import hashlib
from collections.abc import Iterator
from typing import Any, Final

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from mmeg_model.media.objects import SCHEME
from pipelines.completed import Completed, read_completed
from pipelines.decode_clips import PARTS
from pipelines.done_videos import Retake
from pipelines.found import Found
from pipelines.index_shards import Shard
from pipelines.output_folder import output_folder
from pipelines.tables import VideoPart

SHARDS: Final = "shards"
_PASSED: Final = -1
_FIRST_SEEN: Final = beam.DoFn.StateParam(ReadModifyWriteStateSpec("first_seen", VarIntCoder()))


def gate_key(found: Found) -> bytes:
    """16 bytes that name a video in its version; of a failure that belongs to no video, what it says."""
    if found.video is not None:
        return found.video.key
    assert found.failure is not None
    return hashlib.blake2b(found.failure.message.encode(), digest_size=16).digest()


def needs_second_look(found: Found) -> bool:
    """Whether it may still be being written: a local file, while an object appears when it is whole."""
    return found.video is not None and not found.video.location.startswith(SCHEME)


@functools.lru_cache(maxsize=1)  # for all threads of a worker
def _completed_before(output: str, run_id: str) -> Completed:
    return read_completed(output_folder(output), before=run_id, retake=Retake(changed=True))


class PassOnce(beam.DoFn):
    """(gate_key, Found) -> Found, the first time.

    In the global window, so that its state lasts as long as the pipeline: some 20 bytes for each video. It has no
    time to live, on purpose: a folder yields a file at every poll for as long as it lies there, and Pub/Sub may
    deliver a message again after a month. A local file passes when a second poll finds it in the same version.
    """

    def __init__(self) -> None:
        self._repeated = Metrics.counter("stream", "repeated")

    def process(
        self,
        keyed: tuple[bytes, Found],
        timestamp: Any = beam.DoFn.TimestampParam,
        state: Any = _FIRST_SEEN,
    ) -> Iterator[Found]:
        _, found = keyed
        first_seen = state.read()
        if first_seen == _PASSED:
            self._repeated.inc()
        elif needs_second_look(found) and first_seen in (None, timestamp.micros):
            state.write(timestamp.micros)
        else:
            state.write(_PASSED)
            yield found


class SortOut(beam.DoFn):
    """Found -> VideoRefs that no earlier run has published; tagged, shards, and the parts of what cannot be annotated.

    The tables of this run are not looked at: a worker that begins anew in the middle would miss what was published
    behind the last checkpoint, and is not in the state of the publisher.
    """

    def __init__(self, *, output: str, run_id: str) -> None:
        self._output = output
        self._run_id = run_id

    def setup(self) -> None:
        self._completed = _completed_before(self._output, self._run_id)

    def process(self, found: Found) -> Iterator[Any]:
        video = found.video
        if found.failure is not None:
            yield TaggedOutput(PARTS, VideoPart(video, failures=(found.failure,)))
        elif video is not None and found.is_shard:
            yield TaggedOutput(SHARDS, Shard.of(video, self._completed))
        elif video is not None and not self._completed.has_version(video):
            yield video
