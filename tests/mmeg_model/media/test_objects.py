"""Objects of the emulator behind a server that fails as Cloud Storage does."""

import gc
import json
import threading

import pytest
from google.cloud.storage.retry import DEFAULT_RETRY
from makers.buckets import BUCKET, LOCAL_BUCKET, Fault, quoted

from mmeg_model.media import objects
from mmeg_model.media.errors import MediaError
from mmeg_model.media.objects import FoundObject, NoCredentialsError, list_objects, look_up, reader_of

CONTENT = bytes(range(256)) * 8_000  # 2 MB
URI = f"gs://{BUCKET}/a/video.mp4"


@pytest.fixture
def video(buckets):
    buckets.upload("a/video.mp4", CONTENT)
    return buckets


@pytest.fixture
def quick_retries(monkeypatch):
    """No pauses between tries. The library leaves the connection of a bad answer to the garbage collector."""
    monkeypatch.setattr(
        "google.cloud.storage.retry.DEFAULT_RETRY", DEFAULT_RETRY.with_delay(initial=0.001, maximum=0.001)
    )
    yield
    gc.collect()


leaves_connections = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def test_an_object_is_looked_up_with_its_generation_and_size(video):
    found = look_up(URI, stage="find")
    assert (found.uri, found.num_bytes) == (URI, len(CONTENT))
    assert int(found.generation) > 0
    video.upload("a/video.mp4", b"another")
    assert look_up(URI, stage="find").generation != found.generation


def test_ranges_are_read_and_nothing_else(video):
    reader = reader_of(look_up(URI, stage="open"))
    video.num_bytes_sent = 0
    assert reader.read_at(1_000_003, 5) == CONTENT[1_000_003:1_000_008]
    assert video.num_bytes_sent == 1 << 18
    assert reader.read_at(len(CONTENT) - 9, 9) == CONTENT[-9:]


@pytest.mark.parametrize("name", ["ä b/?#[1]*%41.mp4", "a//b.mp4", "new\nline.mp4"])
def test_odd_names_are_names(buckets, name):
    buckets.upload(name, b"content")
    uri = f"gs://{BUCKET}/{name}"
    found = look_up(uri, stage="find")
    assert reader_of(found).read_at(0, 7) == b"content"
    assert [item.uri for item in list_objects(f"gs://{BUCKET}/", stage="find")] == [uri]


def test_listings_come_page_by_page_as_they_are_asked_for(buckets):
    names = [f"v/{i:02}.mp4" for i in range(10)]
    for name in names:
        buckets.upload(name, b"x")
    buckets.upload("w.mp4", b"x")
    buckets.page_size = 4
    listing = list_objects(f"gs://{BUCKET}/v/", stage="find")
    assert next(listing).uri == f"gs://{BUCKET}/v/00.mp4"
    assert buckets.num_requests(f"/b/{BUCKET}/o?") == 1
    assert [found.uri for found in listing] == [f"gs://{BUCKET}/{name}" for name in names[1:]]
    assert buckets.num_requests(f"/b/{BUCKET}/o?") == 3


@leaves_connections
@pytest.mark.parametrize("fault", [408, 429, 500, 503, 0])
def test_what_may_pass_is_tried_again(video, quick_retries, fault):
    reader = reader_of(look_up(URI, stage="open"))
    video.faults.append(Fault("alt=media", fault, times=2))
    assert reader.read_at(100, 300_000) == CONTENT[100:300_100]
    assert video.num_requests("alt=media") == 3


@leaves_connections
def test_a_read_that_broke_off_goes_on_where_it_did(video, quick_retries):
    reader = reader_of(look_up(URI, stage="open"))
    video.num_bytes_sent = 0
    video.faults.append(Fault("alt=media"))
    assert reader.read_at(0, 1 << 18) == CONTENT[: 1 << 18]
    assert video.num_bytes_sent == 1 << 18


@leaves_connections
def test_what_does_not_pass_is_one_sentence(video, quick_retries):
    reader = reader_of(look_up(URI, stage="open"), patience_seconds=0.1)
    video.faults.append(Fault("alt=media", 503, times=10**9))
    with pytest.raises(
        MediaError, match=r"^open: ServiceUnavailable: gs://.* however often it was tried: .*503"
    ):
        reader.read_at(0, 10)
    assert video.num_requests("alt=media") > 1


