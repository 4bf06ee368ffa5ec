"""HTTP/2 against a client made of the same codec, and against raw frames that no honest client sends."""

# mypy: disable-error-code="comparison-overlap, index"
# (the client decodes header names, which its types do not know)

import itertools
import json
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
import pytest
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mux import frames
from appliance.mux.connection import Connection
from appliance.mux.exchange import Handler, Request, Response
from appliance.mux.frames import frame_header
from appliance.mux.http2 import Http2
from appliance.mux.hub import Hub
from appliance.mux.limits import Limits
from tests.e2e.frames import frame
from tests.mux.support import Wire, echo

Fields = list[tuple[str, str]]


class Peer:
    """A client connection on top of a `Wire`."""

    def __init__(self, handler: Handler = echo, limits: Limits | None = None, window: int | None = None) -> None:
        def make(hub: Hub, channel: Connection, peer: str, secure: bool, now: float) -> Http2:
            self.core = Http2(hub, channel, peer, secure, now)
            return self.core

        self.wire = Wire(handler, limits, make, "h2")
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="ascii"))
        if window is not None:
            self.h2.local_settings.initial_window_size = window
            self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.raw = b""
        self.exchange()

    def exchange(self) -> list[h2.events.Event]:
        """Carries bytes both ways until neither side has any; returns what the client learned."""
        new: list[h2.events.Event] = []
        data = self.h2.data_to_send()
        answer = self.wire.send(data) if data else self.wire.transport.take()
        while answer:
            self.raw += answer
            new += self.h2.receive_data(answer)
            data = self.h2.data_to_send()
            answer = self.wire.send(data) if data else b""
        self.events += new
        return new

    def request(
        self, body: bytes | None = None, method: str = "POST", path: str = "/", extra: Fields | None = None
    ) -> int:
        """Opens a stream with a request; returns its id."""
        stream_id: int = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path), *(extra or [])]
        self.h2.send_headers(stream_id, fields, end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream_id, body, end_stream=True)
        return stream_id

    def status(self, stream_id: int) -> int:
        for event in self.events:
            if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream_id:
                return int(dict(event.headers)[":status"])
        return 0

    def body(self, stream_id: int) -> bytes:
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, h2.events.DataReceived) and event.stream_id == stream_id
        )

    def ended(self, stream_id: int) -> bool:
        return any(isinstance(e, h2.events.StreamEnded) and e.stream_id == stream_id for e in self.events)

    def raw_send(self, data: bytes) -> bytes:
        """Sends bytes that the client codec knows nothing of."""
        return self.wire.send(data)


