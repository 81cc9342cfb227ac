import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers.iemocap import write_dialog
from makers.video import Recipe, make_video
from PIL import Image

import pipelines.prepare
from mmeg_model.corpora import read_corpora
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.splits import LeakError, Split
from pipelines.cli import main
from pipelines.prepare import plan_shards

HEADER = "path,speaker,emotion,perceived_gender,recording,start_seconds,end_seconds"
NAMES = ("mine", "iemocap", "fer2013-faces")
ROWS = [
    "whole.mp4,ann,anger,female,,,",
    "whole.mp4,bob,neutral,male,part,0.5,1.1",
    "whole.mp4,bob,neutral,male,other part,0.1,1.5",
    "broken.mp4,cat,sadness,,,,",
    "sound.wav,dan,happiness,male,,,",
    "sound.wav,dan,joy,male,,,",
    "whole.mp4,eva,sadness,female,behind,9,",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One's own corpus, with a broken file and a time behind the end, a dialog of IEMOCAP's form, and pictures."""
    data = tmp_path_factory.mktemp("data")
    (data / "mine").mkdir()
    make_video(data / "mine", Recipe("whole.mp4", seconds=1.6, layout="stereo"))
    make_video(data / "mine", Recipe("sound.wav", video=None, audio="pcm_s16le", seconds=1.0))
    (data / "mine" / "broken.mp4").write_bytes(b"no video at all" * 100)
    (data / "mine" / "manifest.csv").write_text("\n".join([HEADER, *ROWS, ""]))
    content = BytesIO()
    Image.fromarray(np.arange(48 * 48, dtype=np.uint16).reshape(48, 48).astype(np.uint8)).save(
        content, "JPEG"
    )
    pictures = {
        "name": ["Training_1", "Training_2", "Training_3"],
        "emotion": ["fear", "anger", "neutral"],
        "image_jpeg": [content.getvalue(), content.getvalue(), b"no picture"],
    }
    (data / "fer2013-faces").mkdir()
    pq.write_table(pa.table(pictures), data / "fer2013-faces" / "train.parquet")
    write_dialog(
        data / "iemocap",
        "Ses03F_impro01",
        [
            "[0.2000 - 0.9000]\tSes03F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]",
            "[0.5000 - 1.3000]\tSes03F_impro01_M000\tang\t[2.5000, 2.5000, 2.5000]",
            "[0.5000 - 1.3000]\tSes03F_impro01_M001\tfru\t[2.5000, 2.5000, 2.5000]",
        ],
        seconds=2,
    )
    return data


def prepare(data: Path, output: Path, *names: str) -> int:
    return main(
        [
            "prepare",
            *names,
            "--data",
            str(data),
            "--output",
            str(output),
            "--shard-mib",
            "1",
            "--num-decoders",
            "2",
        ]
    )


@pytest.fixture(scope="module")
def prepared(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("prepared")
    assert prepare(made, output, *NAMES) == 1
    return output


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.iterdir() if p.name[0] != "."}


def test_clips_from_shards_equal_clips_from_files(made: Path, prepared: Path, tmp_path: Path):
    of_files = {u.recording: u for u in read_corpora(made, NAMES).utterances}
    of_shards = read_corpora(prepared, NAMES).utterances

    assert [u.recording for u in of_shards] == [
        "mine/whole.mp4",
        "part",
        "other part",
        "mine/sound.wav",
        "iemocap/Ses03F_impro01_F000",
        "iemocap/Ses03F_impro01_M000",
        "fer2013/Training_2",
    ]
    for u in of_shards:
        same: Utterance = of_files[u.recording]
        assert (u.speaker, u.session, u.labels, u.corpus) == (
            same.speaker,
            same.session,
            same.labels,
            same.corpus,
        )
        assert u.has_picture is same.has_picture
        clip, expected = (load_clip(x, cache=tmp_path) for x in (u, same))
        assert vars(clip).keys() == vars(expected).keys()
        for name, value in vars(expected).items():
            np.testing.assert_array_equal(vars(clip)[name], value)


def test_what_is_left_out_is_counted_alike(made: Path, prepared: Path):
    assert read_corpora(made, NAMES).excluded == {
        "mine: emotion joy outside the four": 1,
        "iemocap: emotion fru outside the four": 1,
        "fer2013-faces: emotion fear outside the four": 1,
    }
    assert read_corpora(prepared, NAMES).excluded == {
        "mine: emotion joy outside the four": 1,
        "mine: not decoded": 2,
        "iemocap: emotion fru outside the four": 1,
        "fer2013-faces: emotion fear outside the four": 1,
        "fer2013-faces: not decoded": 1,
    }


def test_a_person_in_a_shard_and_in_a_file_is_refused(made: Path, prepared: Path):
    with pytest.raises(LeakError, match="2 speakers are in training and in test: iemocap-3F, iemocap-3M"):
        Split(
            train=read_corpora(made, ["iemocap"]).utterances,
            test=read_corpora(prepared, ["iemocap"]).utterances,
        )


def test_a_second_run_writes_nothing_and_names_what_fails(
    made: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
):
    before = files(prepared / "mine")
    assert len(before) > 3  # the plan, and shards of 1 MiB: the whole clip alone has 1.1 MB

    assert prepare(made, prepared, "mine") == 1

    assert files(prepared / "mine") == before
    shown = capsys.readouterr()
    assert "mine: 6 utterances; left out: {'emotion joy outside the four': 1}" in shown.err
    assert f"not decoded: {made / 'mine' / 'broken.mp4'}: open: " in shown.err
    assert "whole.mp4, 9.000 s to end: decode: OutsideFile: 9.000 s to its end is wanted of 1.6" in shown.err
    assert shown.err.count("not decoded: ") == 2
    assert shown.out.startswith("mine: 4 of 6 utterances in ")


def test_an_interrupted_run_goes_on(made: Path, prepared: Path, tmp_path: Path):
    shutil.copytree(prepared / "mine", tmp_path / "mine")
    before = files(tmp_path / "mine")
    (lost, *_) = sorted(name for name in before if name.startswith("shard-00001"))
    (tmp_path / "mine" / lost).unlink()
    (tmp_path / "mine" / ".half.tmp").write_bytes(b"half a shard")

    assert prepare(made, tmp_path, "mine") == 1

    after = files(tmp_path / "mine")
    assert {name for name in before if before[name] != after[name]} == {lost}
    assert not (tmp_path / "mine" / ".half.tmp").exists()
    assert (tmp_path / "mine" / lost).read_bytes() == (prepared / "mine" / lost).read_bytes()


def test_each_file_counts_once(made: Path, prepared: Path):
    """What training prints: examples and what was left out are all rows of the manifest, before and after."""
    for data in (made, prepared):
        reading = read_corpora(data, ["mine"])
        assert len(reading.utterances) + sum(reading.excluded.values()) == len(ROWS)


def test_shards_of_something_else_are_left_alone(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data, output = tmp_path / "data", tmp_path / "prepared"
    (data / "mine").mkdir(parents=True)
    shutil.copy(made / "mine" / "sound.wav", data / "mine" / "sound.wav")
    manifest = data / "mine" / "manifest.csv"
    labels = f"{HEADER}\nsound.wav,dan,happiness,male,,,\nsound.wav,dan,joy,male,,,\n"
    manifest.write_text(labels)
    assert prepare(data, output, "mine") == 0
    before = files(output / "mine")

    for changed in (
        labels.replace("happiness", "anger"),
        labels.replace("joy", "fear"),
        labels.replace(",male,,,", ",male,,0.2,"),
    ):
        manifest.write_text(changed)
        assert prepare(data, output, "mine") == 2
    manifest.write_text(labels)
    os.utime(data / "mine" / "sound.wav", ns=(0, 0))
    assert prepare(data, output, "mine") == 2

    assert files(output / "mine") == before
    assert capsys.readouterr().err.count("holds shards of other recordings") == 4
    (output / "mine" / "plan.json").write_text("{")
    assert prepare(data, output, "mine") == 2
    assert "plan.json is damaged" in capsys.readouterr().err


def test_what_cannot_start_touches_nothing(
    made: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "mine").symlink_to(made / "mine")
    for data, output, name, message in (
        (made, tmp_path / "out", "mime", "mmeg prepare: unknown corpus 'mime': did you mean 'mine'"),
        (made, made, "mine", f"{made / 'mine'} is {made / 'mine'}: shards and"),
        (made, tmp_path / "linked", "mine", "shards and a corpus' own files may not lie in one folder"),
        (prepared, tmp_path / "out", "mine", f"{prepared / 'mine'} holds shards: it is prepared already"),
    ):
        assert prepare(data, output, name) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not list((made / "mine").glob("*.arrow"))


def test_a_full_disk_ends_the_run_early(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipelines.prepare, "write_shard", full)
    assert prepare(made, tmp_path, "iemocap") == 3
    shown = capsys.readouterr().err
    assert "mmeg prepare ended early: " in shown
    assert "No space left on device" in shown
    assert "Traceback" not in shown

    monkeypatch.undo()
    assert prepare(made, tmp_path, "iemocap") == 0
    assert len(read_corpora(tmp_path, ["iemocap"]).utterances) == 2


@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_plan_is_in_order_and_within_the_size(sizes: list[int], shard_bytes: int):
    counts = plan_shards(sizes, shard_bytes=shard_bytes)

    assert sum(counts) == len(sizes)
    assert all(counts)
    first = 0
    for number, count in enumerate(counts):
        of_shard = sizes[first : first + count]
        first += count
        assert count == 1 or sum(of_shard) <= shard_bytes
        if number + 1 < len(counts):  # the next one did not fit in
            assert sum(of_shard) + sizes[first] > shard_bytes
