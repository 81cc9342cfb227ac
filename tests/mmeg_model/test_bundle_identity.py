import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmeg_model.bundle_identity import BundleError, bundle_folder, identity, read_config


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"format": 1, "name": "small"}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_the_hash_is_what_a_shell_says(bundle: Path):
    command = "sha256sum config.json model.safetensors | sha256sum"
    said = subprocess.run(command, shell=True, cwd=bundle, check=True, capture_output=True, text=True).stdout
    assert identity(bundle) == ("small", said.split()[0])


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors"])
def test_the_hash_covers_calibration_and_weights(bundle: Path, changed: str):
    _, before = identity(bundle)
    with (bundle / changed).open("a") as file:
        file.write(" ")
    assert identity(bundle)[1] != before


def test_the_card_may_change(bundle: Path):
    before = identity(bundle)
    (bundle / "README.md").write_text("a card")
    assert identity(bundle) == before


def test_identity_of_the_bundled_model_without_torch():
    code = """
import sys
from mmeg_model.bundle_identity import identity
name, sha256 = identity()
sys.exit("torch" in sys.modules or not name or len(sha256) != 64)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_folder(tmp_path: Path):
    with pytest.raises(BundleError, match=r"nowhere is no folder: a bundle is one with config\.json and"):
        bundle_folder(tmp_path / "nowhere")


def test_a_file_is_missing(bundle: Path):
    (bundle / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"is no bundle: model\.safetensors missing"):
        bundle_folder(bundle)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_weights_as_a_pickle_are_refused(bundle: Path, name: str):
    (bundle / "model.safetensors").rename(bundle / name)
    with pytest.raises(
        BundleError, match=rf"as a pickle \({name}\).* refused: save them as model\.safetensors"
    ):
        bundle_folder(bundle)
    with pytest.raises(BundleError, match=rf"{name} is a pickle, which may run any code"):
        bundle_folder(bundle / name)


def test_config_is_no_json(bundle: Path):
    (bundle / "config.json").write_text("{")
    with pytest.raises(BundleError, match=r"config\.json is no JSON"):
        read_config(bundle)


@pytest.mark.parametrize("config", [{"format": 2, "name": "x"}, {"name": "x"}, [1]])
def test_config_of_another_format(bundle: Path, config: object):
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"has format (2|None), this version reads 1"):
        identity(bundle)
