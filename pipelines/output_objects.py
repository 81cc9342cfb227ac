"""The folder of the tables as a prefix of a bucket in Google Cloud Storage: objects appear whole by themselves."""

import contextlib
import errno
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final

from mmeg_model.media import objects
from mmeg_model.media.errors import MediaError
from pipelines.output_folder import overtaken
from pipelines.output_lock import ObjectLock
from pipelines.storage_errors import storage_errors

if TYPE_CHECKING:
    from google.cloud.storage import Blob

_CHUNK_BYTES: Final = 1 << 23
"""What an upload holds in memory, and sends again if a request fails."""


class ObjectFolder:
    """`gs://bucket/prefix`, whose bucket is there. What is read or written lies in an unnamed local file meanwhile."""

    def __init__(self, uri: str) -> None:
        """Ask for nothing.

        Raises:
            ValueError: if it is no bucket and prefix.
        """
        self.uri = objects.SCHEME + uri.removeprefix(objects.SCHEME).rstrip("/")
        try:
            objects.check_uri(self.uri, "find")
        except MediaError as error:
            raise ValueError(f"--output {error.message}") from error
        self._bucket, self._prefix = objects.split_uri(self.uri)
        self._lock: ObjectLock | None = None

    def files(self, table: str) -> dict[str, int]:
        sizes = self._sizes(f"{table}/run=")
        # By runs, as folders are sorted, where a slash comes first: `run=1` before `run=1~`.
        return {
            name: sizes[name] for name in sorted(sizes, key=lambda n: n.split("/")) if name.count("/") == 2
        }

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        with _temporary_file() as file:
            try:
                self._download(name, file)
            except FileNotFoundError:
                # Of one that is replaced while its reading breaks off, the rest is not there. To take it for none
                # would be to lose its rows.
                if name not in self._sizes(name):
                    raise
                self._download_listed(name, file)
            file.seek(0)
            yield file

    @contextlib.contextmanager
    def writing(self, names: Sequence[str]) -> Iterator[list[BinaryIO]]:
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(_temporary_file()) for _ in names]
            yield files
            for file, name in zip(files, names, strict=True):
                self._check_lock()
                self._upload(name, file)

    def move(self, name: str, new_name: str) -> None:
        self._check_lock()
        with storage_errors(self._uri_of(name), "moved"):
            source, target = self._blob(name), self._blob(new_name)
            token, *_ = target.rewrite(source, retry=objects.patient_retry())
            while token is not None:  # a large one is copied in several requests
                token, *_ = target.rewrite(source, token=token, retry=objects.patient_retry())
        self.remove(name)

    def remove(self, name: str) -> None:
        from google.api_core.exceptions import NotFound

        self._check_lock()
        with storage_errors(self._uri_of(name), "removed"), contextlib.suppress(NotFound):
            self._blob(name).delete(timeout=objects.TIMEOUT_SECONDS, retry=objects.patient_retry())

    def check_writable(self, tables: Sequence[str]) -> None:
        """While it is locked by us: to have got the lock was to write, to renew it is to replace."""
        assert self._lock is not None
        self._lock.renew()

    @contextlib.contextmanager
    def locked(self, *, by: str) -> Iterator[None]:
        with ObjectLock.of(self._bucket, self._prefix).held(by=by) as self._lock:
            try:
                yield
            finally:
                self._lock = None

    def leave_lock_to(self, job: str) -> None:
        """Keep others out behind us, for as long as a job of Dataflow is active; while it is locked by us.

        Raises:
            OSError: if it is ours no more, or that could not be written.
        """
        assert self._lock is not None
        self._lock.leave_to(job)

    def check_not_held_by_others(self, by: str) -> None:
        now = ObjectLock.of(self._bucket, self._prefix).holder()
        if now is not None and now.by != by:
            raise OSError(f"{self.uri}: another run has taken over from {by}: {now}")

    def check_no_newer_run(self, run_id: str) -> None:
        own = f"run={run_id}"
        for name in self._sizes(
            "videos/run=", from_name=f"videos/{own}0"
        ):  # in a name, 0 is behind the slash
            _, run, file = name.split("/", 2)
            if run > own and file.endswith(".parquet") and not file.startswith("."):
                raise overtaken(self.uri, run, run_id=run_id)

    def _sizes(self, start_of_name: str, *, from_name: str = "") -> dict[str, int]:
        """The objects whose names begin so, from one name on in their order, and how many bytes they have."""
        start = f"{self._prefix}/" if self._prefix else ""
        with storage_errors(self.uri, "listed"):
            blobs = objects.shared_client().list_blobs(
                self._bucket,
                prefix=start + start_of_name,
                start_offset=start + from_name,
                fields="items(name,size),nextPageToken",
                timeout=objects.TIMEOUT_SECONDS,
                retry=objects.patient_retry(),
            )
            return {blob.name.removeprefix(start): int(blob.size) for blob in blobs}

    def _download(self, name: str, file: BinaryIO) -> None:
        def download() -> None:
            file.seek(0)
            file.truncate()
            self._blob(name).download_to_file(
                file, timeout=objects.TIMEOUT_SECONDS, retry=objects.patient_retry()
            )

        with storage_errors(self._uri_of(name), "read"):
            objects.patient_retry()(download)()  # the library does not ask again if a refusal breaks off

    def _download_listed(self, name: str, file: BinaryIO) -> None:
        try:
            self._download(name, file)
        except FileNotFoundError as error:
            raise OSError(f"{error}; but it is listed") from error

    def _upload(self, name: str, file: BinaryIO) -> None:
        def upload() -> None:
            self._blob(name, chunk_bytes=_CHUNK_BYTES).upload_from_file(
                file, rewind=True, timeout=objects.TIMEOUT_SECONDS, retry=objects.patient_retry()
            )

        with storage_errors(self._uri_of(name), "written"):
            objects.patient_retry().with_predicate(_has_to_begin_anew)(upload)()

    def _check_lock(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def _uri_of(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def _blob(self, name: str, *, chunk_bytes: int | None = None) -> "Blob":
        path = f"{self._prefix}/{name}" if self._prefix else name
        return objects.shared_client().bucket(self._bucket).blob(path, chunk_size=chunk_bytes)


def _has_to_begin_anew(error: BaseException) -> bool:
    """Whether an upload broke down that may be well if it is begun once more.

    A bucket may forget an upload that is under way, and of a chunk it may keep but a part, or nothing: the library
    then knows no way on.
    """
    from google.api_core.exceptions import GoogleAPICallError

    if isinstance(error, GoogleAPICallError) and error.code in (308, 404, 410):
        return error.response is not None and error.response.request.method == "PUT"
    return isinstance(error, ValueError)


@contextlib.contextmanager
def _temporary_file() -> Iterator[BinaryIO]:
    """A local file that has no name.

    Raises:
        OSError: with a way out, if there is no room for it, also where it is used. FileNotFoundError would speak of
            an object.
    """
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError as error:
        raise OSError(f"no temporary file can be made: {error}; name another folder in TMPDIR") from error
    try:
        with file:
            yield file
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        folder = tempfile.gettempdir()
        raise OSError(
            f"{folder}, where temporary files lie, is full ({error.strerror}); name another folder in TMPDIR"
        ) from error
