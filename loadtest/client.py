"""A client as small as it gets, for latencies: raw sockets, one request at a time on each connection.

Owns connecting and reading answers. It allocates next to nothing per request, so that what it measures is the server
and the same few microseconds of client for everybody.
"""

import selectors
import socket
import time
from collections.abc import Callable
from typing import Final

from appliance.bench import servers
from appliance.bench.servers import Address

TIMEOUT_SECONDS: Final = 60.0
"""Longer than any answer takes; a node that needs more has hung."""
_READ_BYTES: Final = 65_536


class Connection:
    """One keep-alive connection. Use as a context manager."""

    def __init__(self, address: Address) -> None:
        plain = socket.create_connection(("127.0.0.1", address.port), TIMEOUT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = address.context()
        self.socket = context.wrap_socket(plain, server_hostname="localhost") if context else plain

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request and return status and body of its answer."""
        self.socket.sendall(request)
        return self.answer()

    def answer(self) -> tuple[int, bytes]:
        """The next answer: one with a Content-Length, or without a body."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        size = content_length(head)
        while len(body) < size:
            body += self._more()
        return int(head[9:12]), body

    def _more(self) -> bytes:
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def content_length(head: bytes) -> int:
    """The Content-Length in the head of an answer, 0 without one."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


def post(path: str, token: str, body: str) -> bytes:
    """A whole POST of a JSON body; no token: no Authorization."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    content = body.encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def get(address: Address, path: str) -> tuple[int, str]:
    """One GET on a connection of its own: status and text. Raises OSError or HTTPException."""
    return servers.get(address.target, path)


Turn = Callable[[int, bytes], tuple[bytes, bool]]
"""From the status and body of the last answer (0 at first) to the next request, and whether its time counts."""


def closed_loop(address: Address, connections: int, count: int, turn: Callable[[], Turn]) -> list[float]:
    """Keep so many connections busy until `count` answers that count have come; their times in ms.

    `turn` makes one connection's sequence of requests. Plaintext only.
    """
    times_ms: list[float] = []
    clock = time.perf_counter
    with selectors.DefaultSelector() as selector:
        opened = [Connection(address) for _ in range(connections)]
        try:
            for connection in opened:
                own = turn()
                request, counts = own(0, b"")
                selector.register(connection.socket, selectors.EVENT_READ, [connection, own, counts, clock()])
                connection.socket.sendall(request)
            while len(times_ms) < count:
                for key, _ in selector.select(TIMEOUT_SECONDS):
                    state = key.data
                    status, body = state[0].answer()
                    if state[2]:
                        times_ms.append((clock() - state[3]) * 1000)
                    request, state[2] = state[1](status, body)
                    state[3] = clock()
                    state[0].socket.sendall(request)
        finally:
            for connection in opened:
                connection.socket.close()
    return times_ms[:count]
