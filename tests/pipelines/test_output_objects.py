"""Tables below a prefix of a bucket: what holds for folders holds there too."""

import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from makers.buckets import BUCKET, Fault, Proxy
from makers.promises import assert_promises
from makers.published import constants, failed, ok, publish_slice
from makers.tables import read

from mmeg_model.media import objects
from mmeg_model.media.source import VideoRef
from pipelines.compact import compact
from pipelines.completed import newest_run, read_completed
from pipelines.output_folder import LocalFolder, OutputFolder, output_folder
from pipelines.publish import publish
from pipelines.starting import tidy
from pipelines.summary import RunSummary
from pipelines.table_files import REWRITTEN, file_name, own_files
from pipelines.tables import TABLES

A, B, C = (VideoRef(f"gs://videos/{name}.mp4", "1") for name in "abc")
MEMBER = VideoRef("gs://videos/s.tar", "1", "a.mp4")
URI = f"gs://{BUCKET}/deep/out"


def publish_objects(output: OutputFolder, videos: list[VideoRef], *, run_id: str) -> str:
    stem = f"run={run_id}/{file_name(slice_index=0, shard=0, num_shards=1)}"
    publish(map(ok, videos), output=output, stem=stem, constants=constants(run_id))
    return stem


def upload(buckets: Proxy, folder: Path, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            buckets.upload(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())


def downloaded(buckets: Proxy, prefix: str, folder: Path) -> Path:
    for name, content in buckets.contents(f"{prefix}/").items():
        path = folder / name.removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def start(output: OutputFolder) -> None:
    """What every start does."""
    tidy(output, read_completed(output))


def test_what_is_published_is_found_again_and_nothing_else_lies_there(buckets: Proxy, tmp_path: Path) -> None:
    output = output_folder(f"{URI}/")
    assert newest_run(output) == ""
    publish_objects(output, [A, MEMBER], run_id="run-1")
    stem = publish_objects(output, [B], run_id="run-1~")
    assert list(buckets.contents()) == [f"deep/out/{table}/run={run}/{file_name(slice_index=0, shard=0, num_shards=1)}.parquet"
                                        for table in sorted(TABLES) for run in ("run-1", "run-1~")]  # fmt: skip
    completed = read_completed(output).videos
    assert [completed.status(video) for video in (A, B, C, MEMBER)] == ["ok", "ok", None, "ok"]
    assert newest_run(output) == "run-1~"
    summary = RunSummary()
    assert summary.add_published(output, "run-1~", 0) == [B.name_key]
    assert summary.lines(output, seconds=1)[-1] == f"tables    {URI}"
    assert list(own_files(output, "videos"))[-1] == stem
    assert_promises(downloaded(buckets, "deep/out", tmp_path), num_inputs=3)


def test_a_bucket_by_itself_is_an_output_too(buckets: Proxy) -> None:
    output = output_folder(f"gs://{BUCKET}")
    publish_objects(output, [A], run_id="run-1")
    assert all(
        name.startswith(tuple(f"{table}/run=run-1/" for table in TABLES)) for name in buckets.contents()
    )
    assert read_completed(output).videos.status(A) == "ok"


def test_a_failure_while_writing_leaves_nothing(buckets: Proxy) -> None:
    def parts():
        yield ok(A)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        publish(parts(), output=output_folder(URI), stem="run=r/x", constants=constants("r"))
    assert buckets.contents() == {}


def test_videos_come_last_and_what_came_before_is_removed_at_the_next_start(buckets: Proxy) -> None:
    output = output_folder(URI)
    publish_objects(output, [A], run_id="run-1")
    before = buckets.contents()
    uploads = []

    def deny_third(path: str) -> None:
        if path.startswith("POST"):
            uploads.append(path)
            if len(uploads) == 3:
                buckets.faults.append(Fault("POST", status=403))

    buckets.on_request = deny_third
    with pytest.raises(
        OSError, match=rf"{URI}/videos/run=run-2/\S+ may not be written: .*Storage Object User"
    ):
        publish_objects(output, [B], run_id="run-2")
    buckets.on_request = lambda _: None
    assert len(buckets.contents()) == len(before) + 2
    start(output)
    assert buckets.contents() == before


def test_an_answer_of_503_is_asked_again(buckets: Proxy) -> None:
    output = output_folder(URI)
    buckets.faults.append(Fault("POST", status=503, times=2))
    publish_objects(output, [A], run_id="run-1")
    buckets.faults.append(Fault("alt=media", status=0, times=1))
    assert read_completed(output).videos.status(A) == "ok"


def test_files_are_read_several_at_a_time(buckets: Proxy) -> None:
    output = output_folder(URI)
    for number in range(4):
        publish_objects(output, [VideoRef(f"gs://videos/{number}.mp4", "1")], run_id=f"run-{number}")
    at_once = threading.Barrier(4)
    buckets.on_request = lambda path: "alt=media" in path and at_once.wait(timeout=60)
    assert len(read_completed(output).videos) == 4


def test_a_bucket_that_is_not_there_is_no_empty_output(buckets: Proxy) -> None:
    with pytest.raises(
        FileNotFoundError, match="gs://no-such-bucket/out could not be listed, it does not exist"
    ):
        output_folder("gs://no-such-bucket/out").files("videos")


@pytest.mark.parametrize(
    "uri", ["gs://", "gs:///out", "gs://Bucket/out", "s3://bucket/out", "hdfs://host/out"]
)
def test_what_is_no_place_for_tables_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=f"--output {uri}"):
        output_folder(uri)


