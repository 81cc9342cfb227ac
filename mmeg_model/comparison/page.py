"""The page that a comparison ends with: Markdown and figures beside it, every sentence from the figures by a rule."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

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
)
from mmeg_model.comparison.estimates import NUM_SAMPLES, Estimate, smallest_p
from mmeg_model.comparison.grid import REFERENCE, Grid
from mmeg_model.comparison.measured import GAP_JOINT, GAP_SUM, JOINT, TEST, TEST_SUM, TRAIN, UAR
from mmeg_model.comparison.run import Outcomes
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.whole import written_whole


def write_page(file: Path, grid: Grid, outcomes: Outcomes) -> Analysis:
    """Analyse a grid, and write the page; its figures go beside it, named after it."""
    analysis = analyse(grid, outcomes)
    pictures = []
    file.parent.mkdir(parents=True, exist_ok=True)
    if analysis.differences:
        pictures.append(("differences", "Paired differences from uniform weights"))
        draw_differences(file.with_name(f"{file.stem}-differences.png"), analysis)
    if analysis.measured:
        pictures += [("gap", "Loss on training and on test speakers"), ("weights", "Weights over epochs")]
        draw_gaps(file.with_name(f"{file.stem}-gap.png"), analysis)
        labels = [weighted.label for weighted in grid.weightings]
        weights_file = file.with_name(f"{file.stem}-weights.png")
        draw_weights(weights_file, outcomes.results, labels, analysis.tasks[0])
    shown = [f"![{title}]({file.stem}-{name}.png)" for name, title in pictures]
    sections = [
        [f"# {file.stem}: joint losses compared"],
        _in_short(grid, outcomes, analysis),
        _verdicts(grid, analysis),
        _results(grid, outcomes, analysis),
        shown,
        _differences(analysis),
        _method(grid, analysis),
        _configuration(grid, outcomes),
    ]
    text = "\n\n".join(block for section in sections for block in section)
    with written_whole(file) as page:
        page.write(f"{text}\n".encode())
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
            judgement = judge_claim(
                number, view, analysis.claims, smallest_effect_nats=grid.smallest_effect_nats
            )
            lines.append(f"   - {view}: **{judgement.verdict}** ({judgement.reason})")
    yield "\n".join(lines)
    yield from _warnings(grid, outcomes, analysis)


def _warnings(grid: Grid, outcomes: Outcomes, analysis: Analysis) -> Iterator[str]:
    """What a reader must know before believing a figure, where it applies."""
    if outcomes.failed:
        causes = "\n".join(f"- {cell.name}: {reason}" for cell, reason in outcomes.failed.items())
        yield (
            f"**{len(outcomes.failed)} of {len(grid.cells)} trainings failed.** A seed is used where all folds of a "
            "weighting are there, so seeds are left out by their worst fold, which flatters a weighting that fails:\n\n"
            f"{causes}"
        )
    if len(grid.seeds) == 1:
        yield "**There is one seed**: how much trainings differ by chance is in none of the intervals."
    if analysis.claims:
        lowest = smallest_p(analysis.num_speakers) * len(analysis.claims)
        if lowest >= SIGNIFICANT:
            yield (
                f"**Too few speakers for a positive verdict**: with {analysis.num_speakers} of them and "
                f"{len(analysis.claims)} comparisons no adjusted p can be under {lowest:.2g}."
            )


def _verdicts(grid: Grid, analysis: Analysis) -> Iterator[str]:
    yield "## The claims"
    if not analysis.claims:
        yield f"Not judged: that needs trainings with `{LEARNED}` and with static weights on the same seeds."
        return
    rows = [
        f"| `{LEARNED}` against | figure | difference [95 %] | speakers, seeds, folds of that sign | adjusted p | lower? |",
        "|---|---|---|---|---|---|",
    ]
    for d in analysis.claims:
        judgement = judge(d, smallest_effect_nats=grid.smallest_effect_nats)
        view = PAPERS_METRIC if d.quantity in (JOINT, GAP_JOINT) else UNWEIGHTED
        rows.append(
            f"| {d.against} | {d.quantity} ({view}) | {_signed(d.estimate)} | {_agreement(d.estimate)} "
            f"| {_p(d.adjusted_p)} | **{judgement.verdict}**: {judgement.reason} |"
        )
    yield "\n".join(rows)
    yield (
        f"*Holds*: the interval is below 0 and the adjusted p under {SIGNIFICANT:g}. *Does not hold*: otherwise, and an "
        f"advantage of {grid.smallest_effect_nats:g} nats, chosen beforehand, is outside the interval. *Cannot be told "
        "here*: all else. A claim holds if it holds against each static weighting; claim 1 is judged by the rows of "
        "losses, claim 2 by those of losses and gaps. Against a single task, *unweighted* is the loss of that task."
    )
    rows = [
        "| against | joint loss, difference | by the weights alone [95 %] | by the networks [95 %] |",
        "|---|---|---|---|",
    ]
    for part in analysis.weights_alone:
        total = part.by_weights.mean + part.by_networks.mean
        rows.append(
            f"| {part.against} | {total:+.3f} | {_signed(part.by_weights)} | {_signed(part.by_networks)} |"
        )
    yield "**What the paper's metric measures.** A joint loss can fall because weight moves to the easier task."
    yield "\n".join(rows)
    yield (
        "*By the weights alone*: the same networks, judged under the learned weights instead of the static ones. *By the "
        "networks*: judged under the static weights on both sides. Only the second is an effect on what is predicted."
    )
    yield from _gap_without_loss(grid, analysis.claims)


def _gap_without_loss(grid: Grid, claims: Sequence[Difference]) -> Iterator[str]:
    verdicts = {
        (d.against, is_gap(d.quantity)): judge(d, smallest_effect_nats=grid.smallest_effect_nats).verdict
        for d in claims
        if d.quantity not in (JOINT, GAP_JOINT)
    }
    for against, gap in verdicts:
        if gap and verdicts[against, True] == HOLDS and verdicts[against, False] == DOES_NOT_HOLD:
            yield (
                f"Against {against} the gap is smaller while the loss on test is not lower: the training side is fitted "
                "less, test speakers are served no better."
            )


def _results(grid: Grid, outcomes: Outcomes, analysis: Analysis) -> Iterator[str]:
    yield "## Results"
    tasks = analysis.tasks
    heads = [TEST_SUM, *(f"{kind}, {task}" for kind in (TEST, UAR) for task in tasks)]
    more = [*(f"{TRAIN}, {task}" for task in tasks), GAP_SUM, JOINT, GAP_JOINT]
    cells = Counter(cell.weighted.label for cell in outcomes.results)
    first = [_row("weighting", "trainings", *heads), _row(*["---"] * (2 + len(heads)))]
    second = [
        _row("weighting", *more, f"weight of {tasks[0] if tasks else '–'}, range"),
        _row(*["---"] * (2 + len(more))),
    ]
    for weighted in grid.weightings:
        label = weighted.label
        if label not in analysis.means:
            first.append(_row(label, str(cells[label]), *["–"] * len(heads)))
            continue
        shown = {name: _with_interval(e) for name, e in analysis.means[label].items()}
        for name in shown if weighted.single_task else ():
            if name in (TEST_SUM, GAP_SUM) or name in _of_untrained(weighted.single_task, tasks):
                shown[name] = f"({shown[name]})"
        share = analysis.measured[label].weights[tasks[0]]
        first.append(_row(label, str(cells[label]), *(shown[name] for name in heads)))
        weights = f"{np.mean(share):.3f}, {np.min(share):.3f} to {np.max(share):.3f}"
        second.append(_row(label, *(shown[name] for name in more), weights))
    chance = {task: len(LABELS_BY_TASK[task]) for task in tasks}
    nats = {task: math.log(number) for task, number in chance.items()}
    chances = [
        f"{sum(nats.values()):.3f}",
        *(f"{nats[t]:.3f}" for t in tasks),
        *(f"{1 / chance[t]:.3f}" for t in tasks),
    ]
    first.append(_row("*equal probabilities*", "", *chances))
    yield "\n".join(first)
    yield "\n".join(second)
    yield (
        "NLL is the mean negative log-likelihood in nats, UAR the unweighted average recall, gap = test − train, all with "
        "95 % intervals. *Joint loss* is the paper's metric: the tasks' NLL under the weights of each training's kept epoch, "
        "scaled to sum to 1 as the paper's do; of `rlw` and `torchjd` these are the weights of one step, so their joint "
        "loss is partly chance."
    )
    if single := [w.label for w in grid.weightings if w.single_task]:
        yield (
            f"In brackets: {', '.join(single)} train a single task. The other task's head is never trained and its loss is "
            "near or above that of equal probabilities, so sums over both tasks cannot be compared with those of joint "
            "trainings; the trained task can. The epoch is chosen by the same unweighted validation loss as for all, in "
            "which the untrained task is noise: a single-task training may stop a little worse than it could."
        )


def _of_untrained(trained: str | None, tasks: Sequence[str]) -> list[str]:
    return [f"{kind}, {task}" for kind in (TEST, TRAIN, UAR) for task in tasks if task != trained]


def _differences(analysis: Analysis) -> Iterator[str]:
    if not analysis.differences:
        return
    yield f"## All paired differences from `{REFERENCE}`"
    rows = [
        "| figure | weighting | difference [95 %] | speakers, seeds, folds of that sign | p | adjusted p |",
        "|---|---|---|---|---|---|",
    ]
    for d in sorted(analysis.differences, key=lambda d: list(analysis.means[REFERENCE]).index(d.quantity)):
        rows.append(
            f"| {d.quantity} | {d.weighting} | {_signed(d.estimate)} | {_agreement(d.estimate)} | {_p(d.estimate.p)} "
            f"| {_p(d.adjusted_p)} |"
        )
    yield "\n".join(rows)


def _method(grid: Grid, analysis: Analysis) -> Iterator[str]:
    yield "## How it was computed"
    seeds = (
        "seeds, each with replacement and independently"
        if len(grid.seeds) > 1
        else "no seeds, since there is one"
    )
    flips = "all" if analysis.num_speakers <= 12 else "20,000 random"
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
    results = list(outcomes.results.values())
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
    if results:
        given = Counter[tuple[str, str]]()
        seed, label = next((cell.seed, cell.weighted.label) for cell in outcomes.results)
        for cell, result in outcomes.results.items():
            if (cell.seed, cell.weighted.label) == (seed, label):
                for corpus, modalities, number in next(iter(result["test"]["tasks"].values()))["clips"]:
                    given[corpus, modalities] += number
        corpora = "; ".join(f"{c}: {number} clips with {m}" for (c, m), number in sorted(given.items()))
        versions = sorted({f"mmeg {r['versions']['mmeg']}, torch {r['versions']['torch']}" for r in results})
        seconds = [r["seconds"] for r in results]
        lines += [
            f"- tested ({next(iter(results[0]['test']['tasks']))}): {corpora}",
            f"- utterances: {results[0]['configuration']['utterances']}",
            f"- {'; '.join(versions)}; {timedelta(seconds=round(sum(seconds)))} for {len(seconds)} trainings, "
            f"{np.median(seconds):.0f} s each (median), {max(seconds):.0f} s at most",
        ]
    yield "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _with_interval(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} [{estimate.interval[0]:.3f}, {estimate.interval[1]:.3f}]"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.mean:+.3f} [{estimate.interval[0]:+.3f}, {estimate.interval[1]:+.3f}]"


def _agreement(estimate: Estimate) -> str:
    counts = (estimate.agreeing_speakers, estimate.agreeing_seeds, estimate.agreeing_folds)
    return ", ".join(f"{number}/{of}" for number, of in counts)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
