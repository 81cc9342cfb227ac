"""The page that a comparison ends with: Markdown and figures beside it, every sentence from the figures by a rule."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np

from mmeg_model.comparison.analysis import LEARNED, Analysis, Difference, analyse
from mmeg_model.comparison.charts import draw_differences, draw_gaps, draw_weights
from mmeg_model.comparison.claims import (
    CLAIMS,
    DOES_NOT_HOLD,
    HOLDS,
    PAPERS_METRIC,
    SIGNIFICANT,
    UNWEIGHTED,
    is_gap,
    judge,
    judge_claim,
    relevant,
)
from mmeg_model.comparison.estimates import NUM_FLIPS, NUM_SAMPLES, flips_are_all, smallest_p
from mmeg_model.comparison.grid import REFERENCE, Grid
from mmeg_model.comparison.measured import Result, tasks_of
from mmeg_model.comparison.run import Outcomes
from mmeg_model.comparison.tables import (
    claims_table,
    differences_table,
    gap_table,
    loss_table,
    p_value,
    signed,
    weights_alone_table,
)

HARDLY_MOVED: Final = 0.05
"""A mean change of a weight that is too small to be called learning."""


def write_page(file: Path, grid: Grid, outcomes: Outcomes) -> Analysis:
    """Analyse a grid, and write the page; its figures go beside it, named after it."""
    analysis = analyse(grid, outcomes)
    file.parent.mkdir(parents=True, exist_ok=True)
    sections = [
        [f"# {file.stem}: joint losses compared"],
        _in_short(grid, outcomes, analysis),
        _claims(grid, analysis),
        _results(grid, outcomes, analysis),
        _pictures(file, grid, outcomes, analysis),
        _differences(analysis),
        _method(grid, analysis),
        _configuration(grid, outcomes),
    ]
    text = "\n\n".join(block for section in sections for block in section)
    file.write_text(f"{text}\n", encoding="utf-8")
    return analysis


def _in_short(grid: Grid, outcomes: Outcomes, analysis: Analysis) -> Iterator[str]:
    yield (
        f"{len(grid.weightings)} weightings × {len(grid.seeds)} seeds × {grid.folds} folds of left-out speakers: "
        f"{len(grid.cells)} trainings of the preset `{grid.training.preset}`, {len(outcomes.results)} of them "
        f"measured, on {analysis.num_speakers} test speakers, each tested in one fold. The question is that of Chae et "
        "al. 2018 (arXiv 1809.00758): do learned weights of the joint loss beat static ones?"
    )
    lines = []
    for number, claim in enumerate(CLAIMS):
        lines.append(f"{number + 1}. {claim}")
        for view in (PAPERS_METRIC, UNWEIGHTED):
            for group, differences in _by_kind(grid, relevant(number, view, analysis.claims)):
                judgement = judge_claim(
                    number, view, differences, smallest_effect_nats=grid.smallest_effect_nats
                )
                lines.append(f"   - {view}, against {group}: **{judgement.verdict}** ({judgement.reason})")
                lines += [
                    f"     - {d.quantity}, `{d.weighting}` − {d.against}: {signed(d.estimate)} nats, adjusted p "
                    f"{p_value(d.adjusted_p)}"
                    for d in differences
                    if d.against == REFERENCE
                ]
                if (number, view) == (0, PAPERS_METRIC):
                    lines += [
                        f"     - of that, by the weights alone {signed(part.by_weights)}, by the networks "
                        f"{signed(part.by_networks)}"
                        for part in analysis.weights_alone
                        if part.against == REFERENCE and REFERENCE in {d.against for d in differences}
                    ]
    yield "\n".join(lines)
    yield from _warnings(grid, outcomes, analysis)


def _by_kind(grid: Grid, differences: Sequence[Difference]) -> Iterator[tuple[str, list[Difference]]]:
    """Apart: from static weights on all tasks, and from trainings of one task, which is another question."""
    single = {weighted.label for weighted in grid.weightings if weighted.single_task}
    for group, of_single in (("static weights of all tasks", False), ("a single task", True)):
        if chosen := [d for d in differences if (d.against in single) == of_single]:
            yield group, chosen


def _warnings(grid: Grid, outcomes: Outcomes, analysis: Analysis) -> Iterator[str]:
    """What a reader must know before believing a figure, where it applies."""
    if outcomes.failed:
        causes = "\n".join(f"- {cell.name}: {reason}" for cell, reason in outcomes.failed.items())
        yield (
            f"**{len(outcomes.failed)} of {len(grid.cells)} trainings failed.** Of each weighting the seeds are used "
            f"whose folds are all there; leaving failed trainings out flatters a weighting that fails.\n\n{causes}"
        )
    if len(grid.seeds) == 1:
        yield "**There is one seed**: how much trainings differ by chance is in none of the intervals."
    lowest = smallest_p(analysis.num_speakers) * len(analysis.claims)
    if lowest >= SIGNIFICANT:
        yield (
            f"**Too few speakers for any claim to hold**: with {analysis.num_speakers} of them and "
            f"{len(analysis.claims)} comparisons the lowest adjusted p can be {min(lowest, 1):.2g}."
        )


def _claims(grid: Grid, analysis: Analysis) -> Iterator[str]:
    yield "## The claims"
    if not analysis.claims:
        yield f"Not judged: that needs trainings with `{LEARNED}` and with static weights on the same seeds."
        return
    yield f"Differences of `{LEARNED}` from static weights, in nats:"
    yield claims_table(grid, analysis)
    yield (
        f"*Holds*: the interval is below 0 and the adjusted p under {SIGNIFICANT:g}. *Does not hold*: otherwise, and an "
        f"advantage of {grid.smallest_effect_nats:g} nats, set in the configuration, is outside the interval, or the "
        "same the other way round. *Cannot be told here*: all else. A claim holds if it holds against each static "
        "weighting of its kind; claim 1 is judged by the rows of losses, claim 2 by those of losses and gaps. Against a "
        "single task, *unweighted* is the loss of that task; the paper's metric sets both tasks' weighted loss against "
        "that task's alone, so there the harder task's training loses and the easier one's wins, whatever is predicted. "
        "Whoever has no difference at all counts for neither sign."
    )
    yield from _how_far_weights_moved(analysis)
    yield "**What the paper's metric measures.** A joint loss can fall because weight moves to the easier task."
    yield weights_alone_table(analysis)
    yield (
        "*By the weights alone*: the same networks, judged under the learned weights instead of the static ones. *By the "
        "networks*: judged under the static weights on both sides. Only the second is an effect on what is predicted."
    )
    verdicts = {
        (d.against, is_gap(d.quantity)): judge(d, smallest_effect_nats=grid.smallest_effect_nats).verdict
        for d in relevant(1, UNWEIGHTED, analysis.claims)
    }
    for against, gap in verdicts:
        if gap and verdicts[against, True] == HOLDS and verdicts[against, False] == DOES_NOT_HOLD:
            yield (
                f"Against {against} the gap is smaller while the loss on test is not lower: the training side is fitted "
                "less, test speakers are served no better."
            )


def _how_far_weights_moved(analysis: Analysis) -> Iterator[str]:
    label, task = analysis.claims[0].weighting, analysis.tasks[0]
    share, equal = analysis.measured[label].weights[task], 1 / len(analysis.tasks)
    yield (
        f"The weight that `{label}` gave to {task}: {np.mean(share):.3f} in the mean of the kept epochs, {np.min(share):.3f} "
        f"to {np.max(share):.3f}, from {equal:.3f} on."
    )
    if abs(np.mean(share) - equal) < HARDLY_MOVED:
        yield (
            "**The learned weights hardly moved**: this grid says little of weights that do. More steps or a higher learning "
            "rate move them further."
        )


def _results(grid: Grid, outcomes: Outcomes, analysis: Analysis) -> Iterator[str]:
    if not analysis.measured:
        return
    yield "## Results"
    yield loss_table(grid, outcomes, analysis)
    yield gap_table(grid, analysis)
    yield (
        "NLL is the mean negative log-likelihood in nats, UAR the unweighted average recall, gap = test − train, all with "
        "95 % intervals. *Joint loss* is the paper's metric: the tasks' NLL on test under the weights of each training's "
        "kept epoch, scaled to sum to 1 as the paper's do; of `rlw` and `torchjd`, which have new weights at each step, these are "
        "the mean over the steps of that epoch."
    )
    if single := [weighted.label for weighted in grid.weightings if weighted.single_task]:
        yield (
            f"In brackets: {', '.join(single)} train a single task. The other task's head is never trained and its loss is "
            "near or above that of equal probabilities, so sums over both tasks cannot be compared with those of joint "
            "trainings; the trained task can. The epoch is chosen by the same unweighted validation loss as for all, in "
            "which the untrained task is noise: a single-task training may stop a little worse than it could."
        )


def _pictures(file: Path, grid: Grid, outcomes: Outcomes, analysis: Analysis) -> Iterator[str]:
    """Draw the figures, and show them."""
    if analysis.differences:
        draw_differences(file.with_name(f"{file.stem}-differences.png"), analysis)
        yield f"![Paired differences from {REFERENCE} weights]({file.stem}-differences.png)"
    if analysis.measured:
        draw_gaps(file.with_name(f"{file.stem}-gap.png"), analysis)
        yield f"![Loss on training and on test speakers]({file.stem}-gap.png)"
        weights = file.with_name(f"{file.stem}-weights.png")
        draw_weights(weights, outcomes.results, [w.label for w in grid.weightings], analysis.tasks[0])
        yield f"![Weights over epochs: median and range of all trainings]({weights.name})"


def _differences(analysis: Analysis) -> Iterator[str]:
    if analysis.differences:
        yield f"## All paired differences from `{REFERENCE}`"
        yield differences_table(analysis)


def _method(grid: Grid, analysis: Analysis) -> Iterator[str]:
    yield "## How it was computed"
    seeds = (
        "seeds, each with replacement and independently"
        if len(grid.seeds) > 1
        else "no seeds, since there is one"
    )
    flips = "all" if flips_are_all(analysis.num_speakers) else f"{NUM_FLIPS:,} random"
    yield "\n".join(
        [
            "- **Pairs.** The folds are the same for all cells. Cells of one seed start from the same network and draw the "
            "same examples with the same augmentation, whatever the weighting; differences are taken within seed and fold. "
            "Test speakers decide nothing: the epoch is chosen by the unweighted loss on validation speakers, who are left "
            "out of the training side.",
            "- **Losses** are of the networks in evaluation mode, not calibrated, each utterance with all modalities that it "
            f"has. Those of the training side are of up to {grid.train_clips} of its clips, the same for all cells of a fold, "
            "whole and not augmented.",
            "- **Means** pool the clips of all folds, and average over seeds.",
            f"- **Intervals** are percentiles of {NUM_SAMPLES:,} bootstrap samples that draw speakers and {seeds}; a speaker "
            "who is drawn comes with all clips, on the test side and on the training sides, and on both sides of a "
            "difference. Cells are not taken for independent. Not resampled are the folds: speakers tested by the same "
            "networks share their luck, so intervals are somewhat too narrow; the count of folds shows how much of a "
            "difference rests on one of them. Percentiles over few seeds are too narrow too.",
            f"- **p** is two-sided, of {flips} flips of the signs of speakers' parts of the mean over seeds; it is about other "
            "speakers, not other seeds. It is adjusted by Holm's method within two families: "
            f"{len(analysis.claims)} comparisons for the claims, {len(analysis.differences)} in the table of all "
            "differences.",
        ]
    )


def _configuration(grid: Grid, outcomes: Outcomes) -> Iterator[str]:
    yield "## Configuration"
    training = asdict(grid.training)
    for of_cell in ("weighting", "weighting_arguments", "seed"):
        del training[of_cell]
    weightings = [
        f"{w.label} (`{w.name}`{f', {dict(w.arguments)}' if w.arguments else ''})" for w in grid.weightings
    ]
    lines = [
        f"- weightings: {'; '.join(weightings)}",
        f"- seeds: {', '.join(map(str, grid.seeds))}; folds: {grid.folds}; one training-side speaker in "
        f"{grid.validation_folds} for validation",
        f"- training: {', '.join(f'{name} = {value}' for name, value in training.items())}",
    ]
    if outcomes.results:
        first, *_ = outcomes.results
        of_folds = [
            result
            for cell, result in outcomes.results.items()
            if (cell.seed, cell.weighted) == (first.seed, first.weighted)
        ]
        results = list(outcomes.results.values())
        versions = sorted({f"mmeg {r['versions']['mmeg']}, torch {r['versions']['torch']}" for r in results})
        seconds = [r["seconds"] for r in results]
        lines += [
            *(f"- tested, {task}: {_clips(of_folds, task)}" for task in tasks_of(results)),
            f"- utterances: {results[0]['configuration']['utterances']}",
            f"- {'; '.join(versions)}; {timedelta(seconds=round(sum(seconds)))} for {len(seconds)} trainings, "
            f"{np.median(seconds):.0f} s each (median), {max(seconds):.0f} s at most",
        ]
    yield "\n".join(lines)


def _clips(of_folds: Sequence[Result], task: str) -> str:
    """How many clips of which corpus, and what the networks were given of them."""
    numbers = Counter[tuple[str, str]]()
    for result in of_folds:
        for corpus, modalities, number in result["test"]["tasks"].get(task, {"clips": []})["clips"]:
            numbers[corpus, modalities] += number
    return "; ".join(f"{corpus}: {n} clips with {given}" for (corpus, given), n in sorted(numbers.items()))
