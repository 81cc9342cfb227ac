"""What finding yields, and which files of a folder are meant."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mmeg_model.media.shards import PARQUET_EXTENSION, TAR_EXTENSIONS
from mmeg_model.media.source import VideoRef
from pipelines.tables import Failure

PICTURE_EXTENSIONS: Final = tuple(
    ".mp4 .m4v .mov .mkv .webm .avi .ts .mts .m2ts .mpg .mpeg .ogv .flv .3gp .wmv".split()  # noqa: SIM905
)
SOUND_EXTENSIONS: Final = tuple(".wav .flac .mp3 .m4a .ogg .opus .aac".split())  # noqa: SIM905
MEDIA_EXTENSIONS: Final = PICTURE_EXTENSIONS + SOUND_EXTENSIONS


@dataclass(frozen=True)
class Found:
    """A video of the input, or why there is none: then `failure` says so, of this video if it has a name."""

    video: VideoRef | None
    num_bytes: int = 0
    failure: Failure | None = None
    is_shard: bool = False
    """Whether `video` is a file of many videos, whose members are still to be found."""
    appeared_ns: int = 0
    """When it came to lie there as it is, in nanoseconds since 1970: the creation of an object; of a local file, the last
    change of it or of its name. 0: unknown."""


@dataclass
class FindReport:
    """What finding passed over, counted for the user."""

    num_other_files: int = 0
    """Files in folders whose extension is none of a video, a sound or a shard."""
    num_linked_folders: int = 0
    """Links to folders inside folders, which are not entered: they may lead back up."""
    num_repeated: int = 0
    """Videos named more than once, each annotated once."""


def is_shard_name(name: str, *, parquet_shards: bool) -> bool:
    """Whether a file holds many videos, by its extension."""
    return name.lower().endswith((*TAR_EXTENSIONS, PARQUET_EXTENSION) if parquet_shards else TAR_EXTENSIONS)


def is_meant_name(name: str, *, parquet_shards: bool) -> bool:
    """Whether a file found in a folder is a video, a sound or a shard, by its extension."""
    return name.lower().endswith(MEDIA_EXTENSIONS) or is_shard_name(name, parquet_shards=parquet_shards)


def or_failure(found: Iterator[Found], message: str) -> Iterator[Found]:
    """What was found, or a failure that belongs to no video if that is nothing."""
    empty = True
    for item in found:
        empty = False
        yield item
    if empty:
        yield Found(None, failure=Failure("find", "NothingFound", message))
