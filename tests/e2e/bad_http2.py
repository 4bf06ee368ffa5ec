"""Bad HTTP/2, as a table: bytes to send on a fresh connection, and what becomes of the stream or the connection.

Every request that could be understood is a create with a valid token and body, so that each one that slipped through
would leave a task behind.
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from tests.e2e import frames
from tests.e2e.bad_http1 import GOOD, LIMITS, VALIDATION
from tests.e2e.frames import END_HEADERS, END_STREAM, Fields, Outcome, Peer, frame, settings, window_update

PROTOCOL: Final = Outcome("goaway", frames.PROTOCOL_ERROR)
SIZE: Final = Outcome("goaway", frames.FRAME_SIZE_ERROR)
CALM: Final = Outcome("goaway", frames.ENHANCE_YOUR_CALM)
REFUSED: Final = Outcome("status", 400, VALIDATION)


class Bad(NamedTuple):
    """`send` gets the connection and the fields of a good create; `stream` is whose outcome counts, 0 for all."""

    name: str
    send: Callable[[Peer, Fields], None]
    outcome: Outcome
    stream: int = 1


def good(token: str, path: str = "/v1/codeq/tasks") -> Fields:
    """The fields of a create, or of another POST."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("authorization", f"Bearer {token}"),
    ]


def fields(name: str, outcome: Outcome, *more: tuple[str, str], without: str = "", first: bool = False) -> Bad:
    """A create with more fields behind or in front, or without one."""

    def send(peer: Peer, usual: Fields) -> None:
        kept = [field for field in usual if field[0] != without]
        peer.request(1, [*more, *kept] if first else [*kept, *more], GOOD)

    return Bad(name, send, outcome)


def changed(name: str, outcome: Outcome, field: str, value: str) -> Bad:
    """A create in which one field has another value."""

    def send(peer: Peer, usual: Fields) -> None:
        peer.request(1, [(each, value if each == field else old) for each, old in usual], GOOD)

    return Bad(name, send, outcome)


def raw(name: str, data: bytes, outcome: Outcome = PROTOCOL) -> Bad:
    """Frames without any request; the connection's end counts."""
    return Bad(name, lambda peer, _: peer.send(data), outcome, 0)


def opened(name: str, data: bytes, outcome: Outcome, stream: int = 0) -> Bad:
    """Frames behind the head of a create on stream 1, which is still open."""
    return Bad(name, lambda peer, usual: peer.send(peer.headers(1, usual, end=False) + data), outcome, stream)


def _too_long(peer: Peer, usual: Fields) -> None:
    peer.send(peer.headers(1, [*usual, ("content-length", str(LIMITS.body_bytes + 1))], end=False))


def _split_head(peer: Peer, usual: Fields, pieces: int) -> None:
    block = peer.block(usual)
    peer.send(frame(frames.HEADERS, 0, 1, block[:1]))
    for at in range(1, pieces):
        peer.send(frame(frames.CONTINUATION, 0, 1, block[at : at + 1]))
    peer.send(frame(frames.CONTINUATION, END_HEADERS | END_STREAM, 1, block[pieces:]))


def _requests_and_resets(peer: Peer, usual: Fields) -> None:
    for stream in range(1, 2 * (LIMITS.h2_resets + 2), 2):
        peer.send(peer.headers(stream, usual, end=False))
        peer.send(frame(frames.RST_STREAM, 0, stream, struct.pack(">I", 8)))


def _made_resets(peer: Peer, usual: Fields) -> None:
    for stream in range(1, 2 * (LIMITS.h2_resets + 2), 2):
        peer.send(peer.headers(stream, usual, end=False) + window_update(stream, 0))


def _reused_stream(peer: Peer, usual: Fields) -> None:
    peer.send(peer.headers(3, [*usual[:2], (":path", "/healthz"), usual[3]]))
    peer.request(1, usual, GOOD)


