"""A bare HTTP/2 client: frames as a test wants them, right or wrong, and what becomes of each stream.

Knows framing and HPACK, keeps no rules. Nothing here is checked before it is sent.
"""

import contextlib
import json
import socket
import struct
from typing import Any, Final, NamedTuple

from hpack import Decoder, Encoder

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8

PROTOCOL_ERROR: Final = 1
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11

CONNECTION: Final = -1
"""In place of a stream's number."""

Fields = list[tuple[str, str]]


class Outcome(NamedTuple):
    """How a stream, or the connection, ended: `status` with its number and code, `reset` or `goaway` with the error
    code, or `closed`."""

    kind: str
    number: int = 0
    code: str = ""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


class Peer:
    """One connection, with the preface and empty SETTINGS sent."""

    def __init__(self, sock: socket.socket, *, greeting: bytes = PREFACE + settings()) -> None:
        self._sock = sock
        self._stream = sock.makefile("rb")
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._statuses: dict[int, int] = {}
        self._bodies: dict[int, bytes] = {}
        self.goaways: list[tuple[int, int]] = []
        """Last stream and error code of each GOAWAY."""
        self.send(greeting)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send bytes, even where the server stops listening in between."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._sock.sendall(data)

    def block(self, fields: Fields) -> bytes:
        """A header block."""
        block: bytes = self._encoder.encode(fields)
        return block

    def headers(self, stream: int, fields: Fields, *, end: bool = True) -> bytes:
        """A whole HEADERS frame."""
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(fields))

    def request(self, stream: int, fields: Fields, body: bytes | None = None) -> None:
        """Send a request."""
        self.send(self.headers(stream, fields, end=body is None))
        if body is not None:
            self.send(frame(DATA, END_STREAM, stream, body))

    def outcome(self, stream: int) -> Outcome:
        """Read until the stream or the connection has ended. Stream 0 waits for the connection."""
        while True:
            found = self.step()
            if found is not None and found[0] in (stream, CONNECTION):
                return found[1]

    def step(self) -> tuple[int, Outcome] | None:
        """Read one frame: the stream that it ended, if any, or `CONNECTION` where the connection has ended."""
        try:
            head = self._stream.read(9)
            payload = self._stream.read(int.from_bytes(head[:3])) if len(head) == 9 else b""
        except ConnectionResetError:
            head = payload = b""
        if len(head) < 9:
            return CONNECTION, Outcome("goaway", self.goaways[-1][1]) if self.goaways else Outcome("closed")
        kind, flags, number = head[3], head[4], int.from_bytes(head[5:9])
        found = self._take(kind, flags, number, payload)
        return None if found is None else (number, found)

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> Outcome | None:
        if kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8])
            self.goaways.append((last, code))
        elif kind == RST_STREAM:
            return Outcome("reset", int.from_bytes(payload))
        elif kind == HEADERS:
            fields = dict(self._decoder.decode(payload, raw=True))
            self._statuses[number] = int(fields[b":status"])
            self._bodies[number] = b""
        elif kind == DATA:
            self._bodies[number] += payload
        elif kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            return Outcome("status", self._statuses[number], _code(self._bodies[number]))
        return None


def _code(body: bytes) -> str:
    try:
        value: Any = json.loads(body)
    except ValueError:
        return ""
    return str(value.get("code", "")) if isinstance(value, dict) else ""
