from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest

from mmeg_model.ranges import require_at_least, require_positive, require_share

INFINITE = float("inf")
NAN = float("nan")


@pytest.mark.parametrize(
    ("require", "values"),
    [
        (require_positive, (1, 1e-9, (1, 2), ())),
        (partial(require_at_least, 2), (2, 3)),
        (require_share, (0, 0.999)),
    ],
)
def test_inside(require: Callable[..., None], values: tuple):
    for value in values:
        require(SimpleNamespace(number=value), "number")


@pytest.mark.parametrize(
    ("require", "value", "message"),
    [
        (require_positive, 0, r"^number must be positive, got 0$"),
        (require_positive, (4, 0), r"^number must be positive, got \(4, 0\)$"),
        (require_positive, NAN, "^number must be finite, got nan$"),
        (require_positive, INFINITE, "^number must be finite, got inf$"),
        (partial(require_at_least, 2), 1, "^number must be at least 2, got 1$"),
        (partial(require_at_least, 0), NAN, "^number must be finite, got nan$"),
        (require_share, 1, r"^number must be in \[0, 1\), got 1$"),
        (require_share, -0.1, r"^number must be in \[0, 1\), got -0\.1$"),
        (require_share, NAN, "^number must be finite, got nan$"),
    ],
)
def test_outside(require: Callable[..., None], value: object, message: str):
    with pytest.raises(ValueError, match=message):
        require(SimpleNamespace(fine=0.5, number=value), "number")
