from pathlib import Path

from mmeg_model.corpora import emodb


def test_labels_by_name(tmp_path: Path):
    (tmp_path / "wav").mkdir()
    for name in [
        "03a01Fa",
        "08b10Wd",
        "16a02Nc",
        "13b02Ta",
        "03a01La",
        "03a01Ea",
        "03a01Aa",
        "99a01Fa",
        "readme",
    ]:
        (tmp_path / "wav" / f"{name}.wav").touch()

    reading = emodb.read_sounds(tmp_path)

    assert [(u.recording, u.speaker, u.emotion, u.perceived_gender) for u in reading.utterances] == [
        ("emodb/03a01Fa", "emodb-03", "happiness", "male"),
        ("emodb/08b10Wd", "emodb-08", "anger", "female"),
        ("emodb/13b02Ta", "emodb-13", "sadness", "female"),
        ("emodb/16a02Nc", "emodb-16", "neutral", "female"),
        ("emodb/99a01Fa", "emodb-99", "happiness", None),  # no speaker of the publisher's list
    ]
    assert reading.excluded == {
        "emotion L outside the four": 1,
        "emotion E outside the four": 1,
        "emotion A outside the four": 1,
        "name not of this corpus": 1,
    }
