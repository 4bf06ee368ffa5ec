"""Reading tasks over REST: answers that make sense and answers that don't."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

import codeq
from codeq import Admin

TASK = {
    "id": "t1", "command": "a", "payload": {"n": 1}, "status": "COMPLETED", "priority": 0, "attempts": 1,
    "maxAttempts": 5, "tenantId": "dev", "createdAt": "2026-01-02T03:04:05.678Z", "completedAt": None, "more": 1,
}  # fmt: skip
RESULT = {"taskId": "t1", "status": "COMPLETED", "result": [1], "error": None, "completedAt": "2026-01-02T03:04:05Z"}


class Handler(BaseHTTPRequestHandler):
    """Answers what the test put there."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")
    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"]))
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Handler.seen.clear()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def answer(status: int, value: object) -> None:
    Handler.answer = (status, value if isinstance(value, bytes) else json.dumps(value).encode())


def test_a_task_is_read_with_its_times(port: int) -> None:
    answer(200, TASK)
    task = Admin(f"127.0.0.1:{port}", "tok", plaintext=True).task("t/1")
    assert (task.id, task.payload, task.created_at.microsecond) == ("t1", {"n": 1}, 678_000)
    assert task.fields["more"] == 1
    assert Handler.seen == [("/v1/codeq/tasks/t%2F1", "Bearer tok")]


def test_a_result_is_waited_for(port: int) -> None:
    answer(200, RESULT)
    result = asyncio.run(codeq.aio.Admin(f"127.0.0.1:{port}", "tok", plaintext=True).result("t1", wait_seconds=3))
    assert result.finished and result.result == [1]
    assert Handler.seen[0][0].endswith("/t1/result?waitSeconds=3")


@pytest.mark.parametrize(
    ("status", "value", "error"),
    [
        (404, {"code": "not-found", "message": "no"}, codeq.NotFound),
        (429, {"code": "rate-limited", "message": "no"}, codeq.RateLimited),
        (503, {"code": "unavailable", "message": "no"}, codeq.Unavailable),
        (418, {"code": "brand-new", "message": "no"}, codeq.CodeqError),
        (502, b"<html>", codeq.InternalError),
        (500, [], codeq.InternalError),
        (200, {"id": "t1"}, codeq.InternalError),
        (200, {**TASK, "createdAt": "yesterday"}, codeq.InternalError),
    ],
)
def test_errors_and_nonsense_are_typed(port: int, status: int, value: object, error: type[Exception]) -> None:
    answer(status, value)
    with pytest.raises(error):
        Admin(f"http://127.0.0.1:{port}", "tok").task("t1")


def test_the_next_target_is_asked_when_one_cannot_be_reached(port: int) -> None:
    answer(200, TASK)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{closed.getsockname()[1]}"
        assert Admin([dead, f"127.0.0.1:{port}"], "tok", plaintext=True).task("t1").id == "t1"
        with pytest.raises(codeq.Unavailable):
            Admin(dead, "tok", plaintext=True).task("t1")
