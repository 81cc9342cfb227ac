import multiprocessing
from pathlib import Path

import pytest

from mmeg_model.locked import InUseError, locked


def _hold(output: Path, ready: "multiprocessing.synchronize.Event") -> None:
    with locked(output, by="run the-other-run"):
        ready.set()
        multiprocessing.Event().wait()


def test_a_second_run_is_refused_and_a_dead_one_leaves_no_lock(tmp_path: Path):
    output = tmp_path / "made" / "if need be"
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    holder = spawn.Process(target=_hold, args=(output, ready))
    holder.start()
    try:
        assert ready.wait(60)
        message = rf"another run writes into {output}: run the-other-run, process {holder.pid} on .*, started 20\d\d-"
        with pytest.raises(InUseError, match=message), locked(output, by="run mine"):
            pass
    finally:
        holder.kill()
        holder.join()
    with locked(output, by="run mine"):
        pass


def test_a_run_that_is_over_lets_the_next_one_in(tmp_path: Path):
    for _ in range(2):
        with locked(tmp_path, by="mmeg train"):
            assert [path.name for path in tmp_path.iterdir()] == [".mmeg.lock"]
    with pytest.raises(RuntimeError, match="of its own"), locked(tmp_path, by="mmeg train"):
        raise RuntimeError("of its own")
    with locked(tmp_path, by="mmeg train"):
        pass
