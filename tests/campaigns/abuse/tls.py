"""Attacks on the handshake, and the matrix of what was agreed in it against what is said first."""

import contextlib
import socket
import ssl
import struct
import warnings
from typing import Final

from tests.campaigns.abuse.stage import Attack, NotRefused, Stage, expect, read_to_end
from tests.e2e.bad_http1 import LIMITS
from tests.e2e.frames import PREFACE, settings

SECTION: Final = "TLS"

HTTP1: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
FIRST_BYTES: Final = {
    "HTTP/1.1": HTTP1,
    "HTTP/2": PREFACE + settings(),
    "a raft preface": b"CQRF\x00\x01\x00\x00\x00\x01",
    "TLS once more": b"\x16\x03\x01\x00\x05hello",
    "SMTP": b"EHLO localhost\r\n",
    "bytes": bytes(range(128, 256)),
}
OFFERS: Final[dict[str, tuple[str, ...]]] = {
    "no ALPN": (),
    "h2": ("h2",),
    "http/1.1": ("http/1.1",),
    "http/1.0": ("http/1.0",),
    "ftp": ("ftp",),
    "codeq-raft/1": ("codeq-raft/1",),
    "h2 and ftp": ("ftp", "h2"),
}
SERVED: Final = {
    ("no ALPN", "HTTP/1.1"),
    ("no ALPN", "HTTP/2"),
    ("h2", "HTTP/2"),
    ("h2 and ftp", "HTTP/2"),
    ("http/1.1", "HTTP/1.1"),
    ("http/1.0", "HTTP/1.1"),
}
REFUSED_IN_HANDSHAKE: Final = ("ftp", "codeq-raft/1")


def _matrix_reason(offer: str, first: str) -> str:
    if offer in REFUSED_IN_HANDSHAKE:
        return "alpn-mismatch"
    if first == "SMTP" and offer != "h2" and offer != "h2 and ftp":
        return "malformed"
    if first in ("TLS once more", "bytes"):
        return "sniff-unknown"
    if offer != "no ALPN":
        return "alpn-mismatch"
    return "raft-disabled"


def _served(received: bytes) -> bool:
    return received.startswith(b"HTTP/1.1 200 ") or received[3:4] == b"\x04"


def _play_matrix(stage: Stage, offer: str, first: str) -> str:
    try:
        sock = stage.connect_tls(OFFERS[offer])
    except OSError as error:
        expect(offer in REFUSED_IN_HANDSHAKE, error)
        return "alert"
    with contextlib.closing(sock):
        sock.sendall(FIRST_BYTES[first])
        wanted = (offer, first) in SERVED
        received = sock.recv(1_000) if wanted else _rest(sock)
        expect(_served(received) is wanted, (offer, first, received[:60]))
        expect(wanted or not received or received.startswith(b"HTTP/1.1 400 "), (offer, first, received[:60]))
    return "served" if wanted else "400" if received else "closed"


def _rest(sock: ssl.SSLSocket) -> bytes:
    """Everything until the close, which may be an abort; the protocol's own greeting would be something."""
    with contextlib.suppress(ssl.SSLError):
        return read_to_end(sock)
    return b""


def _cell(offer: str, first: str) -> Attack:
    served = (offer, first) in SERVED
    reason = "" if served else _matrix_reason(offer, first)
    name = f"{offer}, then {first}"
    return Attack(SECTION, name, reason, lambda stage: _play_matrix(stage, offer, first), floods=False)


MATRIX: Final = tuple(_cell(offer, first) for offer in OFFERS for first in FIRST_BYTES)


def _sent(stage: Stage, data: bytes, *, tls_only: bool = False) -> bytes:
    with contextlib.closing(stage.connect(tls_only=tls_only)) as sock:
        sock.sendall(data)
        return read_to_end(sock)


def _closed(name: str, reason: str, data: bytes) -> Attack:
    def play(stage: Stage) -> str:
        received = _sent(stage, data)
        expect(not received or received[:1] == b"\x15", received[:60])
        return "alert" if received else "closed"

    return Attack(SECTION, name, reason, play)


def _plaintext(stage: Stage) -> str:
    received = _sent(stage, HTTP1, tls_only=True)
    expect(received.startswith(b"HTTP/1.1 400 "), received[:60])
    return "400"


def _plaintext_http2(stage: Stage) -> str:
    received = _sent(stage, PREFACE + settings(), tls_only=True)
    expect(not received, received[:60])
    return "closed"


def _old_version(stage: Stage) -> str:
    context = ssl.create_default_context(cafile=str(stage.folder / "ca.pem"))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings(action="ignore"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with contextlib.closing(stage.connect()) as sock:
        try:
            context.wrap_socket(sock, server_hostname="localhost")
        except OSError:
            return "alert"
    raise NotRefused("TLS 1.1 was agreed to")


def client_hello() -> bytes:
    """A ClientHello as this machine's TLS makes it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


_HELLO: Final = client_hello()


def _half_handshake(stage: Stage) -> socket.socket:
    sock = stage.connect()
    sock.sendall(_HELLO)
    return sock


def _play_half_handshake(stage: Stage) -> str:
    with contextlib.closing(_half_handshake(stage)) as sock:
        read_to_end(sock)
        return "closed"


def _flood(stage: Stage) -> str:
    """A handshake that is begun, paid for by the node, and thrown away with a reset."""
    sock = _half_handshake(stage)
    try:
        sock.recv(100)
    except ConnectionResetError:
        return "turned away"
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    return "begun"


ATTACKS: Final = (
    *MATRIX,
    _closed("a record of another protocol", "client-hello", b"\x16\x03\x01\x00\x05hello"),
    _closed("a ClientHello of 64 KiB", "client-hello", b"\x16\x03\x01\xff\xff\x01\x00\xff\xfb\x03\x03" + bytes(60_000)),
    _closed("a ClientHello of nothing", "client-hello", b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"),
    _closed("no protocol at all", "sniff-unknown", bytes(range(128, 256))),
    _closed("a raft preface without raft", "raft-disabled", b"CQRF\x00\x01\x00\x00\x00\x01"),
    Attack(SECTION, "plaintext where there is TLS only", "plaintext-refused", _plaintext),
    Attack(SECTION, "plaintext HTTP/2 where there is TLS only", "plaintext-refused", _plaintext_http2),
    Attack(SECTION, "TLS 1.1", "handshake", _old_version),
    Attack(SECTION, "a handshake that stops", "handshake", _play_half_handshake, LIMITS.handshake_seconds,
           _half_handshake, floods=False),
)  # fmt: skip

FLOOD: Final = Attack(SECTION, "handshakes without end", "handshakes-per-address", _flood)
"""Needs thousands of connections, so it is played as a load only."""
