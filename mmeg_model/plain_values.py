"""Plain values, as TOML and JSON give them, held against type hints: what a configuration says, or what is wrong with it."""

import inspect
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from mmeg_model.nearest import unknown

Made = TypeVar("Made")


def _is_whole(value: Any) -> bool:
    # TOML's numbers have 64 bits, and so have torch's seeds; a bool is an int to Python alone.
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_finite(value: Any) -> bool:
    largest = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


_EXPECTED: Final[Mapping[Any, tuple[str, Callable[[Any], bool]]]] = MappingProxyType(
    {
        bool: ("true or false", lambda value: isinstance(value, bool)),
        int: ("a whole number of at most 64 bits", _is_whole),
        float: ("a finite number", _is_finite),
        str: ("a string", lambda value: isinstance(value, str)),
        Path: ("a path", lambda value: isinstance(value, str | Path)),
        dict: ("a table", _is_table),
        Mapping: ("a table", _is_table),
        tuple: ("a list", _is_list),
        Sequence: ("a list", _is_list),
    }
)
"""What a message calls a type, and whether a plain value is of it."""


def read_toml(file: Path) -> dict[str, Any]:
    """Read a file of TOML.

    Raises:
        ValueError: if it is none; the message names the file.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no TOML: {error}") from error


def from_plain(
    of: type[Made], plain: Any, *, table: str = "", kind: str = "", folder: Path | None = None
) -> Made:
    """Make a dataclass, nested ones within, from a table of plain values.

    Args:
        of: the dataclass. Its fields may be of bool, int, float (which takes whole numbers too), str, Path, mappings,
            lists (which become tuples), dataclasses, and of these or None.
        plain: the table. A value that is of its field's type already, such as a nested dataclass, is taken as it is.
        table: what the table is called; messages say it before its keys.
        kind: what a key is called where it is unknown; by default a field of the class.
        folder: relative paths are relative to it; by default they stay as they are.

    Raises:
        ValueError: if a key is unknown (the message says which are near) or missing, a value is of another type
            (the message says which it must be of), or the class refuses it.
    """
    if not isinstance(plain, Mapping):
        raise ValueError(f"{table or 'the configuration'} must be a table, got {plain!r}")
    hints = get_type_hints(of)
    return of(
        **held(
            plain,
            {name: hints[name] for name in inspect.signature(of).parameters},
            required=required_by(of),
            before=f"{table}." if table else "",
            kind=kind or f"field of {of.__name__}",
            folder=folder,
        )
    )


def required_by(makes: Callable[..., Any]) -> list[str]:
    """The names of the parameters that have no default."""
    parameters = inspect.signature(makes).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def held(
    plain: Mapping[str, Any],
    hints: Mapping[str, Any],
    *,
    required: Collection[str],
    before: str,
    kind: str,
    folder: Path | None = None,
) -> dict[str, Any]:
    """The values of a table, each as the hint of its name wants it; errors as of `from_plain`.

    Args:
        plain: the table.
        hints: by key.
        required: the keys that must be there.
        before: what messages say before a key.
        kind: as of `from_plain`, as is the folder.
        folder: see there.
    """
    for key in plain:
        if key not in hints:
            raise ValueError(unknown(kind, key, hints))
    if missing := [name for name in required if name not in plain]:
        raise ValueError(f"{before}{', '.join(missing)} must be given")
    return {key: _value(value, hints[key], f"{before}{key}", folder) for key, value in plain.items()}


def _value(value: Any, hint: Any, name: str, folder: Path | None) -> Any:
    if get_origin(hint) in (Union, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        (hint,) = (member for member in get_args(hint) if member is not NoneType)
    if hint is Any:
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else from_plain(hint, value, table=name, folder=folder)
    of_hint = get_origin(hint) or hint
    expected, is_so = _EXPECTED[of_hint]
    if not is_so(value):
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    if of_hint is Path:
        # What is no text was given by the caller, not by the file.
        return folder / value if folder is not None and isinstance(value, str) else Path(value)
    if of_hint in (tuple, Sequence):  # items are of one type; how many, the dataclass says
        of_items = get_args(hint)[0]
        return tuple(_value(item, of_items, f"{name}[{i}]", folder) for i, item in enumerate(value))
    return value
