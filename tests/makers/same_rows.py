"""Whether two runs say the same: keys, times and modalities exactly, probabilities within 1e-3, labels unless the two
best are within 2e-3 of each other.
"""

from pathlib import Path
from typing import Any, Final

from makers.tables import read

from pipelines.tables import TABLES

_OF_THE_RUN: Final = {"run_id", "annotated_at", "occurred_at", "decode_seconds", "inference_seconds"}
_KEY: Final = ("video_uri", "member", "clip_index", "stage", "start_seconds")


def assert_same_rows(output: Path, expected: Path) -> None:
    """Compare all rows of all tables, apart from what differs from run to run."""
    for table in TABLES:
        rows, others = (sorted(read(folder, table), key=_key) for folder in (output, expected))
        assert [_key(row) for row in rows] == [_key(row) for row in others], table
        differences = [_differences(row, other) for row, other in zip(rows, others, strict=True)]
        assert [difference for difference in differences if difference] == [], table


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    # Times as text of fixed width: they are not negative, and none has more than milliseconds.
    return tuple(
        f"{row[name]:012.3f}" if isinstance(row.get(name), float) else str(row.get(name)) for name in _KEY
    )


def _differences(row: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (row[name], other[name])
        for name in row.keys() | other.keys()
        if name not in _OF_THE_RUN and not _is_same(name, row, other)
    }


def _is_same(name: str, row: dict[str, Any], other: dict[str, Any]) -> bool:
    ours, theirs = row[name], other[name]
    if name.endswith("_probabilities") and ours is not None and theirs is not None:
        return ours.keys() == theirs.keys() and all(
            abs(ours[label] - theirs[label]) <= 1e-3 for label in ours
        )
    if name.endswith("_confidence") and ours is not None and theirs is not None:
        return bool(abs(ours - theirs) <= 1e-3)
    if ours != theirs and name in ("perceived_emotion", "perceived_gender"):
        *_, second, best = sorted(row[f"{name}_probabilities"].values())
        return bool(best - second <= 2e-3)
    return bool(ours == theirs)
