"""A hundred broken and forged files through the real command; `make fuzz` takes two thousand."""

from pathlib import Path

from makers.fuzzing import annotate_mutants
from makers.mutations import make_seeds, mutant


def test_every_mutant_has_its_outcome_and_no_decoder_outlives_or_outgrows_its_limit(tmp_path: Path) -> None:
    report = annotate_mutants(tmp_path, first=0, count=100)
    assert report.problems == []
    assert report.outcomes.total() == 100
    # by hand: not all survive, and not all are refused
    assert report.outcomes["ok"] > 20
    assert report.outcomes["failed"] > 20


def test_mutants_are_the_same_every_time(tmp_path: Path) -> None:
    seeds = {"a.mp4": b"\0\0\0\x10ftypisom" + bytes(range(256)), "b.mkv": b"\x1a\x45\xdf\xa3" + bytes(300)}
    assert [mutant(seeds, number) for number in range(50)] == [mutant(seeds, number) for number in range(50)]
    assert len({content for _, content in (mutant(seeds, number) for number in range(50))}) > 40


def test_seeds_are_of_every_format_of_the_matrix(tmp_path: Path) -> None:
    suffixes = {Path(name).suffix for name in make_seeds(tmp_path)}
    pictures = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".ogg", ".flv", ".3gp", ".wmv", ".mpg"}
    assert suffixes >= pictures | {".wav", ".flac", ".mp3", ".m4a", ".aac"}
