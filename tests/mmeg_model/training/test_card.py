import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mmeg_model.corpora.utterance import TablePicture, Utterance
from mmeg_model.evaluation.report import Baseline, Figures
from mmeg_model.training.card import CardFacts, card, license_text
from mmeg_model.training.config import TrainingConfig

FIGURES = Figures(
    task="emotion",
    corpus="emodb-speech",
    perceived_gender=None,
    modalities="audio",
    num_clips=40,
    num_speakers=8,
    unweighted_average_recall=0.6789,
    unweighted_average_recall_interval=(0.6012, 0.7499),
    unweighted_average_recall_per_speaker=(0.6501, 0.1201),
    accuracy=0.7012,
    accuracy_interval=(0.6511, 0.7522),
    negative_log_likelihood=0.8765,
    negative_log_likelihood_interval=(0.8012, 0.9523),
    calibration_error=0.0512,
    chance=Baseline(0.25, 0.25, 1.3863),
    constant=Baseline(0.25, 0.3759, 1.3512),
    confusion=((10, 0, 0, 0),) * 4,
    reliability=(),
)


def utterance(corpus: str, name: str, speaker: str) -> Utterance:
    return Utterance(Path(corpus) / name, corpus, f"{corpus}/{name}", speaker, "anger", "female")


def facts(*utterances: Utterance) -> CardFacts:
    return CardFacts(
        name="small",
        config=TrainingConfig(num_epochs=17),
        num_weights=123_456,
        utterances=utterances,
        excluded={"emodb-speech: emotion L outside the four": 3},
        num_folds=6,
        figures=[FIGURES],
        joint=[],
        temperatures={"emotion": 1.234, "gender": 0.9},
    )


EMODB = utterance("emodb-speech", "03a01Wa.flac", "emodb-03")
RAVDESS = utterance("ravdess-speech", "03-01-05-01-01-01-02.flac", "ravdess-02")
CLIP = utterance("javanese-av", "01-01-06_01.mp4", "javanese-01")


def header(text: str) -> dict:
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])


def test_header_holds_licence_and_figures():
    found = header(card(facts(EMODB, RAVDESS)))
    assert found["license"] == "cc-by-nc-sa-4.0"
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert model["name"] == "small"
    assert result["dataset"]["name"] == "emodb-speech"
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [
        ("unweighted_average_recall", 0.679)
    ]


def test_stills_of_people_nobody_knows():
    still = Utterance(
        Path("train.parquet"), "fer2013-faces", "fer2013/1", "fer2013-1", "anger", None, part=TablePicture(1)
    )
    text = card(facts(CLIP, still, replace(still, recording="fer2013/2", speaker="fer2013-2")))
    for said in (
        "2 anger |  | data of a public contest",
        "| 2 | unknown |",
        "3 examples, 1 of them of 1 known speakers",
        "Of faces it has seen those of 1 people, near, lit and frontal and 2 still pictures",
        "Single pictures have batches of their own",
        "the same person may have been on both sides",
        "Languages: Javanese.",
    ):
        assert said in text
    assert "still pictures" not in card(facts(CLIP)).split("## What else was tried")[0]


@pytest.mark.parametrize("faces_from_stills", [False, True])
def test_who_taught_what_looks_at_faces(faces_from_stills: bool):
    still = Utterance(
        Path("train.parquet"), "fer2013-faces", "fer2013/1", "fer2013-1", "anger", None, part=TablePicture(1)
    )
    for examples, said in (((CLIP, still), faces_from_stills), ((CLIP,), False)):
        told = replace(facts(*examples), config=TrainingConfig(faces_from_stills=faces_from_stills))
        assert ("What looks at faces learned from them alone" in card(told)) is said


def test_figures_of_one_corpus_are_told_apart_in_the_header():
    """The results of a corpus share the first one's name of the task, so the metrics must name theirs."""
    of_gender = replace(FIGURES, task="gender", unweighted_average_recall=0.9)
    (model,) = header(card(replace(facts(EMODB), figures=[FIGURES, of_gender])))["model-index"]
    metrics = [(m["name"].split(":")[0], m["value"]) for r in model["results"] for m in r["metrics"]]
    assert metrics == [("perceived emotion by audio", 0.679), ("perceived gender by audio", 0.9)]


def test_figures_stand_next_to_chance():
    assert (
        "| emotion | emodb-speech | audio | 40, 8 | **0.679** [0.601, 0.750] | 0.25 "
        "| 0.650 ± 0.120 | 0.701 [0.651, 0.752] (0.376) | 0.88 [0.80, 0.95] (1.35) | 0.051 |"
    ) in card(facts(EMODB))


@pytest.mark.parametrize(
    "said",
    [
        "123,456 weights",
        "perceived emotion: neutral, anger, happiness, sadness",
        "perceived gender: female, male",
        "| 1 | 1 | 1 anger | 1 female | free for research |",
        "3 (emodb-speech: emotion L outside the four)",
        "num_epochs: 17",
        "was trained on all speakers",
        "fitted on the speakers of the other folds",
        "emotion 1.23, gender 0.90",
        "6-fold cross-validation over speakers",
        "Of faces it has seen those of 1 people, near",
        "Languages: German, Javanese.",
        "Article 5(1)(f)",
        "at work or in education",
        "it has no test figure of its own",
    ],
)
def test_what_a_reader_must_find(said: str):
    assert said in card(facts(EMODB, CLIP))


def test_one_corpus_binds_the_weights():
    assert "CC BY-NC-SA 4.0): not for commercial use" in license_text(facts(EMODB, RAVDESS))
    assert "Legal code: https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode" in card(facts(RAVDESS))


def test_without_it_nothing_is_added_to_the_terms_of_the_others():
    text = license_text(facts(EMODB, CLIP))
    assert "CC BY-NC-SA" not in text
    assert "free for research" in text
    assert header(card(facts(EMODB)))["license"] == "other"
