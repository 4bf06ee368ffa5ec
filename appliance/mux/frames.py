"""Walks over the frames of an HTTP/2 connection before the codec sees them.

Owns the inbound bytes up to whole frames, counts abuse frame by frame, and sorts: what the connection handles itself
comes out one by one, everything between goes to the codec in one run. Plain DATA of open calls has a lane of its own:
its headers are parsed in place and the codec never sees it. Sans-IO.
"""

from collections.abc import Container, Iterator
from typing import Final, NamedTuple

from appliance.mux.h2_abuse import Abuse
from appliance.mux.sniffer import HTTP2_PREFACE

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
CODEC: Final = -1
"""Not a frame type: a run of whole frames for the codec."""

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8

HEADER_BYTES: Final = 9
RUN_BYTES: Final = 32 * 1024
"""Of DATA that is handed over as one, about: compressed, it may become a thousand times as much."""
LAST_KNOWN_TYPE: Final = CONTINUATION

_OWN_SIZES: Final = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
"""Frames of a fixed size that the connection handles itself. With another size, or on the wrong kind of stream, they go
to the codec, which knows the error."""

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11


class Frame(NamedTuple):
    """One frame, or with kind CODEC a run of them."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Http2Error(Exception):
    """The peer broke the protocol in a way that ends the connection with `code`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame_header(kind: int, flags: int, stream_id: int, size: int) -> bytes:
    """The nine bytes in front of a payload of `size` bytes."""
    return (size << 48 | kind << 40 | flags << 32 | stream_id).to_bytes(HEADER_BYTES)


def ping(payload: bytes, ack: bool) -> bytes:
    """A PING frame; `payload` has 8 bytes."""
    return frame_header(PING, ACK if ack else 0, 0, 8) + payload


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    payload = last_stream_id.to_bytes(4) + code.to_bytes(4) + debug
    return frame_header(GOAWAY, 0, 0, len(payload)) + payload


class FrameWalker:
    """The inbound side of one connection. `partial` says that a frame or header block has begun and not ended."""

    __slots__ = (
        "_abuse",
        "_block_stream_id",
        "_buffer",
        "_frame_limit_bytes",
        "_lane",
        "_over",
        "_preface_read",
        "partial_data",
    )

    def __init__(
        self, abuse: Abuse, frame_limit_bytes: int, lane: Container[int] = (), over: Container[int] = ()
    ) -> None:
        """`lane` holds the streams whose plain DATA, neither padded nor the last, the connection handles itself;
        `over` those that we ended before the peer did, whose DATA on its way it handles too."""
        self._abuse = abuse
        self._lane = lane
        self._over = over
        self._frame_limit_bytes = frame_limit_bytes
        self._buffer = b""
        self._preface_read = False
        self._block_stream_id = 0
        self.partial_data = False

    @property
    def partial(self) -> bool:
        """A frame or a header block has begun and not ended."""
        return bool(self._buffer or self._block_stream_id)

    def receive(self, data: bytes, now: float) -> Iterator[Frame]:
        """Yields what to handle, in order. Raises CalmDownError and Http2Error; after either the connection
        ends."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        at = run = 0
        if not self._preface_read:
            if len(data) < len(HTTP2_PREFACE):
                self._buffer = data
                return
            self._preface_read = True
            at = run = len(HTTP2_PREFACE)
        end = len(data)
        while end - at >= HEADER_BYTES:
            size = int.from_bytes(data[at : at + 3])
            if size > self._frame_limit_bytes:
                raise Http2Error(FRAME_SIZE_ERROR, "a frame is larger than SETTINGS_MAX_FRAME_SIZE")
            start, after = at + HEADER_BYTES, at + HEADER_BYTES + size
            if after > end:
                self.partial_data = data[at + 3] == DATA
                break
            kind, flags = data[at + 3], data[at + 4]
            stream_id = int.from_bytes(data[at + 5 : start]) & 0x7FFFFFFF
            if kind == DATA and not flags and size and stream_id in self._lane and not self._block_stream_id:
                if run < at:
                    yield Frame(CODEC, 0, 0, data[run:at])
                self._abuse.data_flowed = True
                # What the codec was just given may have ended the stream.
                if stream_id in self._lane:
                    payload, after = self._lane_run(data, at, end)
                    yield Frame(DATA, 0, stream_id, payload)
                    run = after
                else:
                    run = at
            elif self._is_own(kind, size, stream_id):
                if run < at:
                    yield Frame(CODEC, 0, 0, data[run:at])
                if kind == DATA:
                    self._count(kind, flags, stream_id, data, start, size, now)
                else:
                    self._count_own(kind, flags, now)
                yield Frame(kind, flags, stream_id, data[start:after])
                run = after
            else:
                self._count(kind, flags, stream_id, data, start, size, now)
            at = after
        if run < at:
            yield Frame(CODEC, 0, 0, data[run:at])
        self._buffer = data[at:]

    def _lane_run(self, data: bytes, at: int, end: int) -> tuple[bytes, int]:
        """The whole frame at this place and those behind it of the same kind and stream: their payloads as one, and
        where they end. A peer that sends each message in a frame of its own costs hardly more than another."""
        pieces = []
        head = data[at + 3 : at + HEADER_BYTES]
        enough = at + RUN_BYTES
        while True:
            start = at + HEADER_BYTES
            size = int.from_bytes(data[at : at + 3])
            if data[at + 3 : start] != head or start + size > end or not 0 < size <= self._frame_limit_bytes:
                break
            at = start + size
            pieces.append(data[start:at])
            if at > enough:
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), at

    def _is_own(self, kind: int, size: int, stream_id: int) -> bool:
        if self._block_stream_id:
            return False
        if kind == DATA:
            return stream_id in self._over
        if kind in _OWN_SIZES:
            return size == _OWN_SIZES[kind] and (kind == WINDOW_UPDATE or (stream_id == 0) == (kind == PING))
        return kind > LAST_KNOWN_TYPE or (kind == GOAWAY and stream_id == 0 and size >= 8)

    def _count_own(self, kind: int, flags: int, now: float) -> None:
        abuse = self._abuse
        if kind == WINDOW_UPDATE:
            abuse.window_update()
        elif kind == PING and not flags & ACK:
            abuse.ping(now)
        elif kind == PRIORITY:
            abuse.priority()
        elif kind > LAST_KNOWN_TYPE:
            abuse.unknown(now)

    def _count(self, kind: int, flags: int, stream_id: int, data: bytes, start: int, size: int, now: float) -> None:
        abuse = self._abuse
        if kind == DATA:
            padding = data[start] + 1 if flags & PADDED and size else 0
            abuse.data(size > padding or bool(flags & END_STREAM), now)
        elif kind == HEADERS:
            ends_block = bool(flags & END_HEADERS)
            self._block_stream_id = 0 if ends_block else stream_id
            abuse.headers(size, ends_block, now)
        elif kind == CONTINUATION:
            ends_block = bool(flags & END_HEADERS)
            if ends_block:
                self._block_stream_id = 0
            abuse.continuation(size, ends_block, now)
        elif kind == SETTINGS and not flags & ACK:
            abuse.settings(now)
        elif kind == SETTINGS and size:
            raise Http2Error(FRAME_SIZE_ERROR, "an ACK of SETTINGS has content")
