import os
from pathlib import Path

import numpy as np
import pytest
from makers.iemocap import LEFT_HZ, RIGHT_HZ, level_at, write_dialog

from mmeg_model.clip import SAMPLE_RATE_HZ, Clip
from mmeg_model.corpora import iemocap
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Excerpt

LINES = [
    "[1.0100 - 1.9600]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]",
    "[3.0000 - 3.8000]\tSes01F_impro01_M000\tang\t[2.0000, 3.5000, 3.5000]",
    "[2.0000 - 2.5000]\tSes01F_impro01_F001\texc\t[4.0000, 4.0000, 3.0000]",
    "[2.0000 - 2.5000]\tSes01F_impro01_M001\txxx\t[3.0000, 3.0000, 3.0000]",
    "[0.0000 - 8.0000]\tSes01F_impro01_M002\thap\t[4.0000, 3.0000, 3.0000]",
    "[0.0000 - 8.0010]\tSes01F_impro01_M003\tsad\t[2.0000, 2.0000, 2.0000]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("iemocap")
    write_dialog(folder, "Ses01F_impro01", LINES, seconds=4)
    write_dialog(
        folder,
        "Ses05M_script01_1b",
        ["[0.2000 - 0.6000]\tSes05M_script01_1b_F012\tsad\t[2.0000, 2.0000, 2.0000]"],
        seconds=1,
    )
    return folder


@pytest.fixture(scope="module")
def clips(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    cache = tmp_path_factory.mktemp("cache")
    utterances = [u for u in iemocap.read_dialogs(folder).utterances if not u.recording.endswith("M002")]
    return {u.recording: load_clip(u, cache=cache) for u in utterances}


def test_labels_people_and_sessions(folder: Path):
    reading = iemocap.read_dialogs(folder)

    assert [
        (u.recording, u.speaker, u.session, u.emotion, u.perceived_gender) for u in reading.utterances
    ] == [
        ("iemocap/Ses01F_impro01_F000", "iemocap-1F", "iemocap-1", "neutral", "female"),
        ("iemocap/Ses01F_impro01_M000", "iemocap-1M", "iemocap-1", "anger", "male"),
        ("iemocap/Ses01F_impro01_M002", "iemocap-1M", "iemocap-1", "happiness", "male"),
        ("iemocap/Ses05M_script01_1b_F012", "iemocap-5F", "iemocap-5", "sadness", "female"),
    ]
    assert reading.excluded == {
        "emotion exc outside the four": 1,
        "emotion xxx outside the four": 1,
        "longer than 8 s": 1,
    }
    first = reading.utterances[0]
    assert first.has_picture
    assert isinstance(first.part, Excerpt)
    assert (first.part.start_ms, first.part.end_ms) == (1_010, 1_960)


def tone_hz(clip: Clip) -> float:
    heard = clip.samples[clip.samples_valid]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    return spectrum.argmax() * SAMPLE_RATE_HZ / len(heard)


def loudness(clip: Clip, hz: float) -> float:
    heard = clip.samples[clip.samples_valid].astype(float)
    turn = np.exp(-2j * np.pi * hz * np.arange(len(heard)) / SAMPLE_RATE_HZ)
    return abs((heard * turn).mean())


@pytest.mark.parametrize(
    ("name", "colour", "second", "hz", "other_hz"),
    [
        ("Ses01F_impro01_F000", 0, 1, LEFT_HZ, RIGHT_HZ),
        ("Ses01F_impro01_M000", 2, 3, RIGHT_HZ, LEFT_HZ),
        ("Ses05M_script01_1b_F012", 0, 0, LEFT_HZ, RIGHT_HZ),
    ],
)
def test_box_channel_and_time(
    clips: dict[str, Clip], name: str, colour: int, second: int, hz: int, other_hz: int
):
    clip = clips[f"iemocap/{name}"]

    # All of the picture is the speaker's box, in the brightness of that second.
    wanted = np.zeros(3)
    wanted[colour] = level_at(second)
    middle = clip.frames[1:-1, 3:-3, 3:-3]  # next to an edge, the codec smears
    assert clip.frames_valid.all()
    assert np.abs(middle.astype(float) - wanted).max() < 50
    assert np.abs(clip.frames[1:-1].mean(axis=(0, 1, 2)) - wanted).max() < 8
    assert tone_hz(clip) == pytest.approx(hz, abs=5)
    assert loudness(clip, other_hz) < loudness(clip, hz) / 100


def test_sound_begins_where_the_turn_does(clips: dict[str, Clip]):
    clip = clips["iemocap/Ses01F_impro01_F000"]

    # 1,010 ms lies 10 ms behind slot 25; (1,960 - 1,000) / 40 = 24 frames; the wav has 950 ms.
    assert (clip.start_ms, clip.end_ms, len(clip.frames)) == (1_000, 1_960, 24)
    assert np.flatnonzero(clip.samples_valid)[[0, -1]].tolist() == [160, 160 + 15_200 - 1]


def test_a_changed_sound_is_decoded_anew(tmp_path: Path):
    write_dialog(tmp_path, "Ses01F_impro01", LINES[:1], seconds=2)
    (utterance,) = iemocap.read_dialogs(tmp_path).utterances
    before = load_clip(utterance, cache=tmp_path / "cache")
    assert isinstance(utterance.part, Excerpt)
    assert utterance.part.sound is not None
    os.truncate(utterance.part.sound, utterance.part.sound.stat().st_size // 2)

    after = load_clip(utterance, cache=tmp_path / "cache")

    assert after.samples_valid.sum() < before.samples_valid.sum()


def test_lines_that_are_no_turn_in_order_are_counted(tmp_path: Path):
    odd = [
        "[1.9600 - 1.0100]\tSes01F_impro01_F001\tneu\t[2.5000, 2.5000, 2.5000]",
        "[1.0100 - 1.0100]\tSes01F_impro01_F002\tneu\t[2.5000, 2.5000, 2.5000]",
        "[1.0100 - 1.9600]  Ses01F_impro01_F003  neu  [2.5000, 2.5000, 2.5000]",
        "[1.0100 - 1.9600]\tSes01F_impro01_F004",
    ]
    write_dialog(tmp_path, "Ses01F_impro01", LINES[:1], seconds=2)
    with (tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt").open("a") as labels:
        labels.write("\n".join(["", *odd]))

    reading = iemocap.read_dialogs(tmp_path)

    assert [u.recording for u in reading.utterances] == ["iemocap/Ses01F_impro01_F000"]
    assert reading.excluded == {"empty time range": 2, "line of another form": 2}


def test_a_turn_without_its_files_is_counted(tmp_path: Path):
    write_dialog(tmp_path, "Ses02F_impro03", [line.replace("01F_impro01", "02F_impro03") for line in LINES[:2]],
                 seconds=1)  # fmt: skip
    (tmp_path / "Session2/sentences/wav/Ses02F_impro03/Ses02F_impro03_F000.wav").unlink()
    reading = iemocap.read_dialogs(tmp_path)
    assert [u.recording for u in reading.utterances] == ["iemocap/Ses02F_impro03_M000"]
    assert reading.excluded == {"no sound file": 1}

    (tmp_path / "Session2/dialog/avi/DivX/Ses02F_impro03.avi").unlink()
    with pytest.raises(ValueError, match=r"no example of this corpus in .*'no video file': 2"):
        iemocap.read_dialogs(tmp_path)
