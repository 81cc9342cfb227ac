import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmeg_model.bundle import save
from mmeg_model.cli import register
from mmeg_model.corpora.synthetic import write_corpus
from mmeg_model.networks.presets import build

SIZES = {"num_features": 16, "video": {"channels": [4, 4, 4]}}
WEIGHTS = {"emotion": 0.9, "gender": 0.1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus `synthetic`: speakers synthetic-00 (female) and synthetic-01 (male), four videos of each."""
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder / "synthetic", num_videos=8, seconds=0.4)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small one, trained (if it had been) on one of the speakers and one who is not evaluated."""
    torch.manual_seed(0)
    save(
        tmp_path / "bundle",
        build("compact", SIZES),
        name="small",
        preset="compact",
        sizes=SIZES,
        temperatures={"emotion": 1.0, "gender": 1.0},
        joint_loss={"weighting": "softmax", "weights": WEIGHTS},
        training_speakers=["synthetic-01", "synthetic-07"],
    )
    return tmp_path / "bundle"


def evaluate(bundle: Path, data: Path, cache: Path, *more: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers(required=True))
    given = parser.parse_args(
        ["evaluate", str(bundle), "--data", str(data), "--corpora", "synthetic", "--cache", str(cache), *more]
    )
    return int(given.run(given))


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """What is said, in one line, by an evaluation that did not take place."""
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = (line for line in err.splitlines() if "left out: none" not in line)
    assert line.startswith("mmeg evaluate: ")
    return line


def test_json_holds_every_figure(bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate(bundle, data, cache, "--json") == 0

    found = json.loads(capsys.readouterr().out)
    assert found["model_name"] == "small"
    assert found["joint_loss"] == {"weighting": "softmax", "weights": WEIGHTS}
    given = ("audio", "audio+video", "video")
    assert [(f["task"], f["modalities"], f["num_clips"]) for f in found["figures"]] == [
        (task, modalities, 8) for task in ("emotion", "gender") for modalities in given
    ]
    for f in found["figures"]:
        assert sum(map(sum, f["confusion"])) == 8
        assert len(f["confusion"]) == len(found["labels"][f["task"]])
        low, high = f["accuracy_interval"]
        assert low <= f["accuracy"] <= high
    assert {(f["perceived_gender"], f["num_clips"]) for f in found["by_perceived_gender"]} == {
        ("female", 4),
        ("male", 4),
    }
    assert {(f["speaker"], f["num_clips"]) for f in found["by_speaker"]} == {
        ("synthetic-00", 4),
        ("synthetic-01", 4),
    }
    for f in found["joint"]:
        losses = f["negative_log_likelihoods"]
        assert f["unweighted_sum"] == pytest.approx(losses["emotion"] + losses["gender"])
        joint_loss = f["paper_joint_loss_under_learned_weights"]
        assert joint_loss == pytest.approx(0.9 * losses["emotion"] + 0.1 * losses["gender"])


def test_the_temperatures_count(bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]):
    """A temperature of a million makes every answer a guess: log 4 and log 2; accuracies stay."""

    def figures() -> dict[str, list[float]]:
        assert evaluate(bundle, data, cache, "--json") == 0
        found = json.loads(capsys.readouterr().out)["figures"]
        return {name: [f[name] for f in found] for name in ("accuracy", "negative_log_likelihood")}

    before = figures()
    config = json.loads((bundle / "config.json").read_text())
    config["temperatures"] = {"emotion": 1e6, "gender": 1e6}
    (bundle / "config.json").write_text(json.dumps(config))
    after = figures()

    assert after["accuracy"] == before["accuracy"]
    assert after["negative_log_likelihood"] == pytest.approx([1.386294] * 3 + [0.693147] * 3, abs=1e-5)


def test_tables(bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate(bundle, data, cache, "--speakers", "synthetic-00") == 0
    out = capsys.readouterr().out
    assert "| emotion | synthetic | audio+video | 4, 1 |" in out
    assert "| emotion | synthetic, female | audio | 4, 1 |" in out
    assert "the paper's joint loss under the learned weights (emotion 0.900, gender 0.100)" in out
    assert "| synthetic | video | 4 (0), 1 | emotion" in out


def test_output(bundle: Path, data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate(bundle, data, cache, "--json", "--output", str(tmp_path / "new" / "out")) == 0
    out = tmp_path / "new" / "out"
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in out.iterdir()) == [
        "confusion-synthetic.png",
        "evaluation.json",
        "recall-by-modality.png",
        "reliability-synthetic.png",
    ]


def test_speakers_that_were_trained_on_are_named(
    bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    assert evaluate(bundle, data, cache, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["trained_on_speakers"] == ["synthetic-01"]
    assert re.search(
        r"WARNING: the bundle was trained on 1 of these speakers.*: synthetic-01$", err, re.MULTILINE
    )

    assert evaluate(bundle, data, cache, "--json", "--speakers", "synthetic-00") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["trained_on_speakers"] == []
    assert "trained on" not in err


def test_a_bundle_that_does_not_tell(
    bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    config = json.loads((bundle / "config.json").read_text())
    del config["training_speakers"], config["joint_loss"]
    (bundle / "config.json").write_text(json.dumps(config))

    assert evaluate(bundle, data, cache, "--json") == 0

    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["trained_on_speakers"] is None
    assert found["joint_loss"] is None
    assert {f["paper_joint_loss_under_learned_weights"] for f in found["joint"]} == {None}
    assert "does not tell whom it was trained on" in err


@pytest.fixture
def broken_data(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "broken" / "synthetic", num_videos=5, seconds=0.4)
    return tmp_path / "broken"


def test_a_file_that_cannot_be_decoded_is_named_and_the_others_evaluated(
    bundle: Path, broken_data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    (broken_data / "synthetic" / "0001-anger-female.mp4").write_bytes(b"this is not a video")
    (broken_data / "synthetic" / "0002-happiness-female.mp4").write_bytes(b"")

    assert evaluate(bundle, broken_data, cache, "--json") == 1

    out, err = capsys.readouterr()
    found = json.loads(out)
    assert {f["num_clips"] for f in found["figures"]} == {3}
    broken, empty = found["failures"]
    assert "0001-anger-female.mp4 cannot be decoded" in broken
    assert "0002-happiness-female.mp4 cannot be decoded" in empty
    assert broken in err
    assert "2 clips could not be decoded and are in no figure" in err


def test_nothing_can_be_decoded(
    bundle: Path, broken_data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    for path in (broken_data / "synthetic").glob("*.mp4"):
        path.write_bytes(b"this is not a video")
    assert evaluate(bundle, broken_data, cache) == 2
    assert re.search(r"none of 5 clips can be decoded, the first: .*0000", refused(capsys))


def test_a_speaker_that_does_not_exist(
    bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    assert evaluate(bundle, data, cache, "--speakers", "synthetic-00", "sintetic-01") == 2
    assert "none of the 2 speakers is 'sintetic-01': did you mean 'synthetic-01'" in refused(capsys)


def test_output_that_is_a_file(
    bundle: Path, data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").touch()
    assert evaluate(bundle, data, cache, "--output", str(tmp_path / "file")) == 2
    assert "File exists" in refused(capsys)


def test_output_that_cannot_be_written(
    bundle: Path, data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A folder stands where a file is to be: the figures are printed all the same."""
    (tmp_path / "out" / "evaluation.json").mkdir(parents=True)
    assert evaluate(bundle, data, cache, "--json", "--output", str(tmp_path / "out")) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["figures"]
    assert re.search(r"mmeg evaluate: .*Is a directory: .*evaluation\.json", err)


def test_an_unknown_corpus(bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate(bundle, data, cache, "--corpora", "sinthetic") == 2
    assert "unknown corpus 'sinthetic': did you mean 'synthetic'" in refused(capsys)


def test_a_corpus_named_twice_counts_once(
    bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    assert evaluate(bundle, data, cache, "--json", "--corpora", "synthetic", "synthetic") == 0
    assert {f["num_clips"] for f in json.loads(capsys.readouterr().out)["figures"]} == {8}


def test_a_bundle_of_another_architecture(
    bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    weights = load_file(bundle / "model.safetensors")
    weights["said_by_audio.heads.gender.weight"] = torch.zeros(3, 16)
    save_file(weights, bundle / "model.safetensors")
    assert evaluate(bundle, data, cache) == 2
    assert "said_by_audio.heads.gender.weight is (3, 16), expected (2, 16)" in refused(capsys)


def test_a_pickle(bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]):
    torch.save({"w": torch.zeros(1)}, bundle / "model.safetensors")
    assert evaluate(bundle, data, cache) == 2
    assert "is no safetensors file" in refused(capsys)


def test_weights_that_are_not_finite(
    bundle: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    weights = load_file(bundle / "model.safetensors")
    weights["said_by_audio.heads.gender.bias"] = torch.full((2,), torch.nan)
    save_file(weights, bundle / "model.safetensors")
    assert evaluate(bundle, data, cache) == 2
    assert "small gives logits for gender that are not finite" in refused(capsys)
