from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from makers.video import Recipe, make_video

from mmeg_model.corpora import corpus_named, read_corpora
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.synthetic import write_corpus
from mmeg_model.corpora.utterance import Excerpt
from mmeg_model.splits import LeakError, leave_speakers_out

HEADER = "path,speaker,emotion,perceived_gender"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "day 1").mkdir(parents=True)
    for name in ("a.mp4", "day 1/b.wav"):
        (tmp_path / "mine" / name).touch()
    return tmp_path / "mine"


def write(folder: Path, *lines: str, header: str = HEADER) -> None:
    (folder / "manifest.csv").write_text("\n".join([header, *lines, ""]), encoding="utf-8-sig")


def test_all_columns(folder: Path):
    write(
        folder,
        "a.mp4,ann,anger,female,take 7,monday,0.52,2",
        "a.mp4,ann,,,,,2.000,",
        "day 1/b.wav,bob,neutral,male,,,,",
        header=f"{HEADER},recording,session,start_seconds,end_seconds",
    )

    first, second, third = read_corpora(folder.parent, ["mine"]).utterances

    assert (first.corpus, first.recording, first.speaker, first.session) == (
        "mine",
        "take 7",
        "ann",
        "monday",
    )
    assert first.labels == {"emotion": "anger", "gender": "female"}
    assert (first.path, first.part) == (folder / "a.mp4", Excerpt(520, 2_000))
    assert second.labels == {"emotion": None, "gender": None}
    assert (second.recording, second.session, second.part) == ("mine/a.mp4", None, Excerpt(2_000, None))
    assert (third.path, third.part, third.has_picture) == (folder / "day 1" / "b.wav", None, False)


def test_parquet_as_csv(folder: Path):
    write(folder, "a.mp4,ann,anger,female,1.5", "a.mp4,ann,joy,female,", header=f"{HEADER},end_seconds")
    from_csv = read_corpora(folder.parent, ["mine"])
    (folder / "manifest.csv").unlink()
    columns = {
        "path": ["a.mp4", "a.mp4"],
        "speaker": ["ann", "ann"],
        "emotion": ["anger", "joy"],
        "perceived_gender": ["female", "female"],
        "end_seconds": [1.5, None],
    }
    pq.write_table(pa.table(columns), folder / "manifest.parquet")

    assert read_corpora(folder.parent, ["mine"]) == from_csv


def test_labels_outside_the_vocabularies_are_counted(folder: Path):
    write(folder, "a.mp4,ann,joy,female", "a.mp4,ann,anger,robot", "a.mp4,ann,sadness,", "a.mp4,ann,joy,")
    reading = read_corpora(folder.parent, ["mine"])
    assert [u.emotion for u in reading.utterances] == ["sadness"]
    assert reading.excluded == {
        "mine: emotion joy outside the four": 2,
        "mine: perceived gender robot outside the two": 1,
    }


TIMES = f"{HEADER},start_seconds,end_seconds"


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        (
            HEADER.replace("speaker", "Speaker"),
            "a.mp4,ann,anger,female",
            "line 1: unknown column 'Speaker': did",
        ),
        (f"{HEADER},note", "a.mp4,ann,anger,female,x", "line 1: unknown column 'note'"),
        ("path,emotion", "a.mp4,anger", "line 1: there is no column speaker and no column perceived_gender"),
        (HEADER, "c.mp4,ann,anger,female", r"line 2: there is no file .*c\.mp4"),
        (HEADER, "day 1,ann,anger,female", r"line 2: there is no file .*day 1"),
        (HEADER, ",ann,anger,female", "line 2: path is empty"),
        (HEADER, "a.mp4,,anger,female", "line 2: speaker is empty"),
        (HEADER, "a.mp4,ann,anger", "line 2: there must be as many cells as columns"),
        (HEADER, "a.mp4,ann,anger,female,x", "line 2: there must be as many cells as columns"),
        (f"{HEADER},speaker", "a.mp4,ann,anger,female,bob", "line 1: there are 2 columns speaker: keep one"),
        (TIMES, "a.mp4,ann,anger,female,soon,2", "line 2: start_seconds 'soon' is no number of seconds"),
        (TIMES, "a.mp4,ann,anger,female,nan,2", "line 2: start_seconds 'nan' is no number of seconds"),
        (TIMES, "a.mp4,ann,anger,female,0,inf", "line 2: end_seconds 'inf' is no number of seconds"),
        (TIMES, "a.mp4,ann,anger,female,2,2", "line 2: the time range must not be empty"),
        (TIMES, "a.mp4,ann,anger,female,-1,2", "line 2: the time range must not be empty, and begin at 0"),
    ],
)
def test_what_does_not_fit_is_named_by_file_and_line(folder: Path, header: str, line: str, message: str):
    write(folder, line, header=header)
    with pytest.raises(ValueError, match=rf"manifest\.csv, {message}"):
        read_corpora(folder.parent, ["mine"])


