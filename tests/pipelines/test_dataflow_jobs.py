"""Dataflow asked after a job, by a server that answers as its REST interface does."""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from makers.buckets import BUCKET, Proxy

from mmeg_model.locked import InUseError
from pipelines import dataflow_jobs, output_lock
from pipelines.dataflow_jobs import is_active
from pipelines.output_folder import output_folder
from pipelines.output_lock import Holder

JOBS = "projects/mmeg-project-1234/locations/europe-west4/jobs"
URI = f"gs://{BUCKET}/out"


@pytest.fixture
def active(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the jobs that are active; None among them: Dataflow answers with an error."""
    names: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = parse_qs(address.query)
            assert address.path == f"/v1b3/{JOBS}"
            assert query["filter"] == ["ACTIVE"]
            jobs = [{"id": f"id-{name}", "name": name} for name in names if query["name"] == [name]]
            self.send_response(403 if "denied" in names else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"jobs": jobs} if jobs else {}).encode())

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setattr(dataflow_jobs, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "mmeg-project-1234"))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield names
        finally:
            server.shutdown()
            thread.join()


def test_a_job_is_active_if_one_of_its_name_is(active: list[str]) -> None:
    active += ["mmeg-one"]
    assert is_active(f"{JOBS}/mmeg-one")
    assert not is_active(f"{JOBS}/mmeg-two")
    active += ["denied"]
    with pytest.raises(OSError, match=f"Dataflow does not say whether {JOBS}/mmeg-one runs: 403"):
        is_active(f"{JOBS}/mmeg-one")
    with pytest.raises(OSError, match="one is no name of a job"):
        is_active("one")


def test_a_lock_that_was_left_to_a_job_lasts_as_long_as_that(
    active: list[str], buckets: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = output_folder(URI)
    with output.locked(by="run 1"):
        output.leave_lock_to(f"{JOBS}/mmeg-one")
    assert json.loads(buckets.contents()["out/.mmeg.lock"])["job"] == f"{JOBS}/mmeg-one"
    output.check_not_held_by_others("run 1")
    with pytest.raises(OSError, match=f"taken over from run 2: run 1, {JOBS}/mmeg-one"):
        output.check_not_held_by_others("run 2")
    with pytest.raises(InUseError, match="mmeg-one, started"), output_folder(URI).locked(by="run 2"):
        pass  # a job that was just launched need not be listed yet

    monkeypatch.setattr(output_lock, "DEAD_SECONDS", 0.0)
    active += ["mmeg-one"]
    with pytest.raises(InUseError, match="mmeg-one, started"), output_folder(URI).locked(by="run 2"):
        pass
    active.clear()
    with output_folder(URI).locked(by="run 2"):
        pass
    assert buckets.contents() == {}


def test_a_lock_of_a_job_that_nobody_tells_about_is_left_alone(
    active: list[str], buckets: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_lock, "DEAD_SECONDS", 0.0)
    active += ["denied"]
    left = replace(Holder.this("run 1"), job=f"{JOBS}/mmeg-one")
    buckets.upload("out/.mmeg.lock", json.dumps(asdict(left)).encode())
    with pytest.raises(OSError, match="Dataflow does not say"), output_folder(URI).locked(by="run 2"):
        pass
    assert len(buckets.contents()) == 1
