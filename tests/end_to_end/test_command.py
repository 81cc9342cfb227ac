import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from makers.promises import assert_promises
from makers.tables import by_name, read
from makers.video import Recipe, make_video

import pipelines
from mmeg_model.labels import EMOTIONS
from pipelines.cli import main

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five good videos of two clips each."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(5):
        make_video(folder, Recipe(f"v{i}.mp4", seconds=8))
    return folder


def test_summary_on_standard_output_and_nothing_else(videos: Path, tmp_path: Path, mmeg) -> None:
    done = mmeg("annotate", videos, "--output", tmp_path / "out")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert lines[:3] == [
        "videos    5: 5 ok, 0 partial, 0 failed",
        "clips     10 annotated, 0 failed",
        "failures  0",
    ]
    assert lines[3].startswith("speed     40.0 s of media in ")
    assert lines[4] == f"tables    {tmp_path / 'out'}"
    assert done.stderr == ""
    assert_promises(tmp_path / "out", num_inputs=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v", "--output", "out", "--no-such-flag", "1"], "unknown flag --no-such-flag"),
        (["v", "--output", "out", "--limit", "0"], "argument --limit: 0 is no whole number from 1 to"),
        (["v", "--output", "out", "--tasks", "emotion,age"], "tasks must be one or more of emotion, gender"),
        (
            ["v", "--output", "out", "--window-seconds", "1.01"],
            "the window must be a positive multiple of 40 ms",
        ),
        (
            ["v", "--output", "out", "--bundle", "nowhere"],
            "nowhere is no folder: a bundle is one with config.json",
        ),
        (["--output", "out"], "name at least one INPUT"),
        (["v"], "--output DIR is missing"),
        (["v", "--output", "out", "--num-shards", "100000000"], "no whole number from 1 to 10000"),
        (
            ["v", "--output", "out", "--decode-deadline-seconds", "1e300"],
            "no number of seconds above 0 and up to 86400",
        ),
        (["v", "--output", "out", "--runner", "NoSuchRunner"], "NoSuchRunner"),
        (["v", "--output", "out", "--dry_run", "True"], "say --dry-run"),
        (["v", "--output", "out", "--streaming"], "--streaming needs a runner that streams"),
        (
            ["v", "--output", "out", "--streaming", "--runner=PrismRunner", "--limit", "3"],
            "goes with what has an end",
        ),
        (
            ["v", "--output", "out", "--streaming", "--runner=PrismRunner", "--metrics-json=m"],
            "--metrics-json goes with what has an end",
        ),
        (
            ["nowhere", "--output", "out", "--streaming", "--runner=PrismRunner"],
            "nowhere does not exist; make the folder that is to be watched",
        ),
        (
            ["s3://b/x", "--output", "out", "--streaming", "--runner=PrismRunner"],
            "only files on this machine and gs://",
        ),
        (
            ["v", "--output", "out", "--streaming", "--runner=BundleBasedDirectRunner"],
            "reads nothing but a --subscription",
        ),
        (["--output", "out", "--streaming", "--runner=PrismRunner"], "either INPUTs .* or a --subscription"),
        (
            ["--output", "out", "--streaming", "--runner=PrismRunner", "--subscription=s"],
            "--subscription is read on Dataflow and Flink; on PrismRunner",
        ),
        (
            ["--output", "out", "--streaming", "--runner=BundleBasedDirectRunner", "--subscription=s"],
            "--subscription s: .*it is named projects/PROJECT/subscriptions/NAME",
        ),
        (
            ["--output", "out", "--subscription=projects/p/subscriptions/s"],
            "--subscription goes with --streaming",
        ),
        (["v", "--output", "out", "--direct_num_workers", "3"], "follows from --num-decoders"),
        (["v", "--output", "x" * 300], "cannot be used: File name too long"),
        (["v", "--output", "caf\udce9"], "caf%E9: its name is no UTF-8"),
        (["v", "--output", "file/out"], "--output .* cannot be"),
        (
            ["empty", "--output", "out"],
            "there is nothing to annotate: the folder .* holds no video or sound file",
        ),
        (["v/*.avi", "--output", "out"], "there is nothing to annotate: the pattern .* matches no file"),
        (["list.csv", "--output", "out"], "the manifest .* has no column `uri`"),
        (["v", "--output", "file"], "--output .*file is no folder"),
    ],
)
def test_what_cannot_start_touches_nothing(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").symlink_to(videos)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "list.csv").write_text("path\nv/v0.mp4\n")
    before = sorted(tmp_path.rglob("*"))
    try:
        status = main(["annotate", *arguments])
    except SystemExit as leaving:
        status = leaving.code
    assert status == 2
    standard = capsys.readouterr()
    assert standard.out == ""
    assert re.search(message, standard.err), standard.err
    assert sorted(tmp_path.rglob("*")) == before


def test_dry_run_names_what_would_be_done_and_touches_nothing(
    videos: Path, tmp_path: Path, annotate, capsys
) -> None:
    arguments = [
        "annotate",
        "/nobody.mp4",
        str(videos),
        "--output",
        str(tmp_path / "out"),
        "--dry-run",
        "--limit",
        "2",
    ]
    assert main(arguments) == 0
    standard = capsys.readouterr()
    assert standard.out.splitlines() == [str(videos / "v0.mp4")]
    assert "would annotate 1 videos" in standard.err
    assert "not found: /nobody.mp4: No such file" in standard.err
    assert not (tmp_path / "out").exists()


def test_limit_goes_on_where_the_last_run_ended(videos: Path, tmp_path: Path, annotate, capsys) -> None:
    assert annotate(videos, "--limit", 2, output=tmp_path, num_inputs=2) == 0
    assert annotate(videos, "--limit", 2, output=tmp_path, num_inputs=4) == 0
    assert "videos    2: 2 ok, 0 partial, 0 failed; done before: 2 ok" in capsys.readouterr().out
    assert annotate(videos, "/nobody.mp4", output=tmp_path, num_inputs=6) == 1
    runs = {row["run_id"] for row in read(tmp_path, "videos")}
    assert len(runs) == 3
    assert annotate(videos, output=tmp_path, num_inputs=6) == 0
    assert annotate(videos, "/nobody.mp4", output=tmp_path, num_inputs=6) == 1, "failed before is not ok"


def test_slices_are_published_one_after_the_other(videos: Path, tmp_path: Path, annotate) -> None:
    assert annotate(videos, "--slice-videos", 2, "--num-shards", 3, output=tmp_path, num_inputs=5) == 0
    names = sorted(path.name for path in (tmp_path / "videos").rglob("*.parquet"))
    assert names == [
        f"slice-{i:06d}-batch-shard-{shard:05d}-of-00003.parquet" for i in range(3) for shard in range(3)
    ]


def test_a_task_that_is_off_is_null(videos: Path, tmp_path: Path, annotate) -> None:
    assert annotate(videos / "v0.mp4", "--tasks", "emotion", output=tmp_path, num_inputs=1) == 0
    rows = read(tmp_path, "annotations")
    assert all(row["perceived_emotion"] in EMOTIONS for row in rows)
    columns = ("perceived_gender", "perceived_gender_confidence", "perceived_gender_probabilities")
    assert {row[column] for row in rows for column in columns} == {None}
    (video,) = read(tmp_path, "videos")
    assert video["mean_perceived_gender_probabilities"] is None
    assert sum(video["mean_perceived_emotion_probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_other_settings_into_the_same_folder_are_refused(
    videos: Path, tmp_path: Path, annotate, capsys
) -> None:
    assert annotate(videos / "v0.mp4", output=tmp_path) == 0
    before = sorted(tmp_path.rglob("*"))
    assert annotate(videos, "--window-seconds", 3, output=tmp_path, num_inputs=1) == 2
    assert "window_ms: 6000 there, 3000 now" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_video_that_changed_is_left_as_it_is_and_counted(
    videos: Path, tmp_path: Path, annotate, capsys
) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes((videos / "v0.mp4").read_bytes())
    assert annotate(video, output=tmp_path / "out") == 0
    os.utime(video, ns=(1, 1))
    assert annotate(video, output=tmp_path / "out", num_inputs=1) == 0
    assert "1 videos are another version than the one in the tables" in capsys.readouterr().err


def test_a_manifest_beside_folder_and_file(videos: Path, tmp_path: Path, annotate) -> None:
    (tmp_path / "list.csv").write_text(f"uri,speaker\n{videos}/v3.mp4,1\n{videos}/v4.mp4,2\n")
    assert annotate(tmp_path / "list.csv", videos / "v3.mp4", output=tmp_path / "out", num_inputs=2) == 0
    assert set(by_name(read(tmp_path / "out", "videos"))) == {"v3.mp4", "v4.mp4"}


def test_the_query_in_the_readme(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotate
) -> None:
    annotate(videos, output=tmp_path / "annotations")
    monkeypatch.chdir(tmp_path)
    query = README.read_text().split("```sql\n")[1].split("```")[0]
    result = duckdb.sql(query)
    assert result.columns == ["video_uri", "happy_seconds", "seconds", "mean_probability"]
    rows = result.fetchall()
    assert len(rows) == 5
    assert all(row[2] == pytest.approx(8, abs=0.1) and 0 < row[3] < 1 for row in rows)


def test_from_python(videos: Path) -> None:
    with pytest.warns(UserWarning, match=r"/nobody.mp4: find: /nobody.mp4: No such file or directory"):
        table = pipelines.annotate_videos([videos / "v0.mp4", "/nobody.mp4"], tasks=["gender"])
    assert table.num_rows == 2
    assert table["perceived_emotion"].null_count == 2
    assert table["perceived_gender"].null_count == 0


def test_from_python_with_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to annotate in"):
        pipelines.annotate_videos(str(tmp_path))


def test_a_disk_that_is_full_ends_the_run_early_and_leaves_no_half_file(
    videos: Path, tmp_path: Path, mmeg
) -> None:
    # A file may not grow past 2 kB: what a full disk does, with another errno.
    limited = (
        f"ulimit -f 2; exec {sys.executable} -m pipelines.cli annotate {videos} --output {tmp_path / 'out'}"
    )
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 3, done.stderr
    assert "mmeg annotate ended early: " in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == [".mmeg.lock"]
    assert mmeg("annotate", videos, "--output", tmp_path / "out").returncode == 0
    assert_promises(tmp_path / "out", num_inputs=5)


def test_interrupted_leaves_what_was_published(videos: Path, tmp_path: Path, annotate) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "annotate",
        videos,
        "--output",
        out,
        "--slice-videos",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(out.glob("videos/*/slice-000000-*.parquet")):
            pass
        process.send_signal(signal.SIGINT)
        standard_output, standard_error = process.communicate(timeout=60)
    assert process.returncode == 130, standard_error
    assert standard_output == ""
    assert "interrupted: published slices stand" in standard_error
    assert 1 <= len(read(out, "videos")) < 5
    assert_promises(out)
    assert annotate(videos, output=out, num_inputs=5) == 0


def test_a_reader_that_goes_away_changes_nothing(videos: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m pipelines.cli annotate {videos} --output {tmp_path}/out"
    both = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", both], capture_output=True, text=True, timeout=200, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert_promises(tmp_path / "out", num_inputs=5)


def test_interrupted_while_it_starts(videos: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "pipelines.cli",
        "annotate",
        videos,
        "--output",
        tmp_path / "out",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while "apache_beam" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "interrupted"
    assert not (tmp_path / "out").exists()