def walk(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The frames in `data`: type, flags, stream, payload."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 3])
        stream_id = int.from_bytes(data[at + 5 : at + 9])
        found.append((data[at + 3], data[at + 4], stream_id, data[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def goaways(data: bytes) -> list[tuple[int, bytes]]:
    """Error code and debug data of each GOAWAY in `data`."""
    return [(int.from_bytes(each[3][4:8]), each[3][8:]) for each in walk(data) if each[0] == frames.GOAWAY]


def resets(data: bytes) -> list[tuple[int, int]]:
    return [(each[2], int.from_bytes(each[3])) for each in walk(data) if each[0] == frames.RST_STREAM]


class Collector:
    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> None:
        self.requests.append(request)


def test_a_request_is_the_same_object_as_over_http_1_1() -> None:
    handler = Collector()
    peer = Peer(handler)
    extra = [("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-request-id", "mine-1")]
    stream_id = peer.request(b"hello", "PUT", "/a%20b?c=d", extra)
    peer.exchange()
    (request,) = handler.requests
    assert (request.method, request.path, request.query, request.body) == ("PUT", "/a%20b", "c=d", b"hello")
    assert request.headers[b"x-a"] == b"1, 2"
    assert request.headers[b"cookie"] == b"a=1; b=2"
    assert request.headers[b"host"] == b"a"
    assert request.request_id == "mine-1"
    request.respond(Response(201, b"made", headers=((b"Location", b"/x"),)))
    peer.exchange()
    assert (peer.status(stream_id), peer.body(stream_id), peer.ended(stream_id)) == (201, b"made", True)
    headers = next(e for e in peer.events if isinstance(e, h2.events.ResponseReceived)).headers
    assert ("location", "/x") in headers and ("x-request-id", "mine-1") in headers
    assert ("content-length", "4") in headers and any(name == "date" for name, _ in headers)


def test_head_and_204_end_with_their_headers() -> None:
    peer = Peer(lambda request: request.respond(Response(204) if request.path == "/204" else Response(200, b"hello")))
    first, second = peer.request(method="HEAD"), peer.request(method="GET", path="/204")
    peer.exchange()
    assert (peer.body(first), peer.ended(first), peer.status(second), peer.ended(second)) == (b"", True, 204, True)


def test_many_more_requests_than_streams_are_served_on_one_connection() -> None:
    peer = Peer()
    for round_number in range(12):
        ids = [peer.request(b"%d" % round_number) for _ in range(50)]
        peer.exchange()
        assert all(peer.ended(stream_id) for stream_id in ids)
    assert peer.wire.watcher.reasons == []
    assert peer.wire.hub.memory.used_bytes == 0


def test_an_answer_in_pieces_arrives_whole_and_an_empty_one_ends() -> None:
    def handler(request: Request) -> None:
        request.respond(Response(200, chunks=iter([b"", b"ab", b"", b"c"] if request.path == "/" else [b""])))

    peer = Peer(handler)
    first, second = peer.request(method="GET"), peer.request(method="GET", path="/empty")
    peer.exchange()
    assert (peer.body(first), peer.ended(first)) == (b"abc", True)
    assert (peer.body(second), peer.ended(second)) == (b"", True)


def test_an_answer_that_fails_half_way_resets_its_stream_only() -> None:
    def pieces() -> Any:
        yield b"x"
        raise ValueError("broken")

    def handler(request: Request) -> None:
        request.respond(Response(200, chunks=pieces()) if request.path == "/bad" else Response(200, b"fine"))

    peer = Peer(handler)
    bad, good = peer.request(method="GET", path="/bad"), peer.request(method="GET")
    peer.exchange()
    assert not peer.ended(bad) and peer.body(good) == b"fine"
    assert resets(peer.raw) == [(bad, frames.INTERNAL_ERROR)]
    assert peer.wire.hub.memory.used_bytes == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(":method", "BREW"), (":path", "/"), (":authority", "a")], 501),
        ([(":method", "GET"), (":path", "*"), (":authority", "a")], 400),
        ([(":method", "GET"), (":path", "http://a/"), (":authority", "a")], 400),
        ([(":method", "GET"), (":path", "/a#b"), (":authority", "a")], 400),
        ([(":method", "GET"), (":path", "/" + "a" * 8192), (":authority", "a")], 414),
        ([(":method", "GET"), (":path", "/"), (":authority", "u@a")], 400),
        (
            [(":method", "GET"), (":path", "/"), (":authority", "a"), ("authorization", "a"), ("authorization", "b")],
            400,
        ),
        ([(":method", "POST"), (":path", "/"), (":authority", "a"), ("content-length", "8388609")], 413),
    ],
)
def test_a_bad_request_is_answered_on_its_stream_and_the_connection_lives(fields: Fields, status: int) -> None:
    peer = Peer()
    stream_id = peer.h2.get_next_available_stream_id()
    fields.insert(1, (":scheme", "https"))
    peer.h2.send_headers(stream_id, fields, end_stream="content-length" not in dict(fields))
    good = peer.request(b"ok")
    peer.exchange()
    assert peer.status(stream_id) == status
    assert json.loads(peer.body(stream_id))["code"] in ("validation-error", "payload-too-large")
    assert peer.body(good) == b"ok"
    assert peer.wire.hub.memory.used_bytes == 0


@pytest.mark.parametrize("another", [False, True], ids=["alone", "before another"])
def test_a_bad_request_whose_stream_the_codec_resets_in_the_same_run_of_frames_is_dropped(another: bool) -> None:
    peer = Peer()
    encoder = hpack.Encoder()

    def headers(stream_id: int, path: str) -> bytes:
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]
        return frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, encoder.encode(fields))

    run = headers(1, "/a b") + frame(frames.DATA, frames.END_STREAM, 1, b"")
    answer = peer.raw_send(run + (headers(3, "/") if another else b""))
    assert resets(answer) == [(1, 5)] and goaways(answer) == []
    answered = [each[2] for each in walk(answer) if each[0] == frames.HEADERS]
    assert answered == ([3] if another else [])
    assert peer.wire.watcher.statuses == ([200] if another else [])
    assert peer.core.idle_since is not None
    assert peer.wire.hub.memory.used_bytes == 0


