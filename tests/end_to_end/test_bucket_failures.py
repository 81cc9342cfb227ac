"""A bucket that fails while tables are written to it: what can help is asked again, all else ends with one reason."""

import re
from pathlib import Path

import pytest
from makers.buckets import BUCKET, Fault, Proxy
from makers.promises import assert_promises
from makers.tables import downloaded
from makers.video import Recipe, make_video

from pipelines.cli import main
from pipelines.tables import TABLES

OUTPUT = f"gs://{BUCKET}/tables"
LOCK = "tables/.mmeg.lock"
FOR_GOOD = 10**6
LISTING, READING = "prefix=tables/videos/", "/o/tables/videos/"
UPLOADS = f"/upload/storage/v1/b/{BUCKET}/o?uploadType="
LOCKING, BEGINNING = f"POST {UPLOADS}multipart", f"POST {UPLOADS}resumable"
SENDING = f"PUT {UPLOADS}resumable&upload_id={BUCKET}:tables/"
REMOVING = f"DELETE /storage/v1/b/{BUCKET}/o/tables/videos/"
pytestmark = [
    pytest.mark.usefixtures("impatient"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # of answers that broke off
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        make_video(folder, Recipe(f"{number}.wav", video=None, audio="pcm_s16le", seconds=1))
    return folder


def annotate(videos: Path) -> int:
    return main(["annotate", str(videos), "--output", OUTPUT, "--slice-videos", "1", "--num-decoders", "1"])


def assert_whole(buckets: Proxy, folder: Path) -> None:
    """Three videos once, and nothing beside them."""
    assert LOCK not in buckets.contents()
    assert_promises(downloaded(buckets, "tables/", folder), num_inputs=3)


@pytest.mark.parametrize("status", [429, 503, 0])
def test_what_fails_for_a_while_is_asked_again(
    buckets: Proxy, videos: Path, tmp_path: Path, status: int
) -> None:
    buckets.faults += [
        Fault(LISTING, status, times=2),
        Fault(LISTING, status, times=2, after=9),
        Fault(LOCKING, status, times=2),
        Fault(f"{LOCK}?alt=media", status),
        Fault(BEGINNING, status, times=2, after=1),
        Fault(SENDING, status, times=2),
        Fault(READING, status, times=2),
        Fault("DELETE", status, times=2),
    ]
    assert annotate(videos) == 0
    assert not [fault for fault in buckets.faults if fault.times]
    assert_whole(buckets, tmp_path / "tables")


@pytest.mark.parametrize("status", [503, 0])
def test_what_was_done_although_the_answer_was_lost_is_done_once(
    buckets: Proxy, videos: Path, tmp_path: Path, status: int
) -> None:
    buckets.faults_behind += [
        Fault(LOCKING, status),
        Fault(SENDING, status, times=2),
        Fault(BEGINNING, status, times=2),
        Fault("DELETE", status),
    ]
    assert annotate(videos) == 0
    assert not [fault for fault in buckets.faults_behind if fault.times]
    assert_whole(buckets, tmp_path / "tables")


@pytest.mark.parametrize(
    ("part", "after", "status"),
    [
        (LISTING, 0, 403),
        (LISTING, 1, 0),
        (LISTING, 2, 403),
        (READING, 0, 404),
        (LOCKING, 0, 503),
        (LOCKING, 1, 403),
    ],
    ids=["looking", "listing", "listing once more", "reading", "locking", "replacing"],
)
def test_before_anything_is_published_it_ends_with_status_2_and_nothing_is_touched(
    buckets: Proxy,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    after: int,
    status: int,
) -> None:
    assert main(["annotate", str(videos), "--output", OUTPUT, "--limit", "1"]) == 0
    before = buckets.contents()
    capsys.readouterr()
    buckets.faults.append(Fault(part, status, FOR_GOOD, after))
    assert annotate(videos) == 2
    assert_one_reason(capsys.readouterr().err)
    buckets.faults.clear()
    assert buckets.contents() == before
    assert annotate(videos) == 0
    assert_whole(buckets, tmp_path / "tables")


@pytest.mark.parametrize(
    ("part", "after", "status"),
    [
        (LISTING, 10, 0),
        (READING, 1, 403),
        (READING, 1, 404),
        (BEGINNING, 5, 503),
        (BEGINNING, 7, 404),
        (f"{SENDING}annotations/", 1, 403),
        (f"{SENDING}errors/", 1, 404),
        (f"{SENDING}videos/", 1, 0),
    ],
)
def test_in_mid_run_what_was_published_stands_and_the_next_run_goes_on(
    buckets: Proxy,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    after: int,
    status: int,
) -> None:
    buckets.faults.append(Fault(part, status, FOR_GOOD, after))
    assert annotate(videos) == 3
    assert_one_reason(capsys.readouterr().err)
    buckets.faults.clear()
    published = buckets.contents()
    assert LOCK not in published
    stems = [name.removeprefix("tables/videos/") for name in published if name.startswith("tables/videos/")]
    assert stems
    assert all(f"tables/{table}/{stem}" in published for table in TABLES for stem in stems)
    assert annotate(videos) == 0
    assert_whole(buckets, tmp_path / "tables")
    now = buckets.contents()
    assert all(
        now[f"tables/{table}/{stem}"] == published[f"tables/{table}/{stem}"]
        for table in TABLES
        for stem in stems
    )


@pytest.mark.parametrize(
    ("part", "after", "status"),
    [(READING, 3, 404), (f"{SENDING}videos/", 0, 403), (REMOVING, 1, 503), (BEGINNING, 1, 0)],
    ids=["reading", "sending videos", "removing what is merged", "beginning"],
)
def test_compact_goes_on_where_it_ended_early(
    buckets: Proxy,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    after: int,
    status: int,
) -> None:
    assert annotate(videos) == 0
    capsys.readouterr()
    buckets.faults.append(Fault(part, status, FOR_GOOD, after))
    assert main(["compact", OUTPUT]) == 3
    assert_one_reason(capsys.readouterr().err)
    buckets.faults.clear()
    assert main(["compact", OUTPUT]) == 0
    assert_whole(buckets, tmp_path / "tables")
    assert len(buckets.contents("tables/videos/")) == 1


def assert_one_reason(error: str) -> None:
    assert "Traceback" not in error, error
    (reason,) = [line for line in error.splitlines() if OUTPUT in line]
    assert re.search(r"could not be \w+|may not be \w+", reason), error
