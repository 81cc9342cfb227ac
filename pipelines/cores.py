"""How many processor cores this process may use."""

import math
import os
from pathlib import Path
from typing import Final

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def num_cores(*, quota: Path = _QUOTA) -> int:
    """The cores of this process: those that it is bound to or, if that is less, those of its container's quota.

    Args:
        quota: microseconds of processor time and of the period in which they may be used up, or `max` for the former,
            as cgroup v2 gives them inside a container. Kubernetes limits pods in this way, and binds them to no cores.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        used_us, period_us = quota.read_text().split()
        return max(1, min(cores, math.ceil(int(used_us) / int(period_us))))
    except (OSError, ValueError):
        return cores
