"""Objects in Google Cloud Storage: looked up, listed page by page, and read by ranges of one generation.

The library is imported at the first call, and one client is made then and kept for the process; where
STORAGE_EMULATOR_HOST is set, it asks that address, without credentials.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from mmeg_model.media.errors import MediaError, Stage
from mmeg_model.media.range_reader import RangeReader
from mmeg_model.media.source import printable

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud.storage import Blob, Client

SCHEME: Final = "gs://"
PATIENCE_SECONDS: Final = 120.0
"""For how long a request that could succeed later is repeated."""

TIMEOUT_SECONDS: Final = (10.0, 30.0)  # to connect, and between bytes
_FILE_CHUNK_BYTES: Final = 1 << 22
_MOST_CONNECTIONS: Final = 256  # kept open; that many threads can read at a time without making new ones
_OBJECT_FIELDS: Final = "items(name,generation,size,timeCreated),nextPageToken"

_NO_CREDENTIALS: Final = (
    "{uri} could not be asked for, since no credentials for Google Cloud hold here: {said} "
    "Run `gcloud auth application-default login`, or name a key file in GOOGLE_APPLICATION_CREDENTIALS"
)

_client: "Client | None" = None
_lock = threading.Lock()
_num_bytes_read = 0


class NoCredentialsError(ValueError):
    """Nothing at all can be found in buckets: there is nobody to ask as."""


@dataclass(frozen=True)
class FoundObject:
    """One generation of one object."""

    uri: str
    generation: str
    num_bytes: int
    created_ns: int = 0
    """When the generation appeared, in nanoseconds since 1970; 0 where the server does not say."""

    @classmethod
    def of(cls, uri: str, blob: "Blob") -> "FoundObject":
        """What the library knows of an object."""
        created = blob.time_created
        created_ns = 0 if created is None else round(created.timestamp() * 1e6) * 1_000
        return cls(uri, str(blob.generation), blob.size, created_ns)


def split_uri(uri: str) -> tuple[str, str]:
    """Split `gs://bucket/name` into bucket and name, both of which may be empty."""
    bucket, _, name = uri.removeprefix(SCHEME).partition("/")
    return bucket, name


def check_uri(uri: str, stage: Stage) -> None:
    """Refuse here what the library refuses with errors of many kinds, or not at all."""
    bucket, _ = split_uri(uri)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]", bucket):
        raise MediaError(
            stage, "ValueError", f"{printable(uri)}: `{printable(bucket)}` is no name of a bucket"
        )
    if printable(uri) != uri:
        raise MediaError(stage, "ValueError", f"{printable(uri)}: the name of an object is UTF-8")


def look_up(uri: str, *, stage: Stage, patience_seconds: float = PATIENCE_SECONDS) -> FoundObject:
    """Ask for an object as it is now.

    Raises:
        MediaError: of this stage, if it is not there or may not be looked at.
        NoCredentialsError: at stage `find`, if there are no credentials.
    """
    check_uri(uri, stage)
    with _failures_named(uri, stage):
        blob = _blob(uri)
        blob.reload(timeout=TIMEOUT_SECONDS, retry=patient_retry(patience_seconds))
        return FoundObject.of(uri, blob)


def list_objects(uri: str, *, stage: Stage, most: int | None = None) -> Iterator[FoundObject]:
    """Yield the objects whose names begin with this `gs://bucket/prefix`, in order of name, page by page.

    Args:
        uri: bucket and prefix.
        stage: of an error.
        most: how many there are to be at most.

    Raises:
        MediaError: of this stage, if the bucket is not there or may not be listed.
        NoCredentialsError: at stage `find`, if there are no credentials.
    """
    check_uri(uri, stage)
    bucket, prefix = split_uri(uri)
    with _failures_named(uri, stage):
        blobs = shared_client().list_blobs(
            bucket,
            prefix=prefix or None,
            max_results=most,
            fields=_OBJECT_FIELDS,
            timeout=TIMEOUT_SECONDS,
            retry=patient_retry(),
        )
        for blob in blobs:
            yield FoundObject.of(f"{SCHEME}{bucket}/{blob.name}", blob)


def reader_of(found: FoundObject, *, patience_seconds: float = PATIENCE_SECONDS) -> RangeReader:
    """Read this generation of an object, and no other.

    Its reading raises MediaError of stage `open` if that is not there any more or may not be read.
    """

    def fetch(start: int, end: int) -> bytes:
        try:
            return _read_range(found, start, end, patience_seconds)
        except MediaError as error:
            if error.error == "NotFound":  # this generation; perhaps there is another
                now = look_up(found.uri, stage="open", patience_seconds=patience_seconds)
                raise version_changed(found.uri, now=now.generation, then=found.generation) from error
            raise

    return RangeReader(fetch, num_bytes=found.num_bytes)


@contextmanager
def open_file(found: FoundObject) -> Iterator[BinaryIO]:
    """Open this generation of an object as a file, to be read on and on rather than here and there.

    Raises:
        MediaError: of stage `find`, also where it is used, if it is not there any more or may not be read.
    """
    with (
        _failures_named(found.uri, "find"),
        _blob(found.uri, found.generation).open(
            "rb", chunk_size=_FILE_CHUNK_BYTES, timeout=TIMEOUT_SECONDS, retry=patient_retry()
        ) as file,
    ):
        yield file


def version_changed(uri: str, *, now: str, then: str | None) -> MediaError:
    """What a video is refused with that changed between finding and reading."""
    return MediaError("open", "VersionChanged", f"{uri} is now {now}, it was {then} when it was found")


def _read_range(found: FoundObject, start: int, end: int, patience_seconds: float) -> bytes:
    with _failures_named(found.uri, "open"):
        content: bytes = _blob(found.uri, found.generation).download_as_bytes(
            start=start,
            end=end - 1,
            raw_download=True,  # the bytes as they lie there: those of a decompressed object have no ranges
            checksum=None,  # there is none of a range
            timeout=TIMEOUT_SECONDS,
            retry=patient_retry(patience_seconds),
        )
    if len(content) != end - start:
        message = f"{found.uri} gave {len(content)} bytes where [{start}, {end}) was asked for"
        raise MediaError("open", "RangeNotKept", message)
    global _num_bytes_read
    with _lock:
        _num_bytes_read += len(content)
    return content


def num_bytes_read() -> int:
    """How much this process has read so far, in ranges."""
    return _num_bytes_read


def _blob(uri: str, generation: str | None = None) -> "Blob":
    bucket, name = split_uri(uri)
    return shared_client().bucket(bucket).blob(name, generation=generation and int(generation))


def patient_retry(patience_seconds: float = PATIENCE_SECONDS) -> "Retry":
    """Repeat, after longer and longer pauses, what was answered by 408, 429 or 5xx, or broke off."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(patience_seconds)


