"""Attacks that take their time: silence, bytes one at a time, answers that nobody reads.

Each holds a connection until the node's deadline ends it. As a load, hundreds of them are held at once.
"""

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Final

from tests.campaigns.abuse.http2 import good_fields
from tests.campaigns.abuse.stage import Attack, NotRefused, Stage, expect, read_to_end
from tests.e2e import frames
from tests.e2e.bad_grpc import worker_hello
from tests.e2e.bad_http1 import LIMITS
from tests.e2e.frames import PREFACE, Peer, frame, settings
from tests.e2e.grpc_peer import WORKER, GrpcPeer, head, prefixed

SECTION: Final = "slow"
STEP_SECONDS: Final = 0.5
SLACK_SECONDS: Final = 10.0
"""How late a deadline may be noticed on a busy machine."""


def begin(data: Callable[[Stage], bytes]) -> Callable[[Stage], socket.socket]:
    """Opens a connection that has sent this."""

    def hold(stage: Stage) -> socket.socket:
        sock = stage.connect()
        sock.sendall(data(stage))
        return sock

    return hold


def ended(
    name: str, reason: str, data: Callable[[Stage], bytes], seconds: float, drip: bytes = b"", status: bytes = b""
) -> Attack:
    """A connection that sends this, and then a drip at a time, ends within its deadline; with this status, if any."""
    hold = begin(data)

    def play(stage: Stage) -> str:
        with contextlib.closing(hold(stage)) as sock:
            began = time.monotonic()
            sock.settimeout(STEP_SECONDS)
            received = b""
            while time.monotonic() - began < seconds + SLACK_SECONDS:
                try:
                    piece = sock.recv(65_536)
                except TimeoutError:
                    with contextlib.suppress(OSError):
                        sock.send(drip)
                    continue
                except ConnectionResetError:
                    piece = b""
                received += piece
                if not piece:
                    expect(not status or received.startswith(b"HTTP/1.1 " + status), received[:100])
                    return f"{status.decode() or 'closed'} after {time.monotonic() - began:.0f} s"
        raise NotRefused(f"still open after {seconds + SLACK_SECONDS:.0f} s")

    return Attack(SECTION, name, reason, play, seconds, hold, floods=False)


def _http1(stage: Stage, end: bytes) -> bytes:
    line = b"POST /v1/codeq/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
    return line + stage.tokens.producer.encode() + end


def _http2_head(stage: Stage) -> bytes:
    return PREFACE + settings() + frame(frames.HEADERS, 0, 1, b"\x83")


def _http2_body(stage: Stage) -> socket.socket:
    sock = stage.connect()
    peer = Peer(sock)
    peer.send(peer.headers(1, good_fields(stage), end=False) + frame(frames.DATA, 0, 1, b"{"))
    return sock


def _play_http2_body(stage: Stage) -> str:
    with contextlib.closing(Peer(stage.connect())) as peer:
        peer.send(peer.headers(1, good_fields(stage), end=False) + frame(frames.DATA, 0, 1, b"{"))
        seen = peer.outcome(1)
        expect((seen.kind, seen.number) == ("status", 408), seen)
        return "408"


def _slow_reader(stage: Stage) -> socket.socket:
    """Asks for far more than its small receive buffer takes."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.bind(("127.0.0.2", 0))
    sock.settimeout(60)
    sock.connect(("127.0.0.1", stage.port))
    sock.settimeout(1)
    with contextlib.suppress(TimeoutError):
        for _ in range(400):
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
    return sock


def _play_slow_reader(stage: Stage) -> str:
    with contextlib.closing(_slow_reader(stage)) as sock:
        time.sleep(LIMITS.write_seconds + SLACK_SECONDS)
        sock.settimeout(SLACK_SECONDS)
        try:
            received = len(read_to_end(sock))
        except TimeoutError:
            raise NotRefused("still open") from None
        return f"reset, {received:,} bytes later"


def _silent_call(stage: Stage) -> socket.socket:
    sock = stage.connect()
    GrpcPeer(sock).call(1, WORKER)
    return sock


def _play_silent_call(stage: Stage) -> str:
    with contextlib.closing(GrpcPeer(stage.connect())) as peer:
        peer.call(1, WORKER)
        seen = peer.outcome(1)
        expect((seen.kind, seen.number) == ("grpc", 4), seen)
        return "DEADLINE_EXCEEDED"


def _play_cut_message(stage: Stage) -> str:
    with contextlib.closing(GrpcPeer(stage.connect())) as peer:
        peer.send(peer.headers(1, head(WORKER), end=False))
        peer.data(1, prefixed(worker_hello(stage.tokens.worker))[:20])
        seen = peer.outcome(1)
        expect((seen.kind, seen.number) == ("grpc", 8), seen)
        return "RESOURCE_EXHAUSTED"


def _play_half_open(stage: Stage) -> str:
    """A worker that answers no PING, and says nothing."""
    with contextlib.closing(GrpcPeer(stage.connect(seconds=120))) as peer:
        peer.call(1, WORKER, worker_hello(stage.tokens.worker))
        expect(isinstance(peer.message(1, 0), bytes), "no hello_ack")
        seen = peer.outcome(0)
        expect(seen.kind == "goaway", seen)
        return "goaway"


ATTACKS: Final = (
    ended("silence", "sniff-timeout", lambda _: b"", LIMITS.sniff_seconds),
    ended("a preface that stops", "sniff-timeout", lambda _: PREFACE[:10], LIMITS.sniff_seconds),
    ended("a ClientHello that stops", "sniff-timeout", lambda _: b"\x16\x03\x01\x02\x00\x01", LIMITS.sniff_seconds),
    ended("slowloris", "head-timeout", lambda stage: _http1(stage, b"\r\nX-A: "), LIMITS.head_seconds, b"a", b"408"),
    ended("a slow HTTP/2 head", "head-timeout", _http2_head, LIMITS.head_seconds),
    ended("a slow HTTP/2 frame", "head-timeout",
          lambda _: PREFACE + settings() + frame(frames.PING, 0, 0, bytes(8))[:12], LIMITS.head_seconds),
    ended("a slow body", "body-timeout", lambda stage: _http1(stage, b"\r\nContent-Length: 100000\r\n\r\n{"),
          LIMITS.body_seconds, b" ", b"408"),
    ended("a slow body in chunks", "body-timeout",
          lambda stage: _http1(stage, b"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"), LIMITS.body_seconds,
          b"1\r\n \r\n", b"408"),
    Attack(SECTION, "a slow HTTP/2 body", "body-timeout", _play_http2_body, LIMITS.body_seconds, _http2_body,
           floods=False),
    Attack(SECTION, "a slow reader", "write-timeout", _play_slow_reader, LIMITS.write_seconds, _slow_reader,
           floods=False),
    Attack(SECTION, "a call without a word", "first-message-timeout", _play_silent_call, LIMITS.first_message_seconds,
           _silent_call, floods=False),
    Attack(SECTION, "a message that stops", "body-timeout", _play_cut_message, LIMITS.body_seconds, floods=False),
    Attack(SECTION, "a worker that is gone without a word", "h2-keepalive", _play_half_open,
           LIMITS.h2_keepalive_seconds + LIMITS.h2_keepalive_answer_seconds, floods=False),
    ended("a connection without requests", "idle",
          lambda _: b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", LIMITS.idle_seconds),
)  # fmt: skip
