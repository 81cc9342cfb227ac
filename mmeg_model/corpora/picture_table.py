"""Pictures that are rows of a table: a Parquet of JPEGs, or a CSV of grey values."""

from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmeg_model.clip import Clip
from mmeg_model.media.errors import MediaError
from mmeg_model.media.source import local_version
from mmeg_model.media.still import grey_clip, jpeg_clip

JPEG_COLUMN: Final = "image_jpeg"
PIXEL_COLUMN: Final = 1
"""Of the CSV: square pictures, grey values from 0 to 255 with spaces between, row by row."""


def load_picture(path: Path, row: int) -> Clip:
    """The picture of a row, counted from 0, as a clip of one frame.

    The table is kept for the next picture: the JPEGs of a Parquet, or where the lines of a CSV begin.

    Raises:
        MediaError: if the table has no such row, or it holds no picture.
        OSError: if the table cannot be read.
    """
    version = local_version(path.stat())
    if path.suffix == ".parquet":
        jpegs = _jpegs(path, version)
        if row >= len(jpegs):
            raise _no_row(row, len(jpegs))
        return jpeg_clip(jpegs[row].as_py() or b"")
    starts = _line_starts(path, version)
    if row + 2 >= len(starts):
        raise _no_row(row, len(starts) - 2)
    with path.open("rb") as file:
        file.seek(starts[row + 1])
        line = file.readline()
    return grey_clip(_square(line))


def _no_row(row: int, num_rows: int) -> MediaError:
    return MediaError("open", "NoSuchRow", f"the table has {num_rows} rows, none with the number {row}")


@lru_cache(maxsize=64)
def _jpegs(path: Path, version: str) -> pa.ChunkedArray:
    return pq.read_table(path, columns=[JPEG_COLUMN])[JPEG_COLUMN]


@lru_cache(maxsize=64)
def _line_starts(path: Path, version: str) -> NDArray[np.int64]:
    """Where each line begins, the header's first, and where the last one ends."""
    with path.open("rb") as file:
        return np.cumsum([0, *map(len, file)])


def _square(line: bytes) -> NDArray[np.uint8]:
    texts = line.split(b",")[PIXEL_COLUMN].strip(b'"').split() if b"," in line else []
    side = int(len(texts) ** 0.5)
    if not side or side**2 != len(texts) or not all(t.isdigit() and int(t) < 256 for t in texts):
        raise MediaError("decode", "NoPicture", "no square picture of grey values from 0 to 255")
    return np.array(texts, np.uint8).reshape(side, side)
