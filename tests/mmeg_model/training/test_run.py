from pathlib import Path

import pytest

from mmeg_model.bundle import load
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.run import read_run, read_split, train_bundle

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


def test_a_run_from_its_file_to_its_bundle(synthetic_data: Path, clip_cache: Path, tmp_path: Path):
    run = read_run(written(tmp_path, RUN.format(data=synthetic_data, cache=clip_cache)))
    split = read_split(run)

    bundle = train_bundle(run, split)

    assert bundle == tmp_path / "out" / "bundle"  # relative to the file
    assert run.training.batch_size == 8
    assert len({u.speaker for u in split.test}) == 2
    model = load(bundle)
    assert model.name == "tiny"
    assert model.network.heads["gender"].in_features == 16


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
    ],
)
def test_a_file_that_does_not_do(tmp_path: Path, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_run(written(tmp_path, text))
