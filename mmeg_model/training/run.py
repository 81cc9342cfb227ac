"""`mmeg train CONFIG`: a TOML file -> a trained bundle, and its figures on who was left out.

data = "corpora"              # a folder with a folder for each corpus; relative to the file
corpora = ["iemocap"]
output = "runs/first"         # bundle/, test/, checkpoint.pt, log.jsonl, tensorboard/; relative to the file
name = "first"                # of the bundle
validation_folds = 6          # one in so many speakers decides when to stop; the other keys: `TrainingRun`

[test]                        # who is left out altogether, and evaluated at the end; without it nobody is
split = "leave-one-session-out"  # or leave-speakers-out, speaker-folds, paper-random
fold = 0                      # which of its folds

[training]                    # what differs from `TrainingConfig`
num_epochs = 10
weighting = "fixed"
weighting_arguments = { weights = [1, 0] }
"""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from mmeg_model.bundle import load, save
from mmeg_model.corpora import corpus_named, read_corpora
from mmeg_model.corpora.decoded import default_cache
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.command import Evaluation, evaluate_bundle, write_evaluation
from mmeg_model.joint_loss import make_weighting
from mmeg_model.locked import locked
from mmeg_model.networks.presets import build
from mmeg_model.plain_values import from_plain, read_toml
from mmeg_model.ranges import require_at_least
from mmeg_model.splits import SpeakerLeakingSplit, Split, speaker_folds, splits_by_name
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.loop import Trained, train

BUNDLE: Final = "bundle"
TEST: Final = "test"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Who is neither trained on nor asked when to stop; see `splits_by_name`."""

    split: str
    fold: int = 0
    num_folds: int | None = None
    """Of `speaker-folds`."""
    speakers: tuple[str, ...] = ()
    """Of `leave-speakers-out`."""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Make one from plain values, as TOML gives them.

        Raises:
            ValueError: if a key is unknown (the message says which are near) or missing, or a value is of another
                type.
        """
        return from_plain(cls, plain, table="test", kind="key of [test]")


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What is trained on what, and where it goes.

    Raises:
        ValueError: if a value is outside its range, or the network or the weighting cannot be made.
    """

    data: Path
    corpora: tuple[str, ...]
    output: Path
    name: str
    training: TrainingConfig = field(default_factory=TrainingConfig)
    test: LeftOut | None = None
    validation_folds: int = 6
    """One in so many speakers is left out of training, to decide when to stop and how to calibrate."""
    cache: Path = field(default_factory=default_cache)
    """Of decoded clips."""
    num_workers: int = 1
    """Processes that prepare batches while the network computes; the results do not depend on it."""

    def __post_init__(self) -> None:
        for name in ("corpora", "name"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        require_at_least(2, self, "validation_folds")
        require_at_least(0, self, "num_workers")
        make_weighting(self.training.weighting, **self.training.weighting_arguments)
        build(self.training.preset, self.training.sizes)


@dataclass(frozen=True)
class Sides:
    """Who is trained on, who is validated on, and who is tested."""

    split: Split | SpeakerLeakingSplit
    """Of training and validation."""
    test: tuple[Utterance, ...]
    """Empty if nobody is left out."""


def read_run(file: Path, *, backbone_weights: str | None = None) -> TrainingRun:
    """Read a TOML file.

    Args:
        file: paths in it are relative to its folder.
        backbone_weights: goes before that of the file.

    Raises:
        ValueError: if it is not TOML, a key is unknown (the message says which are near) or missing, or a value
            is of another type or outside its range.
    """
    plain = read_toml(file)
    try:
        training = TrainingConfig.from_plain(plain.get("training", {}), folder=file.parent)
        if backbone_weights is not None:
            training = replace(training, backbone_weights=backbone_weights)
        plain["training"] = training
        if "test" in plain:
            plain["test"] = LeftOut.from_plain(plain["test"])
        return from_plain(TrainingRun, plain, kind="key", folder=file.parent)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def read_sides(run: TrainingRun) -> Sides:
    """Read the corpora of a run, and say on stderr what is left out of them and who is on which side.

    Raises:
        ValueError: if a corpus is unknown or empty, a split is unknown or lacks something, or there are too few
            speakers.
        LeakError: if a person or a recording would be on two sides.
    """
    reading = read_corpora(run.data, run.corpora)
    print(
        f"{len(reading.utterances)} utterances; left out: {dict(reading.excluded) or 'none'}", file=sys.stderr
    )
    sides = _sides(run, reading.utterances)
    for name, side in (
        ("training", sides.split.train),
        ("validation", sides.split.held_out),
        ("test", sides.test),
    ):
        print(f"{name}: {len(side)} utterances, {len({u.speaker for u in side})} speakers", file=sys.stderr)
    return sides


def _sides(run: TrainingRun, utterances: tuple[Utterance, ...]) -> Sides:
    seed = run.training.seed
    if run.test is None:
        return Sides(speaker_folds(utterances, run.validation_folds, seed=seed)[0], ())
    folds = splits_by_name(
        run.test.split, utterances, seed=seed, num_folds=run.test.num_folds, speakers=run.test.speakers
    )
    if not 0 <= run.test.fold < len(folds):
        raise ValueError(f"fold must be in [0, {len(folds)}) of {run.test.split}, got {run.test.fold}")
    left_out = folds[run.test.fold]
    if isinstance(left_out, SpeakerLeakingSplit):
        return Sides(left_out, left_out.test)
    return Sides(speaker_folds(left_out.train, run.validation_folds, seed=seed)[0], left_out.test)


def train_bundle(run: TrainingRun, sides: Sides) -> Evaluation | None:
    """Train, or go on with a training that was interrupted; write the bundle, and what it gives on the test side.

    The first process keeps other runs out of the output folder meanwhile.

    Returns:
        The figures of the test side; None if there is none, or in any process but the first.

    Raises:
        InUseError: if another run writes into the output folder.
        ValueError, FloatingPointError, MemoryError, OSError: as `train` does.
    """
    # As `train` will: whoever asks first decides for accelerate, for the whole life of the process.
    is_first = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).is_main_process
    with locked(run.output, by="mmeg train") if is_first else nullcontext():
        return _train_bundle(run, sides)


def _train_bundle(run: TrainingRun, sides: Sides) -> Evaluation | None:
    trained = train(
        run.training, sides.split, folder=run.output, cache=run.cache, num_workers=run.num_workers
    )
    if not PartialState().is_main_process:
        return None
    save_bundle(run.output / BUNDLE, trained, run.training, name=run.name, split=sides.split)
    if not sides.test:
        return None
    evaluation = evaluate_bundle(load(run.output / BUNDLE), sides.test, cache=run.cache)
    write_evaluation(evaluation, run.output / TEST)
    return evaluation


def save_bundle(
    folder: Path,
    trained: Trained,
    config: TrainingConfig,
    *,
    name: str,
    split: Split | SpeakerLeakingSplit,
) -> None:
    """Write a bundle that tells how its losses were weighted, and who had a part in it."""
    save(
        folder,
        trained.network,
        name=name,
        preset=config.preset,
        sizes=config.sizes,
        temperatures=trained.temperatures,
        joint_loss={"weighting": config.weighting, "weights": trained.weights},
        training_speakers={
            u.speaker for u in (*split.train, *split.held_out) if not corpus_named(u.corpus).stills
        },
    )
