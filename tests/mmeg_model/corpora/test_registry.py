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


def test_unknown_corpus(tmp_path: Path):
    with pytest.raises(ValueError, match="unknown corpus 'emodb': did you mean 'emodb-speech'"):
        read_corpora(tmp_path, ["emodb"])


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