FIELDS: Final = (
    fields("no method", PROTOCOL, without=":method"),
    fields("no scheme", PROTOCOL, without=":scheme"),
    fields("no path", PROTOCOL, without=":path"),
    fields("no authority", PROTOCOL, without=":authority"),
    fields("two paths", PROTOCOL, (":path", "/v1/codeq/tasks"), first=True),
    fields("an unknown pseudo-header", PROTOCOL, (":colour", "blue"), first=True),
    fields("a response's pseudo-header", PROTOCOL, (":status", "200"), first=True),
    fields("a pseudo-header behind a header", PROTOCOL, ("x-a", "b"), first=True),
    fields("a name in upper case", PROTOCOL, ("X-A", "b")),
    fields("a name that is empty", PROTOCOL, ("", "b")),
    fields("a name with a space", PROTOCOL, ("x a", "b")),
    fields("a NUL in a value", PROTOCOL, ("x-a", "b\0c")),
    fields("a line break in a value", PROTOCOL, ("x-a", "b\r\nx-b: c")),
    fields("a header of connections", PROTOCOL, ("connection", "close")),
    fields("keep-alive", PROTOCOL, ("keep-alive", "5")),
    fields("a transfer coding", PROTOCOL, ("transfer-encoding", "chunked")),
    fields("an upgrade", PROTOCOL, ("upgrade", "websocket")),
    fields("te other than trailers", PROTOCOL, ("te", "gzip")),
    fields("a Host that is not the authority", PROTOCOL, ("host", "other")),
    fields("two lengths", PROTOCOL, ("content-length", "41"), ("content-length", "42")),
    fields("a length that is no number", PROTOCOL, ("content-length", "+41")),
    fields("a length too short", PROTOCOL, ("content-length", str(len(GOOD) - 1))),
    fields("a length too long", PROTOCOL, ("content-length", str(len(GOOD) + 1))),
    Bad("a length past the limit", _too_long, Outcome("status", 413, "payload-too-large")),
    fields("two tokens", REFUSED, ("authorization", "Bearer x")),
    fields("two media types", REFUSED, ("content-type", "application/json"), ("content-type", "application/json")),
    fields("too many fields", CALM, *((f"x-{number}", "a") for number in range(LIMITS.head_fields + 1))),
    fields("too many crumbs", CALM, *(("cookie", "a=b") for _ in range(LIMITS.head_fields + 1))),
    fields("fields past their limit", CALM, *((f"x-{number}", "a" * 1000) for number in range(17))),
    changed("an empty path", PROTOCOL, ":path", ""),
    changed("a path without a slash", REFUSED, ":path", "v1/codeq/tasks"),
    changed("an asterisk", REFUSED, ":path", "*"),
    changed("a fragment", REFUSED, ":path", "/v1/codeq/tasks#x"),
    changed("a path beyond ASCII", REFUSED, ":path", "/v1/codeq/täsks"),
    changed("a path past its limit", Outcome("status", 414, VALIDATION), ":path", "/" + "a" * LIMITS.target_bytes),
    changed("an authority that is none", REFUSED, ":authority", "a/b"),
    changed("an unknown method", Outcome("status", 501, VALIDATION), ":method", "BREW"),
    changed("CONNECT", PROTOCOL, ":method", "CONNECT"),
    changed("a method in lower case", Outcome("status", 501, VALIDATION), ":method", "post"),
)  # fmt: skip

