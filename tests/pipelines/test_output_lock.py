import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from makers.buckets import BUCKET, Fault, Proxy
from makers.published import constants, ok

from mmeg_model.locked import InUseError, locked
from mmeg_model.media.source import VideoRef
from pipelines import output_lock
from pipelines.output_folder import output_folder
from pipelines.output_lock import Holder, ObjectLock
from pipelines.publish import publish

URI = f"gs://{BUCKET}/out"
LOCK = "out/.mmeg.lock"
ELSEWHERE = replace(Holder.this("run 7"), host="elsewhere", place="another boot")


def test_one_run_is_in_and_the_next_when_it_has_left(buckets: Proxy) -> None:
    output = output_folder(URI)
    with output.locked(by="run 1"):
        with (
            pytest.raises(
                InUseError, match=rf"another run writes into {URI}: run 1, process {os.getpid()} on "
            ),
            output_folder(URI).locked(by="run 2"),
        ):
            pass
        assert list(buckets.contents()) == [LOCK]
    assert buckets.contents() == {}
    with output_folder(URI).locked(by="run 2"):
        pass


def test_other_prefixes_are_not_locked(buckets: Proxy) -> None:
    with output_folder(URI).locked(by="run 1"), output_folder(f"{URI}/deeper").locked(by="run 2"):
        assert len(buckets.contents()) == 2


def test_the_dead_are_succeeded_by_age_and_by_the_clock_of_the_bucket(
    buckets: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets.upload(LOCK, json.dumps(asdict(ELSEWHERE)).encode())
    with pytest.raises(InUseError, match=r"run 7, .* on elsewhere.* it is let go of 10 minutes after"):
        output_folder(URI).locked(by="run 8").__enter__()
    monkeypatch.setattr(output_lock, "DEAD_SECONDS", 0.0)
    with output_folder(URI).locked(by="run 8"):
        held = ObjectLock.of(BUCKET, "out").holder()
        assert held is not None
        assert held.by == "run 8"
    assert buckets.contents() == {}


def test_a_process_of_this_machine_that_is_gone_is_succeeded_at_once(buckets: Proxy) -> None:
    dies = "import os, signal, sys; from pipelines.output_folder import output_folder; " \
        "lock = output_folder(sys.argv[1]).locked(by='run 1'); lock.__enter__(); os.kill(os.getpid(), signal.SIGKILL)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", dies, URI], check=False).returncode == -9
    assert list(buckets.contents()) == [LOCK]
    with output_folder(URI).locked(by="run 2"):
        pass


