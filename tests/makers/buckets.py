"""Buckets to test with: the real emulator in a process of its own, and a server in front that can be made to fail.

The server in front adds what the emulator lacks of Cloud Storage: a generation that is gone is a 404, one that was
expected and is another is a 412, long listings come in pages, and a chunk of an upload that is sent once more changes
nothing. It also serves files of a local folder as objects, since the emulator keeps its own in memory.
"""

import functools
import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qs, quote, unquote, urlsplit

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

BUCKET = "mmeg-test"
LOCAL_BUCKET = "mmeg-local"
"""Its objects are the files of the proxy's folder, of generation 1."""

_EMULATOR = """
import sys
from gcp_storage_emulator.server import create_server
with create_server("127.0.0.1", 0, in_memory=True, default_bucket=sys.argv[1]) as server:
    print(server._api._httpd.server_port, flush=True)
    sys.stdin.read()
"""


@contextmanager
def emulator() -> Iterator[str]:
    """Run the emulator for as long as this lasts, with an empty bucket BUCKET, and give its address."""
    command = [sys.executable, "-c", _EMULATOR, BUCKET]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        assert process.stdin
        process.stdin.close()


def client_of(address: str) -> storage.Client:
    return storage.Client(
        project="test", credentials=AnonymousCredentials(), client_options={"api_endpoint": address}
    )


@dataclass
class Fault:
    """What happens to requests whose path holds `part`, `times` times, behind the first `after` of them."""

    part: str
    status: int = 0
    """What is answered instead; 0: the connection is dropped in the middle of the body, of the answer to a GET, else
    of the request."""
    times: int = 1
    after: int = 0


