import os
from pathlib import Path

import pytest

from pipelines.cores import num_cores


@pytest.mark.parametrize(
    ("content", "most"),
    [
        ("150000 100000", 2),  # one core and a half
        ("50000 100000", 1),
        ("max 100000", None),
        ("", None),
    ],
)
def test_a_quota_limits_cores(content: str, most: int | None, tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(content + "\n")
    bound = len(os.sched_getaffinity(0))
    assert num_cores(quota=quota) == (bound if most is None else min(bound, most))


def test_no_quota(tmp_path: Path) -> None:
    assert num_cores(quota=tmp_path / "none") == len(os.sched_getaffinity(0))
