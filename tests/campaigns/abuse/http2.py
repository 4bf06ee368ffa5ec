"""Attacks with HTTP/2 frames: every row of the usual list of denial-of-service attacks.

Each is a few frames on a connection of its own; what ends it is GOAWAY with ENHANCE_YOUR_CALM unless said otherwise.
"""

import contextlib
import struct
import threading
import time
from collections.abc import Callable
from typing import Final

from tests.campaigns.abuse.stage import Attack, NotRefused, Stage, expect, read_to_end
from tests.e2e import frames
from tests.e2e.bad_http1 import LIMITS
from tests.e2e.frames import ACK, END_HEADERS, END_STREAM, Fields, Outcome, Peer, frame, settings, window_update

SECTION: Final = "HTTP/2"
CALM: Final = Outcome("goaway", frames.ENHANCE_YOUR_CALM)
PROTOCOL: Final = Outcome("goaway", frames.PROTOCOL_ERROR)
ENOUGH: Final = 2 * (LIMITS.h2_resets + 2)

DRIP_SECONDS: Final = 2.0
SLACK_SECONDS: Final = 5.0
UNREAD_REQUESTS: Final = 1_000
UNREAD_PAUSE_SECONDS: Final = 0.005
"""Answers of 20 KB each: together far more than the kernel's buffers, and never many at a time."""

Send = Callable[[Peer, Fields], None]


def good_fields(stage: Stage, path: str = "/v1/codeq/tasks", method: str = "POST") -> Fields:
    """The fields of a request that is in order."""
    return [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("authorization", f"Bearer {stage.tokens.producer}"),
    ]


def flood(name: str, reason: str, send: Send, outcome: Outcome = CALM, stream: int = 0) -> Attack:
    """Frames after which the connection, or this stream, must end like this."""

    def play(stage: Stage) -> str:
        with contextlib.closing(Peer(stage.connect())) as peer:
            send(peer, good_fields(stage))
            seen = peer.outcome(stream)
            expect(seen == outcome, seen)
            return f"{seen.kind} {seen.number}"

    return Attack(SECTION, name, reason, play)


def raw(name: str, reason: str, data: bytes, outcome: Outcome = CALM) -> Attack:
    """The same with frames that need no request."""
    return flood(name, reason, lambda peer, _: peer.send(data), outcome)


def each_stream(count: int, act: Callable[[Peer, int], bytes], *, end: bool = False) -> Send:
    """On so many streams a request, and behind its head these frames; all in a few large writes."""

    def send(peer: Peer, usual: Fields) -> None:
        data = b""
        for stream in range(1, 2 * count, 2):
            data += peer.headers(stream, usual, end=end) + act(peer, stream)
        peer.send(data)

    return send


def _reset(_: Peer, stream: int) -> bytes:
    return frame(frames.RST_STREAM, 0, stream, struct.pack(">I", 8))


def _continuations(peer: Peer, usual: Fields, pieces: int) -> None:
    block = peer.block(usual)
    data = frame(frames.HEADERS, END_STREAM, 1, block[:1])
    data += b"".join(frame(frames.CONTINUATION, 0, 1, block[at : at + 1]) for at in range(1, pieces + 1))
    peer.send(data)


def _large_block(peer: Peer, usual: Fields) -> None:
    peer.send(frame(frames.HEADERS, 0, 1, peer.block(usual)))
    piece = b"\x00\x03x-a\x7f\x81\x7e" + b"a" * 255
    piece *= LIMITS.h2_frame_bytes // len(piece)
    peer.send(frame(frames.CONTINUATION, 0, 1, piece) * 5)


def _bomb(peer: Peer, usual: Fields) -> None:
    """One large field in the table, then one byte for each time it is named."""
    peer.send(frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, peer.block([*usual, ("x-big", "a" * 3_900)])))
    block = peer.block(usual) + b"\xbe" * 15_000
    peer.send(frame(frames.HEADERS, END_HEADERS | END_STREAM, 3, block))


