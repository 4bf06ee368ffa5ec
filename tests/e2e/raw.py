"""HTTP/1.1 answers off a bare socket, for requests that no honest client can send. Knows nothing of the node."""

import contextlib
import json
import socket
from typing import Any, BinaryIO, NamedTuple


class Answer(NamedTuple):
    """One response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of a refusal, empty for anything else."""
        if self.headers.get("content-type") != "application/json" or not self.body:
            return ""
        value: Any = json.loads(self.body)
        return str(value.get("code", "")) if isinstance(value, dict) else ""


def read_answer(stream: BinaryIO) -> Answer | None:
    """The next response, None where the connection has ended instead. Interim (1xx) responses are passed over."""
    while True:
        line = stream.readline()
        if not line:
            return None
        status = int(line.split(b" ")[1])
        headers: dict[str, str] = {}
        while (field := stream.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if status >= 200:
            return Answer(status, headers, _body(stream, status, headers))


def _body(stream: BinaryIO, status: int, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
        return body
    return stream.read(int(headers.get("content-length", 0))) if status != 204 else b""


def answers(sock: socket.socket, data: bytes) -> list[Answer]:
    """Everything that comes back for `data` until the server closes, which it must do by itself."""
    stream = send(sock, data)
    found = []
    with contextlib.suppress(ConnectionResetError):  # which is how unread bytes make a close look
        while (answer := read_answer(stream)) is not None:
            found.append(answer)
    return found


def send(sock: socket.socket, data: bytes) -> BinaryIO:
    """Send all of it, even where the server stops listening in between, and return what to read answers from."""
    stream = sock.makefile("rb")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(data)
    return stream
