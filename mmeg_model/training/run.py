"""`mmeg train CONFIG`: a TOML file -> a trained bundle.

data = "corpora"              # a folder with a folder for each corpus; relative to the file
corpora = ["javanese-av", "ravdess-speech"]
output = "runs/first"         # bundle/, checkpoint.pt, log.jsonl, tensorboard/; relative to the file
name = "first"                # of the bundle

[training]                    # what differs from `TrainingConfig`
num_epochs = 10
weighting = "fixed"
weighting_arguments = { weights = [1, 0] }
"""

import sys
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

from accelerate import PartialState

from mmeg_model.bundle import save
from mmeg_model.corpora import read_corpora
from mmeg_model.corpora.decoded import default_cache
from mmeg_model.nearest import unknown
from mmeg_model.splits import Split, speaker_folds
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.loop import train


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What is trained on what, and where it goes."""

    data: Path
    corpora: tuple[str, ...]
    output: Path
    name: str
    training: TrainingConfig = field(default_factory=TrainingConfig)
    validation_folds: int = 6
    """One in so many speakers is left out of training, to decide when to stop and how to calibrate."""
    cache: Path = field(default_factory=default_cache)
    """Of decoded clips."""
    num_workers: int = 1
    """Processes that prepare batches while the network computes; the results do not depend on it."""


def read_run(file: Path) -> TrainingRun:
    """Read a TOML file.

    Raises:
        ValueError: if it is not TOML, a key is unknown (the message says which are near) or missing, or a value
            is outside its range.
    """
    try:
        plain = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file} is no TOML: {error}") from error
    known = [of_run.name for of_run in fields(TrainingRun)]
    for key in plain:
        if key not in known:
            raise ValueError(f"{file}: {unknown('key', key, known)}")
    if missing := [key for key in ("data", "corpora", "output", "name") if key not in plain]:
        raise ValueError(f"{file}: {', '.join(missing)} must be given")
    plain["corpora"] = tuple(plain["corpora"])
    plain["training"] = TrainingConfig.from_plain(plain.get("training", {}))
    for key in {"data", "output", "cache"} & plain.keys():
        plain[key] = file.parent / plain[key]
    return TrainingRun(**plain)


def read_split(run: TrainingRun) -> Split:
    """Read the corpora of a run, and leave the validation speakers out.

    Raises:
        ValueError: if a corpus is unknown or empty, or there are too few speakers.
    """
    reading = read_corpora(run.data, run.corpora)
    print(
        f"{len(reading.utterances)} utterances; left out: {dict(reading.excluded) or 'none'}", file=sys.stderr
    )
    return speaker_folds(reading.utterances, run.validation_folds, seed=run.training.seed)[0]


def train_bundle(run: TrainingRun, split: Split) -> Path:
    """Train, or go on with a training that was interrupted, and write the bundle; its folder is given back.

    Raises:
        ValueError, FloatingPointError, MemoryError, OSError: as `train` does.
    """
    trained = train(run.training, split, folder=run.output, cache=run.cache, num_workers=run.num_workers)
    if PartialState().is_main_process:
        save(
            run.output / "bundle",
            trained.network,
            name=run.name,
            preset=run.training.preset,
            sizes=run.training.sizes,
            temperatures=trained.temperatures,
        )
    return run.output / "bundle"
