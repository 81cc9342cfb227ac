"""What a run does before its first video, so that nothing is begun that cannot go on."""

import contextlib
import os
from collections.abc import Iterator, Sequence

from mmeg_model.media.source import printable
from pipelines.completed import Completed, RefusedError, newest_run
from pipelines.dataflow import job_of
from pipelines.ending import say
from pipelines.find_videos import find_videos
from pipelines.local_run import LocalRun
from pipelines.output_folder import OutputFolder
from pipelines.output_objects import ObjectFolder
from pipelines.path_patterns import GLOB_CHARACTERS
from pipelines.rewriting import finish_rewrites, remove_orphans, remove_superseded
from pipelines.runners import is_cluster
from pipelines.slice_list import remove_lists
from pipelines.tables import TABLES
from pipelines.torn_panes import mend_panes


class CannotStartError(Exception):
    """A reason for exit status 2; nothing was touched."""


def check_watched(inputs: Sequence[str]) -> None:
    """See that what is to be looked at again and again can be there: that nothing is may be a slip, and nobody notices.

    Raises:
        CannotStartError: if it cannot.
    """
    for name in inputs:
        if "://" in name:
            try:
                next(find_videos([name]), None)
            except ValueError as error:  # no credentials, or no address that can be read
                raise CannotStartError(str(error)) from error
        elif not os.path.lexists(name) and not GLOB_CHARACTERS & set(name):
            raise CannotStartError(f"{printable(name)} does not exist; make the folder that is to be watched")


def load_model(run: LocalRun) -> None:
    """Load it before anything is touched: a bundle that is broken must not cost a slice.

    Raises:
        CannotStartError: if it cannot be loaded.
    """
    try:
        run.handler.load_model()
    except (ValueError, OSError) as error:
        raise CannotStartError(str(error)) from error


def made_ready(run: LocalRun) -> LocalRun:
    """See that the network and the decoders start, on this machine or on the workers of a cluster.

    Raises:
        CannotStartError: if they do not.
    """
    if not is_cluster(run.options):
        run.pool.shared().start()  # beside the model, which takes as long
        load_model(run)
        return run
    try:
        return run.fitted_to_workers()
    except ValueError as error:
        raise CannotStartError(str(error)) from error


@contextlib.contextmanager
def locked_output(run: LocalRun) -> Iterator[None]:
    """Keep other runs out of the output, and see that it can be written to.

    Raises:
        CannotStartError: if it cannot.
        InUseError: if another run is in.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(run.output.locked(by=run.constants.holder))
            run.output.check_writable(TABLES)
        except OSError as error:
            raise CannotStartError(
                f"--output {run.output.uri} cannot be written to: {error.strerror or error}"
            ) from error
        yield


def check_not_overtaken(run: LocalRun) -> None:
    """See that no run that began later has published, since of a name the newest run holds; behind the lock.

    Raises:
        RefusedError: if one has.
        CannotStartError: if the output cannot be listed.
    """
    try:
        newest = newest_run(run.output)
    except OSError as error:
        raise CannotStartError(str(error)) from error
    if newest >= run.constants.run_id:
        raise RefusedError(
            f"another run has written into {run.output.uri} while this one looked for its videos; start it again"
        )


def leave_lock_to_job(run: LocalRun) -> None:
    """Keep other runs out for as long as the job lasts that was started on Dataflow; behind the lock.

    Raises:
        OSError: if another run has taken over meanwhile.
    """
    assert isinstance(run.output, ObjectFolder), "Dataflow writes to buckets alone"
    run.output.leave_lock_to(job_of(run.options))


def tidy(output: OutputFolder, completed: Completed) -> None:
    """End what runs that died have begun."""
    finish_rewrites(output)
    mend_panes(output)
    remove_lists(output)
    if num_orphans := remove_orphans(output, completed.merged_stems):
        say(f"removed {num_orphans} files of a run that died before it published them")
    remove_superseded(output, completed.superseded)
