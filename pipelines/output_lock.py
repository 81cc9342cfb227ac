"""The lock on a prefix of a bucket: an object that its holder renews, so that a dead one's is taken over.

An object is created or replaced only if its generation is the expected one, so of several that try one gets it. The
holder renews it every minute. One that was not renewed for ten minutes, by the clock of the bucket, belongs to the
dead, and so does one whose process ran here and is gone. A holder that could not renew it for five minutes, as on a
laptop that slept, changes nothing more. A launcher leaves it to its job of Dataflow, which is asked after.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mmeg_model.locked import LOCK_NAME, InUseError
from mmeg_model.media import objects
from pipelines.dataflow_jobs import is_active
from pipelines.storage_errors import storage_errors

if TYPE_CHECKING:
    from google.cloud.storage import Blob

RENEWED_SECONDS: Final = 60.0
TRUSTED_SECONDS: Final = 300.0
DEAD_SECONDS: Final = 600.0
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where there is such a clock."""


@dataclass(frozen=True)
class Holder:
    """Who has the lock."""

    by: str
    host: str
    process: int
    place: str
    """Where the number of the process means something: a boot of a machine, and a space of process numbers on it."""
    started: str
    token: str
    """Tells one's own lock from any other."""
    job: str = ""
    """The job of Dataflow, as of `pipelines.dataflow.job_of`, that it was left to."""

    @classmethod
    def this(cls, by: str) -> "Holder":
        started = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(by, socket.gethostname(), os.getpid(), _place(), started, secrets.token_hex(8))

    def __str__(self) -> str:
        if self.job:
            return f"{self.by}, {self.job}, started {self.started}"
        return f"{self.by}, process {self.process} on {self.host}, started {self.started}"

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine and is none any more."""
        if self.job or not self.place or self.place != _place():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


def _place() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""  # on a system that does not say


class ObjectLock:
    """The lock object of one prefix."""

    def __init__(self, bucket: str, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._uri = f"{objects.SCHEME}{bucket}/{name}"
        self._mine: Holder | None = None
        self._generation = 0
        self._renewed = 0.0

    @classmethod
    def of(cls, bucket: str, prefix: str) -> "ObjectLock":
        return cls(bucket, f"{prefix}/{LOCK_NAME}" if prefix else LOCK_NAME)

    def holder(self) -> Holder | None:
        """Who has it, dead or alive.

        Raises:
            OSError: if that cannot be read.
        """
        found = self._look()
        return found and found[0]

    @contextlib.contextmanager
    def held(self, *, by: str) -> Iterator["ObjectLock"]:
        """Take it, renew it, and give it back.

        Raises:
            InUseError: if another run has it.
            OSError: if objects cannot be written here.
        """
        self._mine = Holder.this(by)
        try:
            self._take()
        except OSError:
            self._give_back()  # it may be ours all the same, if it was an answer that was lost
            raise
        is_over = threading.Event()

        def renew() -> None:
            while not is_over.wait(RENEWED_SECONDS):
                with contextlib.suppress(OSError):  # tried again in a minute; `check` sees how long it lasts
                    self.renew()

        thread = threading.Thread(target=renew, name="lock", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            is_over.set()
            thread.join()
            if self._mine is not None and not self._mine.job:
                self._give_back()

    def leave_to(self, job: str) -> None:
        """Let it stay behind us for as long as a job of Dataflow is active.

        Raises:
            OSError: if it is ours no more, or that could not be written.
        """
        self.check()
        assert self._mine is not None
        self._mine = replace(self._mine, job=job)
        self.renew()
        self.check()

    def check(self) -> None:
        """See that it is still ours.

        Raises:
            OSError: if it is not, or nobody could be asked for some time.
        """
        if self._mine is None:
            raise OSError(f"{self._uri}: another run has taken over; it goes on with what this one left")
        seconds = time.clock_gettime(_CLOCK) - self._renewed
        if seconds > TRUSTED_SECONDS:
            raise OSError(
                f"{self._uri} could not be renewed for {seconds:.0f} s; another run may have taken over"
            )

    def renew(self) -> None:
        """Say that we live.

        Raises:
            OSError: if that could not be said.
        """
        if self._mine is not None and not self._put(self._generation):
            self._mine = None

    def _take(self) -> None:
        for _ in range(3):  # an attempt fails if another run comes or goes at this moment
            if self._put(0):
                return
            found = self._look()
            if found is None:
                continue
            other, generation, renewed = found
            if not other.is_gone and not self._is_dead(other, renewed):
                break
            if self._put(generation):
                return
        holder = found[0] if found else None
        way_out = f"if it died, it is let go of {DEAD_SECONDS / 60:.0f} minutes after"
        if holder and holder.job:
            way_out = "wait for that job, or cancel it"
        raise InUseError(
            f"another run writes into {self._uri.removesuffix('/' + LOCK_NAME)}: {holder or 'unknown'}; {way_out}"
        )

    def _is_dead(self, other: Holder, renewed: datetime) -> bool:
        is_old = (self._now() - renewed).total_seconds() >= DEAD_SECONDS
        # A job is listed a while after it was launched.
        return is_old and not (other.job and is_active(other.job))

    def _put(self, generation: int) -> bool:
        """Write the object over this generation of it, 0 for none; False if there is another one."""
        from google.api_core.exceptions import PreconditionFailed

        assert self._mine is not None
        asked = time.clock_gettime(_CLOCK)
        blob = self._blob()
        try:
            with storage_errors(self._uri, "written"):
                blob.upload_from_string(
                    json.dumps(asdict(self._mine)),
                    if_generation_match=generation,
                    timeout=objects.TIMEOUT_SECONDS,
                    retry=objects.patient_retry(),
                )
            self._generation = int(blob.generation)
        except PreconditionFailed:
            found = self._look()
            if found is None or found[0].token != self._mine.token:
                return False
            self._generation = found[1]  # ours, of a try whose answer was lost
        self._renewed = asked
        return True

    def _look(self) -> tuple[Holder, int, datetime] | None:
        """Who has it, the generation, and when it was renewed."""
        try:
            with storage_errors(self._uri, "read"):
                blob = self._blob()
                blob.reload(timeout=objects.TIMEOUT_SECONDS, retry=objects.patient_retry())
                content = self._blob(blob.generation).download_as_bytes(
                    timeout=objects.TIMEOUT_SECONDS, retry=objects.patient_retry()
                )
        except FileNotFoundError:
            return None
        try:
            return Holder(**json.loads(content)), int(blob.generation), blob.updated
        except (ValueError, TypeError) as error:
            raise OSError(
                f"{self._uri} is no lock of this version of mmeg; if nothing runs, remove it"
            ) from error

    def _now(self) -> datetime:
        """The time by the clock of the bucket."""
        with storage_errors(self._uri, "written"):
            probe = objects.shared_client().bucket(self._bucket).blob(f"{self._name}.{secrets.token_hex(8)}")
            probe.upload_from_string(b"", timeout=objects.TIMEOUT_SECONDS, retry=objects.patient_retry())
            now: datetime = probe.updated
            probe.delete(timeout=objects.TIMEOUT_SECONDS, retry=objects.patient_retry())
        return now

    def _give_back(self) -> None:
        if self._mine is None:
            return
        # If this fails, it is let go of by and by.
        with contextlib.suppress(OSError):
            if not self._remove(self._generation):  # perhaps it was renewed, and the answer was lost
                found = self._look()
                if found and found[0].token == self._mine.token:
                    self._remove(found[1])
        self._mine = None

    def _remove(self, generation: int) -> bool:
        """Remove this generation of the object, 0 for none; False if there is another one."""
        from google.api_core.exceptions import PreconditionFailed

        try:
            with storage_errors(self._uri, "removed"):
                self._blob().delete(
                    if_generation_match=generation,
                    timeout=objects.TIMEOUT_SECONDS,
                    retry=objects.patient_retry(),
                )
        except PreconditionFailed:
            return False
        return True

    def _blob(self, generation: int | None = None) -> "Blob":
        return objects.shared_client().bucket(self._bucket).blob(self._name, generation=generation)
