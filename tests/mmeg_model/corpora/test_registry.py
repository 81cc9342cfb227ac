import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmeg_model.corpora import CORPORA, read_corpora
from mmeg_model.corpora.utterance import Utterance


def test_several_corpora_are_read_from_the_folders_of_their_names(tmp_path: Path):
    for name in [
        "emodb-speech/03a01Fa.wav",
        "emodb-speech/03a01La.wav",
        "ravdess-speech/03-01-01-01-01-01-01.wav",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    reading = read_corpora(tmp_path, ["ravdess-speech", "emodb-speech"])

    assert [(u.corpus, u.path.name) for u in reading.utterances] == [
        ("ravdess-speech", "03-01-01-01-01-01-01.wav"),
        ("emodb-speech", "03a01Fa.wav"),
    ]
    assert reading.excluded == {"emodb-speech: emotion L outside the four": 1}


def test_a_corpus_that_is_named_twice_is_read_once(tmp_path: Path):
    (tmp_path / "emodb-speech").mkdir()
    (tmp_path / "emodb-speech/03a01Fa.wav").touch()

    assert len(read_corpora(tmp_path, ["emodb-speech", "emodb-speech"]).utterances) == 1


def test_unknown_corpus(tmp_path: Path):
    with pytest.raises(ValueError, match="unknown corpus 'emodb': did you mean 'emodb-speech'"):
        read_corpora(tmp_path, ["emodb"])


@pytest.mark.parametrize("name", ["", ".", "..", "../emodb-speech", "/emodb-speech"])
def test_a_name_is_that_of_a_folder_in_data(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=r"a corpus is named by the folder in .* that it lies in"):
        read_corpora(tmp_path, [name])


@pytest.mark.parametrize("name", ["a\nb", os.fsdecode(b"\xff")])
def test_a_name_is_text(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=r"rename its folder, the name must be printable text"):
        read_corpora(tmp_path, [name])


def test_folder_missing(tmp_path: Path):
    with pytest.raises(ValueError, match=r"corpus 'emodb-speech': there is no folder .*emodb-speech"):
        read_corpora(tmp_path, ["emodb-speech"])


def test_only_the_corpus_whose_terms_ask_for_it_binds_the_weights():
    assert {name for name, corpus in CORPORA.items() if corpus.weights_license} == {
        "ravdess-speech",
        "ravdess-av",
    }


@pytest.mark.parametrize(
    ("emotion", "gender", "message"),
    [("joy", None, "emotion of .* is 'joy'"), (None, "man", "gender of .* is 'man'")],
)
def test_a_label_outside_the_vocabulary(emotion: str | None, gender: str | None, message: str):
    with pytest.raises(ValueError, match=message):
        Utterance(Path("a.wav"), "c", "c/a", "c-1", emotion, gender)


def test_every_corpus_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "corpora.md").read_text(encoding="utf-8")
    assert [name for name in CORPORA if f"| `{name}/` |" not in page] == []


def test_reading_corpora_and_splits_needs_neither_torch_nor_beam():
    code = (
        "import sys, mmeg_model.corpora.decoded, mmeg_model.splits; "
        "sys.exit('torch' in sys.modules or 'apache_beam' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
