"""What to say of a name that is none."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Word the error of an unknown name: the nearest known ones first, then all."""
    known = sorted(known)
    near = get_close_matches(name, known, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}there are {', '.join(known)}"
