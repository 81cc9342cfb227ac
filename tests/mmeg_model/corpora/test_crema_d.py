from pathlib import Path

import pytest

from mmeg_model.corpora import crema_d
from mmeg_model.splits import LeakError, Split

DEMOGRAPHICS = (
    "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1002,21,Female,Asian,\n1004,,,,\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = [
        "1001_DFA_ANG_XX",
        "1002_IEO_HAP_HI",
        "1003_TIE_NEU_XX",
        "1004_TIE_SAD_X",
        "1001_DFA_DIS_XX",
        "readme",
    ]
    for name in names:
        for path in (tmp_path / "AudioWAV" / f"{name}.wav", tmp_path / "VideoFlash" / f"{name}.flv"):
            path.parent.mkdir(exist_ok=True)
            path.touch()
    return tmp_path


def test_labels_by_name_and_genders_by_table(folder: Path):
    (folder / "VideoDemographics.csv").write_text(DEMOGRAPHICS, encoding="utf-8-sig")

    reading = crema_d.read_sounds(folder)

    assert [(u.recording, u.speaker, u.emotion, u.perceived_gender) for u in reading.utterances] == [
        ("crema-d/1001_DFA_ANG_XX", "crema-d-1001", "anger", "male"),
        ("crema-d/1002_IEO_HAP_HI", "crema-d-1002", "happiness", "female"),
        ("crema-d/1003_TIE_NEU_XX", "crema-d-1003", "neutral", None),
        ("crema-d/1004_TIE_SAD_X", "crema-d-1004", "sadness", None),
    ]
    assert reading.excluded == {"emotion DIS outside the four": 1, "name not of this corpus": 1}


def test_without_the_table_no_gender_is_known(folder: Path):
    assert {u.perceived_gender for u in crema_d.read_clips(folder).utterances} == {None}


def test_a_clip_and_its_sound_are_one_recording(folder: Path):
    clips, sounds = crema_d.read_clips(folder).utterances, crema_d.read_sounds(folder).utterances

    assert [u.recording for u in clips] == [u.recording for u in sounds]
    assert all(u.has_picture for u in clips)
    assert not any(u.has_picture for u in sounds)
    with pytest.raises(LeakError, match="4 speakers are in training and in test: crema-d-1001"):
        Split(train=clips, test=sounds)


def test_a_table_of_other_columns(folder: Path):
    (folder / "VideoDemographics.csv").write_text("Actor,Sex\n1001,Male\n")
    with pytest.raises(ValueError, match=r"VideoDemographics\.csv, line 1: there is no column ActorID"):
        crema_d.read_sounds(folder)


def test_a_table_that_is_no_csv(folder: Path):
    (folder / "VideoDemographics.csv").write_text("ActorID,Sex\n1001," + "x" * 200_000 + "\n")
    with pytest.raises(ValueError, match=r"VideoDemographics\.csv is no CSV in UTF-8"):
        crema_d.read_sounds(folder)
