"""The client's side of one HTTP/2 connection, as little of it as a load needs, yet correct.

Owns frames, windows of both sides and the ends of streams. Outbound frames come ready made; those that fit no window
wait. Grants go out in large steps, from windows as large as HTTP/2 has. Sans-IO: bytes in by `receive`, bytes out by
`take`.
"""

from collections import deque
from typing import Final, Protocol
from urllib.parse import unquote

import hpack

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES_MAX: Final = 1 << 14
"""HTTP/2's default: what any client gets that does not ask for more."""
WINDOW_BYTES_MAX: Final = (1 << 31) - 1
_DEFAULT_WINDOW_BYTES: Final = 65_535
_GRANT_BYTES: Final = 1 << 28
"""Received bytes after which window is granted anew: seldom, and long before the window is empty."""
MESSAGE_BYTES_MAX: Final = 4 << 20
"""What gRPC clients take."""

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0,
    1,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 1, 2, 4
_HEADER_BYTES: Final = 9
_HEADER_BLOCK_BYTES_MAX: Final = 1 << 16
_STREAM_ID: Final = (1 << 31) - 1


class PeerError(Exception):
    """The server broke the protocol, or ended what should have gone on."""


class Receiver(Protocol):
    """Who handles what a stream receives."""

    def messages(self, messages: list[bytes], now: float) -> None:
        """Whole messages without their prefix, in order; `now` is the clock (seconds) when their bytes were read."""


def frame(kind: int, flags: int, stream_id: int, content: bytes) -> bytes:
    """One frame."""
    return (len(content) << 48 | kind << 40 | flags << 32 | stream_id).to_bytes(_HEADER_BYTES) + content


def data_frames(stream_id: int, content: bytes) -> bytes:
    """DATA frames, as few as possible."""
    return b"".join(
        frame(_DATA, 0, stream_id, content[at : at + FRAME_BYTES_MAX]) for at in range(0, len(content), FRAME_BYTES_MAX)
    )


