"""Files that hold many videos, and how their members are found."""

from dataclasses import dataclass
from typing import Any, Final

from mmeg_model.media.errors import MediaError
from mmeg_model.media.source import ParquetRow, VideoRef

COMPRESSED_TAR_EXTENSIONS: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
TAR_EXTENSIONS: Final = (".tar", *COMPRESSED_TAR_EXTENSIONS)
PARQUET_EXTENSION: Final = ".parquet"

MOST_MEMBERS: Final = 1_000_000
"""Of one shard. WebDataset's shards hold thousands."""
MOST_NAME_CHARACTERS: Final = 4_096
"""Of a member: as long as a path may be."""


@dataclass(frozen=True)
class ShardReading:
    """Which members of shards are videos, and what they are called."""

    extensions: tuple[str, ...]
    """Of members of tars, in lower case."""
    bytes_column: str | None = None
    """Of Parquet shards: holds a video in each row."""
    key_column: str | None = None
    """Of Parquet shards: holds the members' names. None: `__key__` or `key` if there is one, else the number of
    the row."""

    def question(self, shard: VideoRef) -> dict[str, Any]:
        """What a decoder process is asked about the members of a shard."""
        if shard.location.lower().endswith(PARQUET_EXTENSION):
            return {"index": "parquet", "bytes_column": self.bytes_column, "key_column": self.key_column}
        return {"index": "tar", "extensions": self.extensions}


def is_compressed(shard: VideoRef) -> bool:
    """Whether it is a tar that must be read through to reach what is in it."""
    return shard.location.lower().endswith(COMPRESSED_TAR_EXTENSIONS)


@dataclass(frozen=True)
class Indexed:
    """A member of a shard; or, with an error, a member that cannot be read, or what is wrong with the shard itself."""

    video: VideoRef
    error: MediaError | None = None


@dataclass(frozen=True)
class Pack:
    """What is unpacked at a time: a compressed tar, or one column of a row group of a Parquet shard."""

    shard: VideoRef
    row_group: int | None = None
    column: str | None = None

    @classmethod
    def of(cls, video: VideoRef) -> "Pack":
        """The pack that holds a member."""
        shard = VideoRef(video.location, video.version)
        row: ParquetRow | None = video.parquet_row
        return cls(shard, row.row_group, row.column) if row else cls(shard)

    @property
    def question(self) -> dict[str, Any]:
        """What a decoder process is asked for its content."""
        if self.row_group is None:
            return {"unpack": "tar"}
        return {"unpack": "parquet", "row_group": self.row_group, "column": self.column}
