import pytest

from pipelines.settings import Settings


def test_the_order_in_which_tasks_are_named_does_not_matter() -> None:
    assert Settings(tasks=("gender", "emotion")).sha256 == Settings().sha256


def test_what_decides_the_rows_decides_the_hash() -> None:
    hashes = {Settings().sha256, Settings(tasks=("emotion",)).sha256, Settings(window_ms=3000).sha256}
    assert len(hashes) == 3


@pytest.mark.parametrize("tasks", [(), ("age",), ("emotion", "emotion")])
def test_tasks_are_checked(tasks: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="tasks must be one or more of emotion, gender"):
        Settings(tasks=tasks)


def test_the_window_is_a_multiple_of_a_frame() -> None:
    with pytest.raises(ValueError, match="multiple of 40 ms, got 1001 ms"):
        Settings(window_ms=1001)
