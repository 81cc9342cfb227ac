"""Shards made of videos."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

_MODES: dict[str, Literal["w", "w:gz", "w:bz2", "w:xz"]] = {
    ".tar": "w",
    ".gz": "w:gz",
    ".tgz": "w:gz",
    ".bz2": "w:bz2",
    ".xz": "w:xz",
}


def make_tar(
    path: Path,
    members: Iterable[tuple[str | tarfile.TarInfo, bytes]],
    *,
    tar_format: int = tarfile.PAX_FORMAT,
) -> Path:
    """Write a tar, compressed as its name says, of names (or ready headers) and contents."""
    with tarfile.open(path, _MODES[path.suffix], format=tar_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content) if isinstance(name, str) else info.size
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def webdataset_members(videos: Iterable[bytes]) -> list[tuple[str | tarfile.TarInfo, bytes]]:
    """A sample a video, as WebDataset names them: `000000.mp4` beside `000000.json` and `000000.cls`."""
    return [
        (f"{number:06d}.{extension}", content)
        for number, video in enumerate(videos)
        for extension, content in (("cls", b"1"), ("json", b"{}"), ("mp4", video))
    ]


def make_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    """Write a Parquet file, and its folder if need be."""
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path
