import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from mmeg_model.media.source import ParquetRow, VideoRef
from pipelines.spread import MOST_WORKERS_PER_PACK, Spread, spread_key


def row_of(row_group: int, row_in_group: int) -> VideoRef:
    return VideoRef("/s.parquet", member="m", parquet_row=ParquetRow(row_group, row_in_group, "video"))


def compressed(member: str) -> VideoRef:
    return VideoRef("/s.tar.gz", member=member, num_bytes=5, is_compressed=True)


def test_ranges_go_anywhere_and_each_time_to_the_same_place() -> None:
    video = VideoRef("/s.tar", member="a.mp4", start_byte=512, num_bytes=5)
    keys = [spread_key(video, first_clip) for first_clip in range(100)]
    assert len(set(keys)) > 90
    assert len({spread_key(VideoRef(f"/{i}.mp4", "1")) for i in range(100)}) > 90
    assert keys == [spread_key(video, first_clip) for first_clip in range(100)]


def test_a_pack_goes_to_few_workers_and_its_first_rows_to_different_ones() -> None:
    keys = [spread_key(row_of(0, row)) for row in range(1_000)]
    assert len(set(keys)) == MOST_WORKERS_PER_PACK
    assert len(set(keys[:MOST_WORKERS_PER_PACK])) == MOST_WORKERS_PER_PACK
    assert len({spread_key(compressed(f"{i}.mp4")) for i in range(1_000)}) == MOST_WORKERS_PER_PACK


def test_row_groups_are_packs_of_their_own() -> None:
    of_groups = [{spread_key(row_of(group, row)) for row in range(100)} for group in (0, 1)]
    assert not of_groups[0] & of_groups[1]


def test_a_long_video_in_a_pack_goes_to_several_workers() -> None:
    first_clips = range(0, 1_000, 10)  # spans of ten clips
    assert len({spread_key(row_of(0, 0), first_clip) for first_clip in first_clips}) > 4


def test_elements_stay_what_they_are() -> None:
    videos = [row_of(0, row) for row in range(20)] + [VideoRef(f"/{i}.mp4") for i in range(20)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        assert_that(pipeline | beam.Create(videos) | Spread(spread_key), equal_to(videos))
