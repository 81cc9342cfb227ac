"""What ends a training, in words that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from mmeg_model.training.config import TrainingConfig

DEAD_WORKER: Final = "a process that prepares batches has ended ({}): run it again, it goes on"


@contextmanager
def out_of_memory_explained(config: TrainingConfig) -> Iterator[None]:
    """Raises `MemoryError` for whatever torch raises where memory is short."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On the CPU torch raises a plain RuntimeError.
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "can't allocate memory" not in str(
            error
        ):
            raise
        raise MemoryError(
            f"a step of batch_size {config.batch_size} with clips of {config.crop_seconds} s needs more memory than "
            f"there is: lower one of the two. The checkpoint of the last epoch stands ({error})"
        ) from error


@contextmanager
def dead_worker_explained() -> Iterator[None]:
    """Raises `OSError` if a worker dies: torch tells of it in whatever the main thread is doing just then."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError(DEAD_WORKER.format(error)) from error