def test_a_body_above_the_limit_is_refused_and_its_stream_reset_without_blame() -> None:
    peer = Peer(limits=Limits(body_bytes=100_000))
    stream_id = peer.h2.get_next_available_stream_id()
    peer.h2.send_headers(stream_id, [(":method", "PUT"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
    for _ in range(20):
        if peer.status(stream_id):
            break
        peer.h2.send_data(stream_id, b"x" * min(10_000, peer.h2.local_flow_control_window(stream_id)))
        peer.exchange()
    assert peer.status(stream_id) == 413
    assert resets(peer.raw) == [(stream_id, frames.NO_ERROR)]


def test_a_client_reset_tells_the_handler() -> None:
    handler = Collector()
    peer = Peer(handler)
    stream_id = peer.request(b"x")
    peer.exchange()
    heard: list[bool] = []
    handler.requests[0].on_closed = lambda: heard.append(True)
    peer.h2.reset_stream(stream_id, frames.CANCEL)
    peer.exchange()
    assert heard == [True] and handler.requests[0].closed
    handler.requests[0].respond(Response(200))
    assert peer.wire.hub.memory.used_bytes == 0


def test_a_reset_request_counts_as_open_until_its_work_is_gone() -> None:
    handler = Collector()
    peer = Peer(handler, Limits(h2_streams=3))
    for _ in range(3):
        stream_id = peer.request(b"x")
        peer.exchange()
        peer.h2.reset_stream(stream_id, frames.CANCEL)
    refused = peer.request(b"x")
    peer.exchange()
    assert (refused, frames.REFUSED_STREAM) in resets(peer.raw)
    for request in handler.requests:
        request.respond(Response(200))
    served = peer.request(b"x")
    peer.exchange()
    assert handler.requests[-1].mark == served


def test_a_stream_above_the_advertised_number_is_refused_and_the_others_are_served() -> None:
    handler = Collector()
    peer = Peer(handler)
    encoder = hpack.Encoder()
    block = encoder.encode([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
    answer = b""
    for number in range(101):
        answer += peer.raw_send(frame_header(frames.HEADERS, 5, 2 * number + 1, len(block)) + block)
        block = encoder.encode([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
    assert resets(answer) == [(201, frames.REFUSED_STREAM)]
    assert len(handler.requests) == 100 and peer.wire.watcher.reasons == ["h2-streams"]


# Flow control.


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_answer_arrives_whole_whatever_the_windows_do(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 150_000), min_size=1, max_size=5))
    bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
    peer = Peer(lambda r: r.respond(Response(200, bodies[int(r.path[1:])])), window=data.draw(st.integers(0, 70_000)))
    ids = [peer.request(method="GET", path=f"/{number}") for number in range(len(bodies))]
    for _ in range(2_000):
        for event in peer.exchange():
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                peer.h2.increment_flow_control_window(event.flow_controlled_length)
                if not peer.ended(event.stream_id):
                    peer.h2.increment_flow_control_window(event.flow_controlled_length, event.stream_id)
        if all(peer.ended(stream_id) for stream_id in ids):
            break
        if data.draw(st.integers(0, 3)) == 0:
            peer.wire.clock.now += 10.0  # SETTINGS are limited per span
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: data.draw(st.integers(1, 100_000))})
        for stream_id in ids:
            if not peer.ended(stream_id):
                peer.h2.increment_flow_control_window(data.draw(st.integers(1, 50_000)), stream_id)
    assert [peer.body(stream_id) for stream_id in ids] == bodies
    assert peer.wire.hub.memory.used_bytes == 0
    assert peer.wire.watcher.reasons == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_body_arrives_whole_however_it_is_cut(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 300_000), min_size=1, max_size=6))
    got: dict[str, int] = {}

    def handler(request: Request) -> None:
        assert request.body == request.path[1:].encode() * len(request.body)
        got[request.path] = len(request.body)
        request.respond(Response(204))

    limits = Limits(h2_upload_bytes=data.draw(st.sampled_from([1, 100_000, 8_000_000])))
    peer = Peer(handler, limits)
    left: dict[int, int] = {}
    for number, size in enumerate(sizes):
        stream_id = peer.h2.get_next_available_stream_id()
        fields = [(":method", "PUT"), (":scheme", "http"), (":authority", "a"), (":path", f"/{number}")]
        peer.h2.send_headers(stream_id, fields)
        left[stream_id] = size
    peer.exchange()
    for _ in range(3_000):
        if not left:
            break
        stream_id = data.draw(st.sampled_from(sorted(left))) if len(left) < 3 else min(left)
        for each in (stream_id, min(left)):
            if each not in left:
                continue
            window = peer.h2.local_flow_control_window(each)
            size = min(left[each], window, 16_000)
            if size or not left[each]:
                left[each] -= size
                body = b"%d" % ((each - 1) // 2) * size
                peer.h2.send_data(
                    each, body, end_stream=not left[each], pad_length=3 if 8 < size < min(9_000, window - 3) else None
                )
                if not left[each]:
                    del left[each]
        peer.exchange()
    assert got == {f"/{number}": size for number, size in enumerate(sizes)}
    assert peer.wire.hub.memory.used_bytes == 0
    assert peer.wire.watcher.reasons == []


def test_a_large_answer_does_not_hold_back_a_small_one() -> None:
    handler = Collector()
    peer = Peer(handler)
    large, small = peer.request(method="GET"), peer.request(method="GET")
    peer.exchange()
    handler.requests[0].respond(Response(200, b"x" * 1_000_000))
    handler.requests[1].respond(Response(200, b"small"))
    peer.h2.increment_flow_control_window(100)
    peer.exchange()
    assert peer.ended(small) and not peer.ended(large)


def test_requests_wait_while_the_answers_of_the_connection_pile_up() -> None:
    served: list[str] = []

    def handler(request: Request) -> None:
        served.append(request.path)
        request.respond(Response(200, b"x" * 600_000))

    peer = Peer(handler)
    ids = [peer.request(method="GET", path=f"/{number}") for number in range(4)]
    peer.exchange()
    assert len(served) == 2
    for _ in range(200):
        for stream_id in ids:
            if not peer.ended(stream_id):
                peer.h2.increment_flow_control_window(60_000, stream_id)
        peer.h2.increment_flow_control_window(240_000)
        peer.exchange()
    assert len(served) == 4 and all(len(peer.body(stream_id)) == 600_000 for stream_id in ids)


def test_a_stalled_stream_is_reset_though_its_window_trickles() -> None:
    peer = Peer(lambda r: r.respond(Response(200, b"x" * 100_000)), window=0)
    stream_id = peer.request(method="GET")
    peer.exchange()
    answer = b""
    for _ in range(8):
        answer += peer.raw_send(frame_header(frames.WINDOW_UPDATE, 0, stream_id, 4) + (1).to_bytes(4))
        answer += peer.wire.wait(5.0)
    assert (stream_id, frames.CANCEL) in resets(answer)
    assert peer.wire.watcher.reasons == ["h2-stalled"]
    assert peer.wire.hub.memory.used_bytes == 0


# Abuse: each limit of the table, its answer and its reason.


def abuse_headers(stream_id: int, flags: int = 5, extra: list[tuple[str, str]] | None = None) -> bytes:
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), *(extra or [])]
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    block = encoder.encode(fields)
    return frame_header(frames.HEADERS, flags, stream_id, len(block)) + block


