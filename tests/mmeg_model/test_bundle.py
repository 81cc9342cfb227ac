import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mmeg_model
from mmeg_model.bundle import Model, load, save
from mmeg_model.bundle_identity import BUNDLED, BundleError, identity
from mmeg_model.clip import FRAME_MS, SAMPLES_PER_FRAME, Clip, pad
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.presets import build

SIZES = {"num_features": 16, "video": {"channels": [4, 4, 4]}}
TEMPERATURES = {"emotion": 2.0, "gender": 0.5}


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return build("compact", SIZES).eval()


@pytest.fixture
def bundle(network: torch.nn.Module, tmp_path: Path) -> Path:
    save(tmp_path, network, name="small", preset="compact", sizes=SIZES, temperatures=TEMPERATURES)
    return tmp_path


def clip(num_frames: int, seed: int) -> Clip:
    random = np.random.default_rng(seed)
    return Clip(
        0,
        num_frames * FRAME_MS,
        random.integers(0, 256, (num_frames, 96, 96, 3), np.uint8),
        np.ones(num_frames, np.bool_),
        random.integers(-(2**15), 2**15, num_frames * SAMPLES_PER_FRAME).astype(np.int16),
        np.ones(num_frames * SAMPLES_PER_FRAME, np.bool_),
    )


def test_a_saved_network_comes_back(bundle: Path, network: torch.nn.Module):
    model = load(bundle)

    assert (model.name, model.sha256) == identity(bundle)
    assert model.tasks == ("emotion", "gender")
    assert not model.network.training
    assert all(
        torch.equal(weights, network.state_dict()[name])
        for name, weights in model.network.state_dict().items()
    )


def test_predictions_are_calibrated_probabilities(bundle: Path, network: torch.nn.Module):
    """Logits over the temperature of their task, then the softmax, worked out here in numpy."""
    batch = pad([clip(20, 0), clip(9, 1), clip(30, 2)])
    with torch.inference_mode():
        logits = network(
            *map(torch.from_numpy, (batch.frames, batch.frames_valid, batch.samples, batch.samples_valid))
        )

    predicted = load(bundle).predict(batch)

    assert predicted.keys() == LABELS_BY_TASK.keys()
    for task, labels in LABELS_BY_TASK.items():
        expected = np.exp(logits[task].numpy() / TEMPERATURES[task])
        expected /= expected.sum(axis=1, keepdims=True)
        assert predicted[task].shape == (3, len(labels))
        assert predicted[task].dtype == np.float32
        assert np.allclose(predicted[task], expected, rtol=0, atol=1e-6)


def test_the_bundled_model_loads_and_predicts():
    model = mmeg_model.load()
    assert isinstance(model, Model)
    assert (model.name, model.sha256) == identity()
    for probabilities in model.predict(pad([clip(30, 0)])).values():
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_the_bundled_model_is_whole_and_small():
    files = {path.name: path.stat().st_size for path in BUNDLED.iterdir() if path.is_file()}
    assert {"config.json", "model.safetensors", "README.md", "LICENSE"} <= files.keys()
    assert files["model.safetensors"] < 20e6


def test_another_shape_is_named(bundle: Path):
    weights = load_file(bundle / "model.safetensors")
    weights["said_by_audio.heads.gender.weight"] = torch.zeros(3, 16)
    save_file(weights, bundle / "model.safetensors")
    with pytest.raises(
        BundleError, match=r"said_by_audio\.heads\.gender\.weight is \(3, 16\), expected \(2, 16\)"
    ):
        load(bundle)


def test_missing_and_unknown_weights_are_named(bundle: Path):
    weights = load_file(bundle / "model.safetensors")
    bias = weights.pop("said_by_audio.heads.gender.bias")
    save_file(weights, bundle / "model.safetensors")
    with pytest.raises(BundleError, match=r"said_by_audio\.heads\.gender\.bias is None, expected \(2,\)"):
        load(bundle)
    save_file(
        {**weights, "said_by_audio.heads.gender.bias": bias, "heads.age.bias": bias.clone()},
        bundle / "model.safetensors",
    )
    with pytest.raises(BundleError, match=r"heads\.age\.bias is \(2,\), expected None"):
        load(bundle)


