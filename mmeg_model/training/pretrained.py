"""Train the bundle that ships, and find out how good its recipe is: `python -m mmeg_model.training.pretrained`."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from mmeg_model.corpora import CORPORA, read_corpora
from mmeg_model.corpora.decoded import default_cache
from mmeg_model.evaluation.calibration import fit_temperature
from mmeg_model.evaluation.joint_report import report_joint
from mmeg_model.evaluation.predictions import Predictions, join, predict
from mmeg_model.evaluation.report import as_table, report
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.splits import Split, speaker_folds
from mmeg_model.training.card import CardFacts, card, license_text
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.loop import Trained, of_recordings, train
from mmeg_model.training.picture_head import fit_picture_head
from mmeg_model.training.run import save_bundle

NAME = "mmeg-compact"
RECIPE = TrainingConfig(
    num_epochs=7,
    clips_per_epoch=15_872,
    still_share=0.87,
    faces_from_stills=True,
    modality_dropout=0.4,
    learning_rate=2e-3,
    average_decay=0.998,
)
"""About 450 steps of recordings and 3,000 of pictures, which cost less."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Cross-validate, train, and write the bundle with its card; whole or not at all."""
    parser = argparse.ArgumentParser(prog="python -m mmeg_model.training.pretrained", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each corpus")
    parser.add_argument(
        "--corpora", nargs="+", metavar="NAME", help="default: all of people that there is a folder of"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="the bundle's folder; replaced if it is there"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/pretrained"), help="for logs and checkpoints"
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), help="for decoded clips")
    parser.add_argument("--folds", type=int, default=4, help="of the cross-validation over speakers")
    parser.add_argument("--epochs", type=int, default=RECIPE.num_epochs)
    parser.add_argument("--clips-per-epoch", type=int, default=RECIPE.clips_per_epoch)
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="trainings at the same time"
    )
    given = parser.parse_args(arguments)
    config = replace(RECIPE, num_epochs=given.epochs, clips_per_epoch=given.clips_per_epoch)

    found = [name for name in CORPORA if name != "synthetic" and (given.data / name).is_dir()]
    reading = read_corpora(given.data, given.corpora or found)
    print(
        f"{len(reading.utterances)} utterances; left out: {dict(reading.excluded) or 'none'}", file=sys.stderr
    )
    folds = speaker_folds(reading.utterances, given.folds, seed=config.seed)
    shipped_split = Split(reading.utterances, ())
    # Each training has a process and a thread of its own: networks as small as these gain little from more.
    with ProcessPoolExecutor(given.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        tests = [
            pool.submit(_test_fold, config, fold, given.folder / f"fold-{number}", given.cache)
            for number, fold in enumerate(folds)
        ]
        trained = pool.submit(_train, config, shipped_split, given.folder / "shipped", given.cache).result()
        of_folds = [test.result() for test in tests]
    predictions = {
        task: join(cross_calibrated([of_fold[task] for of_fold in of_folds])) for task in LABELS_BY_TASK
    }
    temperatures = {
        task: fit_temperature(of_recordings(join([of_fold[task] for of_fold in of_folds])))
        for task in LABELS_BY_TASK
    }
    trained = replace(trained, temperatures=temperatures)

    facts = CardFacts(
        name=NAME,
        config=config,
        num_weights=sum(weights.numel() for weights in trained.network.state_dict().values()),
        utterances=reading.utterances,
        excluded=reading.excluded,
        num_folds=len(folds),
        figures=report(predictions),
        joint=report_joint(predictions, None),
        temperatures=trained.temperatures,
    )
    _write_bundle(given.output, trained, shipped_split, facts)
    print(as_table(facts.figures))
    return 0


def _test_fold(config: TrainingConfig, fold: Split, folder: Path, cache: Path) -> dict[str, Predictions]:
    """Train without the speakers of a fold, and predict them."""
    trained = _train(config, Split(fold.train, ()), folder, cache)
    return predict(trained.network, fold.test, cache=cache)


def _train(config: TrainingConfig, split: Split, folder: Path, cache: Path) -> Trained:
    trained = train(config, split, folder=folder, cache=cache)
    fit_picture_head(trained.network, split.train, cache=cache, seed=config.seed)
    return trained


def cross_calibrated(of_folds: Sequence[Predictions]) -> list[Predictions]:
    """Of one task, those of each fold at the temperature that is fitted on those of all others."""
    calibrated = []
    for number, of_fold in enumerate(of_folds):
        others = join([*of_folds[:number], *of_folds[number + 1 :]])
        calibrated.append(replace(of_fold, logits=of_fold.logits / fit_temperature(of_recordings(others))))
    return calibrated


def _write_bundle(folder: Path, trained: Trained, split: Split, facts: CardFacts) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
        new = Path(temporary) / "new"
        save_bundle(new, trained, facts.config, name=facts.name, split=split)
        (new / "README.md").write_text(card(facts), encoding="utf-8")
        (new / "LICENSE").write_text(license_text(facts), encoding="utf-8")
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        new.rename(folder)


if __name__ == "__main__":
    sys.exit(main())
