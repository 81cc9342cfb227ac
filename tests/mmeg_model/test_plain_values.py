import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeg_model.plain_values import from_plain, read_toml


@dataclass(frozen=True, kw_only=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    share: float = 0.5
    title: str = ""
    is_loud: bool = False
    file: Path = Path("default")
    names: tuple[str, ...] = ()
    three: tuple[float, float, float] = (1, 2, 3)
    others: Sequence[float] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    perhaps: int | None = 3
    inner_perhaps: Inner | None = None


def test_every_type():
    plain = {
        "count": 3,
        "share": 1,
        "title": "a",
        "is_loud": True,
        "file": "b/c",
        "names": ["x", "y"],
        "three": [1.5, 2, 3],
        "others": [4],
        "arguments": {"weights": [1, 0]},
        "more": {"a": {"b": 1}},
        "inner": {"sizes": [3]},
        "perhaps": None,
        "inner_perhaps": {"sizes": []},
    }
    assert from_plain(Outer, plain) == Outer(
        count=3,
        share=1,
        title="a",
        is_loud=True,
        file=Path("b/c"),
        names=("x", "y"),
        three=(1.5, 2, 3),
        others=(4,),
        arguments={"weights": [1, 0]},
        more={"a": {"b": 1}},
        inner=Inner(sizes=(3,)),
        perhaps=None,
        inner_perhaps=Inner(sizes=()),
    )


def test_what_is_of_its_type_is_taken_as_it_is():
    inner = Inner(sizes=(7,))
    made = from_plain(
        Outer, {"count": 0, "inner": inner, "file": Path("a"), "names": ("x",)}, folder=Path("/f")
    )
    assert made == Outer(count=0, inner=inner, file=Path("a"), names=("x",))


def test_paths_are_relative_to_the_folder():
    made = [from_plain(Outer, {"count": 0, "file": file}, folder=Path("/f")).file for file in ("a", "/b")]
    assert made == [Path("/f/a"), Path("/b")]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count", "3", "count must be a whole number of at most 64 bits, got '3'"),
        ("count", 2.0, "count must be a whole number of at most 64 bits, got 2.0"),
        ("count", True, "count must be a whole number of at most 64 bits, got True"),
        ("count", None, "count must be a whole number of at most 64 bits, got None"),
        ("count", 2**63, f"count must be a whole number of at most 64 bits, got {2**63}"),
        ("share", "0.5", "share must be a finite number, got '0.5'"),
        ("share", False, "share must be a finite number, got False"),
        ("share", float("nan"), "share must be a finite number, got nan"),
        ("share", float("-inf"), "share must be a finite number, got -inf"),
        ("share", 10**309, "share must be a finite number, got 1000"),
        ("title", 3, "title must be a string, got 3"),
        ("is_loud", 1, "is_loud must be true or false, got 1"),
        ("file", 3, "file must be a path, got 3"),
        ("names", "synthetic", "names must be a list, got 'synthetic'"),
        ("names", {"a": 1}, "names must be a list, got {'a': 1}"),
        ("names", ["a", 3], "names[1] must be a string, got 3"),
        ("three", [1, "a"], "three[1] must be a finite number, got 'a'"),
        ("others", 3, "others must be a list, got 3"),
        ("arguments", "a", "arguments must be a table, got 'a'"),
        ("more", [1], "more must be a table, got [1]"),
        ("inner", 3, "inner must be a table, got 3"),
        ("inner", {"sizes": [1, [2]]}, "inner.sizes[1] must be a whole number of at most 64 bits, got [2]"),
        ("inner", {"size": 1}, "unknown field of Inner 'size': did you mean 'sizes'"),
        ("perhaps", "a", "perhaps must be a whole number of at most 64 bits, got 'a'"),
        ("inner_perhaps", [], "inner_perhaps must be a table, got []"),
        ("cuont", 1, "unknown field of Outer 'cuont': did you mean 'count'"),
    ],
)
def test_another_type(key: str, value: object, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_plain(Outer, {"count": 1, key: value})


def test_messages_name_the_table():
    with pytest.raises(ValueError, match=r"^outer\.inner\.sizes must be a list, got 1$"):
        from_plain(Outer, {"count": 1, "inner": {"sizes": 1}}, table="outer")
    with pytest.raises(ValueError, match=r"^outer must be a table, got 3$"):
        from_plain(Outer, 3, table="outer")
    with pytest.raises(ValueError, match=r"^outer\.count must be given$"):
        from_plain(Outer, {}, table="outer")
    with pytest.raises(ValueError, match=r"^unknown key of \[outer\] 'a': there are arguments, count"):
        from_plain(Outer, {"a": 1}, table="outer", kind="key of [outer]")


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(plain=st.dictionaries(st.sampled_from(list(Outer.__dataclass_fields__)), json_like) | json_like)
def test_whatever_it_is_it_is_made_or_refused(plain: Any):
    """And what is made has fields of the types that it says."""
    try:
        made = from_plain(Outer, plain)
    except ValueError:
        return
    assert type(made.count) is int
    assert type(made.is_loud) is bool
    assert isinstance(made.file, Path)
    assert isinstance(made.names, tuple)
    assert abs(made.share) < float("inf")


@pytest.mark.parametrize("content", [b"data = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_no_toml(tmp_path: Path, content: bytes):
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.toml is no TOML: "):
        read_toml(tmp_path / "run.toml")
