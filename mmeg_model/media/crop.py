"""Which part of a video's picture and sound counts: all of it, a box, one channel."""

from dataclasses import dataclass
from typing import Final, Literal

Channel = Literal["left", "right"]


@dataclass(frozen=True, order=True)
class Box:
    """The pixels [x, x + width) × [y, y + height) of a picture as it is shown, from its upper left corner.

    Raises:
        ValueError: if it has no pixel, or begins outside.
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0 or self.width < 1 or self.height < 1:
            raise ValueError(f"a box needs x, y >= 0 and width, height >= 1, got {self}")

    def fits(self, *, width: int, height: int) -> bool:
        """Whether all of it lies in a picture of this size."""
        return self.x + self.width <= width and self.y + self.height <= height


@dataclass(frozen=True)
class Crop:
    """What a clip is made of."""

    box: Box | None = None
    """Of the picture; None: all of it."""
    channel: Channel | None = None
    """The first or the second of the sound's channels, a sound with but one being that; None: all, mixed."""


WHOLE: Final = Crop()
