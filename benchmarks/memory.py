"""How much memory work in child processes takes."""

import threading
from collections.abc import Callable

import psutil


def peak_memory_mb(work: Callable[[], object]) -> float:
    """The highest sum of proportional set sizes over all child processes, sampled five times a second."""
    peak = 0
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        me = psutil.Process()
        while not done.wait(0.2):
            total = 0
            for process in me.children(recursive=True):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it has just ended
                    continue
            peak = max(peak, total)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        work()
    finally:
        done.set()
        sampler.join()
    return peak / 1e6
