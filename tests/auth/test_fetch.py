"""Fetching a JWKS document from servers that do not mean well."""

import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.auth.fetch import DOCUMENT_BYTES_MAX, FetchError, fetch
from appliance.cli import pki

Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on loopback that handles one connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            try:
                connection, _ = listening.accept()
                with connection, tls.wrap_socket(connection, server_side=True) if tls else connection as spoken:
                    serve(spoken)
            except OSError:
                return

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)
            assert not thread.is_alive()


def answering(answer: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answer)

    return serve


def get(port: int, seconds: float = 5.0) -> bytes:
    return fetch(f"http://127.0.0.1:{port}/keys?a=b", allow_private=True, seconds=seconds)


def test_a_document_is_fetched() -> None:
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with server(serve) as port:
        assert get(port) == b"{}"
    assert seen[0].startswith(b"GET /keys?a=b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + b"x" * (DOCUMENT_BYTES_MAX + 1),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (DOCUMENT_BYTES_MAX + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50000\r\n" + b"x" * 0x50000 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1_000 + b"\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
def test_a_redirect_a_failure_a_flood_or_a_cut_is_an_error(answer: bytes) -> None:
    with server(answering(answer)) as port, pytest.raises(FetchError):
        get(port)


def test_a_document_of_the_largest_size_is_fetched() -> None:
    body = b"x" * DOCUMENT_BYTES_MAX
    with server(answering(b"HTTP/1.1 200 OK\r\n\r\n" + body)) as port:
        assert get(port) == body


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_drips_is_left_at_the_deadline(start: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(start)
        connection.settimeout(0.02)
        while True:
            connection.sendall(b"x")
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue

    with server(drip) as port, pytest.raises(FetchError):
        get(port, seconds=0.3)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://2130706433/", "https://169.254.169.254/x",
        "http://8.8.8.8/", "ftp://8.8.8.8/", "file:///etc/passwd", "https://", "https:///x", "https://a:b@8.8.8.8/",
        "https://8.8.8.8:99999/", "https://[::1/", "",
    ],
)  # fmt: skip
def test_a_private_or_strange_url_is_refused(url: str) -> None:
    with pytest.raises(FetchError):
        fetch(url, allow_private=False, seconds=0.2)


def test_a_name_that_can_not_be_encoded_is_refused() -> None:
    with pytest.raises(FetchError):
        fetch("https://" + "a" * 70 + ".example/", allow_private=False, seconds=0.2)


def test_the_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    ca, ca_key, certificate, key = (tmp_path / name for name in ("ca", "ca-key", "server", "server-key"))
    pki.ensure_server_certificate(ca, ca_key, certificate, key, datetime.datetime.now(datetime.UTC))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(ca))
    answer = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    with server(answer, serving) as port:
        assert fetch(f"https://localhost:{port}/", allow_private=True, context=trusting) == b"{}"
    with server(answer, serving) as port, pytest.raises(FetchError):
        fetch(f"https://localhost:{port}/", allow_private=True)
