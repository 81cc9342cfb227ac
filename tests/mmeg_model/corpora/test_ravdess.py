from pathlib import Path

import pytest

from mmeg_model.corpora import ravdess
from mmeg_model.splits import LeakError, Split


def test_labels_by_name(tmp_path: Path):
    (tmp_path / "Actor_02").mkdir()
    for name in ["03-01-01-01-02-01-01.wav", "Actor_02/03-01-05-02-01-02-02.WAV", "03-01-03-01-01-01-11.flac",
                 "03-01-04-01-01-01-24.flac"]:  # fmt: skip
        (tmp_path / name).touch()
    for name in ["03-01-02-01-01-01-01.wav", "03-01-06-01-01-01-01.wav", "03-02-05-01-01-01-01.wav", "x.wav"]:
        (tmp_path / name).touch()

    reading = ravdess.read_sounds(tmp_path)

    assert [(u.recording, u.speaker, u.emotion, u.perceived_gender) for u in reading.utterances] == [
        ("ravdess/01-01-01-02-01-01", "ravdess-01", "neutral", "male"),
        ("ravdess/01-03-01-01-01-11", "ravdess-11", "happiness", "male"),
        ("ravdess/01-04-01-01-01-24", "ravdess-24", "sadness", "female"),
        ("ravdess/01-05-02-01-02-02", "ravdess-02", "anger", "female"),
    ]
    assert reading.excluded == {
        "emotion 02 outside the four": 1,
        "emotion 06 outside the four": 1,
        "song": 1,
        "name not of this corpus": 1,
    }


def test_nothing_of_the_corpus(tmp_path: Path):
    (tmp_path / "03-01-02-01-01-01-01.wav").touch()
    with pytest.raises(
        ValueError, match=r"no example of this corpus in .*: left out were .*02 outside the four"
    ):
        ravdess.read_sounds(tmp_path)


def test_clips_share_people_and_recordings_with_sounds(tmp_path: Path):
    names = ["01-01-03-01-01-01-11.mp4", "02-01-03-01-01-01-11.mp4", "01-01-06-01-01-01-11.mp4",
             "01-02-03-01-01-01-11.mp4", "03-01-03-01-01-01-11.wav"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()

    reading = ravdess.read_clips(tmp_path)

    (clip,) = reading.utterances
    (sound,) = ravdess.read_sounds(tmp_path).utterances
    assert (clip.path.name, clip.corpus) == ("01-01-03-01-01-01-11.mp4", "ravdess-av")
    assert (clip.recording, clip.speaker) == (sound.recording, sound.speaker)
    assert reading.excluded == {
        "picture of a recording without its sound": 1,
        "emotion 06 outside the four": 1,
        "song": 1,
    }
    with pytest.raises(LeakError, match="1 speakers are in training and in test: ravdess-11"):
        Split(train=(clip,), test=(sound,))
