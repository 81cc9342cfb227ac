from pathlib import Path

import pytest
from makers.video import Recipe, make_video

from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.windows import fixed_windows
from pipelines.find_videos import find_videos
from pipelines.progress import RunProgress, ShardProgress, shown


@pytest.fixture
def decoders():
    with Decoders(
        num_decoders=1, limits=DecoderLimits(deadline_seconds=60, memory_bytes=512 << 20)
    ) as decoders:
        yield decoders


def test_the_bar_moves_while_one_long_video_is_being_decoded(tmp_path: Path, decoders: Decoders) -> None:
    (found,) = find_videos([str(make_video(tmp_path, Recipe("v.mp4", seconds=30)))])
    assert found.video
    progress = RunProgress(decoders, num_bytes=found.num_bytes, num_videos=1)
    progress.start_slice([found])
    info = decoders.probe(found.video)
    fractions = [progress.fraction]
    for _ in decoders.decode(found.video, info, fixed_windows(info.duration_ms)):
        fractions.append(progress.fraction)
    assert fractions == [pytest.approx(i / 5, abs=0.02) for i in range(6)]
    progress.end_slice([found])
    assert progress.fraction == 1.0
    assert progress.text == "1 of 1 videos published, 0.5 min decoded"


def test_slices_count_by_their_bytes(tmp_path: Path, decoders: Decoders) -> None:
    for name, size in (("a.mp4", 30), ("b.mp4", 10)):
        (tmp_path / name).write_bytes(b"x" * size)
    a, b = find_videos([str(tmp_path)])
    progress = RunProgress(decoders, num_bytes=40, num_videos=2)
    progress.start_slice([a])
    progress.end_slice([a])
    progress.start_slice([b])
    assert progress.fraction == 0.75
    assert progress.text == "1 of 2 videos published, 0.0 min decoded"


def test_a_shard_counts_when_it_is_there(tmp_path: Path, decoders: Decoders) -> None:
    files = [tmp_path / "a.arrow", tmp_path / "b.arrow"]
    progress = ShardProgress(decoders, files)
    assert (progress.fraction, progress.text) == (0.0, "0 of 2 shards written, 0.0 min decoded")
    files[1].touch()
    assert (progress.fraction, progress.text) == (0.5, "1 of 2 shards written, 0.0 min decoded")


def test_where_there_is_no_terminal_nothing_is_drawn(decoders: Decoders, capsys) -> None:
    with shown(RunProgress(decoders, num_bytes=1, num_videos=1)):
        pass
    assert capsys.readouterr().err == ""
