"""Patterns on the way down a tree, beside Python's own glob."""

import glob
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.path_patterns import PathPattern, split_pattern


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files `a.mp4`, `b1.mkv`, `[x].mp4`, `.h.mp4` in each of the folders `a`, `b1`, `.h`, two deep, and at the top."""
    root = tmp_path_factory.mktemp("tree")
    tops = ("a", "b1", ".h")
    for folder in ("", *tops, *(f"{outer}/{inner}" for outer in tops for inner in tops)):
        (root / folder).mkdir(exist_ok=True)
        for name in ("a.mp4", "b1.mkv", "[x].mp4", ".h.mp4"):
            (root / folder / name).touch()
    return root


def matched_by_us(text: str, path: str) -> str:
    *folders, name = path.split("/")
    place = PathPattern(text).top
    for folder in folders:
        place = place.enter(folder)
    return place.judge(name)


def matched_by_glob(text: str, root: Path) -> set[str]:
    """The files that match, and those of a known extension in folders that do, but for hidden ones."""
    meant = set()
    for match in glob.glob(text, root_dir=root, recursive=True):
        path = Path(root, match)
        if path.is_file():
            if not match.endswith("/"):  # `a.mp4/**` gives `a.mp4/`, which is none
                meant.add(os.path.normpath(match))
            continue
        for file in path.rglob("*"):
            is_hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.is_file() and not is_hidden:
                meant.add(str(file.relative_to(root)))
    return meant


PARTS = st.sampled_from(
    ["*", "**", "a", "b?", "b1", "[!a]*", "*.mp4", "*.mkv", "[[]x]*", ".*", ".h", "a.mp4", "?"]
)


@settings(max_examples=300)
@given(st.lists(PARTS, min_size=1, max_size=4))
def test_matches_are_those_of_glob(tree: Path, parts: list[str]) -> None:
    text = "/".join(parts)
    files = [str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_file()]
    assert {path for path in files if matched_by_us(text, path) == "meant"} == matched_by_glob(text, tree)


@pytest.mark.parametrize(
    ("text", "path", "verdict"),
    [
        ("", "a/b.mp4", "meant"),
        ("", "a/b.txt", "other"),
        ("", "a/.b/c.mp4", "no"),
        ("*", "notes.txt", "meant"),  # named, if by a pattern
        ("*", "a/notes.txt", "other"),
        ("**", "a/notes.txt", "other"),  # a folder, and all in it
        ("a*/", "a.mp4", "no"),
        ("a*/", "ab/c.mp4", "meant"),
        ("**/*.txt", "a/b/notes.txt", "meant"),
        ("**/b/*.mkv", "b/b/c.mkv", "meant"),
        ("a**b", "aXXb", "meant"),  # within a part, two stars are one
        ("*", ".hidden.mp4", "no"),
        ("a", "A", "no"),
    ],
)
def test_verdicts(text: str, path: str, verdict: str) -> None:
    assert matched_by_us(text, path) == verdict


def test_a_link_is_followed_where_a_part_names_it_and_not_by_two_stars() -> None:
    assert PathPattern("l*/a.mp4").top.enter("link", is_link=True).judge("a.mp4") == "meant"
    assert PathPattern("l*").top.enter("link", is_link=True).judge("a.mp4") == "meant"
    assert PathPattern("**/a.mp4").top.enter("link", is_link=True).is_dead_end
    assert PathPattern("").top.enter("link", is_link=True).is_dead_end


def test_nothing_is_looked_for_where_nothing_can_be() -> None:
    top = PathPattern("a/*/c*.mkv").top
    assert top.enter("b").is_dead_end
    assert top.enter("a").enter("x").enter("y").is_dead_end


@pytest.mark.parametrize(
    ("pattern", "split"),
    [
        ("gs://b/a/x*/*.mkv", ("gs://b/a/", "x*/*.mkv")),
        ("*.mkv", ("", "*.mkv")),
        ("/v/[a]", ("/v/", "[a]")),
        ("../v/a?/b", ("../v/", "a?/b")),
    ],
)
def test_the_folder_above_a_pattern(pattern: str, split: tuple[str, str]) -> None:
    assert split_pattern(pattern) == split
