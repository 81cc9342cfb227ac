"""The commands that train, evaluate and synthesise. Each imports what it needs when it is its turn."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Subparsers = _SubParsersAction[argparse.ArgumentParser]


def register(subparsers: "Subparsers") -> None:
    """Add the commands; each parser's `run` default takes the parsed arguments and gives an exit status."""
    _register_train(subparsers)
    _register_evaluate(subparsers)
    _register_compare(subparsers)
    _register_synth(subparsers)


def _register_train(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a network as a TOML file says",
        description="Train a network as a TOML file says, and evaluate it on who was left out. A training that was "
        "interrupted goes on when it is started again; in several processes start it by `torchrun "
        "--nproc-per-node 2 --no-python mmeg train CONFIG` (without a GPU with ACCELERATE_USE_CPU=true).",
        epilog="Exit status: 0; 2 could not start; 3 ended early (diverged, out of memory, full disk; the last "
        "checkpoint stands); 130 interrupted.",
    )
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="see mmeg_model/training/run.py for what it holds"
    )
    parser.add_argument(
        "--backbone-weights",
        metavar="FILE",
        help="of the preset paper's ResNet-50: a .safetensors or .pth file, or imagenet for torchvision's (the only "
        "thing that is ever downloaded)",
    )
    parser.set_defaults(run=_train)


def _register_evaluate(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="how well a bundle does on labelled corpora",
        description="Evaluate a bundle on corpora, whole or on some speakers. Leave out of it whom the bundle was "
        "trained on; if the bundle tells, they are named.",
        epilog="Exit status: 0; 1 if a clip could not be decoded (the others are evaluated); 2 if there is nothing "
        "to evaluate; 3 if DIR could not be written.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each corpus")
    parser.add_argument("--corpora", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--speakers", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--cache", type=Path, help="for decoded clips; by default in the user's cache")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write evaluation.json and pictures (PNG) there too"
    )
    parser.set_defaults(run=_evaluate)


def _register_compare(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "compare",
        help="joint losses against each other: weightings × seeds × folds, and a page of what came out",
        description="Train a grid of weightings, seeds and folds of left-out speakers as a TOML file says, and write a "
        "page with figures. What is there already is not trained again: an interrupted grid goes on, a finished one is "
        "only reported. Exit status: 0; 1 if a training failed (the others are reported); 2 if nothing could start; 3 if a "
        "process was killed or the disk is full: run it again.",
    )
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="see mmeg_model/comparison/grid.py for what it holds"
    )
    parser.add_argument("--data", type=Path, help="folder with a folder for each corpus; before the file's")
    parser.add_argument("--output", type=Path, help="for the cells and the page; before the file's")
    parser.add_argument("--cache", type=Path, help="for decoded clips; by default in the user's cache")
    parser.add_argument("--jobs", type=int, metavar="N", help="trainings at a time; by default one a core")
    parser.set_defaults(run=_compare)


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
    from mmeg_model.evaluation.command import as_text, warnings
    from mmeg_model.training.run import BUNDLE, read_run, read_sides, train_bundle

    try:
        run = read_run(given.config, backbone_weights=given.backbone_weights)
        sides = read_sides(run)
    except (ValueError, OSError) as error:
        return _cannot_start("train", error)
    try:
        evaluation = train_bundle(run, sides)
    except ValueError as error:
        return _cannot_start("train", error)
    except (FloatingPointError, MemoryError, OSError) as error:
        print(f"mmeg train: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("mmeg train: interrupted; run it again, it goes on from the last epoch", file=sys.stderr)
        return 130
    if evaluation is not None:
        print(as_text(evaluation))
        for warning in warnings(evaluation):
            print(f"mmeg train: {warning}", file=sys.stderr)
    print(run.output / BUNDLE)
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    from mmeg_model.bundle import load
    from mmeg_model.corpora import read_corpora
    from mmeg_model.corpora.decoded import default_cache
    from mmeg_model.evaluation import command

    try:
        model = load(given.bundle)
        reading = read_corpora(given.data, list(dict.fromkeys(given.corpora)))
        utterances = reading.utterances
        if given.speakers:
            utterances = command.of_speakers(utterances, given.speakers)
        if given.output:
            given.output.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        return _cannot_start("evaluate", error)
    print(f"{len(utterances)} utterances; left out: {dict(reading.excluded) or 'none'}", file=sys.stderr)
    try:
        evaluation = command.evaluate_bundle(model, utterances, cache=given.cache or default_cache())
    except command.EvaluationError as error:
        return _cannot_start("evaluate", error)
    print(command.as_json(evaluation) if given.json else command.as_text(evaluation))
    for warning in command.warnings(evaluation):
        print(f"mmeg evaluate: {warning}", file=sys.stderr)
    if given.output:
        try:
            command.write_evaluation(evaluation, given.output)
        except OSError as error:
            print(f"mmeg evaluate: {error}", file=sys.stderr)
            return 3
    return 1 if evaluation.failures else 0


def _compare(given: argparse.Namespace) -> int:
    from concurrent.futures.process import BrokenProcessPool

    from mmeg_model.comparison.grid import read_grid
    from mmeg_model.comparison.page import write_page
    from mmeg_model.comparison.run import kept_results, read_utterances, run_grid
    from mmeg_model.locked import locked

    with ExitStack() as stack:
        try:
            values = {key: vars(given)[key] for key in ("data", "output", "cache", "jobs")}
            grid = read_grid(given.config, {key: value for key, value in values.items() if value is not None})
            utterances = read_utterances(grid)
            stack.enter_context(locked(grid.output, by="mmeg compare"))
            kept = kept_results(grid, utterances)
        except (ValueError, OSError) as error:
            return _cannot_start("compare", error)
        page = grid.output / f"{given.config.stem}.md"
        try:
            outcomes = run_grid(grid, utterances, kept)
            write_page(page, grid, outcomes)
        except BrokenProcessPool:
            print(
                "mmeg compare: a training's process was killed (out of memory?): what is done stands, run it again "
                f"with fewer than {grid.jobs} --jobs",
                file=sys.stderr,
            )
            return 3
        except OSError as error:
            print(f"mmeg compare: {error}", file=sys.stderr)
            return 3
        print(page)
        return 1 if outcomes.failed else 0


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
