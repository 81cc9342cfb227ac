"""The one exception of this package that is an outcome of a video, not a bug."""

from typing import Literal

Stage = Literal["find", "open", "probe", "decode", "infer", "model"]
"""Where something went wrong, as the `errors` table names it."""


class MediaError(Exception):
    """A video, or a part of one, that could not be turned into clips."""

    def __init__(self, stage: Stage, error: str, message: str) -> None:
        """Name the stage, a short name of the error (one word, such as `InvalidDataError`) and a sentence."""
        super().__init__(stage, error, message)
        self.stage: Stage = stage
        self.error = error
        self.message = message

    def __str__(self) -> str:
        return f"{self.stage}: {self.error}: {self.message}"
