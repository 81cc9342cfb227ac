"""What a run counts, and what its log lines are called by."""

import functools
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers.buckets import BUCKET, Proxy
from makers.shards import make_tar
from makers.video import Recipe, make_video

import pipelines.decode_clips
from mmeg_model.media.decoders import Decoders
from pipelines.cli import main

SCRIPTED = (
    sys.executable,
    "-P",
    str(Path(__file__).parents[1] / "mmeg_model" / "media" / "scripted_decoder.py"),
)


def sound(path: Path, *, seconds: float) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        noise = np.random.default_rng(0).normal(0, 3000, round(16_000 * seconds))
        file.writeframes(noise.astype("<i2").tobytes())
    return path


def metrics_of(folder: Path, *arguments: object) -> dict[str, Any]:
    path = folder / "metrics.json"
    more = ["--output", folder / "out", "--metrics-json", path]
    assert main(["annotate", *map(str, [*arguments, *more])]) in (0, 1)
    return json.loads(path.read_text())


def test_videos_clips_and_failures_are_summed_over_slices(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    sound(videos / "a.wav", seconds=13)  # 6, 6 and 1 s
    sound(videos / "b.wav", seconds=2)
    (videos / "broken.mp4").write_bytes(b"no video")
    missing = tmp_path / "missing.mp4"
    found = metrics_of(tmp_path, videos, missing, "--slice-videos", 2, "--batch-size", 2)
    counters = {name: value for name, value in found.items() if isinstance(value, int) and value}
    bytes_and_times = {name for name in found if name not in counters}
    assert {"decode_clip_cpu_ms", "inference_batch_latency_micro_secs", "inference_request_batch_size"} <= (
        bytes_and_times
    )
    assert counters == {
        "videos_ok": 2,
        "videos_failed": 2,
        "clips": 4,
        "failures_find": 1,
        "failures_open": 1,
        "decoded_clips": 4,
        "decoded_media_ms": 15_000,
        "num_inferences": 4,
    }
    assert found["decode_clip_cpu_ms"]["count"] == 4
    assert found["decode_clip_cpu_ms"]["max"] >= found["decode_clip_cpu_ms"]["min"] >= 0
    batches = found["inference_request_batch_size"]
    assert (batches["sum"], batches["max"] <= 2) == (4, True)
    assert found["inference_batch_latency_micro_secs"]["sum"] > 0


def test_bytes_from_buckets_are_counted_once(buckets: Proxy, tmp_path: Path) -> None:
    content = make_video(tmp_path, Recipe("v.mkv", audio=None, seconds=4)).read_bytes()
    buckets.upload("v.mkv", content)
    found = metrics_of(tmp_path, f"gs://{BUCKET}/v.mkv")
    assert found["bytes_read_from_buckets"] >= len(content)
    again = metrics_of(tmp_path, f"gs://{BUCKET}/v.mkv", sound(tmp_path / "local.wav", seconds=1))
    assert again.get("bytes_read_from_buckets", 0) == 0, "neither again nor for a file"


def test_damage_and_decoders_that_die_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.decode_clips, "Decoders", functools.partial(Decoders, command=SCRIPTED))
    bad, noisy = tmp_path / "bad.mp4", tmp_path / "noisy.mp4"
    bad.write_text(json.dumps({"duration_ms": 90_000, "do": "SIGSEGV", "at_ms": 72_000}))
    noisy.write_text(json.dumps({"duration_ms": 90_000, "num_damaged_packets": 3}))
    found = metrics_of(tmp_path, bad, noisy)
    assert (found["decoder_retries"], found["failures_decode"], found["videos_partial"]) == (1, 1, 1)
    assert (found["clips"], found["failed_clips"]) == (12 + 15, 3)
    assert found["damaged_packets"] == 3 * 15


def test_log_lines_carry_the_name_of_the_video(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "pipelines.decode_clips")
    shard = make_tar(tmp_path / "s.tar", [("a.mp4", b"no video")])
    metrics_of(tmp_path, shard)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{shard}#a.mp4: open: InvalidDataError: ")


def test_a_file_for_metrics_that_cannot_be_written_costs_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = sound(tmp_path / "a.wav", seconds=1)
    command = ["annotate", str(video), "--output", str(tmp_path / "out")]
    assert main([*command, "--metrics-json", str(tmp_path / "no" / "folder.json")]) == 0
    assert "folder.json cannot be written: No such file or directory" in capsys.readouterr().err