def _tiny_fields(peer: Peer, usual: Fields) -> None:
    peer.request(1, [*usual, *((f"x{number}", "") for number in range(LIMITS.head_fields + 1))])


def _crumbs(peer: Peer, usual: Fields) -> None:
    peer.request(1, [*usual, *(("cookie", "a") for _ in range(LIMITS.head_fields + 1))])


def _one_stream_too_many(peer: Peer, usual: Fields) -> None:
    peer.send(b"".join(peer.headers(2 * number + 1, usual, end=False) for number in range(LIMITS.h2_streams + 1)))


def _shut_windows(peer: Peer, usual: Fields, stage_path: str = "/metrics") -> None:
    """A window of zero from the first, and many answers that want to leave."""
    fields = [(":method", "GET"), *usual[1:2], (":path", stage_path), *usual[3:4]]
    peer.send(settings((4, 0)) + b"".join(peer.headers(stream, fields) for stream in range(1, 41, 2)))


def _play_stalled(stage: Stage, trickle: bool) -> str:
    over = threading.Event()

    def drip(peer: Peer) -> None:
        while not over.wait(DRIP_SECONDS):
            with contextlib.suppress(OSError):
                peer.send(b"".join(window_update(stream, 1) for stream in range(1, 41, 2)))

    with contextlib.closing(Peer(stage.connect())) as peer:
        _shut_windows(peer, good_fields(stage))
        dripping = threading.Thread(target=drip, args=(peer,))
        if trickle:
            dripping.start()
        try:
            seen = peer.outcome(1)
        finally:
            over.set()
            if trickle:
                dripping.join()
        expect(seen == Outcome("reset", 8), seen)
        return "reset 8"


def _h2c(stage: Stage) -> str:
    request = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    with contextlib.closing(stage.connect()) as sock:
        sock.sendall(request)
        answer = sock.recv(100)
        expect(answer.startswith(b"HTTP/1.1 200 "), answer)
        return "200, no 101"


def _connect_method(peer: Peer, usual: Fields) -> None:
    peer.request(1, [(":method", "CONNECT"), (":authority", "localhost:22")])


def _extended_connect(peer: Peer, usual: Fields) -> None:
    peer.request(1, [(":method", "CONNECT"), (":protocol", "websocket"), *usual[1:]])


def _never_reading(stage: Stage) -> str:
    """Large answers, windows without end, and a socket that is never read."""
    with contextlib.closing(stage.connect()) as sock:
        peer = Peer(sock, greeting=frames.PREFACE + settings((4, 2**31 - 1)) + window_update(0, 2**30))
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/metrics"), (":authority", "localhost")]
        for stream in range(1, 2 * UNREAD_REQUESTS, 2):
            peer.send(peer.headers(stream, fields))
            time.sleep(UNREAD_PAUSE_SECONDS)
        time.sleep(LIMITS.write_seconds + SLACK_SECONDS)
        try:
            received = len(read_to_end(sock))
        except TimeoutError:
            raise NotRefused("still open") from None
        return f"reset, {received:,} bytes later"


