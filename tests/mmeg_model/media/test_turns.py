"""Permits go round in the order in which they were asked for."""

import threading
from collections.abc import Callable

import pytest

from mmeg_model.media.turns import Turns


def waits(turns: Turns, act: Callable[[], object]) -> threading.Thread:
    """A thread that waits for its turn, and then acts; comes back when it waits."""
    num_waiting = len(turns._waiting)

    def take_turn() -> None:
        with turns:
            act()

    thread = threading.Thread(target=take_turn, daemon=True)
    thread.start()
    while len(turns._waiting) == num_waiting:
        pass
    return thread


def test_whoever_gives_a_permit_back_and_asks_again_waits_behind_the_others() -> None:
    turns, order = Turns(1), []
    with turns:
        first = waits(turns, lambda: order.append("first"))
        second = waits(turns, lambda: order.append("second"))
    with turns:
        order.append("again")
    first.join()
    second.join()
    assert order == ["first", "second", "again"]


def test_as_many_as_there_are_permits_hold_one_at_a_time() -> None:
    turns, holding, most, lock = Turns(3), 0, 0, threading.Lock()

    def hold() -> None:
        nonlocal holding, most
        for _ in range(200):
            with turns:
                with lock:
                    holding += 1
                    most = max(most, holding)
                with lock:
                    holding -= 1

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 3
    assert turns._num_free == 3
    assert not turns._waiting


class InterruptedLock:
    """In place of the lock of one who waits, that a signal reaches."""

    def __init__(self, turns: Turns, *, comes_meanwhile: bool) -> None:
        self._turns = turns
        self._comes_meanwhile = comes_meanwhile
        self._num_calls = 0

    def acquire(self) -> bool:
        self._num_calls += 1
        if self._num_calls == 1:
            return True
        if self._comes_meanwhile:
            self._turns.__exit__()
        raise KeyboardInterrupt

    def release(self) -> None:
        pass


@pytest.mark.parametrize("comes_meanwhile", [False, True])
def test_a_permit_is_not_lost_with_one_who_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, comes_meanwhile: bool
) -> None:
    turns = Turns(1)
    turns.__enter__()
    with monkeypatch.context() as patch:
        lock = InterruptedLock(turns, comes_meanwhile=comes_meanwhile)
        patch.setattr("mmeg_model.media.turns.threading.Lock", lambda: lock)
        with pytest.raises(KeyboardInterrupt):
            turns.__enter__()
    if not comes_meanwhile:
        turns.__exit__()
    assert turns._num_free == 1
    assert not turns._waiting
