"""The card and the licence of a bundle, written from what a training found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import dedent

from huggingface_hub import EvalResult, ModelCardData

from mmeg_model.corpora import CORPORA, corpus_named
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.joint_report import JointFigures, as_joint_table
from mmeg_model.evaluation.report import Figures, as_table
from mmeg_model.labels import EMOTIONS, GENDERS, LABELS_BY_TASK
from mmeg_model.training.config import TrainingConfig

CC_BY_NC_SA = "cc-by-nc-sa-4.0"
TRIED = Path(__file__).with_name("tried.md")
"""Written by hand: what the recipe was chosen from, and what each gave."""


@dataclass(frozen=True)
class CardFacts:
    """What a card tells, beside what holds for every model of this package."""

    name: str
    config: TrainingConfig
    num_weights: int
    utterances: Sequence[Utterance]
    """All, whichever side of a split they were on."""
    excluded: Mapping[str, int]
    num_folds: int
    """Of the cross-validation."""
    figures: Sequence[Figures]
    """Of the cross-validation: each speaker judged by a network that was not trained on them."""
    joint: Sequence[JointFigures]
    """Of the same, over both tasks."""
    temperatures: Mapping[str, float]
    """Of the network that ships."""

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora, in the order of `CORPORA`, one's own behind them."""
        there = dict.fromkeys(u.corpus for u in self.utterances)
        return sorted(there, key=[*CORPORA, *there].index)

    @property
    def known(self) -> list[Utterance]:
        """Those of whom it is known who speaks."""
        return [u for u in self.utterances if not corpus_named(u.corpus).stills]

    @property
    def num_stills(self) -> int:
        """Single pictures, of people nobody knows."""
        return len(self.utterances) - len(self.known)

    @property
    def weights_license(self) -> str | None:
        """The licence that a corpus asks of the weights; None if none does."""
        return next((asked for name in self.corpora if (asked := corpus_named(name).weights_license)), None)


def card(facts: CardFacts) -> str:
    """README.md of a bundle."""
    return "\n\n".join(
        [
            f"---\n{_header(facts)}\n---",
            f"# {facts.name}",
            _about(facts),
            "## Tasks and labels",
            _labels(),
            "## What it was trained on",
            _corpora_table(facts),
            "## How it was trained",
            _recipe(facts),
            "## How well it does, and how that is known",
            _how_known(facts),
            as_table(facts.figures),
            "Both tasks together, over the clips that are labelled for both:",
            as_joint_table(facts.joint, None),
            "## What else was tried",
            TRIED.read_text(encoding="utf-8").strip(),
            "## Limits",
            _limits(facts),
            "## What it must not be used for",
            _PROHIBITED,
            "## Licence",
            license_text(facts),
        ]
    )


def license_text(facts: CardFacts) -> str:
    """LICENSE of a bundle; the code's is another."""
    corpora = "\n".join(f"- {corpus_named(name).title}: {corpus_named(name).terms}" for name in facts.corpora)
    if facts.weights_license == CC_BY_NC_SA:
        terms = (
            "The weights (model.safetensors), config.json and this card are under Creative Commons "
            "Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0): not for commercial use. "
            "Legal code: https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode"
        )
    else:
        terms = (
            "No licence of a corpus named below asks for one of the weights (model.safetensors), config.json and "
            "this card, and nothing is added here to the terms of the corpora: whoever uses them keeps those."
        )
    return f"{terms}\n\nTrained on:\n{corpora}"


def _header(facts: CardFacts) -> str:
    results = [
        EvalResult(
            task_type="video-classification",
            task_name="perceived emotion and gender, speakers left out",
            dataset_type=figures.corpus,
            dataset_name=figures.corpus,
            metric_type="unweighted_average_recall",
            # Here, since results of one corpus are put together under the first one's name of the task.
            metric_name=f"perceived {figures.task} by {figures.modalities}: unweighted average recall, "
            f"{facts.num_folds}-fold cross-validation over speakers",
            metric_value=round(figures.unweighted_average_recall, 3),
        )
        for figures in facts.figures
    ]
    header = ModelCardData(
        license=facts.weights_license or "other",
        library_name="mmeg",
        pipeline_tag="video-classification",
        tags=["audio-visual", "perceived-emotion", "perceived-gender"],
        model_name=facts.name,
        eval_results=results,
    )
    return header.to_yaml()


def _about(facts: CardFacts) -> str:
    return dedent(
        f"""\
        A small network (preset `{facts.config.preset}`, {facts.num_weights:,} weights) that guesses from a clip of
        some seconds, by sound, picture or both, which emotion and which gender a viewer would *perceive*. It says
        nothing of what a person feels or is. Of a picture it looks at the face, which a small network finds that was trained
        beforehand, on pictures of faces without labels, and is left as it is; what sound and picture say is added.
        Load it with `mmeg_model.load()`; `mmeg annotate` uses it by default."""
    )


def _labels() -> str:
    return "\n".join(f"- perceived {task}: {', '.join(labels)}" for task, labels in LABELS_BY_TASK.items())