def rapid_reset(count: int) -> bytes:
    return b"".join(
        abuse_headers(2 * n + 1) + frame_header(frames.RST_STREAM, 0, 2 * n + 1, 4) + (8).to_bytes(4)
        for n in range(count)
    )


def made_you_reset(count: int, increment: int) -> bytes:
    update = increment.to_bytes(4)
    return b"".join(
        abuse_headers(2 * n + 1) + frame_header(frames.WINDOW_UPDATE, 0, 2 * n + 1, 4) + update for n in range(count)
    )


def open_stream() -> bytes:
    return abuse_headers(1, flags=4)


EMPTY_BLOCK = frame_header(frames.HEADERS, 0, 1, 0)

ABUSE = [
    ("rapid reset", rapid_reset(101), "h2-resets"),
    ("zero increments", made_you_reset(101, 0), "h2-resets"),
    ("window overflow", made_you_reset(101, 2**31 - 1), "h2-resets"),
    ("refused streams", b"".join(abuse_headers(2 * n + 1) for n in range(202)), "h2-resets"),
    ("pings", (frame_header(frames.PING, 0, 0, 8) + b"12345678") * 11, "h2-pings"),
    ("settings", frame_header(frames.SETTINGS, 0, 0, 0) * 11, "h2-settings"),
    ("priority", (frame_header(frames.PRIORITY, 0, 3, 5) + b"\0\0\0\0\x10") * 101, "h2-priority"),
    ("unknown frames", frame_header(0x20, 0, 0, 0) * 101, "h2-unknown-frames"),
    ("empty data", open_stream() + frame_header(frames.DATA, 0, 1, 0) * 11, "h2-empty-frames"),
    ("padding only", open_stream() + (frame_header(frames.DATA, 8, 1, 3) + b"\2\0\0") * 11, "h2-empty-frames"),
    ("continuations", EMPTY_BLOCK + (frame_header(frames.CONTINUATION, 0, 1, 1) + b"\0") * 9, "h2-continuations"),
    (
        "encoded header block",
        EMPTY_BLOCK + (frame_header(frames.CONTINUATION, 0, 1, 16_000) + b"\0" * 16_000) * 5,
        "h2-header-block",
    ),
    ("decoded header block", abuse_headers(1, extra=[(f"x-{n}", "a" * 200) for n in range(90)]), "h2-header-block"),
    ("fields", abuse_headers(1, extra=[("x", "")] * 101), "h2-header-fields"),
    ("cookie crumbs", abuse_headers(1, extra=[("cookie", "")] * 101), "h2-header-fields"),
    (
        "window updates",
        (frame_header(frames.WINDOW_UPDATE, 0, 0, 4) + (1).to_bytes(4)) * 1_001,
        "h2-window-updates",
    ),
]


