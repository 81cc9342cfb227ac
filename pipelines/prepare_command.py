"""`mmeg prepare`: from arguments to an exit status."""

import argparse
import contextlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from mmeg_model.corpora import read_corpus
from mmeg_model.corpora.shards import SHARDS_GLOB, failures_in, shards_of
from mmeg_model.corpora.utterance import CorpusReading, ShardClip
from mmeg_model.locked import locked
from pipelines.completed import RefusedError
from pipelines.decode_clips import DecoderPool
from pipelines.ending import (
    ALL_OK,
    COULD_NOT_START,
    ENDED_EARLY,
    SOME_FAILED,
    first_line,
    interruptible,
    is_of_surroundings,
    quiet_libraries,
)
from pipelines.options import add_decoder_flags, decoder_limits, whole_number
from pipelines.prepare import CorpusPlan, PlanCorpora, WriteShards, request_of, shards_to_write
from pipelines.progress import ShardProgress, shown
from pipelines.runners import LOCAL_RUNNER

_DESCRIPTION: Final = """\
Decode corpora once, by the decoder that annotation uses, into shards that training maps into memory: for each
corpus a folder of its name in DIR. Train from there with data = "DIR" and the same names.

Run it again after an interruption, and it goes on: shards that are there stand. A folder that holds shards of other
recordings, of changed files or of another decoder is left alone (exit status 2)."""
_EXIT_STATUS: Final = """\
example:
  mmeg prepare javanese-av fer2013-faces --data corpora/ --output prepared/

exit status: 0 all is decoded, 1 some could not be decoded (named on standard error, counted, left out of training),
2 could not start and nothing was touched, 3 ended early (run it again), 130 interrupted"""

Readings = Mapping[Path, CorpusReading]
"""What each corpus holds, by the folder that its shards go to."""


def prepare(arguments: Sequence[str]) -> int:
    """Run `mmeg prepare` with the arguments behind the command's name, and give back its exit status.

    Raises:
        SystemExit: with status 2 for a flag that nobody knows or a value that does not fit; with 0 after --help.
    """
    quiet_libraries()
    given = _parser().parse_args(arguments)
    with contextlib.ExitStack() as stack:
        try:
            limits = decoder_limits(given)
            readings = _read(given.corpora, given.data, given.output)
            requests = _requests(readings)
            stack.enter_context(locked(given.output, by="mmeg prepare"))
            _make_ready(readings)
        except (ValueError, OSError, RefusedError) as error:
            print(f"mmeg prepare: {error}", file=sys.stderr)
            return COULD_NOT_START
        pool = stack.enter_context(contextlib.closing(DecoderPool(given.num_decoders, limits)))
        try:
            with interruptible("shards that are written stand; run the same command again to go on"):
                _run(readings, requests, pool, shard_bytes=given.shard_mib << 20)
        except Exception as error:  # whatever it is, the shards that were written stand
            if not is_of_surroundings(error):  # a bug: say where
                traceback.print_exception(error)
            print(
                f"mmeg prepare ended early: {first_line(error)}\n"
                "Shards that are written stand; run the same command again to go on from there.",
                file=sys.stderr,
            )
            return ENDED_EARLY
        return _tell(readings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mmeg prepare",
        description=_DESCRIPTION,
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("corpora", nargs="+", metavar="CORPUS", help="see docs/corpora.md")
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each corpus")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="made if it is not there")
    parser.add_argument(
        "--shard-mib",
        type=whole_number(1 << 20),
        default=256,
        metavar="MIB",
        help="about so large is a shard (default: %(default)s)",
    )
    add_decoder_flags(parser, decoded="one utterance")
    return parser


def _read(names: Sequence[str], data: Path, output: Path) -> Readings:
    """Read the corpora, and say what of them is left out."""
    readings = {}
    for name in dict.fromkeys(names):
        if (output / name).resolve() == (data / name).resolve():  # links are followed
            raise ValueError(
                f"{output / name} is {data / name}: shards and a corpus' own files may not lie in one folder"
            )
        reading = read_corpus(data.resolve(), name)
        if any(isinstance(u.part, ShardClip) for u in reading.utterances):
            raise ValueError(f"{data / name} holds shards: it is prepared already")
        print(
            f"{name}: {len(reading.utterances)} utterances; left out: {dict(reading.excluded) or 'none'}",
            file=sys.stderr,
        )
        readings[output.resolve() / name] = reading
    return readings


def _requests(readings: Readings) -> dict[Path, str]:
    """What is to be prepared, by folder; refuses a folder that holds something else."""
    requests = {folder: request_of(reading) for folder, reading in readings.items()}
    for folder, request in requests.items():
        plan = CorpusPlan.read(folder)
        if plan.request != request if plan else any(folder.glob(SHARDS_GLOB)):
            raise RefusedError(
                f"{folder} holds shards of other recordings, of files that have changed since, or of another "
                "decoder; name another --output, or remove that folder"
            )
    return requests


def _make_ready(readings: Readings) -> None:
    """Make the folders, and remove what runs that died were writing; the caller holds the lock."""
    for folder in readings:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(".*.tmp"):
            path.unlink()


def _run(readings: Readings, requests: Mapping[Path, str], pool: DecoderPool, *, shard_bytes: int) -> None:
    unplanned = [
        (str(folder), number, utterance)
        for folder, reading in readings.items()
        if CorpusPlan.read(folder) is None
        for number, utterance in enumerate(reading.utterances)
    ]
    _run_pipeline(unplanned, PlanCorpora(requests, shard_bytes, pool), pool)
    shards = [
        shard
        for folder, reading in readings.items()
        if (plan := CorpusPlan.read(folder)) is not None
        for shard in shards_to_write(folder, reading, plan)
    ]
    progress = ShardProgress(pool.shared(), [shard.file for shard in shards])
    with shown(progress, label="prepare"):
        _run_pipeline(shards, WriteShards(pool), pool)


def _run_pipeline(elements: Sequence[object], transform: beam.PTransform, pool: DecoderPool) -> None:
    if elements:
        options = PipelineOptions(
            runner=LOCAL_RUNNER,
            direct_running_mode="in_memory",
            direct_num_workers=pool.size,
        )
        with beam.Pipeline(options=options) as pipeline:
            _ = pipeline | beam.Create(elements) | transform


def _tell(readings: Readings) -> int:
    """Say on standard output what is there now, and on standard error what could not be decoded."""
    status = ALL_OK
    for folder, reading in readings.items():
        shards = shards_of(folder)
        failures = failures_in(shards)
        for source, reason in failures:
            print(f"not decoded: {source}: {reason}", file=sys.stderr)
            status = SOME_FAILED
        num_bytes = sum(path.stat().st_size for path in shards)
        print(
            f"{folder.name}: {len(reading.utterances) - len(failures)} of {len(reading.utterances)} utterances in "
            f"{len(shards)} shard{'s' * (len(shards) != 1)}, {num_bytes / 1e6:.1f} MB: {folder}"
        )
    return status