def _corpora_table(facts: CardFacts) -> str:
    rows = [
        "| corpus | files | speakers | labels of emotion | of gender | terms, as its publisher states them |"
    ]
    rows += ["|---|---|---|---|---|---|"]
    for name in facts.corpora:
        of_corpus = [u for u in facts.utterances if u.corpus == name]
        emotions = Counter(u.emotion for u in of_corpus if u.emotion)
        genders = Counter(u.perceived_gender for u in of_corpus if u.perceived_gender)
        counts = [", ".join(f"{n} {label}" for label, n in c.most_common()) for c in (emotions, genders)]
        about = corpus_named(name)
        speakers = len({u.speaker for u in of_corpus}) if not about.stills else "unknown"
        rows.append(
            f"| {about.title} | {len(of_corpus)} | {speakers} | {' | '.join(counts)} | {about.terms} |"
        )
    num_speakers = len({u.speaker for u in facts.known})
    left_out = ", ".join(f"{n} ({reason})" for reason, n in facts.excluded.items()) or "none"
    return "\n".join(
        [
            *rows,
            "",
            f"{len(facts.utterances)} examples, {len(facts.known)} of them of {num_speakers} known speakers (corpora may share "
            f"some). Left out: {left_out}. Labels that a file does not have, and modalities that it does not have, are masked "
            "in the loss, never guessed. No recording, nor anything from which one could be restored, is in this "
            "bundle.",
        ]
    )


def _recipe(facts: CardFacts) -> str:
    choices = "\n".join(
        f"- {name}: {value}" for name, value in asdict(facts.config).items() if value not in ({}, "")
    )
    temperatures = ", ".join(f"{task} {value:.2f}" for task, value in facts.temperatures.items())
    stills = (
        " Single pictures have batches of their own, in which they are put as faces anywhere into frames."
        if facts.num_stills
        else ""
    )
    if facts.num_stills and facts.config.faces_from_stills:
        stills += " What looks at faces learned from them alone; the layer that speaks for it from recordings as well."
    if facts.num_stills:
        stills += (
            " Behind the training that layer was fitted anew for what stills are labelled for, recordings and stills "
            "weighing alike."
        )
    return (
        f"{choices}\n\nSounds are changed in speed, level, timbre and noise, pictures in side, framing and light."
        f"{stills} The network that ships was trained on all speakers, for a number of epochs that was fixed before: "
        "nobody was left to decide when to stop. Its probabilities are at temperatures that were fitted on what the "
        "networks of the cross-validation said of recordings of the speakers whom they had not met "
        f"({temperatures})."
    )


def _how_known(facts: CardFacts) -> str:
    return (
        f"The figures are of the *recipe*: a {facts.num_folds}-fold cross-validation over speakers. Each speaker was "
        f"judged by one of {facts.num_folds} networks, trained as the one that ships, but without that speaker: not by "
        "sound, not by picture, not in another corpus. All were trained for the same number of epochs, and each is at "
        "temperatures that were fitted on the speakers of the other folds. The network that ships was trained once "
        "more, on the speakers of all folds; it has no test figure of its own. Every utterance was given whole, as one clip. "
        "UAR: unweighted average recall, the mean of the labels' recalls, over all clips of a row; in brackets the "
        "95 % interval of a figure by a bootstrap that resamples speakers. Chance is the UAR of guessing; *constant* "
        "is who always answers the same, knowing how often which label occurs in that row: the most frequent label "
        "for the accuracy, the labels' shares for the NLL. Per speaker: mean and standard deviation of the speakers' "
        "own UAR. NLL: negative log-likelihood in nats; ECE: expected calibration error over ten bins; both after "
        "calibration."
        + (
            " Of still pictures it is not known who is in them: the same person may have been on both sides, each "
            "counts as a speaker of its own in their rows, and the network that finds faces had seen all of them."
            if facts.num_stills
            else ""
        )
    )


def _limits(facts: CardFacts) -> str:
    num_faces = len({u.speaker for u in facts.known if u.has_picture})
    languages = sorted(
        {corpus_named(name).language for name in facts.corpora if not corpus_named(name).stills}
    )
    pictures = f" and {facts.num_stills:,} still pictures of people nobody knows" if facts.num_stills else ""
    return "\n".join(
        [
            "- All speech it knows is acted, the same few sentences over and over. On free speech, with several "
            "people, music or noise, it will do worse than the figures above; how much worse was not measured.",
            f"- Of faces it has seen those of {num_faces} people, near, lit and frontal{pictures}. Their perceived "
            f"gender it knows from the {num_faces} people alone. What it says from the picture alone (the rows *video*) "
            "deserves little trust for faces unlike theirs: whose skin, age, head-dress or glasses they lack.",
            f"- Languages: {', '.join(languages)}. No child speaks in it.",
            f"- {len(EMOTIONS)} emotions and {len(GENDERS)} genders are what its corpora label, not what there is. It "
            "gives one of them to whatever it is shown, a cat or a test card too; low confidence is a hint, no proof.",
            "- Who is perceived how depends on who looks. The labels are what actors were told to show, and what few "
            "people perceived.",
        ]
    )


_PROHIBITED = """\
- Inferring emotions of people at work or in education is prohibited in the European Union (Regulation (EU)
  2024/1689, the AI Act, Article 5(1)(f)), save for medical or safety reasons. So is sorting people by biometric
  traits to infer what the same article names, in point (g). Elsewhere emotion recognition is high-risk (Annex III)
  and people must be told of it (Article 50(3)).
- Decisions about a single person: hiring, credit, insurance, policing, borders, health.
- Finding out, or claiming, anybody's gender identity. Perceived gender is a viewer's guess."""