ATTACKS: Final = (
    flood("rapid reset", "h2-resets", each_stream(ENOUGH, _reset)),
    flood("made reset: window of zero", "h2-resets", each_stream(ENOUGH, lambda _, stream: window_update(stream, 0))),
    flood("made reset: window overflow", "h2-resets",
          each_stream(ENOUGH, lambda _, stream: window_update(stream, 2**31 - 1))),
    flood("made reset: DATA behind the end", "h2-resets",
          each_stream(ENOUGH, lambda _, stream: frame(frames.DATA, 0, stream, b"x"), end=True)),
    flood("made reset: a head behind the end", "h2-resets",
          each_stream(ENOUGH, lambda peer, stream: peer.headers(stream, [("x", "y")]), end=True)),
    raw("made reset: PRIORITY of a wrong size", "h2-protocol", frame(frames.PRIORITY, 0, 1, bytes(4)),
        Outcome("goaway", frames.FRAME_SIZE_ERROR)),
    raw("PRIORITY on itself", "h2-priority",
        frame(frames.PRIORITY, 0, 1, struct.pack(">IB", 1, 1)) * (LIMITS.h2_priority_base + 1)),
    flood("CONTINUATION flood", "h2-continuations",
          lambda peer, usual: _continuations(peer, usual, LIMITS.h2_continuations + 1)),
    flood("header block without an end", "h2-header-block", _large_block),
    flood("HTTP/2 bomb: fields", "h2-header-fields", _tiny_fields),
    flood("HTTP/2 bomb: cookie crumbs", "h2-header-fields", _crumbs),
    flood("HPACK bomb", "h2-header-block", _bomb),
    raw("HPACK table past its limit", "h2-protocol",
        frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe2\x1f\x82"),
        Outcome("goaway", frames.COMPRESSION_ERROR)),
    raw("PING flood", "h2-pings", frame(frames.PING, 0, 0, bytes(8)) * (LIMITS.h2_pings + 1)),
    raw("SETTINGS flood", "h2-settings", settings() * (LIMITS.h2_settings + 1)),
    raw("PRIORITY flood", "h2-priority", frame(frames.PRIORITY, 0, 1, bytes(5)) * (LIMITS.h2_priority_base + 1)),
    raw("WINDOW_UPDATE flood", "h2-window-updates", window_update(0, 1) * (LIMITS.h2_window_update_base + 1)),
    flood("empty DATA", "h2-empty-frames",
          lambda peer, usual: peer.send(
              peer.headers(1, usual, end=False) + frame(frames.DATA, 0, 1) * (LIMITS.h2_empty_frames + 1))),
    flood("padding only", "h2-empty-frames",
          lambda peer, usual: peer.send(
              peer.headers(1, usual, end=False)
              + frame(frames.DATA, frames.PADDED, 1, b"\x0a" + bytes(10)) * (LIMITS.h2_empty_frames + 1))),
    raw("unknown frames", "h2-unknown-frames", frame(0xF0, 0, 0, b"x") * (LIMITS.h2_unknown_frames + 1)),
    raw("a frame past its size", "h2-protocol", frame(frames.DATA, 0, 1, bytes(LIMITS.h2_frame_bytes + 1)),
        Outcome("goaway", frames.FRAME_SIZE_ERROR)),
    raw("an answer to settings nobody sent, with content", "h2-protocol", frame(frames.SETTINGS, ACK, 0, bytes(6)),
        Outcome("goaway", frames.FRAME_SIZE_ERROR)),
    flood("a name of no length", "h2-protocol", lambda peer, usual: peer.request(1, [*usual, ("", "x")]), PROTOCOL),
    flood("more streams than there may be", "h2-streams", _one_stream_too_many, Outcome("reset", 7),
          2 * LIMITS.h2_streams + 1),
    flood("CONNECT", "not-implemented", _connect_method, Outcome("status", 501, "validation-error"), 1),
    flood("extended CONNECT", "not-implemented", _extended_connect, Outcome("status", 501, "validation-error"), 1),
    Attack(SECTION, "an offer to upgrade to h2c", "", _h2c),
    Attack(SECTION, "windows that stay shut", "h2-stalled", lambda stage: _play_stalled(stage, trickle=False),
           LIMITS.h2_stalled_seconds, floods=False),
    Attack(SECTION, "windows that open by one byte", "h2-stalled", lambda stage: _play_stalled(stage, trickle=True),
           LIMITS.h2_stalled_seconds, floods=False),
    Attack(SECTION, "requests without reading", "write-timeout", _never_reading, LIMITS.write_seconds, floods=False),
)  # fmt: skip
"""The reset share (half of a thousand streams) is left to the unit tests: it takes minutes below every rate."""