def test_a_small_file_becomes_part_of_a_large_one_and_superseded_rows_leave(
    buckets: Proxy, tmp_path: Path
) -> None:
    output = output_folder(URI)
    publish_objects(output, [A, B], run_id="run-1")
    publish_objects(output, [C], run_id="run-2")
    publish_objects(output, [A], run_id="run-3")
    assert compact(output) == (3, 1)
    folder = downloaded(buckets, "deep/out", tmp_path)
    assert {row["video_uri"]: row["run_id"] for row in read(folder, "videos")} == {
        A.uri: "run-3", B.uri: "run-1", C.uri: "run-2",
    }  # fmt: skip
    assert_promises(folder, num_inputs=3)


def test_a_large_file_goes_through_the_disk(buckets: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB there and back in less than half of it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", buckets.emulator)  # in another process, as the proxy is not
    monkeypatch.setattr(objects, "_client", None)
    output = output_folder(URI)
    block = os.urandom(1 << 20)
    publish_objects(output, [A], run_id="warm-up")
    tracemalloc.start()
    with output.writing(["videos/run=r/large"]) as (file,):
        for _ in range(64):
            file.write(block)
    with output.open("videos/run=r/large") as read_back:
        assert all(read_back.read(1 << 20) == block for _ in range(64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


KILLED_AT_EACH_STEP = """
import os, signal, sys
from itertools import count

from requests import Session

from pipelines.compact import compact
from pipelines.completed import read_completed
from pipelines.output_folder import output_folder
from pipelines.rewriting import finish_rewrites, remove_orphans, remove_superseded

uri, what = sys.argv[1:]
steps_left = 0
send = Session.request

def dying(self, method, *args, **more):
    global steps_left
    if method != "GET":
        if not steps_left:
            os.kill(os.getpid(), signal.SIGKILL)
        steps_left -= 1
    return send(self, method, *args, **more)

for steps_left in map(int, sys.stdin):
    output = output_folder(f"{uri}/{steps_left}")
    child = os.fork()
    if not child:
        Session.request = dying
        if what == "compact":
            compact(output)
        else:
            completed = read_completed(output)
            finish_rewrites(output)
            remove_orphans(output, completed.merged_stems)
            remove_superseded(output, completed.superseded)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.parametrize("what", ["start", "compact"])
def test_killed_at_any_request_every_video_stands_once(buckets: Proxy, tmp_path: Path, what: str) -> None:
    whole, expected = tmp_path / "whole", tmp_path / "expected"
    for folder in (whole, expected):
        publish_slice(folder, [failed(A), ok(B), failed(None)], run_id="run-1")
        publish_slice(folder, [failed(C)], run_id="run-1", slice_index=1)
        publish_slice(folder, [ok(A), ok(MEMBER)], run_id="run-2")
        publish_slice(folder, [ok(C)], run_id="run-3")
    start(LocalFolder(expected))
    if what == "compact":  # what is to be removed before is the other case
        whole = expected
    command = [sys.executable, "-c", KILLED_AT_EACH_STEP, f"gs://{BUCKET}/killed", what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for step in range(40):
            upload(buckets, whole, f"killed/{step}")
            process.stdin.write(f"{step}\n")
            process.stdin.flush()
            exit_status = int(process.stdout.readline())
            output = output_folder(f"gs://{BUCKET}/killed/{step}")
            statuses = read_completed(output).videos
            assert [statuses.status(video) for video in (A, B, C, MEMBER)] == ["ok"] * 4
            start(output)
            folder = downloaded(buckets, f"killed/{step}", tmp_path / str(step))
            for table in TABLES:
                rows = [sorted(map(repr, without_time(read(f, table)))) for f in (folder, expected)]
                assert rows[0] == rows[1]
            assert_promises(folder, num_inputs=4)
            assert not [name for name in buckets.contents(f"killed/{step}") if name.endswith(REWRITTEN)]
            if exit_status == 0:
                break
            assert exit_status == -9
        process.stdin.close()
    assert exit_status == 0
    assert step > 8


def without_time(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if not name.endswith("_at")} for row in rows]
