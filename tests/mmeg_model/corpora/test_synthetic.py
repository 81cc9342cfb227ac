import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import pytest

from mmeg_model.corpora.synthetic import read_manifest, write_corpus


def test_what_is_written_is_read_back(tmp_path: Path):
    paths = write_corpus(tmp_path, num_videos=16, seconds=0.4)

    utterances = read_manifest(tmp_path).utterances

    assert [u.path for u in utterances] == paths
    assert Counter((u.emotion, u.perceived_gender) for u in utterances) == {
        (emotion, gender): 2
        for emotion in ("neutral", "anger", "happiness", "sadness")
        for gender in ("female", "male")
    }
    assert len({u.speaker for u in utterances}) == 4
    assert all(
        len({u.perceived_gender for u in utterances if u.speaker == s.speaker}) == 1 for s in utterances
    )


def test_files_are_real_videos(tmp_path: Path):
    (path,) = write_corpus(tmp_path, num_videos=1, seconds=1.2)

    with av.open(path) as container:
        assert [(stream.type, stream.codec_context.name) for stream in container.streams] == [
            ("video", "h264"),
            ("audio", "aac"),
        ]
        assert sum(1 for _ in container.decode(video=0)) == 30
    with av.open(path) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0))
        assert abs(heard - 1.2 * 44_100) < 2 * 1024  # AAC's packets have 1,024 samples


def test_same_seed_same_bytes(tmp_path: Path):
    for folder in ("a", "b"):
        write_corpus(tmp_path / folder, num_videos=2, seconds=0.4, seed=3)
    write_corpus(tmp_path / "c", num_videos=2, seconds=0.4, seed=4)

    a, b, c = ([p.read_bytes() for p in sorted((tmp_path / folder).iterdir())] for folder in "abc")
    assert a == b
    assert a[:2] != c[:2]


@pytest.mark.parametrize(("num_videos", "seconds"), [(0, 1.0), (1, 0.01)])
def test_nothing_to_write(tmp_path: Path, num_videos: int, seconds: float):
    with pytest.raises(ValueError, match="must be at least 1"):
        write_corpus(tmp_path, num_videos=num_videos, seconds=seconds)


def test_imports_no_torch():
    code = "import sys, mmeg_model.corpora.synthetic; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