class Stream:
    """One gRPC call."""

    __slots__ = ("_connection", "_partial", "blocked", "ended", "id", "received", "receiver", "window")

    def __init__(self, connection: "Connection", stream_id: int, window: int) -> None:
        self._connection = connection
        self.id = stream_id
        self.window = window
        self.receiver: Receiver | None = None
        self.received = 0
        self.ended = False
        self.blocked: deque[bytes] = deque()
        """Single frames that wait for window."""
        self._partial = b""

    def send(self, frames: bytes, size: int) -> None:
        """Send whole DATA frames with `size` bytes of content in all, as soon as windows allow."""
        connection = self._connection
        if size <= self.window and size <= connection.window and not self.blocked:
            self.window -= size
            connection.window -= size
            connection.outgoing.append(frames)
        else:
            self._queue(frames)
            self.flush()

    def finish(self) -> None:
        """Nothing more will be sent."""
        self._queue(frame(_DATA, _END_STREAM, self.id, b""))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as windows allow."""
        connection, blocked = self._connection, self.blocked
        while blocked:
            waiting = blocked[0]
            size = len(waiting) - _HEADER_BYTES
            allowed = min(self.window, connection.window)
            if size <= allowed:
                blocked.popleft()
            elif allowed > 0:
                # A peer that grants in steps may be waiting for just these bytes.
                size = allowed
                blocked[0] = frame(_DATA, 0, self.id, waiting[_HEADER_BYTES + size :])
                waiting = frame(_DATA, 0, self.id, waiting[_HEADER_BYTES : _HEADER_BYTES + size])
            else:
                return
            self.window -= size
            connection.window -= size
            connection.outgoing.append(waiting)

    def data(self, data: bytes, now: float) -> None:
        """Content of a DATA frame. Raises PeerError."""
        if self._partial:
            data = self._partial + data
        found = []
        at, end = 0, len(data)
        while end - at >= 5:
            until = at + 5 + int.from_bytes(data[at + 1 : at + 5])
            if until > end:
                if until - at > MESSAGE_BYTES_MAX:
                    raise PeerError("the server sent a message above 4 MiB")
                break
            if data[at]:
                raise PeerError("the server sent a compressed message, which was not offered")
            found.append(data[at + 5 : until])
            at = until
        self._partial = data[at:]
        if found and self.receiver is not None:
            self.receiver.messages(found, now)

    def _queue(self, frames: bytes) -> None:
        at = 0
        while at < len(frames):
            until = at + _HEADER_BYTES + int.from_bytes(frames[at : at + 3])
            self.blocked.append(frames[at:until])
            at = until


class Connection:
    """One connection and its streams. `authority` and `scheme` go into every request."""

    __slots__ = (
        "_authority",
        "_block",
        "_decoder",
        "_encoder",
        "_next_id",
        "_partial",
        "_received",
        "_scheme",
        "_stream_window",
        "outgoing",
        "streams",
        "window",
    )

    def __init__(self, authority: str, scheme: str) -> None:
        self._authority, self._scheme = authority, scheme
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._stream_window = self.window = _DEFAULT_WINDOW_BYTES
        self._next_id = 1
        self._partial = b""
        self._block: tuple[int, int, bytes] | None = None
        self._received = 0
        self.streams: dict[int, Stream] = {}
        settings = {_ENABLE_PUSH: 0, _INITIAL_WINDOW_SIZE: WINDOW_BYTES_MAX}
        content = b"".join(number.to_bytes(2) + value.to_bytes(4) for number, value in settings.items())
        self.outgoing = [
            PREFACE,
            frame(_SETTINGS, 0, 0, content),
            _window_update(0, WINDOW_BYTES_MAX - _DEFAULT_WINDOW_BYTES),
        ]

    def open(self, path: str) -> Stream:
        """Begin a gRPC call."""
        stream = Stream(self, self._next_id, self._stream_window)
        self._next_id += 2
        self.streams[stream.id] = stream
        headers = [
            (":method", "POST"), (":scheme", self._scheme), (":path", path), (":authority", self._authority),
            ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "codeq-bench"),
        ]  # fmt: skip
        self.outgoing.append(frame(_HEADERS, _END_HEADERS, stream.id, self._encoder.encode(headers)))
        return stream

    def take(self) -> bytes:
        """What is to be sent now."""
        if not self.outgoing:
            return b""
        data = b"".join(self.outgoing)
        self.outgoing.clear()
        return data

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the server, read at `now` (seconds). Raises PeerError."""
        if self._partial:
            data = self._partial + data
        at, end, streams = 0, len(data), self.streams
        while end - at >= _HEADER_BYTES:
            head = int.from_bytes(data[at : at + _HEADER_BYTES])
            start = at + _HEADER_BYTES
            at = start + (head >> 48)
            if at > end:
                if head >> 48 > FRAME_BYTES_MAX:
                    raise PeerError("the server sent a frame above 16 KiB")
                at = start - _HEADER_BYTES
                break
            kind, flags, stream_id = head >> 40 & 0xFF, head >> 32 & 0xFF, head & _STREAM_ID
            if kind == _DATA:
                self._received += head >> 48
                stream = streams.get(stream_id)
                if stream is None:
                    continue
                stream.received += head >> 48
                content = data[start:at]
                stream.data(_unpadded(content) if flags & _PADDED else content, now)
                if flags & _END_STREAM:
                    self._ended(stream, "without a status")
            else:
                self._control(kind, flags, stream_id, data[start:at])
        self._partial = data[at:]
        if self._received > _GRANT_BYTES:
            self._grant()

    def _grant(self) -> None:
        self.outgoing.append(_window_update(0, self._received))
        self._received = 0
        for stream in self.streams.values():
            if stream.received:
                self.outgoing.append(_window_update(stream.id, stream.received))
                stream.received = 0

    def _control(self, kind: int, flags: int, stream_id: int, content: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            self._granted(stream_id, int.from_bytes(content))
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(content)
            self.outgoing.append(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self.outgoing.append(frame(_PING, _ACK, 0, content))
        elif kind == _HEADERS:
            content = _unpadded(content) if flags & _PADDED else content
            self._headers(stream_id, flags, content[5:] if flags & _PRIORITY else content)
        elif kind == _CONTINUATION:
            if self._block is None or len(self._block[2]) > _HEADER_BLOCK_BYTES_MAX:
                raise PeerError("the server sent a header block that is malformed or too large")
            first_id, first_flags, block = self._block
            self._headers(first_id, first_flags & ~_END_HEADERS | flags & _END_HEADERS, block + content)
        elif kind == _RST_STREAM:
            stream = self.streams.get(stream_id)
            if stream is not None and not stream.ended:
                raise PeerError(f"the server reset a stream with error {int.from_bytes(content)}")
        elif kind == _GOAWAY:
            raise PeerError(f"the server is going away, error {int.from_bytes(content[4:8])}: {_shown(content[8:])}")

    def _granted(self, stream_id: int, size: int) -> None:
        if stream_id:
            stream = self.streams.get(stream_id)
            if stream is not None:
                stream.window += size
                stream.flush()
            return
        self.window += size
        for stream in self.streams.values():
            if stream.blocked:
                stream.flush()

    def _settings(self, content: bytes) -> None:
        for at in range(0, len(content), 6):
            number, value = int.from_bytes(content[at : at + 2]), int.from_bytes(content[at + 2 : at + 6])
            if number == _INITIAL_WINDOW_SIZE:
                for stream in self.streams.values():
                    stream.window += value - self._stream_window
                    stream.flush()
                self._stream_window = value
            elif number == _HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4_096)

    def _headers(self, stream_id: int, flags: int, block: bytes) -> None:
        if not flags & _END_HEADERS:
            self._block = stream_id, flags, block
            return
        self._block = None
        try:
            headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
        except hpack.HPACKError as error:
            raise PeerError("the server sent headers that cannot be decoded") from error
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        if headers.get(":status", "200") != "200":
            raise PeerError(f"the server refused a stream with HTTP status {headers[':status']}")
        if flags & _END_STREAM:
            status, message = headers.get("grpc-status", "none"), unquote(headers.get("grpc-message", ""))
            self._ended(stream, f"with gRPC status {status} {message[:200]}".rstrip(), fine=status == "0")

    def _ended(self, stream: Stream, how: str, *, fine: bool = False) -> None:
        stream.ended = True
        if not fine:
            raise PeerError(f"the server ended a stream {how}")


def _window_update(stream_id: int, size: int) -> bytes:
    return frame(_WINDOW_UPDATE, 0, stream_id, size.to_bytes(4))


def _unpadded(content: bytes) -> bytes:
    if not content or content[0] >= len(content):
        raise PeerError("the server sent a frame whose padding exceeds it")
    return content[1 : len(content) - content[0]]


def _shown(content: bytes) -> str:
    return content.decode("ascii", "replace")[:200]
