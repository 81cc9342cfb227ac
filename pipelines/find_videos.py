"""What the user names -> the videos that are meant: files, objects, folders, globs and manifests."""

import os
import posixpath
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Final

from mmeg_model.media.errors import MediaError
from mmeg_model.media.objects import SCHEME, FoundObject, look_up, split_uri
from mmeg_model.media.source import VideoRef, printable
from pipelines.find_files import find_file, find_in_folder
from pipelines.find_objects import find_below, is_folder, of_object
from pipelines.found import FindReport, Found, is_shard_name, or_failure
from pipelines.manifests import is_manifest_name, manifest_names
from pipelines.path_patterns import GLOB_CHARACTERS, PathPattern, split_pattern
from pipelines.tables import Failure

__all__ = ["FindReport", "Found", "find_videos"]

_LOOKUPS_AT_ONCE: Final = 32  # of the objects in a manifest; one takes about 50 ms
_NAMES_AHEAD: Final = 256


def find_videos(
    inputs: Sequence[str], report: FindReport | None = None, *, parquet_shards: bool = False
) -> Iterator[Found]:
    """Yield each video that the inputs name, once, in the order in which they name it.

    An input is a file or a `gs://bucket/object` (always taken, whatever its name), a folder (recursively, files with
    a known extension, hidden ones skipped), a glob, or a manifest: a `.txt` with one input a line, a `.csv` or
    `.parquet` with a column `uri`, or a `.jsonl` of strings or of objects with a key `uri`; relative names in it are
    relative to its own folder. A name that exists is never read as a glob. A name that does not exist is a video
    that failed. A tar is a shard, wherever it is found, and so is a `.parquet` if parquet_shards. Only 16 bytes for
    each video are kept.

    Raises:
        ValueError: if a manifest cannot be read, an input is an address that is none of `gs://…`, or objects are
            meant and there are no credentials.
    """
    report = report if report is not None else FindReport()
    search = _Search(report, parquet_shards=parquet_shards)
    seen: set[bytes] = set()
    for name in inputs:
        for found in search.of_input(name, os.getcwd()):
            if found.video is not None:
                if found.video.name_key in seen:
                    report.num_repeated += 1
                    continue
                seen.add(found.video.name_key)
                if found.failure is None and is_shard_name(
                    found.video.location, parquet_shards=parquet_shards
                ):
                    found = replace(found, is_shard=True)
            yield found


