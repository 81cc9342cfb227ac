"""Local files: one by name, those of a folder, those that match a glob."""

import os
import stat
from collections.abc import Iterator

from mmeg_model.media.source import VideoRef, local_version, printable
from pipelines.found import FindReport, Found
from pipelines.path_patterns import PathPattern, Place
from pipelines.tables import Failure


def find_file(path: str) -> Found:
    """The file of this name, or a failed video if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        failure = Failure("find", type(error).__name__, f"{printable(path)}: {_reason(error)}")
        return Found(VideoRef(path), failure=failure)
    num_bytes = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Found(VideoRef(path, local_version(status)), num_bytes, appeared_ns=status.st_ctime_ns)


def find_in_folder(folder: str, pattern: PathPattern, report: FindReport) -> Iterator[Found]:
    """The files below a folder that match, folder after folder: of each, first its files, then its folders."""
    places: list[tuple[str, Place]] = [(folder, pattern.top)]
    while places:
        parent, place = places.pop()
        try:
            files, folders, links = _entries(parent)
        except OSError as error:
            message = f"the folder {printable(parent)} could not be listed: {_reason(error)}"
            yield Found(None, failure=Failure("find", type(error).__name__, message))
            continue
        for name in files:
            verdict = place.judge(name)
            report.num_other_files += verdict == "other"
            if verdict == "meant":
                yield find_file(os.path.join(parent, name))
        for name in reversed(folders):
            is_link = name in links
            inner = place.enter(name, is_link=is_link)
            if not inner.is_dead_end:
                places.append((os.path.join(parent, name), inner))
            elif is_link:
                report.num_linked_folders += not place.enter(name).is_dead_end


def _entries(folder: str) -> tuple[list[str], list[str], set[str]]:
    """The names of the files, of the folders, and of those folders that are links."""
    files, folders, links = [], [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_folder(entry):
                files.append(entry.name)
                continue
            folders.append(entry.name)
            if entry.is_symlink():
                links.add(entry.name)
    return sorted(files), sorted(folders), links


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