@dataclass
class Proxy:
    """The server in front, and what it has seen."""

    emulator: str
    folder: Path
    page_size: int = 1_000
    faults: list[Fault] = field(default_factory=list)
    faults_behind: list[Fault] = field(default_factory=list)
    """What is answered, by its status, although it was done; 0: nothing, the connection is dropped; 308: that of an
    upload one byte was kept."""
    on_request: Callable[[str], None] = lambda path: None
    """Called with the path of each request before it is answered."""
    paths: list[str] = field(default_factory=list)
    """Of the requests so far."""
    num_bytes_sent: int = 0
    """In bodies, so far."""
    address: str = ""
    answers: dict[tuple[str, str], "_Answer"] = field(default_factory=dict)
    """To the chunks of uploads so far, by path and range."""
    writing: threading.Lock = field(default_factory=threading.Lock)
    """Between looking at a generation and writing over it nobody else writes."""

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        handler = type("Handler", (_Handler,), {"proxy": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            self.address = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    @functools.cached_property
    def bucket(self) -> storage.Bucket:
        """BUCKET, behind the proxy's back."""
        return client_of(self.emulator).bucket(BUCKET)

    def upload(self, name: str, content: bytes) -> None:
        """Put an object into BUCKET, behind the proxy's back."""
        self.bucket.blob(name).upload_from_string(content)

    def delete(self, name: str) -> None:
        self.bucket.blob(name).delete()

    def num_requests(self, part: str) -> int:
        return sum(part in path for path in self.paths)

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        """The objects of BUCKET whose names begin so."""
        return {blob.name: blob.download_as_bytes() for blob in self.bucket.list_blobs(prefix=prefix)}

    def take_fault(self, path: str) -> Fault | None:
        return _taken(self.faults, path)


def _taken(faults: list[Fault], path: str) -> Fault | None:
    """The fault that happens to this request, which then has one time less to go."""
    for fault in faults:
        if fault.part not in path or not fault.times:
            continue
        if not fault.after:
            fault.times -= 1
            return fault
        fault.after -= 1
    return None


_Answer = tuple[int, bytes, dict[str, str]]
"""Status, body, and the headers that say how an upload goes on."""


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(self.path)
        self.proxy.paths.append(path)
        self.proxy.on_request(path)
        fault = self.proxy.take_fault(path)
        if fault and fault.status:
            self._answer(fault.status, _error(f"fault {fault.status}"))
            return
        status, body = self._answer_of_bucket()
        self._answer(status, body, num_bytes_sent=len(body) // 2 if fault else len(body))

    def do_POST(self) -> None:
        self._write()

    def do_PUT(self) -> None:
        self._write()

    def do_DELETE(self) -> None:
        self._write()

    def _write(self) -> None:
        path = unquote(self.path)
        self.proxy.paths.append(f"{self.command} {path}")
        self.proxy.on_request(f"{self.command} {path}")
        num_bytes = int(self.headers.get("Content-Length", 0))
        fault = self.proxy.take_fault(f"{self.command} {path}")
        if fault and not fault.status:
            self.rfile.read(num_bytes // 2)
            return
        body = self.rfile.read(num_bytes)
        if fault:
            self._answer(fault.status, _error(f"fault {fault.status}"))
            return
        with self.proxy.writing:
            if not self._is_expected_generation(body):
                self._answer(412, _error("conditionNotMet"))
                return
            status, content, headers = self._written(body)
        if fault := _taken(self.proxy.faults_behind, f"{self.command} {path}"):
            if not fault.status:
                return
            status, content = fault.status, _error(f"fault {fault.status}")
            headers = {"Range": "bytes=0-0"} if status == 308 else {}
        self._answer(status, content, headers=headers)

    def _written(self, body: bytes) -> _Answer:
        chunk = (self.path, self.headers.get("Content-Range", ""))
        if chunk in self.proxy.answers:
            return self.proxy.answers[chunk]
        kept = ("Content-Type", "Content-Range", "X-Upload-Content-Type", "X-Upload-Content-Length")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        host = self.proxy.address.removeprefix("http://")  # where a resumable upload goes on
        request = urllib.request.Request(
            self.proxy.emulator + self.path,
            data=body,
            method=self.command,
            headers={"Host": host, "Content-Type": "application/octet-stream", **headers},
        )
        answer = _asked(request)
        if chunk[1]:
            self.proxy.answers[chunk] = answer
        return answer

    def _is_expected_generation(self, body: bytes) -> bool:
        address = urlsplit(self.path)
        expected = parse_qs(address.query).get("ifGenerationMatch")
        if expected is None:
            return True
        _, _, name = address.path.partition("/o/")
        name = unquote(name) or re.search(rb'"name": *("[^"]*")', body)[1].decode().strip('"')
        bucket = re.search("/b/([^/]+)/", address.path)[1]
        status, found = self._ask_emulator(f"/storage/v1/b/{bucket}/o/{quoted(name)}")
        return expected == [json.loads(found)["generation"] if status == 200 else "0"]

    def _answer(
        self,
        status: int,
        body: bytes,
        num_bytes_sent: int | None = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.proxy.num_bytes_sent += len(body[:num_bytes_sent])  # before: who has got it may look
        self.wfile.write(body[:num_bytes_sent])

    def _answer_of_bucket(self) -> tuple[int, bytes]:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if f"/b/{LOCAL_BUCKET}/o/" in address.path:
            return self._answer_of_folder(unquote(address.path.rpartition("/o/")[2]), query)
        if "generation" in query:
            status, body = self._ask_emulator(address.path.replace("/download/", "/"))
            if status != 200 or json.loads(body)["generation"] != query["generation"]:
                return 404, _error("No such object of this generation")
        status, body = self._ask_emulator(self.path)
        if status == 404:
            return status, body or _error("No such object")
        if address.path.endswith("/o") and status == 200:
            return status, self._page(json.loads(body), query)
        return status, body

    def _ask_emulator(self, path: str) -> tuple[int, bytes]:
        headers = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        status, body, _ = _asked(urllib.request.Request(self.proxy.emulator + path, headers=headers))
        return status, body

    def _page(self, listing: dict, query: dict[str, str]) -> bytes:
        items = sorted(listing.get("items", ()), key=lambda item: item["name"].encode())
        start = int(query.get("pageToken", 0))
        end = start + min(int(query.get("maxResults", self.proxy.page_size)), self.proxy.page_size)
        more = {"nextPageToken": str(end)} if end < len(items) else {}
        return json.dumps({"kind": "storage#objects", "items": items[start:end], **more}).encode()

    def _answer_of_folder(self, name: str, query: dict[str, str]) -> tuple[int, bytes]:
        path = self.proxy.folder / name
        if not path.is_file():
            return 404, _error(f"No such object: {LOCAL_BUCKET}/{name}")
        if query.get("alt") != "media":
            found = {"name": name, "bucket": LOCAL_BUCKET, "generation": "1", "size": path.stat().st_size}
            return 200, json.dumps({key: str(value) for key, value in found.items()}).encode()
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        with path.open("rb") as file:
            file.seek(int(first))
            return 206, file.read(int(last) - int(first) + 1)


def _asked(request: urllib.request.Request) -> _Answer:
    """The answer, whatever it is."""
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), _headers_of(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), _headers_of(error)


def _headers_of(answer: HTTPResponse | urllib.error.HTTPError) -> dict[str, str]:
    return {name: answer.headers[name] for name in ("Location", "Range") if name in answer.headers}


def _error(message: str) -> bytes:
    return json.dumps({"error": {"code": 0, "message": message}}).encode()


def quoted(name: str) -> str:
    """The name of an object as it stands in a request's path."""
    return quote(name, safe="")