@pytest.mark.parametrize(("attack", "reason"), [row[1:] for row in ABUSE], ids=[row[0] for row in ABUSE])
def test_abuse_ends_the_connection_with_its_reason(attack: bytes, reason: str) -> None:
    handler = Collector()
    peer = Peer(handler)
    before = (len(attack) * 9) // 10
    answer = peer.raw_send(attack[:before]) + peer.raw_send(attack[before:])
    assert goaways(answer) == [(frames.ENHANCE_YOUR_CALM, reason.encode())]
    assert [each for each in peer.wire.watcher.reasons if each not in ("h2-streams", "h2-malformed")] == [reason]
    assert peer.wire.transport.eof_written
    assert all(request.closed for request in handler.requests)
    assert peer.wire.hub.memory.used_bytes == 0


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (frame_header(frames.WINDOW_UPDATE, 0, 0, 4) + bytes(4), frames.PROTOCOL_ERROR),
        (frame_header(frames.WINDOW_UPDATE, 0, 0, 4) + (2**31 - 1).to_bytes(4), frames.FLOW_CONTROL_ERROR),
        (frame_header(frames.WINDOW_UPDATE, 0, 9, 4) + (1).to_bytes(4), frames.PROTOCOL_ERROR),
        (frame_header(frames.WINDOW_UPDATE, 0, 0, 3) + b"\0\0\1", frames.FRAME_SIZE_ERROR),
        (frame_header(frames.RST_STREAM, 0, 9, 4) + (8).to_bytes(4), frames.PROTOCOL_ERROR),
        (frame_header(frames.PING, 0, 1, 8) + b"12345678", frames.PROTOCOL_ERROR),
        (frame_header(frames.DATA, 0, 0, 1) + b"x", frames.PROTOCOL_ERROR),
        (frame_header(frames.DATA, 0, 1, 16_385), frames.FRAME_SIZE_ERROR),
        (frame_header(frames.CONTINUATION, 4, 1, 0), frames.PROTOCOL_ERROR),
        (frame_header(frames.HEADERS, 0, 1, 0) + frame_header(0x20, 0, 0, 0), frames.PROTOCOL_ERROR),
        (abuse_headers(2), frames.PROTOCOL_ERROR),
        (abuse_headers(1, extra=[("connection", "close")]), frames.PROTOCOL_ERROR),
        (abuse_headers(1, extra=[("X-Upper", "1")]), frames.PROTOCOL_ERROR),
        (abuse_headers(1, extra=[("host", "b")]), frames.PROTOCOL_ERROR),
        (frame_header(frames.PRIORITY, 0, 1, 4) + bytes(4), frames.FRAME_SIZE_ERROR),
    ],
)
def test_a_broken_frame_ends_the_connection_with_its_code(attack: bytes, code: int) -> None:
    peer = Peer()
    found = goaways(peer.raw_send(attack))
    assert [each[0] for each in found] == [code]
    assert peer.wire.watcher.reasons == ["h2-protocol"]


