"""A whole HTTP/2 connection with requests and calls: any bytes behind a preface, and nothing is leaked."""

from typing import Final

from appliance.mux.http2 import Http2
from tests.e2e import frames
from tests.e2e.bad_http1 import GOOD
from tests.e2e.frames import END_HEADERS, END_STREAM, PREFACE, frame, settings, window_update
from tests.e2e.grpc_peer import PRODUCER, head, prefixed
from tests.fuzz.blocks import block
from tests.mux.calls import Echo
from tests.mux.support import Wire, echo

_POST: Final = block([(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "a")])
_CALL: Final = block(head(PRODUCER))
SEEDS: Final = (
    settings() + frame(frames.HEADERS, END_HEADERS, 1, _POST) + frame(frames.DATA, END_STREAM, 1, GOOD),
    settings((4, 0)) + frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, _POST) + window_update(1, 100),
    settings() + frame(frames.HEADERS, END_HEADERS, 1, _CALL) + frame(frames.DATA, 0, 1, prefixed(b"hello") * 3),
    frame(frames.HEADERS, END_HEADERS, 1, _CALL)
    + frame(frames.DATA, END_STREAM, 1, prefixed(b""))
    + window_update(0, 9),
    frame(frames.HEADERS, 0, 1, _POST[:3]) + frame(frames.CONTINUATION, END_HEADERS, 1, _POST[3:]),
    frame(frames.HEADERS, END_HEADERS, 3, _CALL)
    + frame(frames.RST_STREAM, 0, 3, bytes(4))
    + frame(frames.PING, 0, 0, bytes(8)),
    frame(frames.GOAWAY, 0, 0, bytes(8))
    + frame(frames.HEADERS, END_HEADERS, 1, _POST)
    + frame(frames.DATA, 8, 1, b"\1x\0"),
)


def run(data: bytes) -> None:
    """All at once, then a while of silence, then the end of the connection."""
    wire = Wire(echo, make_core=Http2, kind="h2")
    wire.hub.open_call = Echo
    wire.send(PREFACE + data)
    if not wire.transport.closed:
        wire.wait(40.0)
    wire.connection.connection_lost(None)
    assert wire.hub.memory.used_bytes == 0, wire.hub.memory.used_bytes
    assert wire.watcher.calls_open == 0
