"""Built-ins in real processes, and a web server for them: real sockets, TLS, ranges, and trouble on request."""

import json
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pytest
import trustme

from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId

if TYPE_CHECKING:
    from conftest import Ended, Story


Work = Callable[..., Awaitable["Ended"]]


@dataclass(frozen=True)
class Trouble:
    """What happens to one request instead of the usual."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None  # bytes of a usual answer, then the connection is closed
    says_length: bool = True
    hold: threading.Event | None = None  # after `cut_after` bytes


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Web:
    """`files` by path, each served with its ETag; `troubles` are used up by one request each."""

    def __init__(self, directory: Path, *, tls: bool = True) -> None:
        self.files: dict[str, bytes] = {}
        self.etag = '"v1"'
        self.troubles: list[Trouble] = []
        self.requests: list[Request] = []
        web = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def do_GET(self) -> None:
                web._take(self, b"")

            def do_PUT(self) -> None:
                web._take(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = False  # so that no connection outlives the server
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients may go away
        self.ca_file = str(directory / "web-ca.pem")
        if tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.ca_file)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(context)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.origin = f"{'https' if tls else 'http'}://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def trouble(self, **members: Any) -> None:
        """Let something happen to the next request that has none yet."""
        self.troubles.append(Trouble(**members))

    def _take(self, asked: BaseHTTPRequestHandler, body: bytes) -> None:
        self.requests.append(Request(asked.command, asked.path, dict(asked.headers), body))
        trouble = self.troubles.pop(0) if self.troubles else Trouble()
        if trouble.status:
            self._send(asked, trouble.status, {"Content-Length": str(len(trouble.body)), **trouble.headers})
            asked.wfile.write(trouble.body)
        elif asked.command == "PUT":
            self._send(asked, 200, {"Content-Length": "0"})
        else:
            self._serve(asked, trouble)

    def _serve(self, asked: BaseHTTPRequestHandler, trouble: Trouble) -> None:
        data = self.files.get(asked.path.partition("?")[0])
        if data is None:
            self._send(asked, 404, {"Content-Length": "0"})
            return
        status, first = 200, 0
        headers = {"ETag": self.etag}
        if "Range" in asked.headers and asked.headers.get("If-Range", self.etag) == self.etag:
            status, first = 206, int(asked.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if first >= len(data):
                self._send(asked, 416, {"Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if trouble.says_length:
            headers["Content-Length"] = str(len(data) - first)
        self._send(asked, status, {**headers, **trouble.headers})
        part = data[first:] if trouble.cut_after is None else data[first : first + trouble.cut_after]
        asked.wfile.write(part)
        asked.wfile.flush()
        if trouble.hold:
            trouble.hold.wait(20)
        if trouble.cut_after is not None or not trouble.says_length:
            asked.close_connection = True

    @staticmethod
    def _send(asked: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
        asked.send_response(status)
        for key, value in headers.items():
            asked.send_header(key, value)
        asked.end_headers()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path) as server:
        yield server


@pytest.fixture
def plain_web(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path, tls=False) as server:
        yield server


@pytest.fixture
def work(story: "Story", ended: "type[Ended]") -> Work:
    """Run a built-in as the agent would, under the worker and the shim, each time as a new attempt."""
    count = 0

    async def run(spec: str, params: object, settings: object = None, **changes: object) -> "Ended":
        nonlocal count
        count += 1
        attempt = AttemptId(ExecutionId("", "job-1", 1), 0, count)
        argv = (sys.executable, "-I", "-m", "iot_jobs_agent.worker", f"iot_jobs_handlers.{spec}")
        told = {"input": json.dumps(params), "settings": json.dumps(settings or {})}
        story.start("", attempt, argv=argv, **told, **changes)
        result = await story.ended(attempt)
        said: Mapping[str, Any] = result.handler_result or {}
        surprise = story.job_directory() / "traceback"
        assert not surprise.exists(), surprise.read_text()
        by_itself = result.ending is Ending.EXITED and result.code == 0
        word = said["outcome"] if by_itself else result.ending
        return ended(word, said.get("reason", ""), said.get("details", {}), result)

    return run