def test_a_pickle_by_another_name_is_refused(bundle: Path):
    torch.save({"w": torch.zeros(1)}, bundle / "model.safetensors")
    with pytest.raises(BundleError, match=r"is no safetensors file .*; a pickle under that name is refused"):
        load(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"emotion": ["joy"]}}, r"was trained for the labels .*joy.*, this version has"),
        ({"preset": "compat"}, r"unknown preset 'compat': did you mean 'compact'"),
        ({"sizes": {"feature": 1}}, r"unknown field of CompactConfig 'feature'"),
        ({"preset": 3}, r"preset and sizes make no network"),
        ({"sizes": [1]}, r"preset and sizes make no network"),
        ({"sizes": {"num_features": "many"}}, r"preset and sizes make no network"),
        ({"sizes": {"num_features": -1}}, r"preset and sizes make no network"),
        (
            {"temperatures": {"emotion": 1.0}},
            r"temperatures must be positive numbers, one for each of emotion, gender",
        ),
        ({"temperatures": {"emotion": 1.0, "gender": 0}}, r"temperatures must be positive numbers"),
        ({"temperatures": [1.0, 1.0]}, r"temperatures must be positive numbers"),
        ({"training_speakers": {"a": 1}}, r"training_speakers must be a list of names"),
    ],
)
def test_a_config_that_does_not_fit(bundle: Path, change: dict, message: str):
    config = json.loads((bundle / "config.json").read_text())
    (bundle / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(BundleError, match=message):
        load(bundle)


def test_what_evaluation_wants_to_know_comes_back(bundle: Path, network: torch.nn.Module):
    joint_loss = {"weighting": "softmax", "weights": {"emotion": 0.75, "gender": 0.25}}
    save(
        bundle,
        network,
        name="small",
        preset="compact",
        sizes=SIZES,
        temperatures=TEMPERATURES,
        joint_loss=joint_loss,
        training_speakers=["b", "a", "b"],
    )
    model = load(bundle)
    assert model.joint_loss == joint_loss
    assert model.training_speakers == ["a", "b"]


def test_a_bundle_that_does_not_tell_says_so(bundle: Path):
    assert not {"joint_loss", "training_speakers"} & json.loads((bundle / "config.json").read_text()).keys()
    model = load(bundle)
    assert model.joint_loss is None
    assert model.training_speakers is None


@pytest.mark.parametrize(
    "joint_loss",
    [
        {"weighting": "softmax", "weights": {"emotion": 1.0}},
        {"weighting": "softmax", "weights": {"emotion": float("nan"), "gender": 1.0}},
        {"weights": {"emotion": 0.5, "gender": 0.5}},
        {"weighting": "softmax", "weights": [0.5, 0.5]},
    ],
)
def test_joint_loss_without_a_weight_for_each_task(bundle: Path, network: torch.nn.Module, joint_loss: dict):
    message = (
        r"joint_loss must hold the name of a weighting and the weights, a finite number for each of emotion"
    )
    with pytest.raises(BundleError, match=message):
        save(
            bundle,
            network,
            name="small",
            preset="compact",
            sizes=SIZES,
            temperatures=TEMPERATURES,
            joint_loss=joint_loss,
        )
    config = json.loads((bundle / "config.json").read_text())
    (bundle / "config.json").write_text(json.dumps({**config, "joint_loss": joint_loss}))
    with pytest.raises(BundleError, match=message):
        load(bundle)


def test_a_config_without_a_field(bundle: Path):
    config = json.loads((bundle / "config.json").read_text())
    del config["labels"]
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"config\.json lacks labels"):
        load(bundle)