def test_listings_and_lookups_are_tried_again_too(video, quick_retries):
    video.faults += [Fault(f"/b/{BUCKET}/o?", 503, times=2), Fault(f"/b/{BUCKET}/o/", 429, times=2)]
    assert [found.uri for found in list_objects(f"gs://{BUCKET}/", stage="find")] == [URI]
    assert look_up(URI, stage="open").num_bytes == len(CONTENT)


@leaves_connections
def test_who_is_not_allowed_is_told_the_role_and_at_once(video, quick_retries):
    found = look_up(URI, stage="open")
    video.faults.append(Fault("/b/", 403, times=10**9))
    for attempt in (
        lambda: reader_of(found).read_at(0, 1),
        lambda: look_up(URI, stage="open"),
        lambda: list(list_objects(f"gs://{BUCKET}/", stage="open")),
    ):
        with pytest.raises(
            MediaError, match=r"open: Forbidden: gs://.* needs the role Storage Object Viewer"
        ):
            attempt()
    assert len(video.paths) == 4


def test_what_is_not_there_is_not_found(buckets):
    with pytest.raises(
        MediaError, match=rf"find: NotFound: gs://{BUCKET}/no.mp4 does not exist: .*No such object"
    ):
        look_up(f"gs://{BUCKET}/no.mp4", stage="find")
    with pytest.raises(MediaError, match="find: NotFound: gs://no-such-bucket/v/ does not exist"):
        list(list_objects("gs://no-such-bucket/v/", stage="find"))
    with pytest.raises(MediaError, match="find: ValueError: gs://-/v: `-` is no name of a bucket"):
        look_up("gs://-/v", stage="find")


def test_a_generation_that_was_overwritten_is_never_mixed_with_another(video):
    found = look_up(URI, stage="open")
    reader = reader_of(found)
    assert reader.read_at(0, 10) == CONTENT[:10]
    video.upload("a/video.mp4", CONTENT[::-1])
    now = look_up(URI, stage="open").generation
    with pytest.raises(MediaError) as error:
        reader.read_at(1_000_000, 10)
    assert error.value.args == (
        "open",
        "VersionChanged",
        f"{URI} is now {now}, it was {found.generation} when it was found",
    )


def test_an_object_that_was_deleted_meanwhile_is_not_found(video):
    reader = reader_of(look_up(URI, stage="open"))
    video.delete("a/video.mp4")
    with pytest.raises(MediaError, match=f"open: NotFound: {URI} does not exist"):
        reader.read_at(0, 10)


def test_without_credentials_one_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    monkeypatch.setattr(objects, "_client", None)
    with pytest.raises(
        NoCredentialsError, match=r"gs://bucket/v .*nowhere\.json.* `gcloud auth application-default login`"
    ):
        look_up("gs://bucket/v", stage="find")
    with pytest.raises(MediaError, match=r"open: NoCredentials: gs://bucket/v .*nowhere"):
        look_up("gs://bucket/v", stage="open")


def test_credentials_need_not_name_a_project(monkeypatch, tmp_path):
    values = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    (tmp_path / "credentials.json").write_text(json.dumps(values))
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.setenv("PATH", "")  # no gcloud that names one
    monkeypatch.setattr(objects, "_client", None)
    assert objects.shared_client()._credentials.refresh_token == "c"


def test_all_threads_share_one_client(video):
    clients = []
    barrier = threading.Barrier(8)

    def get():
        barrier.wait()
        look_up(URI, stage="find")
        clients.append(objects.shared_client())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 8
    assert len(set(map(id, clients))) == 1


def test_local_objects_of_the_tests_are_files(buckets):
    (buckets.folder / "far.bin").write_bytes(CONTENT)
    found = look_up(f"gs://{LOCAL_BUCKET}/far.bin", stage="find")
    assert found == FoundObject(f"gs://{LOCAL_BUCKET}/far.bin", "1", len(CONTENT))
    assert reader_of(found).read_at(5, 5) == CONTENT[5:10]
    assert buckets.num_requests(quoted("far.bin")) == 2