def test_of_two_that_take_over_one_gets_it(buckets: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    buckets.upload(LOCK, json.dumps(asdict(ELSEWHERE)).encode())
    monkeypatch.setattr(output_lock, "DEAD_SECONDS", 0.0)
    look, num_looks = ObjectLock._look, 0

    def looking(self: ObjectLock):
        nonlocal num_looks
        found = look(self)
        num_looks += 1
        if num_looks == 1:  # another is quicker between looking and taking
            monkeypatch.setattr(output_lock, "DEAD_SECONDS", 600.0)
            buckets.upload(LOCK, json.dumps(asdict(replace(ELSEWHERE, by="run 9"))).encode())
            monkeypatch.setattr(Holder, "is_gone", property(lambda self: self.by == "run 7"))
        return found

    monkeypatch.setattr(ObjectLock, "_look", looking)
    with pytest.raises(InUseError, match="run 9"):
        output_folder(URI).locked(by="run 8").__enter__()
    assert json.loads(buckets.contents()[LOCK])["by"] == "run 9"


def test_it_is_renewed_and_who_lost_it_changes_nothing_more(buckets: Proxy) -> None:
    lock = ObjectLock.of(BUCKET, "out")
    with lock.held(by="run 1"):
        before = lock._generation
        lock.renew()
        assert lock._generation > before
        lock.check()
        buckets.upload(LOCK, json.dumps(asdict(ELSEWHERE)).encode())
        lock.renew()
        with pytest.raises(OSError, match=f"{URI}/.mmeg.lock: another run has taken over"):
            lock.check()
    assert json.loads(buckets.contents()[LOCK])["by"] == "run 7", "the lock of another is left alone"


def test_an_answer_that_was_lost_costs_no_lock(buckets: Proxy) -> None:
    output = output_folder(URI)
    with output.locked(by="run 1"):
        # Written, and then answered by 503: the library asks again, and hears that it is another generation now.
        buckets.faults_behind.append(Fault("POST", status=503))
        assert isinstance(output._lock, ObjectLock)
        output._lock.renew()
        assert not buckets.faults_behind[0].times
        output._lock.check()


def test_who_could_not_renew_it_for_long_changes_nothing(
    buckets: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = output_folder(URI)
    with output.locked(by="run 1"):
        monkeypatch.setattr(output_lock, "TRUSTED_SECONDS", -1.0)
        with pytest.raises(OSError, match="could not be renewed for 0 s"), output.writing(["videos/run=r/x"]):
            pass
    assert buckets.contents() == {}


def test_a_job_whose_place_another_run_took_publishes_nothing(buckets: Proxy, tmp_path: Path) -> None:
    for uri in (URI, str(tmp_path)):
        with output_folder(uri).locked(by="run 2"):
            with pytest.raises(OSError, match="another run has taken over from run 1: run 2, process"):
                publish(
                    [ok(VideoRef("/a", "1"))],
                    output=output_folder(uri),
                    stem="run=1/x",
                    constants=constants("1"),
                )
            publish(
                [ok(VideoRef("/a", "1"))], output=output_folder(uri), stem="run=2/x", constants=constants("2")
            )
        with pytest.raises(
            OSError, match="run=2 has published since run 1 began"
        ):  # nobody holds the lock now
            publish([ok(VideoRef("/b", "1"))], output=output_folder(uri), stem="run=1/x", constants=constants("1"))  # fmt: skip
        publish([ok(VideoRef("/b", "1"))], output=output_folder(uri), stem="run=2/y", constants=constants("2"))  # fmt: skip
    assert len(buckets.contents()) == 6


def test_what_is_no_lock_is_not_taken_for_one(buckets: Proxy) -> None:
    buckets.upload(LOCK, b"mine")
    with pytest.raises(OSError, match=r"\.mmeg\.lock is no lock of this version of mmeg"):
        output_folder(URI).locked(by="run 1").__enter__()


def test_without_the_right_to_write_nothing_starts(buckets: Proxy) -> None:
    buckets.faults.append(Fault("POST", status=403))
    with pytest.raises(OSError, match=f"{URI}/.mmeg.lock may not be written: .* Storage Object User"):
        output_folder(URI).locked(by="run 1").__enter__()


def test_a_local_lock_names_its_holder_as_long_as_it_is_held(tmp_path: Path) -> None:
    with locked(tmp_path, by="run 1"), pytest.raises(OSError, match="taken over from run 2: run 1"):
        output_folder(str(tmp_path)).check_not_held_by_others("run 2")
    output_folder(str(tmp_path)).check_not_held_by_others("run 2")


@pytest.mark.parametrize(
    "newer_file", ["slice-000000-batch-shard-00000-of-00001.parquet", ".waits.tmp", None]
)
def test_a_run_that_another_one_overtook_publishes_no_more_on_a_disk(
    tmp_path: Path, newer_file: str | None
) -> None:
    """Nobody holds the lock; a later run that published nothing is none."""
    output, done = output_folder(str(tmp_path / "tables")), [ok(VideoRef("/a", "1"))]
    publish(done, output=output, stem="run=1/x", constants=constants("1"))
    newer = tmp_path / "tables" / "videos" / "run=2"
    newer.mkdir()
    if newer_file:
        (newer / newer_file).write_bytes(b"")
    if newer_file and newer_file.startswith("slice"):
        with pytest.raises(OSError, match="run=2 has published since run 1 began"):
            publish(done, output=output, stem="run=1/y", constants=constants("1"))
    else:
        publish(done, output=output, stem="run=1/y", constants=constants("1"))
