"""What the user names -> the videos that are meant: files, folders, globs and manifests."""

import csv
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmeg_model.media.source import VideoRef, local_version, printable
from pipelines.tables import Failure

PICTURE_EXTENSIONS: Final = tuple(
    ".mp4 .m4v .mov .mkv .webm .avi .ts .mts .m2ts .mpg .mpeg .ogv .flv .3gp .wmv".split()  # noqa: SIM905
)
SOUND_EXTENSIONS: Final = tuple(".wav .flac .mp3 .m4a .ogg .opus .aac".split())  # noqa: SIM905
MANIFEST_EXTENSIONS: Final = (".txt", ".csv")
_GLOB_CHARACTERS: Final = frozenset("*?[")


@dataclass(frozen=True)
class Found:
    """A video of the input, or why there is none: then `failure` says so, of this video if it has a name."""

    video: VideoRef | None
    num_bytes: int = 0
    failure: Failure | None = None


@dataclass
class FindReport:
    """What finding passed over, counted for the user."""

    num_other_files: int = 0
    """Files in folders whose extension is none of a video or sound."""
    num_linked_folders: int = 0
    """Links to folders inside folders, which are not entered: they may lead back up."""
    num_repeated: int = 0
    """Videos named more than once, each annotated once."""


def find_videos(inputs: Sequence[str], report: FindReport | None = None) -> Iterator[Found]:
    """Yield each video that the inputs name, once, in the order in which they name it.

    An input is a file (always taken, whatever its name), a folder (recursively, files with a known extension,
    hidden ones skipped), a glob, or a manifest: a `.txt` with one input a line, or a `.csv` with a column
    `uri`, relative names relative to its own folder. A name that exists is never read as a glob. A name that does
    not exist is a video that failed.

    Raises:
        ValueError: if a manifest cannot be read, or an input is an address such as `gs://…`.
    """
    report = report if report is not None else FindReport()
    seen: set[str] = set()
    for name in inputs:
        for found in _of_input(name, os.getcwd(), report):
            if found.video is not None:
                if found.video.location in seen:
                    report.num_repeated += 1
                    continue
                seen.add(found.video.location)
            yield found


def _of_input(name: str, base: str, report: FindReport, *, manifests: bool = True) -> Iterator[Found]:
    """The videos of one name, relative to the folder `base`."""
    if re.match(r"[a-z][a-z0-9+.-]*://", name):
        raise ValueError(f"{printable(name)}: only files on this machine can be read, not addresses")
    path = _absolute(name, base)
    if os.path.isdir(path):
        yield from _or_failure(
            _of_folder(path, report), f"the folder {printable(path)} holds no video or sound file"
        )
    elif manifests and os.path.lexists(path) and path.lower().endswith(MANIFEST_EXTENSIONS):
        yield from _or_failure(_of_manifest(path, report), f"the manifest {printable(path)} names no video")
    elif os.path.lexists(path) or not _GLOB_CHARACTERS & set(name):
        yield _of_file(path)
    else:
        yield from _or_failure(
            _of_pattern(name, base, report), f"the pattern {printable(path)} matches no file"
        )


def _absolute(name: str, base: str) -> str:
    """The absolute path of a name; links stay as they are, but where `link/..` must be followed to be right."""
    literal = os.path.join(base, name)
    path = "/" + os.path.normpath(literal).lstrip("/")
    if ".." in name.split("/") and os.path.lexists(literal):
        followed = os.path.join(os.path.realpath(os.path.dirname(literal)), os.path.basename(literal))
        if os.path.realpath(followed) != os.path.realpath(path):
            return followed
    return path


def _of_pattern(pattern: str, base: str, report: FindReport) -> Iterator[Found]:
    # The folder is a name, whatever characters are in it; only what the user wrote is a pattern.
    matches = sorted(glob.iglob(os.path.join(glob.escape(base), pattern), recursive=True))
    seen: set[str] = set()
    for match in matches:
        path = _absolute(match, base)
        if os.path.isdir(path):
            yield from _of_folder(path, report)
            continue
        # `**` follows links to folders, also those that lead back up.
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if real not in seen:
            seen.add(real)
            yield _of_file(path)


def _of_file(path: str) -> Found:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        failure = Failure("find", type(error).__name__, f"{printable(path)}: {_reason(error)}")
        return Found(VideoRef(path), failure=failure)
    return Found(VideoRef(path, local_version(status)), status.st_size if stat.S_ISREG(status.st_mode) else 0)


def _of_folder(folder: str, report: FindReport) -> Iterator[Found]:
    unlisted: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unlisted.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        report.num_linked_folders += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
        for name in sorted(files):
            if name.startswith("."):
                continue
            if name.lower().endswith(PICTURE_EXTENSIONS + SOUND_EXTENSIONS):
                yield _of_file(os.path.join(parent, name))
            else:
                report.num_other_files += 1
    for error in unlisted:
        message = f"the folder {printable(error.filename)} could not be listed: {_reason(error)}"
        yield Found(None, failure=Failure("find", type(error).__name__, message))


def _of_manifest(path: str, report: FindReport) -> Iterator[Found]:
    for name in _manifest_entries(path):
        yield from _of_input(name, os.path.dirname(path), report, manifests=False)


def _manifest_entries(path: str) -> Iterator[str]:
    """The names in a manifest, as they stand there; blank ones are skipped.

    Raises:
        ValueError: if it cannot be read, or a CSV has no column `uri`.
    """
    try:
        # File names are bytes: what is no UTF-8 in a manifest still names its file.
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            if path.lower().endswith(".csv"):
                rows = csv.DictReader(file)
                if "uri" not in (rows.fieldnames or ()):
                    raise ValueError(
                        f"the manifest {printable(path)} has no column `uri`, only {printable(', '.join(rows.fieldnames or ())) or 'nothing'}; "
                        "name the column of the videos `uri` in its first line"
                    )
                names: Iterator[str] = (row["uri"] or "" for row in rows)
            else:
                names = (line.rstrip("\r\n") for line in file)
            for name in names:
                if "\0" in name:
                    raise ValueError(f"the manifest {printable(path)} is no UTF-8 text; save it as UTF-8")
                if name.strip():
                    yield name
    except (OSError, csv.Error) as error:
        raise ValueError(f"the manifest {printable(path)} could not be read: {error}") from error


def _or_failure(found: Iterator[Found], message: str) -> Iterator[Found]:
    """What was found, or a failure that belongs to no video if that is nothing."""
    empty = True
    for item in found:
        empty = False
        yield item
    if empty:
        yield Found(None, failure=Failure("find", "NothingFound", message))


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