def test_a_good_client_that_probes_bandwidth_and_resets_after_the_end_is_not_hurt() -> None:
    peer = Peer()
    for _ in range(300):
        stream_id = peer.request(b"x" * 10)
        peer.h2.ping(b"bdpprobe")
        peer.exchange()
        assert peer.body(stream_id) == b"x" * 10
        assert goaways(peer.raw_send(frame_header(frames.RST_STREAM, 0, stream_id, 4) + (0).to_bytes(4))) == []
        peer.wire.clock.now += 0.01
    assert peer.wire.watcher.reasons == []


def test_a_peer_can_not_make_our_header_table_grow() -> None:
    peer = Peer()
    setting = (1).to_bytes(2) + (2**32 - 1).to_bytes(4)
    peer.raw_send(frame_header(frames.SETTINGS, 0, 0, 6) + setting)
    assert peer.core._codec.encoder.header_table_size == 4096


# Time and the end.


def test_a_header_block_that_never_ends_runs_out_of_time() -> None:
    peer = Peer()
    peer.raw_send(abuse_headers(1, flags=1)[:12])
    answer = peer.wire.wait(5) + peer.wire.wait(6)
    assert goaways(answer) == [(frames.ENHANCE_YOUR_CALM, b"head-timeout")]


def test_a_slow_body_is_answered_408_and_its_stream_ended() -> None:
    peer = Peer()
    stream_id = peer.h2.get_next_available_stream_id()
    peer.h2.send_headers(stream_id, [(":method", "PUT"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
    peer.exchange()
    peer.wire.clock.now += 31
    peer.wire.connection.check(peer.wire.clock.now)
    peer.exchange()
    assert peer.status(stream_id) == 408
    assert peer.wire.watcher.reasons == ["body-timeout"]


def test_an_idle_connection_says_goodbye_and_a_silent_one_is_asked_first() -> None:
    idle = Peer()
    assert goaways(idle.wire.wait(301)) == [(frames.NO_ERROR, b"idle")]
    busy = Peer(Collector())
    busy.request(method="GET")
    busy.exchange()
    assert [each[0] for each in walk(busy.wire.wait(61))] == [frames.PING]
    assert goaways(busy.wire.wait(20)) == [(frames.NO_ERROR, b"h2-keepalive")]


def test_a_drain_announces_then_names_the_last_stream_then_closes() -> None:
    handler = Collector()
    peer = Peer(handler)
    first = peer.request(method="GET")
    peer.exchange()
    peer.wire.connection.drain(peer.wire.clock.now)
    assert [(each[0], each[3][:4]) for each in walk(peer.wire.transport.take())] == [
        (frames.GOAWAY, b"\x7f\xff\xff\xff")
    ]
    second = abuse_headers(first + 2)
    peer.raw_send(second)
    assert len(handler.requests) == 2
    answer = peer.wire.wait(1.5)
    assert [(each[0], int.from_bytes(each[3][:4])) for each in walk(answer)] == [(frames.GOAWAY, first + 2)]
    assert resets(peer.raw_send(abuse_headers(first + 4))) == [(first + 4, frames.REFUSED_STREAM)]
    for request in handler.requests:
        assert not peer.wire.transport.eof_written
        request.respond(Response(200, b"x"))
        peer.wire.loop.run()
    assert [each[2] for each in walk(peer.wire.transport.take()) if each[0] == frames.DATA] == [first, first + 2]
    assert peer.wire.transport.eof_written


def test_a_client_that_says_goaway_still_gets_its_answers() -> None:
    handler = Collector()
    peer = Peer(handler)
    stream_id = peer.request(method="GET")
    peer.exchange()
    peer.raw_send(frames.goaway(0, 0))
    handler.requests[0].respond(Response(200, b"late"))
    assert (frames.DATA, 1, stream_id, b"late") in walk(peer.wire.transport.take())
    assert peer.wire.transport.eof_written


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=4))
def test_any_bytes_after_the_preface_end_in_an_answer_or_a_goaway_and_never_in_an_exception(
    noise: bytes, cuts: list[int]
) -> None:
    peer = Peer()
    data = abuse_headers(1) + noise
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        peer.raw_send(data[start:end])
    peer.wire.wait(40)
    if not peer.wire.transport.closed:
        peer.wire.connection.connection_lost(None)
    assert peer.wire.hub.memory.used_bytes == 0
