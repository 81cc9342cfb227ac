"""Globs, matched part by part on the way down, so that a tree or a listing is never held in memory.

As in Python's own: `*`, `?` and `[…]` within one part of a path, `**` for any number of whole parts, and a part
that begins with a dot only where the pattern writes that dot. A folder that matches stands for what is in it;
a pattern that ends in `/` or `/**` matches folders alone.
"""

import fnmatch
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from pipelines.found import is_meant_name

GLOB_CHARACTERS: Final = frozenset("*?[")


def split_pattern(pattern: str) -> tuple[str, str]:
    """Split into the folder above the first special character, with its `/`, and the pattern below it."""
    start = pattern.rfind("/", 0, PathPattern(pattern).num_literal) + 1
    return pattern[:start], pattern[start:]


@dataclass(frozen=True)
class PathPattern:
    """A glob below some folder. The empty one is that folder itself: everything in it."""

    text: str
    parquet_shards: bool = False
    """Whether a `.parquet` in a folder is meant."""

    @property
    def num_literal(self) -> int:
        """How many characters come before the first special one."""
        return next((i for i, c in enumerate(self.text) if c in GLOB_CHARACTERS), len(self.text))

    @cached_property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in self.text.split("/") if part)

    @cached_property
    def matchers(self) -> tuple[re.Pattern[str], ...]:
        """For each part, what a name must match."""
        return tuple(re.compile(fnmatch.translate(part)) for part in self.parts)

    @cached_property
    def only_folders(self) -> bool:
        return self.text.endswith("/") or self.parts[-1:] == ("**",)

    @property
    def top(self) -> "Place":
        """The folder that the pattern begins in."""
        return self.place({0}, is_inside=False)

    def place(self, matched: set[int], *, is_inside: bool) -> "Place":
        for i in range(len(self.parts)):
            if i in matched and self.parts[i] == "**":
                matched.add(i + 1)  # no part at all
        return Place(self, frozenset(matched), is_inside or len(self.parts) in matched)


@dataclass(frozen=True)
class Place:
    """A folder on the way down, and what of the pattern it has matched so far."""

    pattern: PathPattern
    matched: frozenset[int]
    """In how many of the pattern's first parts the way here can be read."""
    is_inside: bool
    """Whether this folder, or one above it, is itself meant."""

    @property
    def is_dead_end(self) -> bool:
        """Whether nothing in here can be meant."""
        return not self.matched and not self.is_inside

    def enter(self, name: str, *, is_link: bool = False) -> "Place":
        """The folder of this name in here. A link is followed only where a part of the pattern names it."""
        matched = self._match(name)
        if not is_link and not name.startswith("."):
            matched |= {i for i in self.matched if self.pattern.parts[i : i + 1] == ("**",)}
        is_inside = self.is_inside and not is_link and not name.startswith(".")
        return self.pattern.place(matched, is_inside=is_inside)

    def judge(self, name: str) -> Literal["meant", "other", "no"]:
        """Whether the file of this name in here is meant; `other`: in a folder that is, but no video by its name."""
        num_parts = len(self.pattern.parts)
        if not self.pattern.only_folders and num_parts in self._match(name):
            return "meant"
        if not self.is_inside or name.startswith("."):
            return "no"
        return "meant" if is_meant_name(name, parquet_shards=self.pattern.parquet_shards) else "other"

    def _match(self, name: str) -> set[int]:
        return {
            i + 1
            for i in self.matched
            if i < len(self.pattern.parts)
            and self.pattern.parts[i] != "**"
            and name.startswith(".") <= self.pattern.parts[i].startswith(".")
            and self.pattern.matchers[i].match(name)
        }
