"""Which model a bundle is, told without importing torch.

A bundle is a folder in Hugging Face layout: config.json, model.safetensors, README.md (the card), LICENSE.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

BUNDLED: Final = Path(__file__).parent / "pretrained"
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"
BUNDLE_FORMAT: Final = 1
_PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})


class BundleError(ValueError):
    """A folder that is no bundle, or one that must not or cannot be loaded."""


def bundle_folder(bundle: str | Path | None = None) -> Path:
    """The folder of a bundle, None meaning the one that ships.

    Raises:
        BundleError: if there is no config.json and model.safetensors in it, or if a pickle is given.
    """
    folder = BUNDLED if bundle is None else Path(bundle)
    if folder.suffix in _PICKLES:
        raise BundleError(
            f"{folder} is a pickle, which may run any code when read: give a folder with {WEIGHTS_FILE}"
        )
    if not folder.is_dir():
        raise BundleError(f"{folder} is no folder: a bundle is one with {CONFIG_FILE} and {WEIGHTS_FILE}")
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if WEIGHTS_FILE in missing and pickles:
        raise BundleError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which may run any code when read and is "
            f"refused: save them as {WEIGHTS_FILE}"
        )
    if missing:
        raise BundleError(f"{folder} is no bundle: {' and '.join(missing)} missing")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a bundle's config.json.

    Raises:
        BundleError: if it is not JSON of a format known here.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{folder / CONFIG_FILE} is no JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != BUNDLE_FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise BundleError(f"{folder / CONFIG_FILE} has format {found!r}, this version reads {BUNDLE_FORMAT}")
    return config


def identity(bundle: str | Path | None = None) -> tuple[str, str]:
    """Name and SHA-256 of a bundle.

    The hash covers the calibration in config.json and the weights, and is what a shell says to
    `sha256sum config.json model.safetensors | sha256sum` inside the folder.

    Raises:
        BundleError: as `bundle_folder` and `read_config`.
    """
    folder = bundle_folder(bundle)
    lines = (
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in (CONFIG_FILE, WEIGHTS_FILE)
    )
    return str(read_config(folder)["name"]), hashlib.sha256("".join(lines).encode()).hexdigest()
