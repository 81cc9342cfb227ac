"""The figures of an evaluation over all tasks: the unweighted sum of their losses, and the paper's joint loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmeg_model.evaluation.bootstrap import resampled_sums
from mmeg_model.evaluation.metrics import label_entropy, negative_log_likelihoods, sum_by_speaker
from mmeg_model.evaluation.predictions import Predictions, labelled_for_all, perceived_genders
from mmeg_model.evaluation.report import (
    ALL_CORPORA,
    Interval,
    corpus_cell,
    groups,
    interval_cell,
    interval_over_speakers,
)
from mmeg_model.labels import GENDERS

PAPER_JOINT_LOSS = "the paper's joint loss under the learned weights"


@dataclass(frozen=True)
class JointFigures:
    """How well all tasks together went on one corpus (or `all`) with one set of modalities.

    Every figure is over the same clips: those that are labelled for all tasks. Others are counted alone.
    """

    corpus: str
    perceived_gender: str | None
    """Of the people in the clips; None: whatever it is."""
    modalities: str
    num_clips: int
    num_partly_labelled: int
    """Clips left out, since they are labelled for some tasks alone."""
    num_speakers: int
    negative_log_likelihoods: dict[str, float]
    """Per task, in nats; another than the task's own where clips were left out."""
    unweighted_sum: float
    """Of the tasks' negative log-likelihoods. It alone compares networks."""
    unweighted_sum_interval: Interval
    chance: float
    """The unweighted sum of guessing, every label of a task as often as the others."""
    constant: float
    """The unweighted sum of always answering the shares of the labels among these very clips."""
    paper_joint_loss_under_learned_weights: float | None
    """Chae et al. 2018: Σ w_k L_k with the weights that the network was left with, which may have made it low all by
    themselves, and nothing that a weighting adds beside; None if the bundle does not tell the weights."""
    paper_joint_loss_under_learned_weights_interval: Interval


def report_joint(
    predictions: Mapping[str, Predictions], weights: Mapping[str, float] | None
) -> list[JointFigures]:
    """Figures over all tasks, for each corpus and set of modalities, for all corpora, and all by perceived gender.

    A corpus without a clip that is labelled for all tasks has none.

    Args:
        predictions: per task.
        weights: of the tasks in the joint loss, as learned; None if they are not known.

    Raises:
        ValueError: if the clips of a task are not known.
    """
    genders = perceived_genders(predictions)
    found = []
    for gender in (None, *GENDERS):
        chosen = {
            task: of_task if gender is None else of_task.where(genders[task] == gender)
            for task, of_task in predictions.items()
        }
        clips, corpora, modalities = (
            np.concatenate([getattr(of_task, column) for of_task in chosen.values()])
            for column in ("clips", "corpora", "modalities")
        )
        complete = labelled_for_all(chosen)
        for corpus, given, rows in groups(corpora, modalities):
            of_group = {
                task: of_task.where(_is_of(of_task, corpus, given)) for task, of_task in complete.items()
            }
            num_clips = len(next(iter(of_group.values())))
            if num_clips:
                num_others = len(np.unique(clips[rows])) - num_clips
                found.append(_joint_figures(corpus, gender, given, num_others, of_group, weights))
    return found


def as_joint_table(figures: Sequence[JointFigures], weights: Mapping[str, float] | None) -> str:
    """Figures over all tasks as a table in Markdown; weights as of `report_joint`."""
    header = "| corpus | given | clips (partly labelled, left out), speakers | NLL of each task | unweighted sum [95 %] | chance | constant |"
    rows = [header, "|---|---|---|---|---|---|---|"]
    if weights is not None:
        of_tasks = ", ".join(f"{task} {weight:.3f}" for task, weight in weights.items())
        rows = [f"{header} {PAPER_JOINT_LOSS} ({of_tasks}) [95 %] |", f"{rows[1]}---|"]
    for f in figures:
        losses = ", ".join(f"{task} {loss:.3f}" for task, loss in f.negative_log_likelihoods.items())
        row = (
            f"| {corpus_cell(f.corpus, f.perceived_gender)} | {f.modalities} "
            f"| {f.num_clips} ({f.num_partly_labelled}), {f.num_speakers} | {losses} "
            f"| **{f.unweighted_sum:.3f}** {interval_cell(f.unweighted_sum_interval)} | {f.chance:.3f} | {f.constant:.3f} |"
        )
        if f.paper_joint_loss_under_learned_weights is not None:
            interval = interval_cell(f.paper_joint_loss_under_learned_weights_interval)
            row += f" {f.paper_joint_loss_under_learned_weights:.3f} {interval} |"
        rows.append(row)
    return "\n".join(rows)


def _is_of(predictions: Predictions, corpus: str, modalities: str) -> NDArray[np.bool_]:
    of_corpus = np.logical_or(corpus == ALL_CORPORA, predictions.corpora == corpus)
    return (predictions.modalities == modalities) & of_corpus


def _joint_figures(
    corpus: str,
    perceived_gender: str | None,
    modalities: str,
    num_partly_labelled: int,
    predictions: Mapping[str, Predictions],
    weights: Mapping[str, float] | None,
) -> JointFigures:
    """Of predictions with the same clips in the same order in all tasks."""
    losses = {task: negative_log_likelihoods(of_task) for task, of_task in predictions.items()}
    speakers = next(iter(predictions.values())).speakers
    occurrences = {
        task: np.bincount(of_task.labels, minlength=of_task.logits.shape[1])
        for task, of_task in predictions.items()
    }
    by_speaker = np.column_stack(
        [sum_by_speaker(speakers, of_clip) for of_clip in (*losses.values(), np.ones(len(speakers)))]
    )
    drawn = resampled_sums(by_speaker)
    drawn_losses = drawn[:, :-1] / drawn[:, -1:]  # (num_samples, tasks)
    means = {task: float(of_clip.mean()) for task, of_clip in losses.items()}
    num_speakers = len(by_speaker)
    if weights is None:
        joint_loss, interval = None, None
    else:
        in_order = np.array([weights[task] for task in losses])
        joint_loss = sum(weights[task] * mean for task, mean in means.items())
        interval = interval_over_speakers(drawn_losses @ in_order, num_speakers)
    return JointFigures(
        corpus=corpus,
        perceived_gender=perceived_gender,
        modalities=modalities,
        num_clips=len(speakers),
        num_partly_labelled=num_partly_labelled,
        num_speakers=num_speakers,
        negative_log_likelihoods=means,
        unweighted_sum=sum(means.values()),
        unweighted_sum_interval=interval_over_speakers(drawn_losses.sum(axis=1), num_speakers),
        chance=float(sum(np.log(len(of_task)) for of_task in occurrences.values())),
        constant=sum(label_entropy(of_task) for of_task in occurrences.values()),
        paper_joint_loss_under_learned_weights=joint_loss,
        paper_joint_loss_under_learned_weights_interval=interval,
    )
