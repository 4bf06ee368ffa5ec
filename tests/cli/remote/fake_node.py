"""A node that answers what a test put there, and keeps what it was asked. Plain HTTP on a port of its own."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Answer = Any
"""A value (200), a pair of status and value, or a function of the request's body that returns one of them."""

BASE = "/v1/codeq"


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    body: Any
    token: str


class FakeNode:
    """What to answer by `METHOD /path`, without `/v1/codeq`; what it does not know is 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self.url = ""

    def on(self, request: str, answer: Answer) -> None:
        """Answer `request` with this from now on."""
        self.answers[request] = answer

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """The answer to a request."""
        self.asked.append(asked)
        missing = (404, {"code": "not-found", "message": "there is no such thing"})
        found = self.answers.get(f"{asked.method} {asked.path}", missing)
        if isinstance(found, Callable):  # type: ignore[arg-type]
            found = found(asked.body)
        return found if isinstance(found, tuple) else (200, found)

    @property
    def paths(self) -> list[str]:
        """What was asked, in order."""
        return [f"{asked.method} {asked.path}" for asked in self.asked]


@contextlib.contextmanager
def fake_node() -> Iterator[FakeNode]:
    """A fake node that listens."""
    node = FakeNode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers["Content-Length"] or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            token = self.headers["Authorization"].removeprefix("Bearer ")
            asked = Asked(self.command, self.path.removeprefix(BASE), body, token)
            number, value = node.answer(asked)
            content = b"" if number == 204 else json.dumps(value).encode()
            self.send_response(number)
            if number != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_GET  # noqa: N815 - the base class names them

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        node.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield node
        finally:
            server.shutdown()
            thread.join()
