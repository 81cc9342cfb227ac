"""Files below a prefix of a bucket that fails: what can help is asked again, and nothing that was there is lost."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from makers.buckets import BUCKET, Fault, Proxy
from makers.promises import assert_promises
from makers.published import constants, failed, ok
from makers.tables import downloaded, read

from mmeg_model.media.source import VideoRef
from pipelines import output_objects
from pipelines.completed import read_completed
from pipelines.output_folder import output_folder
from pipelines.panes import publish_pane
from pipelines.table_files import pane_name

A, B, C = (VideoRef(f"gs://videos/{name}.mp4", "1") for name in "abc")
URI = f"gs://{BUCKET}/deep/out"
LOCK = "deep/out/.mmeg.lock"
pytestmark = [
    pytest.mark.usefixtures("impatient"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # of answers that are not read
]


@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.parametrize("status", [429, 503, 0, 308, 404, 410])
def test_an_upload_of_many_chunks_that_fails_in_the_middle_becomes_whole(
    buckets: Proxy, monkeypatch: pytest.MonkeyPatch, status: int, is_done: bool
) -> None:
    """308 says how much of the chunks was kept; 404 and 410, that the bucket has forgotten the upload."""
    monkeypatch.setattr(output_objects, "_CHUNK_BYTES", 1 << 18)
    content = os.urandom(3 * (1 << 18) + 1)
    fault = Fault("PUT", status, after=1)
    (buckets.faults_behind if is_done else buckets.faults).append(fault)
    with output_folder(URI).writing(["videos/run=r/large"]) as (file,):
        file.write(content)
    assert not fault.times
    assert buckets.contents() == {"deep/out/videos/run=r/large": content}


def test_a_file_that_is_replaced_while_its_reading_breaks_off_is_read_anew(buckets: Proxy) -> None:
    """The rest of the one before is a 404, and is not taken for a file that is not there."""
    name = "videos/run=r/pane"
    buckets.upload(f"deep/out/{name}", b"old " * 10_000)
    buckets.faults += [Fault("alt=media"), Fault("alt=media", 404)]

    def replace(path: str) -> None:
        if "alt=media" in path and not buckets.faults[0].times:
            buckets.on_request = lambda _: None
            buckets.upload(f"deep/out/{name}", b"new " * 20_000)

    buckets.on_request = replace
    with output_folder(URI).open(name) as file:
        assert file.read() == b"new " * 20_000
    buckets.faults.append(Fault("alt=media", 404, times=2))
    with pytest.raises(OSError, match=r"does not exist.*; but it is listed") as caught:
        output_folder(URI).open(name).__enter__()
    assert not isinstance(caught.value, FileNotFoundError)


PANE = f"run=run-1/{pane_name(window_start=1_800_000_000, shard=0, num_shards=1)}"


@pytest.mark.parametrize(
    ("part", "after", "status"),
    [
        ("alt=media", 0, 404),
        ("alt=media", 1, 403),
        ("alt=media", 3, 503),
        ("uploadType=resumable", 0, 404),
        ("PUT", 1, 0),
        ("PUT", 2, 503),
    ],
)
def test_a_pane_that_begins_anew_on_a_bucket_that_fails_loses_nothing(
    buckets: Proxy, tmp_path: Path, part: str, after: int, status: int
) -> None:
    output, pane = output_folder(URI), {"stem": PANE, "constants": constants("run-1", keeps_versions=True)}
    assert publish_pane([ok(A), failed(B)], output=output, num_written=0, **pane) == 2
    buckets.faults.append(Fault(part, status, 10**6, after))
    with pytest.raises(OSError, match=f"{URI}.* (could|may) not be (read|written)"):
        publish_pane([ok(C)], output=output, num_written=0, **pane)
    buckets.faults.clear()
    assert [read_completed(output).videos.status(video) for video in (A, B, C)] == ["ok", "failed", None]
    assert publish_pane([ok(C)], output=output, num_written=0, **pane) == 1
    folder = downloaded(buckets, "deep/out/", tmp_path)
    assert sorted(row["video_uri"] for row in read(folder, "videos")) == [A.uri, B.uri, C.uri]
    assert_promises(folder, num_inputs=3)


@pytest.mark.parametrize("status", [429, 503, 0])
def test_a_pane_is_published_once_whatever_fails_for_a_while(
    buckets: Proxy, tmp_path: Path, status: int
) -> None:
    output, pane = output_folder(URI), {"stem": PANE, "constants": constants("run-1", keeps_versions=True)}
    buckets.faults += [Fault(part, status, times=2) for part in ("alt=media", "POST", "PUT")]
    buckets.faults_behind += [Fault("PUT", status, times=2), Fault("POST", status)]
    assert publish_pane([ok(A), failed(B)], output=output, num_written=0, **pane) == 2
    assert publish_pane([ok(C)], output=output, num_written=0, **pane) == 1
    assert not [fault for fault in buckets.faults + buckets.faults_behind if fault.times]
    assert_promises(downloaded(buckets, "deep/out/", tmp_path), num_inputs=3)


@pytest.mark.parametrize("status", [503, 0])
def test_a_lock_whose_renewal_was_never_answered_is_given_back(buckets: Proxy, status: int) -> None:
    output = output_folder(URI)
    with output.locked(by="run 1"):
        written = Fault("POST", status)
        buckets.faults_behind.append(written)
        buckets.on_request = lambda _: written.times or buckets.faults.append(Fault("/o", 503, 10**6))
        with pytest.raises(OSError, match=f"{LOCK} could not be "):
            output._lock.renew()
        buckets.on_request = lambda _: None
        buckets.faults.clear()
        assert json.loads(buckets.contents()[LOCK])["by"] == "run 1"
    assert buckets.contents() == {}


def test_a_lock_that_was_got_although_nobody_said_so_is_given_back(buckets: Proxy) -> None:
    buckets.faults_behind.append(Fault("POST", 403))
    with pytest.raises(OSError, match="may not be written"):
        output_folder(URI).locked(by="run 1").__enter__()
    assert buckets.num_requests("POST") == 1
    assert buckets.contents() == {}


def test_who_may_write_but_not_replace_does_not_start(buckets: Proxy) -> None:
    output = output_folder(URI)
    with output.locked(by="run 1"):
        buckets.faults.append(Fault("POST", 403))
        with pytest.raises(OSError, match=r"may not be written: .* Storage Object User"):
            output.check_writable(["videos"])


def test_a_temporary_folder_that_is_gone_is_told_from_an_object_that_is_not_there(
    buckets: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets.upload("deep/out/videos/run=r/x", b"content")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OSError, match=r"no temporary file can be made.*; name another folder") as caught:
        output_folder(URI).open("videos/run=r/x").__enter__()
    assert not isinstance(caught.value, FileNotFoundError)


def test_a_full_disk_for_temporary_files_is_named(
    buckets: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full)
        with (
            pytest.raises(OSError, match=rf"{tmp_path}, where temporary files lie, is full .* in TMPDIR"),
            output_folder(URI).writing(["videos/run=r/y"]) as (file,),
        ):
            file.write(b"content")
    assert buckets.contents() == {}
