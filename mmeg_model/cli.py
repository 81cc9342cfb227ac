"""The commands that train, evaluate and synthesise. Each imports what it needs when it is its turn."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Subparsers = _SubParsersAction[argparse.ArgumentParser]


def register(subparsers: "Subparsers") -> None:
    """Add the commands; each parser's `run` default takes the parsed arguments and gives an exit status."""
    _register_train(subparsers)
    _register_evaluate(subparsers)
    _register_synth(subparsers)


def _register_train(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a network as a TOML file says",
        description="Train a network as a TOML file says; validation speakers are left out of training.",
    )
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="see mmeg_model/training/run.py for what it holds"
    )
    parser.set_defaults(run=_train)


def _register_evaluate(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="how well a bundle does on labelled corpora",
        description="Evaluate a bundle on corpora; figures as a table, or as JSON. Leave out of it whom the bundle "
        "was trained on: that is not checked.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each corpus")
    parser.add_argument("--corpora", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--speakers", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--cache", type=Path, help="for decoded clips; by default in the user's cache")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_evaluate)


def _register_synth(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "synth",
        help="write a small synthetic corpus with known labels",
        description="Write mp4 files of moving shapes and tones, and a manifest of their labels.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--videos", type=int, default=8, metavar="N")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="length of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=_synth)


def _train(given: argparse.Namespace) -> int:
    from mmeg_model.training.run import read_run, read_split, train_bundle

    try:
        run = read_run(given.config)
        split = read_split(run)
    except (ValueError, OSError) as error:
        return _cannot_start("train", error)
    print(train_bundle(run, split))
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    from mmeg_model.bundle_identity import bundle_folder
    from mmeg_model.corpora import read_corpora
    from mmeg_model.corpora.decoded import default_cache
    from mmeg_model.evaluation.command import evaluate_bundle
    from mmeg_model.evaluation.report import as_table
    from mmeg_model.splits import leave_speakers_out

    try:
        bundle = bundle_folder(given.bundle)
        utterances = read_corpora(given.data, given.corpora).utterances
        if given.speakers:
            utterances = leave_speakers_out(utterances, given.speakers).test
    except ValueError as error:
        return _cannot_start("evaluate", error)
    figures = evaluate_bundle(bundle, utterances, cache=given.cache or default_cache())
    print(
        json.dumps([asdict(of_group) for of_group in figures], indent=2) if given.json else as_table(figures)
    )
    return 0


def _synth(given: argparse.Namespace) -> int:
    from mmeg_model.corpora.synthetic import write_corpus

    try:
        paths = write_corpus(given.folder, num_videos=given.videos, seconds=given.seconds, seed=given.seed)
    except ValueError as error:
        return _cannot_start("synth", error)
    print(*paths, sep="\n")
    return 0


def _cannot_start(command: str, error: Exception) -> int:
    print(f"mmeg {command}: {error}", file=sys.stderr)
    return 2
