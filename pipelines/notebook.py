"""Annotating from Python, without files that stay."""

import tempfile
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.media.source import printable
from pipelines.find_videos import find_videos
from pipelines.local_run import LocalRun
from pipelines.options import AnnotateOptions
from pipelines.summary import RunSummary
from pipelines.tables import SCHEMAS


def annotate_to_table(
    inputs: Sequence[str], *, tasks: Sequence[str], bundle: str | None, device: str
) -> pa.Table:
    """See `pipelines.annotate_videos`."""
    found = list(find_videos(inputs))
    if not any(item.video for item in found):
        raise ValueError(f"nothing to annotate in {', '.join(map(printable, inputs)) or 'an empty list'}")
    with tempfile.TemporaryDirectory(prefix="mmeg-") as output:
        options = AnnotateOptions([], output=output, tasks=",".join(tasks), bundle=bundle, device=device)
        run = LocalRun.of(options)
        with closing(run.pool):
            run.run(found, RunSummary())
        for row in _rows(output, "errors").to_pylist():
            warnings.warn(f"{row['video_uri']}: {row['stage']}: {row['message']}", stacklevel=3)
        return _rows(output, "annotations").replace_schema_metadata(SCHEMAS["annotations"].metadata)


def _rows(output: str, table: str) -> pa.Table:
    """The rows of all files of a table."""
    files = sorted((Path(output) / table).rglob("*.parquet"))
    return pa.concat_tables(pq.read_table(file, partitioning=None) for file in files)
