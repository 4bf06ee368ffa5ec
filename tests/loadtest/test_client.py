"""The raw client against a server that answers in pieces."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from appliance.bench.servers import Address
from loadtest.client import Connection, closed_loop, content_length, post

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@contextmanager
def answering(pieces: list[bytes]) -> Iterator[Address]:
    """A server that takes one connection and sends these pieces, one for each time it hears something, then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for piece in pieces:
                    connection.recv(65_536)
                    connection.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Address(listener.getsockname()[1])
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y", 12),
        (b"HTTP/1.1 200 OK\r\ncontent-length:7", 7),
        (b"HTTP/1.1 204 No Content\r\nX: y", 0),
    ],
)
def test_the_length_of_a_body_is_read_from_the_head(head: bytes, size: int) -> None:
    assert content_length(head) == size


def test_answers_come_one_by_one_on_one_connection() -> None:
    with answering([HEAD + b"hello", b"HTTP/1.1 204 No Content\r\n\r\n"]) as address, Connection(address) as connection:
        assert connection.exchange(b"one") == (200, b"hello")
        assert connection.exchange(b"two") == (204, b"")


def test_a_server_that_closes_is_an_error() -> None:
    with (
        answering([HEAD]) as address,
        Connection(address) as connection,
        pytest.raises(ConnectionError, match="closed"),
    ):
        connection.exchange(b"one")


def test_a_closed_loop_times_only_what_counts() -> None:
    seen = []

    def begin() -> "Turns":
        return Turns()

    class Turns:
        def __init__(self) -> None:
            self.number = 0

        def __call__(self, status: int, body: bytes) -> tuple[bytes, bool]:
            seen.append((status, body))
            self.number += 1
            return b"x", self.number % 2 == 0

    with answering([HEAD + b"hello"] * 6 + [b""]) as address:
        assert len(closed_loop(address, 1, 3, begin)) == 3
    assert seen[0] == (0, b"")
    assert seen[1:] == [(200, b"hello")] * 6


def test_a_post_says_how_long_it_is_and_who_sends_it() -> None:
    request = post("/path", "token", "é")
    assert request.startswith(b"POST /path HTTP/1.1\r\n")
    assert b"Authorization: Bearer token\r\n" in request
    assert request.endswith(b"Content-Length: 2\r\n\r\n\xc3\xa9")
    assert b"Authorization" not in post("/path", "", "")
