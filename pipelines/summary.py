"""What a run did, as its published tables say."""

import collections
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from mmeg_model.media.source import VideoRef
from pipelines.index_shards import MembersPassedOver
from pipelines.metrics import RunMetrics
from pipelines.output_folder import OutputFolder
from pipelines.table_files import own_files, table_file
from pipelines.tables import Status, Table


@dataclass
class RunSummary:
    """Counts over the slices published so far, and over what was done before."""

    num_videos: collections.Counter[Status] = field(default_factory=collections.Counter)
    num_done_before: collections.Counter[Status] = field(default_factory=collections.Counter)
    num_other_versions: int = 0
    num_other_members: int = 0
    """Members of shards that are neither video nor sound by their names."""
    num_clips: int = 0
    num_failed_clips: int = 0
    num_unnamed_failures: int = 0
    annotated_seconds: float = 0.0
    failures: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    metrics: RunMetrics = field(default_factory=RunMetrics)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """To be held around what counts or reads, where several threads do."""

    @property
    def all_ok(self) -> bool:
        """Whether every input given is ok, now or before."""
        others = sum(
            count
            for counts in (self.num_videos, self.num_done_before)
            for s, count in counts.items()
            if s != "ok"
        )
        return not others and not self.num_unnamed_failures

    def add_published(self, output: OutputFolder, run_id: str, slice_index: int) -> list[bytes]:
        """Count what the files of one slice hold; give back the videos by their `VideoRef.name_key`.

        Raises:
            OSError: if they cannot be read.
        """
        start = f"run={run_id}/slice-{slice_index:06d}-"
        stems = [stem for stem in own_files(output, "videos") if stem.startswith(start)]
        names: list[bytes] = []
        columns = ["video_uri", "member", "status", "clips", "failed_clips", "duration_seconds"]
        for row in _rows(output, "videos", stems, columns):
            names.append(VideoRef(row["video_uri"], member=row["member"]).name_key)
            self.num_videos[row["status"]] += 1
            self.num_clips += row["clips"] - row["failed_clips"]
            self.num_failed_clips += row["failed_clips"]
            if row["status"] != "failed":
                self.annotated_seconds += row["duration_seconds"]
        for row in _rows(output, "errors", stems, ["video_uri", "stage", "error"]):
            self.failures[row["stage"], row["error"]] += 1
            self.num_unnamed_failures += row["video_uri"] is None
        return names

    def add_passed_over(self, members: MembersPassedOver) -> None:
        """Count the members of shards that a slice left out."""
        self.num_done_before.update({s: count for s, count in members.done_before.items() if count})
        self.num_other_versions += members.num_other_versions
        self.num_other_members += members.num_others

    def lines(self, output: OutputFolder, *, seconds: float) -> list[str]:
        """The five lines at the end of a run."""
        counts = ", ".join(f"{self.num_videos[status]} {status}" for status in ("ok", "partial", "failed"))
        before = ", ".join(f"{count} {status}" for status, count in sorted(self.num_done_before.items()))
        most_common = ", ".join(
            f"{n} × {stage}/{error}" for (stage, error), n in self.failures.most_common(3)
        )
        times_real_time = self.annotated_seconds / seconds
        return [
            f"videos    {self.num_videos.total()}: {counts}" + (f"; done before: {before}" if before else ""),
            f"clips     {self.num_clips} annotated, {self.num_failed_clips} failed",
            f"failures  {self.failures.total()}" + (f": {most_common}" if most_common else ""),
            f"speed     {self.annotated_seconds:.1f} s of media in {seconds:.1f} s: {times_real_time:.1f} × real time",
            f"tables    {output.uri}",
        ]


def _rows(
    output: OutputFolder, table: Table, stems: list[str], columns: list[str]
) -> Iterator[dict[str, Any]]:
    for stem in stems:
        with output.open(table_file(table, stem)) as file:
            yield from pq.read_table(file, columns=columns).to_pylist()
