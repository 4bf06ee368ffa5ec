"""A bare gRPC client on top of the bare HTTP/2 one: calls as a test wants them, right or wrong.

Knows prefixes, statuses in trailers and the two streams' acknowledgements. Nothing is checked before it is sent.
"""

import socket
from typing import Any, Final

from tests.e2e.frames import CONNECTION, DATA, END_STREAM, HEADERS, Fields, Outcome, Peer, frame

PRODUCER: Final = "/producerpb.ProducerStream/Stream"
WORKER: Final = "/workerpb.WorkerStream/Stream"
FRAME_BYTES: Final = 16_384


def head(path: str, *more: tuple[str, str]) -> Fields:
    """The fields of a call."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]


def prefixed(message: bytes, flag: int = 0) -> bytes:
    """A message with its prefix."""
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


class GrpcPeer(Peer):
    """One connection. A call's outcome is `grpc` with its status; messages are kept by stream."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._partial: dict[int, bytes] = {}
        self._trailers: dict[int, dict[bytes, bytes]] = {}
        self.messages: dict[int, list[bytes]] = {}

    def call(self, stream: int, path: str, *messages: bytes, end: bool = False) -> None:
        """Open a call and send whole messages."""
        self.send(self.headers(stream, head(path), end=end and not messages))
        if messages:
            self.data(stream, b"".join(map(prefixed, messages)), end=end)

    def data(self, stream: int, content: bytes, *, end: bool = False) -> None:
        """Send bytes of a call, in full frames."""
        pieces = [content[at : at + FRAME_BYTES] for at in range(0, len(content), FRAME_BYTES)] or [b""]
        for number, piece in enumerate(pieces):
            last = end and number == len(pieces) - 1
            self.send(frame(DATA, END_STREAM if last else 0, stream, piece))

    def message(self, stream: int, number: int) -> bytes | Outcome:
        """Read until this message of a stream has come, or its end instead."""
        while len(self.messages.get(stream, ())) <= number:
            found = self.step()
            if found is not None and found[0] in (stream, CONNECTION):
                return found[1]
        return self.messages[stream][number]

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> Outcome | None:
        if kind == HEADERS:
            fields: dict[bytes, Any] = dict(self._decoder.decode(payload, raw=True))
            self._trailers.setdefault(number, {}).update(fields)
            if flags & END_STREAM:
                return self._ended(number)
            self._statuses[number] = int(fields[b":status"])
            self._bodies[number] = b""
            return None
        if kind == DATA:
            self._unpack(number, payload)
        return super()._take(kind, flags, number, payload)

    def _ended(self, number: int) -> Outcome:
        fields = self._trailers[number]
        if b"grpc-status" in fields:
            return Outcome("grpc", int(fields[b"grpc-status"]))
        return Outcome("status", int(fields[b":status"]))

    def _unpack(self, number: int, payload: bytes) -> None:
        data = self._partial.get(number, b"") + payload
        while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5], "big"):
            size = int.from_bytes(data[1:5], "big")
            self.messages.setdefault(number, []).append(data[5 : 5 + size])
            data = data[5 + size :]
        self._partial[number] = data
