import json
import re
from pathlib import Path

import pytest

from mmeg_model.bundle import load
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.run import read_run, read_sides, train_bundle

RUN = """
data = "{data}"
corpora = ["synthetic"]
output = "out"
name = "tiny"
validation_folds = 4
cache = "{cache}"

[training]
num_epochs = 1
clips_per_epoch = 16
batch_size = 8
sizes = {{ num_features = 16, video = {{ channels = [4, 4, 4] }} }}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text)
    return file


def test_a_run_from_its_file_to_its_bundle(
    synthetic_data: Path, clip_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = read_run(written(tmp_path, RUN.format(data=synthetic_data, cache=clip_cache)))
    sides = read_sides(run)

    assert train_bundle(run, sides) is None  # nobody is left out to be tested

    assert run.training.batch_size == 8
    assert len({u.speaker for u in sides.split.held_out}) == 2
    model = load(tmp_path / "out" / "bundle")  # relative to the file
    assert model.name == "tiny"
    assert model.network.said_by_audio.heads["gender"].in_features == 16
    assert model.joint_loss == {"weighting": "uniform", "weights": {"emotion": 0.5, "gender": 0.5}}
    assert set(model.training_speakers) == {u.speaker for u in (*sides.split.train, *sides.split.held_out)}
    told = capsys.readouterr().err
    assert "training: 24 utterances, 6 speakers\nvalidation: 8 utterances, 2 speakers\ntest: 0 ut" in told


def test_who_is_left_out_is_evaluated(synthetic_data: Path, clip_cache: Path, tmp_path: Path):
    text = RUN.format(data=synthetic_data, cache=clip_cache)
    text += '[test]\nsplit = "leave-speakers-out"\nspeakers = ["synthetic-03"]'
    run = read_run(written(tmp_path, text))
    sides = read_sides(run)

    evaluation = train_bundle(run, sides)

    assert {u.speaker for u in sides.test} == {"synthetic-03"}
    assert "synthetic-03" not in load(tmp_path / "out" / "bundle").training_speakers
    assert evaluation.trained_on_speakers == []
    assert {figures.num_clips for figures in evaluation.figures} == {len(sides.test)}
    kept = json.loads((tmp_path / "out" / "test" / "evaluation.json").read_text())
    assert kept["model_sha256"] == evaluation.model_sha256


@pytest.mark.parametrize(
    ("test", "sizes"),
    [
        ('split = "speaker-folds"\nnum_folds = 4\nfold = 3', (18, 6, 8)),
        ('split = "paper-random"', (19, 7, 6)),
    ],
)
def test_sides_by_name(synthetic_data: Path, tmp_path: Path, test: str, sizes: tuple[int, int, int]):
    """32 utterances of 8 speakers; of the six that are left one in four validates, or 60, 20 and 20 %."""
    text = RUN.format(data=synthetic_data, cache=tmp_path)
    sides = read_sides(read_run(written(tmp_path, f"{text}[test]\n{test}")))
    found = len(sides.split.train), len(sides.split.held_out), len(sides.test)
    assert sum(found) == 32
    assert found == pytest.approx(sizes, abs=2)
    recordings = [
        {u.recording for u in side} for side in (sides.split.train, sides.split.held_out, sides.test)
    ]
    assert len(set.union(*recordings)) == 32


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ('split = "leave-one-sesion-out"', "unknown split .*did you mean 'leave-one-session-out'"),
        ('split = "leave-one-session-out"', "there must be at least two sessions, there are 0"),
        ('split = "speaker-folds"', "speaker-folds needs num_folds"),
        ('split = "speaker-folds"\nnum_folds = 4\nfold = 4', r"fold must be in \[0, 4\) .*got 4"),
        ('split = "leave-speakers-out"\nspeakers = ["nobody"]', "no utterance of nobody"),
        ('split = "paper-random"\nnum_folds = 3', "paper-random takes no num_folds, got 3"),
    ],
)
def test_nobody_can_be_left_out_so(synthetic_data: Path, tmp_path: Path, test: str, message: str):
    text = RUN.format(data=synthetic_data, cache=tmp_path)
    with pytest.raises(ValueError, match=message):
        read_sides(read_run(written(tmp_path, f"{text}[test]\n{test}")))


def test_what_is_not_said_keeps_its_default(tmp_path: Path):
    run = read_run(written(tmp_path, 'data = "d"\ncorpora = ["synthetic"]\noutput = "o"\nname = "n"'))
    assert run.training == TrainingConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data = ", r"run\.toml is no TOML"),
        ('dta = "x"', "unknown key 'dta': did you mean 'data'"),
        ('data = "x"', r"corpora, output, name must be given"),
        (
            'data = "d"\ncorpora = ["c"]\noutput = "o"\nname = "n"\n[training]\nnum_epoch = 3',
            "unknown training choice 'num_epoch': did you mean 'num_epochs'",
        ),
        (
            'data = "d"\ncorpora = ["c"]\noutput = "o"\nname = "n"\n[training]\nmixed_precision = "fp16"',
            "unknown mixed_precision 'fp16': did you mean 'bf16'",
        ),
        (
            'data = "d"\ncorpora = ["c"]\noutput = "o"\nname = "n"\n[test]\nspeaker = ["a"]',
            "unknown key of .test. 'speaker': did you mean 'speakers'",
        ),
        (
            'data = "d"\ncorpora = ["c"]\noutput = "o"\nname = "n"\n[test]\nfold = 1',
            r"test\.split must be given",
        ),
    ],
)
def test_a_file_that_does_not_do(tmp_path: Path, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_run(written(tmp_path, text))


HEAD = {"data": '"d"', "corpora": '["c"]', "output": '"o"', "name": '"n"'}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data", "3", "data must be a path, got 3"),
        ("output", "3", "output must be a path, got 3"),
        ("cache", "[]", r"cache must be a path, got \[\]"),
        ("corpora", "3", "corpora must be a list, got 3"),
        ("corpora", '"synthetic"', "corpora must be a list, got 'synthetic'"),
        ("corpora", "[3]", r"corpora\[0\] must be a string, got 3"),
        ("corpora", "[]", "corpora must not be empty"),
        ("name", "3", "name must be a string, got 3"),
        ("name", '""', "name must not be empty"),
        ("validation_folds", '"6"', "validation_folds must be a whole number.*, got '6'"),
        ("validation_folds", "1", "validation_folds must be at least 2, got 1"),
        ("num_workers", '"a"', "num_workers must be a whole number.*, got 'a'"),
        ("num_workers", "-1", "num_workers must be at least 0, got -1"),
        ("training", "3", "training must be a table, got 3"),
        ("training", '{ num_epochs = "3" }', r"training\.num_epochs must be a whole number.*, got '3'"),
        ("training", "{ patience = nan }", r"training\.patience must be a whole number.*, got nan"),
        ("training", "{ sizes = { dropout = 1 } }", r"dropout must be in \[0, 1\), got 1"),
        (
            "training",
            "{ sizes = { video = { channels = 3 } } }",
            r"sizes\.video\.channels must be a list, got 3",
        ),
        ("training", '{ weighting = "sofmax" }', "unknown weighting 'sofmax': did you mean 'softmax'"),
        (
            "training",
            '{ weighting = "fixed", weighting_arguments = { weights = [1, "a"] } }',
            r"the weighting 'fixed': weights\[1\] must be a finite number, got 'a'",
        ),
        ("test", "3", "test must be a table, got 3"),
        ("test", "{ split = 3 }", r"test\.split must be a string, got 3"),
        ("test", '{ split = "paper-random", fold = "1" }', r"test\.fold must be a whole number.*, got '1'"),
        ("test", '{ split = "paper-random", speakers = "x" }', r"test\.speakers must be a list, got 'x'"),
    ],
)
def test_values_of_another_kind(tmp_path: Path, key: str, value: str, message: str):
    lines = [f"{name} = {of_name}" for name, of_name in (HEAD | {key: value}).items()]
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path))}/run\.toml: {message}"):
        read_run(written(tmp_path, "\n".join(lines)))


def test_backbone_weights(tmp_path: Path):
    text = 'data = "d"\ncorpora = ["c"]\noutput = "o"\nname = "n"\n[training]\npreset = "paper"\n'
    for line, given, expected in (
        ("", None, ""),
        ('backbone_weights = "imagenet"', None, "imagenet"),
        ('backbone_weights = "resnet.pth"', None, str(tmp_path / "resnet.pth")),  # relative to the file
        ('backbone_weights = "imagenet"', "other.pth", "other.pth"),  # the command line goes before
    ):
        run = read_run(written(tmp_path, text + line), backbone_weights=given)
        assert run.training.backbone_weights == expected
    with pytest.raises(ValueError, match="backbone_weights are of the preset 'paper', not of 'compact'"):
        read_run(written(tmp_path, text.replace("paper", "compact")), backbone_weights="other.pth")
