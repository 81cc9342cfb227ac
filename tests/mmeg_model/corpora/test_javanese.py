from pathlib import Path

import pytest

from mmeg_model.corpora import javanese
from mmeg_model.splits import LeakError, Split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = [
        "01-02-01_01.mp4",
        "01-02-01_01.flac",
        "01-02-01_02.flac",
        "09-04-06_07.flac",
        "05-01-03_01.flac",
    ]
    for name in [*names, "01-01-05_01.flac", "notes.flac", "notes.txt", ".hidden.flac"]:
        (tmp_path / name).touch()
    return tmp_path


def test_sounds(folder: Path):
    reading = javanese.read_sounds(folder)

    assert [(u.path.name, u.speaker, u.emotion, u.perceived_gender) for u in reading.utterances] == [
        ("01-02-01_01.flac", "javanese-01", "neutral", "female"),
        ("01-02-01_02.flac", "javanese-01", "neutral", "female"),
        ("05-01-03_01.flac", "javanese-05", "happiness", None),  # of this actor no gender is known
        ("09-04-06_07.flac", "javanese-09", "anger", "male"),
    ]
    assert {u.corpus for u in reading.utterances} == {"javanese-speech"}
    assert reading.excluded == {"emotion 05 outside the four": 1, "name not of this corpus": 1}


def test_a_clip_and_its_soundtrack_are_one_recording(folder: Path):
    (clip,) = javanese.read_clips(folder).utterances
    soundtrack, repetition, *_ = javanese.read_sounds(folder).utterances

    assert clip.recording == soundtrack.recording != repetition.recording
    assert clip.corpus != soundtrack.corpus
    with pytest.raises(LeakError, match="1 speakers are in training and in test: javanese-01"):
        Split(train=(soundtrack,), test=(clip,))
