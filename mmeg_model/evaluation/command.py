"""`mmeg evaluate BUNDLE`: the figures of a bundle on labelled corpora."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import numpy as np

from mmeg_model.bundle import Model
from mmeg_model.clip import Clip
from mmeg_model.corpora import corpus_named
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.joint_report import JointFigures, as_joint_table, report_joint
from mmeg_model.evaluation.predictions import predict_clips
from mmeg_model.evaluation.report import ALL_CORPORA, Figures, as_table, report, report_by_gender
from mmeg_model.evaluation.speaker_report import SpeakerFigures, report_by_speaker
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.whole import written_whole

EVALUATION_FILE: Final = "evaluation.json"
_MOST_NAMED: Final = 20
"""Files or speakers on the terminal; all are in the JSON."""


class EvaluationError(ValueError):
    """A bundle or corpora of which no figure can be had."""


@dataclass(frozen=True)
class Evaluation:
    """All figures of a bundle on labelled clips, calibrated by its temperatures."""

    model_name: str
    model_sha256: str
    temperatures: Mapping[str, float]
    joint_loss: Mapping[str, Any] | None
    """The weighting that it was trained with, and the weights; None: the bundle does not say."""
    labels: Mapping[str, Sequence[str]]
    """Per task, in the order of the confusion matrices."""
    trained_on_speakers: list[str] | None
    """Those of the evaluated speakers that the bundle was trained on; None: the bundle does not say."""
    failures: Sequence[str]
    """What could not be decoded, and is in no figure: which file, and why."""
    figures: list[Figures]
    by_perceived_gender: list[Figures]
    joint: list[JointFigures]
    by_speaker: list[SpeakerFigures]


def of_speakers(utterances: Sequence[Utterance], speakers: Sequence[str]) -> tuple[Utterance, ...]:
    """The utterances of these speakers.

    Raises:
        ValueError: if a speaker has none; the message says which are near.
    """
    chosen, known = set(speakers), {u.speaker for u in utterances}
    if strangers := sorted(chosen - known):
        near = get_close_matches(strangers[0], sorted(known), cutoff=0.5)
        hint = f": did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"none of the {len(known)} speakers is {' or '.join(map(repr, strangers))}{hint}")
    return tuple(u for u in utterances if u.speaker in chosen)


def evaluate_bundle(model: Model, utterances: Sequence[Utterance], *, cache: Path) -> Evaluation:
    """Figures of a bundle, for each task, corpus, perceived gender, speaker and set of modalities.

    Args:
        model: the bundle, loaded.
        utterances: labelled; one that cannot be decoded is named in `failures`, and the others are evaluated.
        cache: of decoded clips, see `load_clip`.

    Raises:
        EvaluationError: if no utterance could be decoded, or the network gives numbers that are not finite.
    """
    failures: list[str] = []
    logits = predict_clips(model.network, _decoded(utterances, cache, failures))
    if failures and len(failures) == len(utterances):
        raise EvaluationError(f"none of {len(failures)} clips can be decoded, the first: {failures[0]}")
    for task, of_task in logits.items():
        if not np.isfinite(of_task.logits).all():
            raise EvaluationError(
                f"{model.name} gives logits for {task} that are not finite: its weights are broken"
            )
    predictions = {
        task: replace(of_task, logits=of_task.logits / model.temperatures[task])
        for task, of_task in logits.items()
    }
    trained_on = model.training_speakers
    return Evaluation(
        model_name=model.name,
        model_sha256=model.sha256,
        temperatures=model.temperatures,
        joint_loss=model.joint_loss,
        labels=LABELS_BY_TASK,
        trained_on_speakers=None
        if trained_on is None
        else sorted({u.speaker for u in utterances}.intersection(trained_on)),
        failures=failures,
        figures=report(predictions),
        by_perceived_gender=report_by_gender(predictions),
        joint=report_joint(predictions, model.joint_loss and model.joint_loss["weights"]),
        by_speaker=report_by_speaker(predictions),
    )


def as_text(evaluation: Evaluation) -> str:
    """The figures of an evaluation as tables in Markdown, but for those of single speakers."""
    weights = evaluation.joint_loss and evaluation.joint_loss["weights"]
    parts = [as_table(evaluation.figures)]
    if evaluation.by_perceived_gender:
        parts += ["By perceived gender:", as_table(evaluation.by_perceived_gender)]
    if evaluation.joint:
        parts += [
            "All tasks together, over the clips that are labelled for all of them:",
            as_joint_table(evaluation.joint, weights),
        ]
    else:
        parts += ["No clip is labelled for all tasks: there is no sum of their losses."]
    return "\n\n".join(parts)


def warnings(evaluation: Evaluation) -> Iterator[str]:
    """What a reader must know before the figures are believed."""
    yield from evaluation.failures[:_MOST_NAMED]
    if evaluation.failures:
        yield f"{len(evaluation.failures)} clips could not be decoded and are in no figure"
    corpora = {figures.corpus for figures in evaluation.figures} - {ALL_CORPORA}
    if stills := sorted(corpus for corpus in corpora if corpus_named(corpus).stills):
        yield f"of the people in {', '.join(stills)} nobody is known: whether they were trained on is not checked"
    if evaluation.trained_on_speakers is None:
        yield "the bundle does not tell whom it was trained on: whether these speakers were left out is not checked"
    elif evaluation.trained_on_speakers:
        speakers = evaluation.trained_on_speakers
        more = f" and {len(speakers) - _MOST_NAMED} more" if len(speakers) > _MOST_NAMED else ""
        yield (
            f"WARNING: the bundle was trained on {len(speakers)} of these speakers, so the figures say little of "
            f"others: {', '.join(speakers[:_MOST_NAMED])}{more}"
        )


def as_json(evaluation: Evaluation) -> str:
    """All of an evaluation as JSON."""
    return json.dumps(asdict(evaluation), indent=2, allow_nan=False)


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write evaluation.json and the pictures into a folder that is made if need be."""
    from mmeg_model.evaluation.pictures import draw  # here, since it imports matplotlib

    with written_whole(folder / EVALUATION_FILE) as file:
        file.write(as_json(evaluation).encode())
    draw(evaluation.figures, folder)


def _decoded(
    utterances: Sequence[Utterance], cache: Path, failures: list[str]
) -> Iterator[tuple[Utterance, Clip]]:
    for utterance in utterances:
        try:
            clip = load_clip(utterance, cache=cache)
        except (ValueError, OSError) as error:
            failures.append(str(error))
            continue
        if clip.has_audio or clip.has_video:
            yield utterance, clip
        else:
            failures.append(f"{utterance.path} has neither a frame nor 40 ms of sound")