def shared_client() -> "Client":
    global _client
    with _lock:
        if _client is None:
            _client = _new_client()
        return _client


def _new_client() -> "Client":
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    client = storage.Client(project=None)  # one's own credentials need not name one, nor does reading objects
    # By default ten connections are kept, and each more is opened and closed for one request, with a warning.
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=_MOST_CONNECTIONS))
    return client


def _forget_client() -> None:
    """A forked process must not share connections with the one that it comes from."""
    global _client, _lock
    _client, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_client)


@contextmanager
def _failures_named(uri: str, stage: Stage) -> Iterator[None]:
    """Turn what the library raises into a sentence with a way out."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import InvalidResponse
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except exceptions.RetryError as error:
        cause = error.cause or error
        if isinstance(
            cause, InvalidResponse
        ):  # what the reading of ranges raises before it is turned into ours
            cause = exceptions.from_http_response(cause.response)
        message = f"{uri} could not be read, however often it was tried: {_said(cause)}; try again later"
        raise MediaError(stage, type(cause).__name__, message) from error
    except exceptions.NotFound as error:
        raise MediaError(stage, "NotFound", f"{uri} does not exist: {_said(error)}") from error
    except exceptions.Forbidden as error:
        message = (
            f"{uri} may not be read: {_said(error)}; "
            "the account needs the role Storage Object Viewer on the bucket"
        )
        raise MediaError(stage, "Forbidden", message) from error
    except (exceptions.Unauthorized, GoogleAuthError) as error:
        message = _NO_CREDENTIALS.format(uri=uri, said=_said(error))
        if stage == "find":
            raise NoCredentialsError(message) from error
        raise MediaError(stage, "NoCredentials", message) from error
    except (exceptions.GoogleAPIError, RequestException, HTTPError, ConnectionError) as error:
        raise MediaError(stage, type(error).__name__, f"{uri} could not be read: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """The first line of what an exception says."""
    return str(error).strip().partition("\n")[0][:500] or type(error).__name__
