import json
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
sizes = {{ num_features = 16, video = {{ channels = [4, 4] }} }}
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
    assert model.network.heads["gender"].in_features == 16
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
        ('data = "d"\ncorpora = ["c"]\noutput = "o"\nname = "n"\n[test]\nfold = 1', "must name a split"),
    ],
)
def test_a_file_that_does_not_do(tmp_path: Path, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_run(written(tmp_path, text))


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
