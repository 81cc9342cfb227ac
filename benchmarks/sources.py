"""Whether videos cost more where they are no loose files on a local disk.

    python benchmarks/sources.py [NAME ...]

Eight minutes of 720p as eight videos, annotated on two decoders by one process that keeps its model and its decoders:
clips per second from each source over those from loose files, in turn, medians. `gs_emulator`: objects of
gcp-storage-emulator, which runs on the same machine and takes its share of the processor. `tar`, `tar_gz` and
`parquet`: all eight in one shard, Parquet in one row group; finding the members, and unpacking,
count. The inputs are made first and kept in build/benchmarks. Needs what the tests need; takes about five minutes for each source.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from decode import wall_seconds
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from inputs import benchmark_video

from pipelines.ending import quiet_libraries
from pipelines.find_videos import find_videos
from pipelines.local_run import LocalRun
from pipelines.options import AnnotateOptions
from pipelines.summary import RunSummary

RUNS = 5
HEIGHT = 720
SECONDS = 60
NUM_FILES = 8
CLIP_SECONDS = 6
BUCKET = "benchmark"
BYTES_COLUMN = "video"

_EMULATOR = """
import sys
from gcp_storage_emulator.server import create_server
with create_server("127.0.0.1", 0, in_memory=True, default_bucket=sys.argv[1]) as server:
    print(server._api._httpd.server_port, flush=True)
    sys.stdin.read()
"""


@contextmanager
def loose_files(video: Path) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        for i in range(NUM_FILES):
            shutil.copy(video, Path(folder, f"{i}.mp4"))
        yield [folder]


@contextmanager
def gs_emulator(video: Path) -> Iterator[list[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _EMULATOR, BUCKET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as emulator:
        assert emulator.stdin
        assert emulator.stdout
        address = f"http://127.0.0.1:{int(emulator.stdout.readline())}"
        client = storage.Client(
            project="benchmark",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": address},
        )
        for i in range(NUM_FILES):
            client.bucket(BUCKET).blob(f"videos/{i}.mp4").upload_from_filename(video)
        os.environ["STORAGE_EMULATOR_HOST"] = address
        yield [f"gs://{BUCKET}/videos/"]
        emulator.stdin.close()


@contextmanager
def tar(video: Path, name: str = "videos.tar", mode: Literal["w", "w:gz"] = "w") -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(Path(folder, name), mode) as shard:
            for i in range(NUM_FILES):
                shard.add(video, f"{i:06d}.mp4")
        yield [folder]


@contextmanager
def parquet(video: Path) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{i:06d}" for i in range(NUM_FILES)]
        rows = pa.table({"__key__": names, BYTES_COLUMN: [video.read_bytes()] * NUM_FILES})
        pq.write_table(rows, Path(folder, "videos.parquet"), use_dictionary=["__key__"])
        yield [folder]


SOURCES: dict[str, Callable[[Path], AbstractContextManager[list[str]]]] = {
    "tar": tar,
    "tar_gz": partial(tar, name="videos.tar.gz", mode="w:gz"),
    "parquet": parquet,
    "gs_emulator": gs_emulator,
}


def clips_per_second(run: LocalRun, inputs: Sequence[str]) -> float:
    summary = RunSummary()
    seconds = wall_seconds(lambda: run.run(find_videos(inputs, parquet_shards=True), summary))
    assert summary.num_clips == NUM_FILES * SECONDS // CLIP_SECONDS, summary
    assert summary.all_ok, summary
    return summary.num_clips / seconds


def main(names: Sequence[str]) -> None:
    quiet_libraries()
    video = benchmark_video(HEIGHT, seconds=SECONDS)
    lines = []
    with tempfile.TemporaryDirectory() as output, loose_files(video) as files:
        run = LocalRun.of(AnnotateOptions([], output=output, num_decoders=2, bytes_column=BYTES_COLUMN))
        with closing(run.pool):
            clips_per_second(
                run, files
            )  # the model is loaded, the decoders have started, the files are in memory
            for name in names or SOURCES:
                with SOURCES[name](video) as inputs:
                    ratios = []
                    for _ in range(RUNS):
                        loose, other = clips_per_second(run, files), clips_per_second(run, inputs)
                        print(f"  {name}: {other:.2f} over {loose:.2f} clips per second", flush=True)
                        ratios.append(other / loose)
                lines.append(f"{name}: ratio={median(ratios):.3f} runs={RUNS}")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