class _Search:
    """What one search is about."""

    def __init__(self, report: FindReport, *, parquet_shards: bool) -> None:
        self._report = report
        self._parquet_shards = parquet_shards

    def _is_manifest(self, name: str) -> bool:
        return is_manifest_name(name) and not is_shard_name(name, parquet_shards=self._parquet_shards)

    def _pattern(self, text: str) -> PathPattern:
        return PathPattern(text, self._parquet_shards)

    def of_input(self, name: str, base: str, *, in_manifest: bool = False) -> Iterator[Found]:
        """The videos of one name, relative to the folder `base`."""
        uri = _object_uri(name, base)
        if uri is None:
            return self._of_local_name(name, base, in_manifest=in_manifest)
        return self._of_object_name(uri, _look_up(uri), in_manifest=in_manifest)

    def _of_local_name(self, name: str, base: str, *, in_manifest: bool) -> Iterator[Found]:
        path = _absolute(name, base)
        if os.path.isdir(path):
            found = find_in_folder(path, self._pattern(""), self._report)
            yield from or_failure(found, f"the folder {printable(path)} holds no video or sound file")
        elif not in_manifest and os.path.lexists(path) and self._is_manifest(path):
            yield from self._of_manifest(path, os.path.dirname(path))
        elif os.path.lexists(path) or not GLOB_CHARACTERS & set(name):
            yield find_file(path)
        else:
            above, pattern = split_pattern(name)
            folder = _absolute(above, base)
            found = (
                find_in_folder(folder, self._pattern(pattern), self._report)
                if os.path.isdir(folder)
                else iter(())
            )
            yield from or_failure(found, f"the pattern {printable(path)} matches no file")

    def _of_object_name(
        self, uri: str, looked_up: FoundObject | MediaError | None, *, in_manifest: bool
    ) -> Iterator[Found]:
        if isinstance(looked_up, FoundObject):
            if in_manifest or not self._is_manifest(uri):
                yield of_object(looked_up)
            else:
                yield from self._of_manifest(looked_up, uri[: uri.rindex("/") + 1])
        elif GLOB_CHARACTERS & set(split_uri(uri)[1]):
            folder, pattern = split_pattern(uri)
            found = find_below(folder, self._pattern(pattern), self._report)
            yield from or_failure(found, f"the pattern {printable(uri)} matches no object")
        elif looked_up is None or (looked_up.error in ("NotFound", "Forbidden") and is_folder(uri)):
            folder = uri if uri.endswith("/") else f"{uri}/"
            found = find_below(folder, self._pattern(""), self._report)
            yield from or_failure(found, f"{printable(folder)} holds no video or sound file")
        else:
            yield Found(VideoRef(uri), failure=Failure.of(looked_up))

    def _of_manifest(self, manifest: str | FoundObject, base: str) -> Iterator[Found]:
        location = manifest.uri if isinstance(manifest, FoundObject) else manifest
        with closing(manifest_names(manifest)) as names:
            found = self._of_names(names, base)
            yield from or_failure(found, f"the manifest {printable(location)} names no video")

    def _of_names(self, names: Iterable[str], base: str) -> Iterator[Found]:
        """The videos of names in a manifest; objects are looked up ahead, many at a time, since each is a request."""
        waiting: deque[tuple[str, Future[FoundObject | MediaError | None] | None]] = deque()

        def first() -> Iterator[Found]:
            name, looked_up = waiting.popleft()
            if looked_up is None:
                return self._of_local_name(name, base, in_manifest=True)
            return self._of_object_name(name, looked_up.result(), in_manifest=True)

        # A thread is started only when there is something to do.
        with ThreadPoolExecutor(_LOOKUPS_AT_ONCE) as executor:
            for name in names:
                uri = _object_uri(name, base)
                waiting.append((name, None) if uri is None else (uri, executor.submit(_look_up, uri)))
                if len(waiting) > _NAMES_AHEAD:
                    yield from first()
            while waiting:
                yield from first()


def _object_uri(name: str, base: str) -> str | None:
    """The address of an object that is named in a folder; None for a local file.

    Raises:
        ValueError: if it is another address.
    """
    if name.startswith(SCHEME):
        return name
    if re.match(r"[a-z][a-z0-9+.-]*://", name):
        raise ValueError(f"{printable(name)}: only files on this machine and {SCHEME}… can be read")
    if not base.startswith(SCHEME) or name.startswith("/"):
        return None
    bucket, folder = split_uri(base)
    if {".", ".."} & set(name.split("/")):
        folder, name = "", posixpath.normpath(f"/{folder}{name}").lstrip("/") + "/" * name.endswith("/")
    return f"{SCHEME}{bucket}/{folder}{name}"


def _absolute(name: str, base: str) -> str:
    """The absolute path of a name; links stay as they are, but where `link/..` must be followed to be right."""
    literal = os.path.join(base, name)
    path = "/" + os.path.normpath(literal).lstrip("/")
    if ".." in name.split("/") and os.path.lexists(literal):
        followed = os.path.join(os.path.realpath(os.path.dirname(literal)), os.path.basename(literal))
        if os.path.realpath(followed) != os.path.realpath(path):
            return followed
    return path


def _look_up(uri: str) -> FoundObject | MediaError | None:
    """The object of this name, or what stands against it; None if it names a folder and needs no look."""
    if not split_uri(uri)[1] or uri.endswith("/"):
        return None
    try:
        return look_up(uri, stage="find")
    except MediaError as error:
        return error
