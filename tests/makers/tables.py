"""Reading back what a run wrote."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from makers.buckets import Proxy


def read(output: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table."""
    files = sorted((output / table).rglob("*.parquet"))
    return pa.concat_tables(pq.read_table(file, partitioning=None) for file in files).to_pylist()


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows by the last part of their video's name."""
    return {os.path.basename(row["video_uri"]): row for row in rows}


def downloaded(buckets: Proxy, prefix: str, folder: Path) -> Path:
    """The tables below a prefix of BUCKET, such as `deep/out/`, as they would lie in a folder."""
    for name, content in buckets.contents(prefix).items():
        path = folder / name.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
