"""gRPC's framing over HTTP/2, as bytes in and messages out.

Owns the five-byte message prefix, reassembly over any cut, decompression, the size limit on the prefix, `grpc-timeout`,
and the form of statuses in trailers. Sans-IO, one reader per stream. Must not know services or messages. Follows
"gRPC over HTTP2" (grpc/grpc, doc/PROTOCOL-HTTP2.md).
"""

import re
import zlib
from typing import Final

PREFIX_BYTES: Final = 5
_GZIP_WINDOW: Final = 31

OK: Final = 0
CANCELLED: Final = 1
UNKNOWN: Final = 2
INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
NOT_FOUND: Final = 5
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

ACCEPTED_ENCODINGS: Final = b"identity,gzip"

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class GrpcError(Exception):
    """What ends a stream: a gRPC status and a message for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def check_encoding(encoding: bytes) -> None:
    """Raises GrpcError UNIMPLEMENTED for a message encoding that is not ours."""
    if encoding not in (b"", b"identity", b"gzip"):
        raise GrpcError(UNIMPLEMENTED, "this message encoding is not supported")


class MessageReader:
    """Turns DATA payloads of one stream into messages.

    `encoding` is the stream's `grpc-encoding`. What is wrong stands in `error`, and the messages in front of it still
    count: what happens does not depend on how the bytes are cut. After it nothing more may be fed.

    While `first` nothing behind the first message is looked at; when that has come, `proceed` must follow.
    """

    __slots__ = ("_gzip", "_message_bytes_max", "_partial", "error", "first")

    def __init__(self, encoding: bytes, message_bytes_max: int, *, first: bool = False) -> None:
        """Raises GrpcError UNIMPLEMENTED for an encoding that is not ours."""
        check_encoding(encoding)
        self._gzip = encoding == b"gzip"
        self._message_bytes_max = message_bytes_max
        self._partial = bytearray()
        self.error: GrpcError | None = None
        self.first = first

    @property
    def held_bytes(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes, in order; at most one while `first`."""
        messages: list[bytes] = []
        try:
            self._feed(data, messages)
        except GrpcError as error:
            self._partial.clear()
            self.error = error
        return messages

    def proceed(self, message_bytes_max: int) -> list[bytes]:
        """The first message was dealt with: the messages that came behind it, under this limit from now on."""
        self.first = False
        self._message_bytes_max = message_bytes_max
        return self.feed(b"")

    def _feed(self, data: bytes, messages: list[bytes]) -> None:
        if self._partial:
            self._partial += data
            size = self._size(self._partial, 0)
            if size < 0 or len(self._partial) < PREFIX_BYTES + size:
                return
            data = bytes(self._partial)
            self._partial.clear()
        at, end = 0, len(data)
        while (size := self._size(data, at)) >= 0:
            stop = at + PREFIX_BYTES + size
            if stop > end:
                break
            message = data[at + PREFIX_BYTES : stop]
            messages.append(self._inflate(message) if data[at] else message)
            at = stop
            if self.first:
                break
        if at < end:
            self._partial += data[at:]

    def _size(self, data: bytes | bytearray, at: int) -> int:
        """The size on the prefix at this place, -1 where it is not complete; refuses before anything is kept."""
        if len(data) - at < PREFIX_BYTES:
            return -1
        flag = data[at]
        if flag > 1:
            raise GrpcError(INTERNAL, "the compression flag must be 0 or 1")
        if flag and not self._gzip:
            raise GrpcError(INTERNAL, "a compressed message without grpc-encoding")
        size = int.from_bytes(data[at + 1 : at + 5], "big")
        if size > self._message_bytes_max:
            raise GrpcError(RESOURCE_EXHAUSTED, f"a message of {size} bytes is above {self._message_bytes_max}")
        return size

    def _inflate(self, message: bytes) -> bytes:
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        try:
            inflated = inflater.decompress(message, self._message_bytes_max + 1)
        except zlib.error as error:
            raise GrpcError(INTERNAL, "a compressed message that cannot be inflated") from error
        if len(inflated) > self._message_bytes_max:
            raise GrpcError(RESOURCE_EXHAUSTED, f"a message inflates to more than {self._message_bytes_max} bytes")
        if not inflater.eof or inflater.unused_data:
            raise GrpcError(INTERNAL, "a compressed message that is cut off or followed by other bytes")
        return inflated


def frame(message: bytes) -> bytes:
    """One message with its prefix, uncompressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def parse_timeout_seconds(value: bytes) -> float:
    """Seconds in a `grpc-timeout`; raises GrpcError for more than eight digits or another unit."""
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise GrpcError(INTERNAL, "malformed grpc-timeout")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def encode_message(text: str) -> bytes:
    """A status message as `grpc-message` carries it: percent-encoded UTF-8, printable ASCII kept."""
    return b"".join(
        b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte
        for byte in text.encode("utf-8", "replace")
    )


def trailers(status: int, message: str = "") -> list[tuple[bytes, bytes]]:
    """The trailing header fields that end a stream."""
    fields = [(b"grpc-status", b"%d" % status)]
    if message:
        fields.append((b"grpc-message", encode_message(message)))
    return fields
