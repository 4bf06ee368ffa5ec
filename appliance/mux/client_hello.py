"""Reads a TLS ClientHello before any TLS library sees it.

Pure: bytes in, a verdict out. It exists because the library completes a handshake with a client that offered only
application protocols we do not speak; the listener looks at the offer first and refuses with the alert that RFC 7301
asks for. Nothing here is trusted further: the library parses the same bytes again.
"""

from dataclasses import dataclass
from typing import Final

RECORD_HEADER_BYTES: Final = 5
HANDSHAKE_RECORD: Final = 0x16
CLIENT_HELLO: Final = 1
RECORD_LIMIT_BYTES: Final = 1 << 14
EXTENSION_SNI: Final = 0
EXTENSION_ALPN: Final = 16


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the client asks for: `alpn` is None when it offered none; `server_name` is "" when it named none."""

    alpn: tuple[bytes, ...] | None
    server_name: str


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The prefix is fine so far; it must grow to at least `total_bytes` before another look can say more."""

    total_bytes: int


class MalformedHello(Exception):
    """These bytes can not become a ClientHello."""


def parse(prefix: bytes, limit_bytes: int) -> ClientHello | NeedMore:
    """Parses the ClientHello that a connection begins with. Raises MalformedHello, also when it can not fit into
    `limit_bytes`."""
    message = bytearray()
    at = 0
    while True:
        if len(prefix) < at + RECORD_HEADER_BYTES:
            return _need(at + RECORD_HEADER_BYTES, limit_bytes)
        if prefix[at] != HANDSHAKE_RECORD or prefix[at + 1] != 3:
            raise MalformedHello("not a TLS handshake record")
        length = int.from_bytes(prefix[at + 3 : at + 5])
        if not 0 < length <= RECORD_LIMIT_BYTES:
            raise MalformedHello("record length out of range")
        end = at + RECORD_HEADER_BYTES + length
        message += prefix[at + RECORD_HEADER_BYTES : end]
        if message and message[0] != CLIENT_HELLO:
            raise MalformedHello("the first handshake message is no ClientHello")
        wanted = 4 + int.from_bytes(message[1:4]) if len(message) >= 4 else 0
        if wanted and len(message) >= wanted:
            return _parse_message(bytes(message[4:wanted]))
        if wanted > limit_bytes:
            raise MalformedHello("ClientHello too large")
        if len(prefix) < end:
            return _need(end, limit_bytes)
        at = end


def _need(total_bytes: int, limit_bytes: int) -> NeedMore:
    if total_bytes > limit_bytes:
        raise MalformedHello("ClientHello too large")
    return NeedMore(total_bytes)


class _Cursor:
    """Reads length-prefixed fields; every read past the end raises MalformedHello."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise MalformedHello("field runs past the end")
        value, self.at = self.data[self.at : end], end
        return value

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> bytes:
        return self.take(self.number(width))

    def __bool__(self) -> bool:
        return self.at < len(self.data)


def _parse_message(body: bytes) -> ClientHello:
    cursor = _Cursor(body)
    cursor.take(2 + 32)  # legacy version, random
    cursor.vector(1)  # session id
    cursor.vector(2)  # cipher suites
    cursor.vector(1)  # compression methods
    alpn: tuple[bytes, ...] | None = None
    server_name = ""
    extensions = _Cursor(cursor.vector(2) if cursor else b"")
    while extensions:
        kind, value = extensions.number(2), extensions.vector(2)
        if kind == EXTENSION_ALPN:
            alpn = _parse_alpn(value)
        elif kind == EXTENSION_SNI:
            server_name = _parse_server_name(value)
    return ClientHello(alpn, server_name)


def _parse_alpn(value: bytes) -> tuple[bytes, ...]:
    names = _Cursor(_Cursor(value).vector(2))
    offered = []
    while names:
        offered.append(names.vector(1))
    return tuple(offered)


def _parse_server_name(value: bytes) -> str:
    names = _Cursor(_Cursor(value).vector(2))
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            return name.decode("ascii", "replace")
    return ""
