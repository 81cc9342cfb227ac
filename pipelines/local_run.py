"""One run over what was found: slice after slice on this machine, with model and decoders kept alive."""

import copy
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

from mmeg_model.bundle_identity import bundle_folder, identity, read_config
from mmeg_model.media.shards import ShardReading
from mmeg_model.media.source import VideoRef
from pipelines.annotate import build_pipeline
from pipelines.cluster_check import check_worker
from pipelines.cluster_job import RunningJob
from pipelines.completed import NOTHING_COMPLETED, Completed, newest_run
from pipelines.dataflow import is_dataflow, prepare
from pipelines.decode_clips import DecoderPool
from pipelines.done_videos import Retake
from pipelines.find_videos import Found
from pipelines.index_shards import MembersPassedOver, Shard, members_of, shard_reading
from pipelines.inference import ClipModelHandler, resolve_device
from pipelines.options import AnnotateOptions, decoder_limits
from pipelines.outcomes import RunConstants
from pipelines.output_folder import OutputFolder, output_folder
from pipelines.rewriting import remove_superseded
from pipelines.runners import (
    BATCH_SIZES,
    LOCAL_RUNNER,
    default_batch_size,
    is_cluster,
    is_on_job_server,
    runner_name,
)
from pipelines.settings import Settings
from pipelines.slice_list import remove_lists
from pipelines.slices import CLUSTER_SLICES, LOCAL_SLICES, SliceLimits, cut_into_slices, num_shards_of
from pipelines.summary import RunSummary
from pipelines.table_files import new_run_id, own_files, table_file
from pipelines.tables import TABLES, VideoPart


def still_to_do(
    found: Iterable[Found],
    completed: Completed,
    summary: RunSummary,
    *,
    limit: int | None,
    members_of: Callable[[VideoRef], Iterable[Found]] | None = None,
) -> Iterator[Found]:
    """Leave out, and count, what is done; stop behind the first `limit` videos that are not.

    Shards are left to the pipeline, or, if members_of says what is in one, replaced by their members.
    """
    num_videos = 0

    def videos_of(item: Found) -> Iterable[Found]:
        if not item.is_shard or item.video is None or members_of is None:
            return [item]
        return [] if num_videos == limit else members_of(item.video)

    for item in itertools.chain.from_iterable(map(videos_of, found)):
        if item.is_shard:
            yield item
            continue
        if item.video is not None:
            status = completed.videos.status(item.video)
            if status is not None:
                summary.num_done_before[status] += 1
                summary.num_other_versions += completed.videos.is_other_version(item.video)
                continue
            if num_videos == limit:
                continue
            num_videos += 1
        yield item


