"""A corpus -> shards of decoded clips, by the decoder and in the child processes that annotation uses.

Two pipelines: the first measures the utterances and writes down which go into which shard; the second writes the
shards that are not there yet. Between their stages travel utterances, never clips.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import apache_beam as beam

from mmeg_model.clip import FRAME_MS, FRAME_SIZE, SAMPLES_PER_FRAME, Clip, num_frames_between
from mmeg_model.corpora.decoded import decode_utterance, window_in
from mmeg_model.corpora.shards import FORMAT_VERSION, NotDecoded, shard_name, write_shard
from mmeg_model.corpora.utterance import CorpusReading, Excerpt, TablePicture, Utterance
from mmeg_model.media import DECODE_VERSION
from mmeg_model.media.crop import Crop
from mmeg_model.media.errors import MediaError
from mmeg_model.media.source import VideoRef, local_version
from mmeg_model.whole import written_whole
from pipelines.decode_clips import DecoderPool

PLAN_NAME: Final = "plan.json"

_PICTURE_BYTES: Final = FRAME_SIZE * FRAME_SIZE * 3 + 1  # of 40 ms, with its mask
_SOUND_BYTES: Final = SAMPLES_PER_FRAME * 3


@dataclass(frozen=True)
class CorpusPlan:
    """Which utterances of a corpus go into which shard: so many, in their order, into each."""

    request: str
    """What was to be prepared, see `request_of`."""
    shard_sizes: tuple[int, ...]

    def write(self, folder: Path) -> None:
        """Write it into the folder of the shards.

        Raises:
            OSError: if that cannot be.
        """
        with written_whole(folder / PLAN_NAME) as file:
            file.write(json.dumps({"request": self.request, "shard_sizes": self.shard_sizes}).encode())

    @classmethod
    def read(cls, folder: Path) -> "CorpusPlan | None":
        """Read the plan of a folder of shards; None if there is none.

        Raises:
            ValueError: if it is damaged.
        """
        try:
            plain = json.loads((folder / PLAN_NAME).read_bytes())
            return cls(plain["request"], tuple(plain["shard_sizes"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{folder / PLAN_NAME} is damaged; remove {folder} and prepare it anew"
            ) from error


@dataclass(frozen=True)
class Shard:
    """A shard that is to be written."""

    file: Path
    utterances: tuple[Utterance, ...]
    excluded: Mapping[str, int]


def request_of(reading: CorpusReading) -> str:
    """A hash of all that decides what the shards of a corpus hold: utterances, versions of files, the decoder's.

    Raises:
        OSError: if a file is not there.
    """
    version = cache(lambda path: local_version(path.stat()))
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{FORMAT_VERSION} {DECODE_VERSION} {sorted(reading.excluded.items())}".encode())
    for u in reading.utterances:
        sound = u.part.sound if isinstance(u.part, Excerpt) else None
        line = f"{u} {version(u.path)} {sound and version(sound)}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def plan_shards(sizes: Sequence[int], *, shard_bytes: int) -> list[int]:
    """How many utterances go into each shard, so that none has more than shard_bytes unless it holds but one."""
    counts: list[int] = []
    num_bytes = 0
    for size in sizes:
        if not counts or num_bytes + size > shard_bytes:
            counts.append(0)
            num_bytes = 0
        counts[-1] += 1
        num_bytes += size
    return counts


def shards_to_write(folder: Path, reading: CorpusReading, plan: CorpusPlan) -> Iterator[Shard]:
    """The shards of a plan that are not in the folder yet."""
    first = 0
    for number, size in enumerate(plan.shard_sizes):
        file = folder / shard_name(number, len(plan.shard_sizes))
        if not file.exists():
            yield Shard(file, reading.utterances[first : first + size], dict(reading.excluded))
        first += size


def measure(utterance: Utterance, pool: DecoderPool) -> int:
    """How many bytes its decoded clip will have, about; 0 if its file cannot be opened."""
    if isinstance(utterance.part, TablePicture):
        return _PICTURE_BYTES
    start_ms, end_ms = 0, None
    if isinstance(utterance.part, Excerpt):
        start_ms, end_ms = utterance.part.start_ms, utterance.part.end_ms
    if end_ms is None:
        try:
            end_ms = pool.shared().probe(_ref(utterance.path)).duration_ms
        except MediaError:  # it will be told when it is to be decoded
            return 0
    bytes_per_frame = _SOUND_BYTES + (_PICTURE_BYTES if utterance.has_picture else 0)
    return num_frames_between(start_ms, max(end_ms, start_ms + FRAME_MS)) * bytes_per_frame


def decode(utterance: Utterance, pool: DecoderPool) -> Clip | NotDecoded:
    """Decode an utterance in a child process."""

    def decode_file(path: Path, start_ms: int, end_ms: int | None, crop: Crop) -> Clip:
        decoders, video = pool.shared(), _ref(path)
        info = decoders.probe(video)
        (clip,) = decoders.decode(video, info, [window_in(info, start_ms, end_ms)], crop=crop)
        return clip

    try:
        return decode_utterance(utterance, decode_file)
    except (MediaError, OSError) as error:
        return NotDecoded(str(error))


def _ref(path: Path) -> VideoRef:
    return VideoRef(str(path.absolute()))


@dataclass
class PlanCorpora(beam.PTransform):
    """(folder, number, utterance) -> a plan in each folder."""

    requests: Mapping[Path, str]
    shard_bytes: int
    pool: DecoderPool

    def _measure(self, element: tuple[str, int, Utterance]) -> tuple[str, tuple[int, int]]:
        folder, number, utterance = element
        return folder, (number, measure(utterance, self.pool))

    def _write(self, measured: tuple[str, Iterable[tuple[int, int]]]) -> None:
        folder, sizes = Path(measured[0]), [size for _, size in sorted(measured[1])]
        counts = plan_shards(sizes, shard_bytes=self.shard_bytes)
        CorpusPlan(self.requests[folder], tuple(counts)).write(folder)

    def expand(self, utterances: beam.PCollection[tuple[str, int, Utterance]]) -> beam.PCollection[None]:
        return (
            utterances
            | "Spread utterances" >> beam.Reshuffle()
            | "Measure" >> beam.Map(self._measure)
            | "Group by folder" >> beam.GroupByKey()
            | "Write plan" >> beam.Map(self._write)
        )


@dataclass
class WriteShards(beam.PTransform):
    """Shards -> files; decoding and writing are one stage, so that no clip crosses a shuffle."""

    pool: DecoderPool

    def _write(self, shard: Shard) -> None:
        examples = ((utterance, decode(utterance, self.pool)) for utterance in shard.utterances)
        write_shard(shard.file, examples, excluded=shard.excluded)

    def expand(self, shards: beam.PCollection[Shard]) -> beam.PCollection[None]:
        return shards | "Spread shards" >> beam.Reshuffle() | "Decode and write" >> beam.Map(self._write)
