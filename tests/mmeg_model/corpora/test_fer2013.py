from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmeg_model.corpora import fer2013
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Utterance


def jpeg(level: int) -> bytes:
    content = BytesIO()
    Image.fromarray(np.full((48, 48), level, np.uint8)).save(content, "JPEG")  # grey, as the publisher's
    return content.getvalue()


def write_parquet(folder: Path, rows: list[tuple[str, str, bytes | None]]) -> Path:
    columns = dict(zip(("name", "emotion", "image_jpeg"), zip(*rows, strict=True), strict=True))
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    table = table.set_column(1, "emotion", table["emotion"].dictionary_encode())
    pq.write_table(table, folder / "train.parquet")
    return folder / "train.parquet"


ROWS = [
    ("Training_1", "anger", jpeg(40)),
    ("Training_2", "surprise", jpeg(80)),
    ("Training_3", "sadness", jpeg(120)),
    ("Training_4", "neutral", b"no picture"),
    ("Training_5", "neutral", None),
]


def test_labels(tmp_path: Path):
    write_parquet(tmp_path, ROWS)

    reading = fer2013.read_pictures(tmp_path)

    assert [(u.recording, u.speaker, u.emotion, u.perceived_gender) for u in reading.utterances] == [
        ("fer2013/Training_1", "fer2013-Training_1", "anger", None),
        ("fer2013/Training_3", "fer2013-Training_3", "sadness", None),
        ("fer2013/Training_4", "fer2013-Training_4", "neutral", None),
        ("fer2013/Training_5", "fer2013-Training_5", "neutral", None),
    ]
    assert reading.excluded == {"emotion surprise outside the four": 1}
    assert all(u.has_picture for u in reading.utterances)


def test_a_picture_is_a_clip_of_one_frame_without_sound(tmp_path: Path):
    write_parquet(tmp_path, ROWS)
    angry, sad, *_ = fer2013.read_pictures(tmp_path).utterances

    for utterance, level in ((sad, 120), (angry, 40)):
        clip = load_clip(utterance, cache=tmp_path / "cache")
        assert (clip.start_ms, clip.end_ms, clip.has_video, clip.has_audio) == (0, 40, True, False)
        assert abs(clip.frames.astype(int) - level).max() <= 2
    assert not (tmp_path / "cache").exists()


def test_the_table_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_parquet(tmp_path, ROWS)
    angry, sad, *_ = fer2013.read_pictures(tmp_path).utterances
    first = load_clip(angry, cache=tmp_path)

    def read_again(*_: object, **__: object) -> None:
        raise AssertionError("the table is read again")

    monkeypatch.setattr(pq, "read_table", read_again)
    load_clip(sad, cache=tmp_path)
    np.testing.assert_array_equal(load_clip(angry, cache=tmp_path).frames, first.frames)


def test_a_changed_table_is_read_anew(tmp_path: Path):
    write_parquet(tmp_path, ROWS)
    (angry, *_) = fer2013.read_pictures(tmp_path).utterances
    dark = load_clip(angry, cache=tmp_path)
    write_parquet(tmp_path, [("Training_1", "anger", jpeg(200)), *ROWS[1:2]])
    assert load_clip(angry, cache=tmp_path).frames.mean() > dark.frames.mean() + 100


@pytest.mark.parametrize("row", [3, 4])
def test_a_broken_picture_is_named(tmp_path: Path, row: int):
    write_parquet(tmp_path, ROWS)
    utterance = fer2013.read_pictures(tmp_path).utterances[row - 1]
    with pytest.raises(ValueError, match=rf"train\.parquet, row {row} cannot be decoded \(decode: "):
        load_clip(utterance, cache=tmp_path)


def test_twenty_thousand_pictures_are_as_many_people(tmp_path: Path):
    write_parquet(tmp_path, [(f"Training_{n}", "anger", b"") for n in range(20_000)])
    assert len({u.speaker for u in fer2013.read_pictures(tmp_path).utterances}) == 20_000


@pytest.fixture
def from_csv(tmp_path: Path) -> tuple[Utterance, ...]:
    dark, bright = (" ".join([str(level)] * 48 * 48) for level in (30, 220))
    lines = [f"0,{dark},Training", f"1,{dark},Training", f"6,{bright},PublicTest", "3,12 13 14,PrivateTest"]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines, ""]))
    reading = fer2013.read_pictures(tmp_path)
    assert reading.excluded == {"emotion 1 outside the four": 1}
    return reading.utterances


def test_the_publishers_own_table(from_csv: tuple[Utterance, ...], tmp_path: Path):
    angry, neutral, happy = from_csv
    assert [(u.speaker, u.emotion) for u in from_csv] == [
        ("fer2013-row-0", "anger"),
        ("fer2013-row-2", "neutral"),
        ("fer2013-row-3", "happiness"),
    ]
    for utterance, level in ((neutral, 220), (angry, 30)):
        assert abs(load_clip(utterance, cache=tmp_path).frames.astype(int) - level).max() <= 1
    with pytest.raises(ValueError, match=r"fer2013\.csv, row 3 cannot be decoded .*no square picture"):
        load_clip(happy, cache=tmp_path)


def test_nothing_there(tmp_path: Path):
    with pytest.raises(ValueError, match=r"neither \*\.parquet nor fer2013\.csv"):
        fer2013.read_pictures(tmp_path)


def test_a_table_of_other_columns(tmp_path: Path):
    pq.write_table(pa.table({"name": ["a"], "image": [b""]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"train\.parquet has no column emotion and no column image_jpeg"):
        fer2013.read_pictures(tmp_path)


def test_what_is_no_parquet(tmp_path: Path):
    (tmp_path / "train.parquet").write_bytes(b"no table" * 10)
    with pytest.raises(ValueError, match=r"train\.parquet is no Parquet file"):
        fer2013.read_pictures(tmp_path)


@pytest.mark.parametrize("line", ["0," + "7 " * 100_000, "0,\xff"])
def test_what_is_no_csv(tmp_path: Path, line: str):
    (tmp_path / "fer2013.csv").write_text(f"emotion,pixels,Usage\n{line},Training\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"fer2013\.csv is no CSV in UTF-8"):
        fer2013.read_pictures(tmp_path)