@dataclass(frozen=True)
class LocalRun:
    """Everything that one run is made of, checked before anything is touched."""

    output: OutputFolder
    constants: RunConstants
    settings: Settings
    pool: DecoderPool
    handler: ClipModelHandler
    retake: Retake
    limits: SliceLimits
    reading: ShardReading
    options: AnnotateOptions
    job: RunningJob = field(default_factory=RunningJob)
    num_spare_decoders: int = 0
    """Of the pool: left to whoever shares it, on this machine."""

    @classmethod
    def of(cls, options: AnnotateOptions) -> "LocalRun":
        """Check the options and make the parts.

        What is left to defaults is filled in for the runner: on a cluster, the number of decoders and the device are
        those of each worker.

        Raises:
            ValueError: if a value does not fit, the bundle is none, or there is no GPU where one is asked for.
        """
        settings = Settings(
            tasks=tuple(filter(None, (task.strip() for task in options.tasks.split(",")))),
            window_ms=_whole_ms(options.window_seconds),
            bytes_column=options.bytes_column,
            key_column=options.key_column,
        )
        on_cluster = is_cluster(options)  # refuses a runner that nobody knows
        if is_dataflow(options):
            prepare(options)
        device = options.device if on_cluster else resolve_device(options.device)
        slices = CLUSTER_SLICES if on_cluster else LOCAL_SLICES
        model_name, model_sha256 = identity(options.bundle)
        labels = read_config(bundle_folder(options.bundle))["labels"]
        if missing := [task for task in settings.tasks if task not in labels]:
            raise ValueError(f"the model {model_name} was not trained for {', '.join(missing)}; see --tasks")
        if options.key_column and not options.bytes_column:
            raise ValueError(
                "--key-column is about Parquet shards; name the column of their videos by --bytes-column"
            )
        output = output_folder(options.output)
        constants = RunConstants(
            run_id=new_run_id(after=newest_run(output)),
            model_name=model_name,
            model_sha256=model_sha256,
            settings_sha256=settings.sha256,
            settings_json=json.dumps(settings.canonical(), sort_keys=True),
            mmeg_version=version("mmeg"),
        )
        return cls(
            output=output,
            constants=constants,
            settings=settings,
            pool=DecoderPool(
                options.num_decoders,
                replace(decoder_limits(options), unpacked_bytes=options.unpacked_gib << 30),
            ),
            handler=ClipModelHandler(
                bundle=options.bundle and os.path.abspath(options.bundle),
                device=device,
                tasks=settings.tasks,
                batch_size=options.batch_size or default_batch_size(options, device=device),
                constants=constants,
            ),
            retake=Retake(failed=options.retry_failed, changed=options.replace_changed),
            limits=SliceLimits(
                num_videos=options.slice_videos or slices.num_videos,
                num_bytes=options.slice_bytes or slices.num_bytes,
            ),
            reading=shard_reading(bytes_column=options.bytes_column, key_column=options.key_column),
            options=options,
        )

    def beside_another(self, *, num_spare_decoders: int) -> "LocalRun":
        """The same run for a thread of its own, which shares the decoders."""
        return replace(
            self,
            options=copy.deepcopy(self.options),
            job=RunningJob(),
            num_spare_decoders=num_spare_decoders,
        )

    def members_of(self, shard: VideoRef) -> Iterator[Found]:
        """What is in a shard, for what must know it before a pipeline runs."""
        return members_of(shard, self.pool.shared(), self.reading)

    def fitted_to_workers(self) -> "LocalRun":
        """The run as it suits the workers of its cluster, one of which is asked what it is.

        Raises:
            ValueError: if they are not fit for it.
        """
        if not is_on_job_server(self.options):  # Dataflow starts workers for a job, which takes minutes
            return self
        bundle, device = self.handler.bundle, self.options.device
        worker = check_worker(
            self.options, constants=self.constants, bundle=bundle, device=device, job=self.job
        )
        batch_size = self.options.batch_size or BATCH_SIZES[worker.device]
        return replace(self, handler=self.handler.with_batch_size(batch_size))

    def run(
        self,
        found: Iterable[Found],
        summary: RunSummary,
        *,
        completed: Completed = NOTHING_COMPLETED,
        slice_indices: Iterator[int] | None = None,
        on_slice: Callable[[list[Found]], None] = lambda _: None,
        on_published: Callable[[list[Found]], None] = lambda _: None,
    ) -> None:
        """Annotate and publish slice after slice; what was published stands, whatever comes after.

        Rows of completed videos that were annotated again are taken out of the older files, slice by slice, unless
        the run leaves other versions as they are.

        Args:
            found: the videos, and what could not be found.
            summary: counts what was published; several threads may.
            completed: what was done before.
            slice_indices: the numbers of the slices, if others go into the same output beside these; else from 0 on.
            on_slice: is told of each slice before it is annotated.
            on_published: and behind it, while no other thread counts.

        Raises:
            Exception: whatever ended a pipeline, such as a full disk.
        """
        if runner_name(self.options) == LOCAL_RUNNER:
            self.options.view_as(StandardOptions).runner = LOCAL_RUNNER
            self.options.view_as(DirectOptions).direct_num_workers = self.pool.size - self.num_spare_decoders
            self.options.view_as(DirectOptions).direct_running_mode = "in_memory"
        slice_indices = slice_indices or itertools.count()
        for items in cut_into_slices(found, self.limits):
            slice_index = next(slice_indices)
            on_slice(items)
            pipeline = self.lay_out(items, slice_index=slice_index, completed=completed)
            mended: list[bytes] = []
            try:
                result = self.job.run(pipeline)
                self._check_published(slice_index)
                passed_over = MembersPassedOver.of(result)
                mended = passed_over.mended
                with summary.lock:
                    summary.add_passed_over(passed_over)
                    summary.metrics.add(result)
            finally:  # shards that were published before it failed stand
                with summary.lock:
                    num_failures = summary.failures.total()
                    names = summary.add_published(self.output, self.constants.run_id, slice_index)
                    has_rows = bool(names) or summary.failures.total() > num_failures
                if not has_rows and len(completed.videos):
                    self._remove_published(slice_index)  # of shards in which all was done
                if not self.constants.keeps_versions:
                    remove_superseded(self.output, completed.superseded_by([*names, *mended]))
                remove_lists(self.output, slice_index=slice_index)
            with summary.lock:
                on_published(items)

    def _check_published(self, slice_index: int) -> None:
        """Raise if workers of a cluster published a slice where the launcher does not see it."""
        start = f"run={self.constants.run_id}/slice-{slice_index:06d}-"
        if not any(stem.startswith(start) for stem in own_files(self.output, "videos")):
            raise OSError(
                f"the slice was published, but not in {self.output.uri} as it is seen here: --output must be a folder "
                "that the launcher and all workers share, or gs://"
            )

    def _remove_published(self, slice_index: int) -> None:
        """Take back the files of a slice without rows: a run that found nothing to do leaves nothing."""
        start = f"run={self.constants.run_id}/slice-{slice_index:06d}-"
        stems = [stem for stem in own_files(self.output, "videos") if stem.startswith(start)]
        for table in reversed(TABLES):  # without its `videos` a file counts no more
            for stem in stems:
                self.output.remove(table_file(table, stem))

    def lay_out(self, items: list[Found], *, slice_index: int, completed: Completed) -> beam.Pipeline:
        """The pipeline of one slice."""
        pipeline = beam.Pipeline(options=self.options)
        build_pipeline(
            pipeline,
            videos=_largest_first(items),
            shards=[Shard.of(i.video, completed) for i in items if i.video is not None and i.is_shard],
            reading=self.reading,
            not_found=[VideoPart(i.video, failures=(i.failure,)) for i in items if i.failure is not None],
            pool=self.pool,
            handler=self.handler,
            window_ms=self.settings.window_ms,
            output=self.output.uri,
            slice_index=slice_index,
            num_shards=self.options.num_shards or num_shards_of(items),
            constants=self.constants,
        )
        return pipeline


def _largest_first(items: list[Found]) -> list[VideoRef]:
    """The videos of a slice, so that the runner, which deals them out in turn, gives each worker as much."""
    by_size = sorted(items, key=lambda item: item.num_bytes, reverse=True)
    return [
        item.video
        for item in by_size
        if item.video is not None and item.failure is None and not item.is_shard
    ]


def _whole_ms(seconds: float) -> int:
    ms = round(seconds * 1000)
    if abs(ms - seconds * 1000) > 1e-6:
        raise ValueError(f"--window-seconds {seconds} is no whole number of milliseconds")
    return ms
