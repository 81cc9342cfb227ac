"""What became of the videos of a stream -> Parquet: each window and shard has one file a table, which grows.

A pane holds all of its window so far, and a later one replaces the file of an earlier one. Panes come empty, twice and
in any order, depending on the runner: one is written only if it holds something that the file that is there does not. A
video stands in it when all its parts have come. After a lost worker, panes begin anew behind the last checkpoint, and
what was published since then is not in them yet: it is carried over.
"""

import secrets
from collections.abc import Iterable
from typing import Any, Final

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from mmeg_model.media.source import VideoRef
from pipelines.outcomes import Outcome, RunConstants
from pipelines.output_folder import OutputFolder, output_folder
from pipelines.pane_rows import name_of, nameless, rows_of, standing
from pipelines.publish import publish, shard_of
from pipelines.table_files import PANE, pane_name
from pipelines.tables import TABLES, VideoPart

_NUM_WRITTEN: Final = beam.DoFn.StateParam(ReadModifyWriteStateSpec("num_written", VarIntCoder()))


def whole_videos(parts: Iterable[VideoPart]) -> set[VideoRef]:
    """The videos of which all parts are there."""
    sums: dict[VideoRef, Outcome] = {}
    for part in parts:
        if part.video is not None:
            sums.setdefault(part.video, Outcome()).add(part)
    return {video for video, outcome in sums.items() if outcome.is_complete}


def publish_pane(
    parts: Iterable[VideoPart], *, output: OutputFolder, stem: str, constants: RunConstants, num_written: int
) -> int:
    """Write a pane over what is there, with what is there and not in it, if it holds anything else.

    Args:
        parts: of the window so far; iterated twice.
        output: the folder of the tables.
        stem: of the files of the window and shard.
        constants: what the rows of the run have in common.
        num_written: how much the largest pane so far held, as this function gave it back; 0 before the first.

    Returns:
        How many whole videos, and failures of no video, the largest pane has held by now.
    """
    whole = whole_videos(parts)
    names = {name_of(video) for video in whole}
    names |= {nameless(f.message) for part in parts if part.video is None for f in part.failures}
    if len(names) <= num_written:
        return num_written
    there, before = standing(output, stem)
    if not names <= there:
        published = publish(
            (part for part in parts if part.video is None or part.video in whole),
            output=output,
            stem=stem,
            constants=constants,
            metadata={PANE: secrets.token_hex(8).encode()},
            carried={table: rows_of(output, table, stem, there - names) for table in TABLES},
        )
        published.less(before).count()
    return len(names)


class WritePanes(beam.DoFn):
    """(shard, its VideoParts in a window so far) -> files.

    State makes panes of one shard and window run one at a time, which plain DoFns do not do on every runner.
    """

    def __init__(self, *, output: str, num_shards: int, constants: RunConstants) -> None:
        self._output = output
        self._num_shards = num_shards
        self._constants = constants

    def process(
        self,
        keyed: tuple[int, Iterable[VideoPart]],
        window: Any = beam.DoFn.WindowParam,
        state: Any = _NUM_WRITTEN,
    ) -> None:
        shard, parts = keyed
        name = pane_name(window_start=window.start.seconds(), shard=shard, num_shards=self._num_shards)
        num_written = state.read() or 0
        num_now = publish_pane(
            parts,
            output=output_folder(self._output),
            stem=f"run={self._constants.run_id}/{name}",
            constants=self._constants,
            num_written=num_written,
        )
        if num_now > num_written:
            state.write(num_now)


class PublishPanes(beam.PTransform):
    """VideoParts in fixed windows, accumulating -> three Parquet files for each window and shard with videos."""

    def __init__(self, *, output: str, num_shards: int, constants: RunConstants) -> None:
        super().__init__()
        self._output = output
        self._num_shards = num_shards
        self._constants = constants

    def expand(self, parts: beam.PCollection[VideoPart]) -> beam.PCollection[None]:
        num_shards = self._num_shards
        return (
            parts
            | "Key by shard"
            >> beam.Map(lambda part: (shard_of(part, num_shards=num_shards), part)).with_output_types(
                tuple[int, VideoPart]
            )
            | "Group by shard" >> beam.GroupByKey()
            | "Write"
            >> beam.ParDo(
                WritePanes(output=self._output, num_shards=num_shards, constants=self._constants)
            ).with_output_types(None)
        )
