"""Objects in Google Cloud Storage: one by name, those below a prefix, those that match a glob."""

from collections.abc import Iterator

from mmeg_model.media.errors import MediaError
from mmeg_model.media.objects import FoundObject, list_objects
from mmeg_model.media.source import VideoRef
from pipelines.found import FindReport, Found
from pipelines.path_patterns import PathPattern
from pipelines.tables import Failure


def of_object(found: FoundObject) -> Found:
    """An object as a video."""
    return Found(VideoRef(found.uri, found.generation), found.num_bytes, appeared_ns=found.created_ns)


def is_folder(uri: str) -> bool:
    """Whether there are objects below `gs://bucket/name/`; if nobody may know, there are none.

    Raises:
        NoCredentialsError: if nobody may list anything.
    """
    try:
        return any(True for _ in list_objects(f"{uri}/", stage="find", most=1))
    except MediaError:
        return False


def find_below(folder: str, pattern: PathPattern, report: FindReport) -> Iterator[Found]:
    """The objects below `gs://bucket/folder/` that match, in order of name, one page of the listing at a time.

    Whatever begins with what stands before the pattern's first special character is listed, and matched here.

    Raises:
        NoCredentialsError: if nobody may list anything.
    """
    literal = folder + pattern.text[: pattern.num_literal]
    try:
        for found in list_objects(literal, stage="find"):
            *folders, name = found.uri[len(folder) :].split("/")
            if not name:  # `folder/`, which some tools make to show an empty folder
                continue
            place = pattern.top
            for part in folders:
                place = place.enter(part)
            verdict = place.judge(name)
            report.num_other_files += verdict == "other"
            if verdict == "meant":
                yield of_object(found)
    except MediaError as error:
        yield Found(None, failure=Failure.of(error))
