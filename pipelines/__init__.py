"""Beam pipelines around the network of `mmeg_model`."""

from collections.abc import Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def annotate_videos(
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    tasks: Sequence[str] = ("emotion", "gender"),
    bundle: str | PathLike[str] | None = None,
    device: str = "auto",
) -> "pa.Table":
    """Annotate videos from Python, for a notebook: the rows of the table `annotations`, in memory.

    Args:
        paths: files, folders, globs and manifests, as `mmeg annotate` takes them.
        tasks: of `emotion` and `gender`.
        bundle: folder of a trained model; None means the one that ships.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ValueError: if nothing is found, or an argument does not fit.

    Videos that fail are named in a warning; use `mmeg annotate` to keep the tables `videos` and `errors`.
    """
    from pipelines.notebook import annotate_to_table

    names = [paths] if isinstance(paths, str | PathLike) else paths
    return annotate_to_table(
        [fspath(name) for name in names],
        tasks=tasks,
        bundle=None if bundle is None else fspath(bundle),
        device=device,
    )
