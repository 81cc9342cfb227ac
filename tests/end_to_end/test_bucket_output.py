"""`mmeg annotate … --output gs://…` and what goes on behind it, as the command that a user types."""

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from makers.buckets import BUCKET, Proxy
from makers.killing import kill_tree
from makers.promises import assert_promises
from makers.tables import by_name, downloaded, read

from pipelines.cli import main

OUTPUT = f"gs://{BUCKET}/tables"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(np.random.default_rng(number).normal(0, 3000, 16_000).astype("<i2").tobytes())
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def test_runs_go_on_retry_replace_and_compact_in_a_bucket(
    buckets: Proxy, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["annotate", str(videos), "--output", OUTPUT]
    assert main([*command, "--dry-run"]) == 0
    assert buckets.contents() == {}
    assert main([*command, "--limit", "2", "--slice-videos", "1"]) == 0
    assert main(command) == 1
    out = capsys.readouterr().out
    assert "videos    3: 2 ok, 0 partial, 1 failed; done before: 2 ok\n" in out
    assert f"tables    {OUTPUT}\n" in out
    assert_promises(downloaded(buckets, "tables/", tmp_path / "first"), num_inputs=5)

    (videos / "broken.mp4").write_bytes((videos / "0.wav").read_bytes())
    assert main([*command, "--retry-failed", "--replace-changed"]) == 0
    assert main(["compact", OUTPUT]) == 0
    assert "of each table before, 1 now" in capsys.readouterr().err
    rows = by_name(read(downloaded(buckets, "tables/", tmp_path / "second"), "videos"))
    assert rows["broken.mp4"]["status"] == "ok"
    assert_promises(tmp_path / "second", num_inputs=5)
    assert len(buckets.contents()) == 3, "no lock, and nothing that waits"


def test_a_second_run_is_kept_out_and_one_behind_a_dead_one_is_not(
    buckets: Proxy, videos: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "annotate", str(videos), "--output", OUTPUT]
    first = subprocess.Popen(
        [*command, "--slice-videos", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with first:
        while first.poll() is None and not buckets.contents("tables/videos/"):
            pass
        assert main(command[3:]) == 2
        kill_tree(first.pid)
        first.communicate()
    assert "tables/.mmeg.lock" in buckets.contents()
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1, done.stderr
    assert_promises(downloaded(buckets, "tables/", tmp_path / "tables"), num_inputs=5)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("gs://no-such-bucket/x", "gs://no-such-bucket/x could not be listed, it does not exist"),
        ("gs://Not A Bucket/x", "`Not A Bucket` is no name of a bucket"),
        ("s3://bucket/x", "--output s3://bucket/x: tables are written to a local folder or to gs://"),
    ],
)
def test_an_output_that_is_none_ends_with_status_2(
    buckets: Proxy, videos: Path, capsys: pytest.CaptureFixture[str], output: str, reason: str
) -> None:
    assert main(["annotate", str(videos), "--output", output]) == 2
    assert reason in capsys.readouterr().err
