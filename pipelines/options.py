"""Every flag of `mmeg annotate`, once, as Beam options."""

import argparse
from collections.abc import Callable

from apache_beam.options.pipeline_options import PipelineOptions

from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.media.limits import MOST_SECONDS, DecoderLimits, VideoLimits
from mmeg_model.media.windows import WINDOW_MS
from pipelines.cores import num_cores
from pipelines.runners import BATCH_SIZES
from pipelines.slices import BYTES_PER_SHARD, CLUSTER_SLICES, LOCAL_SLICES


def whole_number(most: int) -> Callable[[str], int]:
    """A parser of whole numbers from 1 to `most`."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text:.40} is no whole number from 1 to {most}")
        return int(text)

    return parse


def _seconds_up_to(most: float) -> Callable[[str], float]:
    """A parser of durations up to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"{text:.40} is no number of seconds above 0 and up to {most:g}")
        return value

    return parse


class AnnotateOptions(PipelineOptions):
    """What `mmeg annotate` understands beside Beam's own options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        what = parser.add_argument_group("what is annotated, and where to")
        what.add_argument(
            "--output",
            metavar="DIR",
            help="the folder of the three tables, made if it is not there; or gs://bucket/prefix",
        )
        what.add_argument(
            "--limit", type=whole_number(10**9), metavar="N", help="only the first N videos still to be done"
        )
        what.add_argument(
            "--dry-run",
            dest="plan_only",
            action="store_true",
            help="print the videos that would be annotated, and touch nothing",
        )

        what.add_argument(
            "--retry-failed",
            action="store_true",
            help="annotate again what failed or is partial in DIR; new rows replace the old ones",
        )
        what.add_argument(
            "--replace-changed",
            action="store_true",
            help="annotate again what is another version than the one in DIR; new rows replace the old ones",
        )
        add_shard_flags(what)
        add_row_flags(parser)
        add_machine_flags(parser)
        what.add_argument(
            "--metrics-json",
            metavar="FILE",
            help="write what was counted and timed, as docs/operations.md explains it, to this file at the end",
        )
        stream = parser.add_argument_group("streams, on a cluster; on one machine there is `mmeg watch`")
        stream.add_argument(
            "--subscription",
            metavar="PATH",
            help="with --streaming, and in place of INPUT: projects/…/subscriptions/… of notifications of Cloud Storage",
        )
        add_poll_flag(stream, default=30.0)
        cluster = parser.add_argument_group("clusters")
        cluster.add_argument(
            "--cluster-deadline-seconds",
            type=_seconds_up_to(86_400),
            default=25.0,
            metavar="S",
            help="longest time until a job server and the first worker answer (default: %(default)s); raise it where "
            "workers are started on demand",
        )


def add_shard_flags(flags: argparse._ActionsContainer) -> None:
    """Add what says how files of many videos are read."""
    flags.add_argument(
        "--bytes-column",
        metavar="NAME",
        help="take .parquet files for shards, and this column, or `column.field` of a struct, for their videos",
    )
    flags.add_argument(
        "--key-column",
        metavar="NAME",
        help="column of the names of the videos in Parquet shards (default: __key__ or key if there is one, "
        "else the number of the row)",
    )


def add_row_flags(parser: argparse.ArgumentParser) -> None:
    """Add what decides what the rows say."""
    how = parser.add_argument_group("how: decides what the rows say")
    how.add_argument(
        "--tasks",
        default=",".join(LABELS_BY_TASK),
        metavar="TASKS",
        help="comma-separated, of emotion and gender (default: %(default)s); "
        "the columns of a task that is off are null",
    )
    how.add_argument(
        "--bundle", metavar="DIR", help="the trained model (default: the one that ships with mmeg)"
    )
    how.add_argument(
        "--window-seconds",
        type=_seconds_up_to(3600),
        default=WINDOW_MS / 1000,
        metavar="S",
        help="length of a clip, a multiple of 0.04 (default: %(default)s)",
    )


def add_machine_flags(parser: argparse.ArgumentParser) -> None:
    """Add what decides how fast they are there."""
    where = parser.add_argument_group("on what machine: decides how fast, never what the rows say")
    where.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the network runs (default: auto, a GPU if there is one)",
    )
    where.add_argument(
        "--accelerator",
        metavar="SPEC",
        help="on Dataflow, what each worker has, such as type:nvidia-l4;count:1;install-nvidia-driver",
    )
    where.add_argument(
        "--batch-size",
        type=whole_number(4096),
        metavar="N",
        help=f"clips in a batch of the network (default: {BATCH_SIZES['cpu']}, on a GPU {BATCH_SIZES['cuda']}); "
        "halved where memory does not suffice",
    )
    add_decoder_flags(where, decoded="about a minute of one video")
    where.add_argument(
        "--unpacked-gib",
        type=whole_number(1 << 20),
        default=DecoderLimits.unpacked_bytes >> 30,
        metavar="GIB",
        help="most space in the folder for temporary files (TMPDIR) for compressed tars and row groups of "
        "Parquet shards, in GiB; one that needs more by itself is failed (default: %(default)s)",
    )
    where.add_argument(
        "--slice-videos",
        type=whole_number(10**9),
        metavar="N",
        help="videos after which results are published: what is interrupted loses a slice "
        f"(default: {LOCAL_SLICES.num_videos}, on a cluster {CLUSTER_SLICES.num_videos})",
    )
    where.add_argument(
        "--slice-bytes",
        type=whole_number(10**18),
        metavar="N",
        help="bytes of input after which results are published "
        f"(default: {LOCAL_SLICES.num_bytes}, on a cluster {CLUSTER_SLICES.num_bytes})",
    )
    where.add_argument(
        "--num-shards",
        type=whole_number(10_000),
        metavar="N",
        help=f"files for each table and slice (default: one for each {BYTES_PER_SHARD} bytes of input)",
    )


def add_poll_flag(flags: argparse._ActionsContainer, *, default: float) -> None:
    """Add how often inputs are looked at."""
    flags.add_argument(
        "--poll-seconds",
        type=_seconds_up_to(86_400),
        default=default,
        metavar="S",
        help="time between two looks at the inputs (default: %(default)s); a local file is taken when two in a row "
        "have found it unchanged",
    )


def add_decoder_flags(flags: argparse._ActionsContainer, *, decoded: str) -> None:
    """Add what limits decoder processes to a parser or a group; decoded is what one request is for."""
    flags.add_argument(
        "--num-decoders",
        type=whole_number(1024),
        metavar="N",
        help=f"decoder processes side by side (default: one for each core of the machine, here {num_cores()})",
    )
    flags.add_argument(
        "--decode-deadline-seconds",
        type=_seconds_up_to(86_400),
        default=300.0,
        metavar="S",
        help=f"longest time for decoding {decoded} (default: %(default)s)",
    )
    flags.add_argument(
        "--decode-memory-mib",
        type=whole_number(1 << 20),
        default=1024,
        metavar="MIB",
        help="most private memory of one decoder process, in MiB (default: %(default)s)",
    )
    for name, most, meaning in (
        ("pixels", 1 << 28, "pixels of one picture, width times height"),
        ("video-seconds", MOST_SECONDS, "length of one video, as its packets say"),
        ("video-bytes", 1 << 62, "bytes of one video"),
        ("streams", 100_000, "streams in one video: pictures, sounds, subtitles, attachments"),
    ):
        flags.add_argument(
            f"--max-{name}",
            type=whole_number(most),
            default=getattr(VideoLimits, f"max_{name.removeprefix('video-')}"),
            metavar="N",
            help=f"most {meaning} (default: %(default)s); a video beyond that is failed",
        )


def decoder_limits(given: argparse.Namespace | AnnotateOptions) -> DecoderLimits:
    """The limits that the flags of `add_decoder_flags` stand for."""
    return DecoderLimits(
        deadline_seconds=given.decode_deadline_seconds,
        memory_bytes=given.decode_memory_mib << 20,
        video=VideoLimits(
            max_pixels=given.max_pixels,
            max_seconds=given.max_video_seconds,
            max_bytes=given.max_video_bytes,
            max_streams=given.max_streams,
        ),
    )