def test_a_file_is_one_recording_however_its_path_is_spelt(folder: Path):
    write(folder, "a.mp4,ann,anger,female", "./a.mp4,bob,anger,male", "day 1/../a.mp4,cy,anger,male",
          f"{folder}/a.mp4,dee,anger,female")  # fmt: skip
    (folder.parent / "more").mkdir()
    write(folder.parent / "more", "../mine/a.mp4,eve,anger,female")

    utterances = read_corpora(folder.parent, ["mine", "more"]).utterances

    assert {u.recording for u in utterances} == {"mine/a.mp4"}
    with pytest.raises(LeakError, match=r"1 recordings are in training and in test: mine/a\.mp4"):
        leave_speakers_out(utterances, {"eve"})


def test_nothing_counts(folder: Path):
    write(folder, "a.mp4,ann,joy,female")
    with pytest.raises(
        ValueError, match=r"no example in .*manifest\.csv: left out were .*joy outside the four"
    ):
        read_corpora(folder.parent, ["mine"])


def test_an_empty_file(folder: Path):
    (folder / "manifest.csv").touch()
    with pytest.raises(ValueError, match=r"manifest\.csv, line 1: there is no column path"):
        read_corpora(folder.parent, ["mine"])


def test_what_is_no_table(folder: Path):
    (folder / "manifest.csv").write_bytes(b"\xff\xfe\0p")
    with pytest.raises(ValueError, match=r"manifest\.csv is no CSV in UTF-8"):
        read_corpora(folder.parent, ["mine"])
    (folder / "manifest.csv").rename(folder / "manifest.parquet")
    with pytest.raises(ValueError, match=r"manifest\.parquet is no Parquet file"):
        read_corpora(folder.parent, ["mine"])


def test_two_manifests(folder: Path):
    write(folder, "a.mp4,ann,anger,female")
    (folder / "manifest.parquet").touch()
    with pytest.raises(ValueError, match=r"has both manifest\.csv and manifest\.parquet: keep one"):
        read_corpora(folder.parent, ["mine"])


def test_an_unknown_name_is_held_against_own_corpora_too(folder: Path):
    write(folder, "a.mp4,ann,anger,female")
    with pytest.raises(
        ValueError, match=r"unknown corpus 'mime': did you mean 'mine'.*needs a manifest\.csv"
    ):
        read_corpora(folder.parent, ["mime"])


def test_what_a_card_can_say_of_it():
    assert (corpus_named("mine").title, corpus_named("mine").terms) == ("mine", "not stated")
    assert corpus_named("emodb-speech").language == "German"


def test_where_there_is_neither_picture_nor_sound(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    make_video(tmp_path / "mine", Recipe("gap.mkv", video=None, seconds=2.0, sound_gap=(0.5, 1.5)))
    write(tmp_path / "mine", "gap.mkv,a,anger,female,0.8,1.2", header=TIMES)
    (utterance,) = read_corpora(tmp_path, ["mine"]).utterances
    with pytest.raises(
        ValueError, match=r"gap\.mkv, 0\.800 s to 1\.200 s cannot be decoded .*neither picture nor"
    ):
        load_clip(utterance, cache=tmp_path)


def test_a_time_range_is_decoded_alone(tmp_path: Path):
    (path,) = write_corpus(tmp_path / "mine", num_videos=1, seconds=1.2)
    write(tmp_path / "mine", f"{path.name},a,anger,female,0,", f"{path.name},a,anger,female,0.5,0.9",
          f"{path.name},a,anger,female,7,", f"{path.name},a,anger,female,0,2.3", header=TIMES)  # fmt: skip
    whole, part, behind, too_long = read_corpora(tmp_path, ["mine"]).utterances

    all_of_it = load_clip(whole, cache=tmp_path / "cache")
    clip = load_clip(part, cache=tmp_path / "cache")

    # [500, 900) begins in slot 12, at 480 ms, and has ceil(420 / 40) = 11 frames.
    assert (clip.start_ms, clip.end_ms, len(clip.frames)) == (480, 900, 11)
    assert (clip.frames == all_of_it.frames[12:23]).all()
    again = load_clip(part, cache=tmp_path / "cache")
    assert (again.frames == clip.frames).all()
    for utterance, wanted in ((behind, r"7\.000 s to its end"), (too_long, r"0\.000 s to 2\.300 s")):
        with pytest.raises(
            ValueError, match=rf"cannot be decoded .*OutsideFile: {wanted} is wanted of 1\.\d* s"
        ):
            load_clip(utterance, cache=tmp_path / "cache")
