"""Dealing elements out to workers, so that what must be unpacked is unpacked by few of them."""

import zlib
from collections.abc import Callable
from typing import Any, Final

import apache_beam as beam
from apache_beam.transforms.util import ReshufflePerKey
from apache_beam.transforms.window import GlobalWindows

from mmeg_model.media.source import VideoRef

MOST_WORKERS_PER_PACK: Final = 16
"""Each of them unpacks it: a compressed tar, or a row group of a Parquet shard."""


def spread_key(video: VideoRef, part: int = 0) -> int:
    """Elements of one key go to one worker, one after the other.

    Args:
        video: which the element is about.
        part: tells elements about one video apart.
    """
    if not video.is_packed:
        # No random number: a runner that repeats a part of a job, such as Flink between two blocking exchanges, must
        # come to the same key, or an element goes where its like has been, and another nowhere.
        return zlib.crc32(video.key + part.to_bytes(8))
    row = video.parquet_row
    pack = f"{video.uri}\0{row.row_group if row else ''}".encode()
    number = row.row_in_group if row else zlib.crc32((video.member or "").encode())
    return (zlib.crc32(pack) + (number + part) % MOST_WORKERS_PER_PACK) % (1 << 32)


class Spread(beam.PTransform):
    """Elements -> the same ones, at rest and dealt out anew."""

    def __init__(self, key: Callable[[Any], int]) -> None:
        super().__init__()
        self._key = key

    def expand(self, elements: beam.PCollection[Any]) -> beam.PCollection[Any]:
        key, kind, windowing = self._key, elements.element_type, elements.windowing
        keyed = elements | "Key" >> beam.Map(lambda element: (key(element), element)).with_output_types(
            beam.typehints.Tuple[int, kind]
        )
        if not windowing.is_default():
            # Else Beam sends the windows along, in a coder that Prism 2.77 cannot read back.
            keyed = keyed | "Leave windows" >> beam.WindowInto(GlobalWindows())
        spread = (
            keyed
            | "Reshuffle" >> ReshufflePerKey()
            | "Drop key" >> beam.Map(lambda keyed: keyed[1]).with_output_types(kind)
        )
        if windowing.is_default():
            return spread
        # WindowInto takes all from a windowing but its lateness, without which late videos would be dropped.
        return spread | "Back" >> beam.WindowInto(windowing, allowed_lateness=windowing.allowed_lateness)
