"""Every flag of `mmeg annotate`, once, as Beam options."""

import argparse
import os

from apache_beam.options.pipeline_options import PipelineOptions

from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.media.windows import WINDOW_MS


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _positive_seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


class AnnotateOptions(PipelineOptions):
    """What `mmeg annotate` understands beside Beam's own options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        what = parser.add_argument_group("what is annotated, and where to")
        what.add_argument(
            "--output", metavar="DIR", help="the folder of the three tables; made if it is not there"
        )
        what.add_argument(
            "--limit", type=_positive_int, metavar="N", help="only the first N videos still to be done"
        )
        what.add_argument(
            "--dry-run",
            dest="plan_only",
            action="store_true",
            help="print the videos that would be annotated, and touch nothing",
        )

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
            type=_positive_seconds,
            default=WINDOW_MS / 1000,
            metavar="S",
            help="length of a clip, a multiple of 0.04 (default: %(default)s)",
        )

        where = parser.add_argument_group("on what machine: decides how fast, never what the rows say")
        where.add_argument(
            "--device",
            choices=("auto", "cpu", "cuda"),
            default="auto",
            help="where the network runs (default: auto, a GPU if there is one)",
        )
        where.add_argument(
            "--batch-size",
            type=_positive_int,
            default=8,
            metavar="N",
            help="clips in a batch of the network (default: %(default)s); halved where memory does not suffice",
        )
        where.add_argument(
            "--num-decoders",
            type=_positive_int,
            default=num_cores(),
            metavar="N",
            help="decoder processes side by side (default: one for each core, here %(default)s)",
        )
        where.add_argument(
            "--decode-deadline-seconds",
            type=_positive_seconds,
            default=300.0,
            metavar="S",
            help="longest time for decoding about a minute of one video (default: %(default)s)",
        )
        where.add_argument(
            "--decode-memory-mib",
            type=_positive_int,
            default=1024,
            metavar="MIB",
            help="most private memory of one decoder process, in MiB (default: %(default)s)",
        )
        where.add_argument(
            "--slice-videos",
            type=_positive_int,
            default=64,
            metavar="N",
            help="videos after which results are published (default: %(default)s): what is interrupted loses a slice",
        )
        where.add_argument(
            "--slice-bytes",
            type=_positive_int,
            default=4_000_000_000,
            metavar="N",
            help="bytes of input after which results are published (default: %(default)s)",
        )
        where.add_argument(
            "--num-shards",
            type=_positive_int,
            default=1,
            metavar="N",
            help="files for each table and slice (default: %(default)s)",
        )
