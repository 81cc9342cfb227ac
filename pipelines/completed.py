"""What an output folder already holds: which videos are done, and which rows newer ones have superseded."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmeg_model.media.source import VideoRef, printable
from pipelines.damaged import naming_damaged
from pipelines.done_videos import KEY_TYPE, NONE_AGAIN, STATUSES, DoneVideos, Retake, whole_key
from pipelines.outcomes import KEEPS_VERSIONS, RunConstants
from pipelines.output_folder import OutputFolder
from pipelines.table_files import own_files, table_file
from pipelines.tables import SCHEMA_VERSION, TABLES

MERGED: Final = b"merged"
"""In the metadata of a `videos` file, the stems of those whose rows it took over: they count no more."""
_T = TypeVar("_T")
_FILES_AT_ONCE: Final = 16


class RefusedError(Exception):
    """The run cannot start into this folder; nothing was touched."""


Superseded = dict[str, set[bytes]]
"""By the stem of their files, the keys of videos whose rows there count no more."""


@dataclass(frozen=True)
class Completed:
    """The videos that an output folder holds. Of a name that stands there several times the newest run holds."""

    videos: DoneVideos
    superseded: Superseded = field(default_factory=dict)
    """Rows that a rewrite was to remove and did not come to."""
    merged_stems: frozenset[str] = frozenset()
    """Files whose rows stand in another one."""
    _versions: NDArray[np.bytes_] = field(default_factory=lambda: np.zeros(0, KEY_TYPE))
    _stems: tuple[str, ...] = ()
    _stem_of_row: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    _rows_of_shard: Mapping[str, NDArray[np.int_]] = field(default_factory=dict)

    def has_version(self, video: VideoRef) -> bool:
        """Whether this version of a video is done, perhaps beside newer ones."""
        row = int(np.searchsorted(self._versions, np.array(video.key, KEY_TYPE)))
        return row < len(self._versions) and whole_key(self._versions[row]) == video.key

    def members_done(self, location: str) -> DoneVideos:
        """Those of the members of one shard."""
        rows = self._rows_of_shard.get(printable(location), np.zeros(0, np.int_))
        videos = self.videos
        return DoneVideos(videos.names[rows], videos.versions[rows], videos.statuses[rows], videos.retake)

    def missing_files(self, output: OutputFolder) -> list[str]:
        """The files of annotations and errors that are not there, though their `videos` is; by their names alone.

        Whoever takes rows out removes `videos` first, so that it is right beside a run that is at work, too.

        Raises:
            OSError: if they cannot be listed.
        """
        missing: list[tuple[str, str]] = []
        for table in TABLES:
            if table != "videos":
                there = own_files(output, table)
                missing += [(stem, table_file(table, stem)) for stem in self._stems if stem not in there]
        still_there = own_files(output, "videos") if missing else {}
        return [name for stem, name in missing if stem in still_there]

    def superseded_by(self, name_keys: Iterable[bytes]) -> Superseded:
        """The rows here of videos that were annotated again since."""
        superseded: Superseded = {}
        for name_key in name_keys:
            if (row := self.videos.row(name_key)) is not None:
                keys = superseded.setdefault(self._stems[self._stem_of_row[row]], set())
                keys.add(whole_key(self.videos.versions[row]))
        return superseded


NOTHING_COMPLETED: Final = Completed(
    DoneVideos(np.zeros(0, KEY_TYPE), np.zeros(0, KEY_TYPE), np.zeros(0, np.uint8))
)


def newest_run(output: OutputFolder) -> str:
    """The id of the newest run of which something stands in an output folder; "" if there is none.

    Raises:
        OSError: if the folder cannot be listed.
    """
    stem = max(own_files(output, "videos"), default="")
    return stem.partition("/")[0].removeprefix("run=")


def read_completed(
    output: OutputFolder,
    constants: RunConstants | None = None,
    *,
    retake: Retake = NONE_AGAIN,
    before: str | None = None,
    keep_versions: bool = True,
) -> Completed:
    """Read which videos an output folder holds.

    Args:
        output: the folder of the tables.
        constants: of the run that is to go on there; None to only look.
        retake: what of it is to be annotated once more.
        before: the id of a run at work, whose own files are passed over; None for none. What is missing is not
            looked for then, since that run did so when it started.
        keep_versions: whether older versions of a video count beside one of a run that left them; else they are
            superseded whatever run annotated the newer one.

    Raises:
        RefusedError: if they were annotated by another model or with other settings, with the difference; or if
            what is there cannot be read, or not all of it is there.
    """
    try:
        completed = _Reading(output, constants, keep_versions=keep_versions).completed(retake, before)
        missing = completed.missing_files(output) if before is None else []
    except OSError as error:
        raise RefusedError(f"{output.uri} cannot be read: {error}") from error
    if missing:
        raise RefusedError(
            f"{output.uri}/{missing[0]} is missing, though `videos` says that its rows are there"
            f"{f' ({len(missing) - 1} more files are missing so)' if missing[1:] else ''}; nothing was touched. "
            "Put it back, or remove the files of the same name in the other two tables, and their videos are "
            "annotated again by the next run over them"
        )
    return completed


class _Reading:
    """One pass over the `videos` files, the newest first."""

    def __init__(self, output: OutputFolder, constants: RunConstants | None, *, keep_versions: bool) -> None:
        self._output = output
        self._keep_versions = keep_versions
        self._constants = constants
        self._names, self._versions, self._statuses = bytearray(), bytearray(), bytearray()
        self._changed = bytearray()
        self._stems: list[str] = []
        self._num_rows: list[int] = []
        self._supersedes: list[bool] = []
        """For each stem, whether its rows supersede other versions."""
        self._members: dict[str, list[bytes]] = {}
        self._merged: set[str] = set()

    def completed(self, retake: Retake, before: str | None) -> Completed:
        stems = [
            stem
            for stem in reversed(own_files(self._output, "videos"))
            if not stem.startswith(f"run={before}/")
        ]
        for stem, (metadata, rows) in zip(stems, _read_ahead(self._read, stems), strict=True):
            self._add(stem, metadata, rows)
        names, versions = (np.frombuffer(bytes(keys), KEY_TYPE) for keys in (self._names, self._versions))
        statuses = np.frombuffer(bytes(self._statuses), np.uint8)
        stem_of_row = np.repeat(np.arange(len(self._stems), dtype=np.int32), self._num_rows)
        runs = [stem.partition("/")[0] for stem in self._stems]  # the newest first
        run_of_stem = np.array(
            [run != before for before, run in pairwise(runs[:1] + runs)], np.int32
        ).cumsum()
        changed = np.frombuffer(bytes(self._changed), np.int64)
        order = np.lexsort((-changed, run_of_stem[stem_of_row], names))
        is_newest = np.ones(len(order), bool)  # of its name
        is_newest[1:] = names[order][1:] != names[order][:-1]
        is_repeated = ~is_newest
        is_repeated[:-1] |= ~is_newest[1:]
        superseded: Superseded = {}
        others_stand, versions_standing = True, set[bytes]()
        for row, is_first in zip(order[is_repeated], is_newest[is_repeated], strict=True):
            if is_first:
                others_stand, versions_standing = True, set()
            version = whole_key(versions[row])
            if version in versions_standing or not others_stand:
                superseded.setdefault(self._stems[stem_of_row[row]], set()).add(version)
            else:
                others_stand = not self._supersedes[stem_of_row[row]]
                versions_standing.add(version)
        newest = order[is_newest]
        videos = DoneVideos(names[newest], versions[newest], statuses[newest], retake)
        return Completed(
            videos=videos,
            superseded=superseded,
            merged_stems=frozenset(self._merged),
            _versions=np.unique(versions),
            _stems=tuple(self._stems),
            _stem_of_row=stem_of_row[newest],
            _rows_of_shard={
                location: np.unique([row for key in keys if (row := videos.row(key)) is not None])
                for location, keys in self._members.items()
            },
        )

    def _read(self, stem: str) -> tuple[dict[bytes, bytes], pa.Table]:
        """The metadata and the rows of a file, in whatever thread."""
        columns = ["video_uri", "video_version", "member", "status", "model_name", "model_sha256"]
        name = table_file("videos", stem)
        uri = f"{self._output.uri}/{name}"
        with self._output.open(name) as opened, naming_damaged(uri), pq.ParquetFile(opened) as file:
            metadata = file.schema_arrow.metadata or {}
            self._refuse_other_settings(uri, metadata)
            return metadata, file.read(columns=columns)

    def _add(self, stem: str, metadata: dict[bytes, bytes], rows: pa.Table) -> None:
        self._merged.update(json.loads(metadata.get(MERGED, b"[]")))
        if stem in self._merged:
            return
        self._stems.append(stem)
        self._num_rows.append(len(rows))
        self._supersedes.append(not self._keep_versions or KEEPS_VERSIONS not in metadata)
        for row in rows.to_pylist():
            self._refuse_other_model(row)
            video = VideoRef(row["video_uri"], row["video_version"], row["member"])
            self._names += video.name_key
            self._versions += video.key
            self._changed += _changed(video).tobytes()
            self._statuses.append(STATUSES.index(row["status"]))
            if video.member is not None:
                self._members.setdefault(video.location, []).append(video.name_key)

    def _refuse_other_model(self, row: dict[str, Any]) -> None:
        constants = self._constants
        if constants is not None and row["model_sha256"] != constants.model_sha256:
            raise RefusedError(
                f"{self._output.uri} holds results of the model {row['model_name']} "
                f"({row['model_sha256'][:12]}…), and this run would use {constants.model_name} "
                f"({constants.model_sha256[:12]}…); name another --output"
            )

    def _refuse_other_settings(self, uri: str, metadata: dict[bytes, bytes]) -> None:
        if metadata.get(b"schema_version") != str(SCHEMA_VERSION).encode():
            raise RefusedError(f"{uri} was not written by this version of mmeg; name another --output")
        if self._constants is None:
            return
        theirs: dict[str, Any] = json.loads(metadata[b"settings"])
        ours: dict[str, Any] = json.loads(self._constants.settings_json)
        names = theirs.keys() | ours.keys()
        if "bytes_column" not in theirs or "bytes_column" not in ours:  # only one of them read Parquet shards
            names -= {"bytes_column", "key_column"}
        differences = [
            f"{name}: {theirs.get(name)} there, {ours.get(name)} now"
            for name in sorted(names)
            if theirs.get(name) != ours.get(name)
        ]
        if differences:
            raise RefusedError(
                f"{self._output.uri} holds results of other settings ({'; '.join(differences)}); "
                "name another --output, or the same settings"
            )


def _changed(video: VideoRef) -> np.int64:
    """Tells versions of a video apart by their age: nanoseconds of a file, the generation of an object."""
    digits = re.search(r"[0-9]{1,18}$|[0-9]{19}$", video.version or "")
    return np.int64(min(int(digits[0]) if digits else 0, (1 << 63) - 1))


def _read_ahead(read: Callable[[str], _T], stems: Iterable[str]) -> Iterator[_T]:
    """What `read` gives for each, in order: a bucket takes as long over one file as over several at a time."""
    with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        waiting: deque[Future[_T]] = deque()
        for stem in stems:
            waiting.append(threads.submit(read, stem))
            if len(waiting) > _FILES_AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
