import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from mmeg_model.evaluation.pictures import draw
from mmeg_model.evaluation.predictions import Predictions
from mmeg_model.evaluation.report import report


@pytest.fixture
def of_two_tasks(predictions: Callable[..., Predictions]) -> dict[str, Predictions]:
    """Two corpora, one of pictures alone without perceived genders and with a single speaker."""
    random = np.random.default_rng(0)
    modalities, corpora = ["audio", "video"] * 10 + ["video"] * 10, ["x"] * 20 + ["faces"] * 10
    speakers = [*random.choice(list("abc"), 20), *["d"] * 10]
    return {
        "emotion": predictions(
            random.normal(size=(30, 4)), random.integers(0, 4, 30), speakers, corpora=corpora, modalities=modalities
        ),
        "gender": predictions(
            random.normal(size=(20, 2)), random.integers(0, 2, 20), speakers[:20], modalities=modalities[:20],
            corpora=corpora[:20],
        ),
    }  # fmt: skip


def test_a_picture_of_each_kind_with_the_panels_that_there_are(
    of_two_tasks: dict[str, Predictions], tmp_path: Path
):
    files = draw(report(of_two_tasks), tmp_path / "new")

    assert sorted(path.name for path in files) == [
        *(f"confusion-{corpus}.png" for corpus in ("all", "faces", "x")),
        "recall-by-modality.png",
        *(f"reliability-{corpus}.png" for corpus in ("all", "faces", "x")),
    ]
    assert sorted((tmp_path / "new").iterdir()) == sorted(files)
    pictures = {file.stem: imread(file) for file in files}
    assert min(picture.std() for picture in pictures.values()) > 0.05  # something is drawn
    # Faces have a panel; the other corpus has one for each of two tasks with sound and with picture.
    faces, of_both = pictures["confusion-faces"], pictures["confusion-x"]
    assert of_both.shape[0] > 1.5 * faces.shape[0]
    assert of_both.shape[1] > 1.5 * faces.shape[1]


def test_matplotlib_is_imported_only_to_draw():
    code = """
import sys
import mmeg_model.cli, mmeg_model.evaluation.command, mmeg_model.training.card
assert "matplotlib" not in sys.modules
import mmeg_model.evaluation.pictures
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