CONNECTION: Final = (
    raw("DATA on stream 0", frame(frames.DATA, 0, 0, b"x")),
    raw("HEADERS on stream 0", frame(frames.HEADERS, END_HEADERS, 0, b"\x82")),
    raw("HEADERS on an even stream", frame(frames.HEADERS, END_HEADERS | END_STREAM, 2, b"\x82")),
    raw("DATA on an idle stream", frame(frames.DATA, 0, 1, b"x")),
    raw("RST_STREAM on an idle stream", frame(frames.RST_STREAM, 0, 1, bytes(4))),
    raw("RST_STREAM on stream 0", frame(frames.RST_STREAM, 0, 0, bytes(4))),
    raw("RST_STREAM of another size", frame(frames.RST_STREAM, 0, 1, bytes(3)), SIZE),
    raw("WINDOW_UPDATE on an idle stream", window_update(1, 1)),
    raw("WINDOW_UPDATE of zero", window_update(0, 0)),
    raw("WINDOW_UPDATE past the window", window_update(0, 2**31 - 1),
        Outcome("goaway", frames.FLOW_CONTROL_ERROR)),
    raw("WINDOW_UPDATE of another size", frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    raw("SETTINGS on a stream", frame(frames.SETTINGS, 0, 1)),
    raw("SETTINGS of a broken size", frame(frames.SETTINGS, 0, 0, bytes(5)), SIZE),
    raw("an ACK of SETTINGS with content", frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), SIZE),
    raw("a window past its limit", settings((4, 2**31)), Outcome("goaway", frames.FLOW_CONTROL_ERROR)),
    raw("a frame size below its limit", settings((5, 16_383))),
    raw("a frame size past its limit", settings((5, 2**24))),
    raw("a push setting that is no flag", settings((2, 2))),
    raw("PING of another size", frame(frames.PING, 0, 0, bytes(7)), SIZE),
    raw("PING on a stream", frame(frames.PING, 0, 1, bytes(8))),
    raw("GOAWAY on a stream", frame(frames.GOAWAY, 0, 1, bytes(8))),
    raw("GOAWAY cut short", frame(frames.GOAWAY, 0, 0, bytes(7)), SIZE),
    raw("PUSH_PROMISE from a client", frame(frames.PUSH_PROMISE, END_HEADERS, 1, bytes(4) + b"\x82")),
    raw("CONTINUATION behind nothing", frame(frames.CONTINUATION, END_HEADERS, 1, b"\x82")),
    raw("a frame past its size", frame(frames.DATA, 0, 1, bytes(LIMITS.h2_frame_bytes + 1)), SIZE),
    raw("another frame within a header block", frame(frames.HEADERS, 0, 1, b"\x82") + settings()),
    raw("padding longer than its frame", frame(frames.HEADERS, frames.PADDED | END_HEADERS, 1, b"\xff\x82")),
    raw("an index that is not there", frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\x80\x01"),
        Outcome("goaway", frames.COMPRESSION_ERROR)),
    raw("a header table past its limit", frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe2\x1f\x82"),
        Outcome("goaway", frames.COMPRESSION_ERROR)),
    Bad("a stream below the last one", _reused_stream, PROTOCOL, 0),
    opened("DATA with padding longer than its frame", frame(frames.DATA, frames.PADDED, 1, b"\xff"), PROTOCOL),
    opened("WINDOW_UPDATE of zero on a stream", window_update(1, 0), Outcome("reset", frames.PROTOCOL_ERROR), 1),
    opened("WINDOW_UPDATE past a stream's window", window_update(1, 2**31 - 1),
           Outcome("reset", frames.FLOW_CONTROL_ERROR), 1),
    opened("trailers without an end", frame(frames.HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b"), PROTOCOL),
    opened("a second head", frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, b"\x82"), PROTOCOL),
)  # fmt: skip

FLOODS: Final = (
    raw("PING", frame(frames.PING, 0, 0, bytes(8)) * (LIMITS.h2_pings + 1), CALM),
    raw("SETTINGS", settings() * (LIMITS.h2_settings + 1), CALM),
    raw("unknown frames", frame(0xF0, 0, 0, b"x") * (LIMITS.h2_unknown_frames + 1), CALM),
    raw("PRIORITY", frame(frames.PRIORITY, 0, 1, bytes(5)) * (LIMITS.h2_priority_base + 1), CALM),
    raw("WINDOW_UPDATE", window_update(0, 1) * (LIMITS.h2_window_update_base + 1), CALM),
    opened("empty DATA", frame(frames.DATA, 0, 1) * (LIMITS.h2_empty_frames + 1), CALM),
    Bad("CONTINUATION", lambda peer, usual: _split_head(peer, usual, LIMITS.h2_continuations + 1), CALM, 0),
    Bad("resets", _requests_and_resets, CALM, 0),
    Bad("resets that the server must make", _made_resets, CALM, 0),
)

TABLE: Final = FIELDS + CONNECTION + FLOODS
