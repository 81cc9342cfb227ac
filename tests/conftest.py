"""What tests of both packages share: who needs a GPU, a bucket of the emulator, and the server in front of it."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud.storage.retry import DEFAULT_RETRY
from makers.buckets import BUCKET, Proxy, client_of, emulator
from makers.go_programs import has_go

from mmeg_model.media import objects


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def emulator_address() -> Iterator[str]:
    with emulator() as address:
        yield address


@pytest.fixture
def buckets(emulator_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The buckets that `gs://` means in this test: BUCKET, empty, and LOCAL_BUCKET, a folder."""
    bucket = client_of(emulator_address).bucket(BUCKET)
    for blob in bucket.list_blobs():
        blob.delete()
    folder = tmp_path / "local bucket"
    folder.mkdir()
    with Proxy(emulator_address, folder).running() as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.address)
        monkeypatch.setenv(
            "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true"
        )  # else more is asked beside
        monkeypatch.setattr(objects, "_client", None)
        yield proxy


@pytest.fixture(scope="session")
def go() -> None:
    """Go is there, which builds what streams are tested on."""
    if not has_go():
        reason = (
            "streams are NOT tested: the command `go`, which builds Prism and the fake of Pub/Sub, is missing"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A request to a bucket is repeated for half a second, not for minutes."""
    hasty = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05).with_timeout(0.5)
    monkeypatch.setattr(objects, "patient_retry", lambda *_: hasty)
    yield
    gc.collect()  # what warns, warns here
