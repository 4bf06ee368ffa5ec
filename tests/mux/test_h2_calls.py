"""gRPC calls over HTTP/2 without a socket: messages both ways, windows, ends, and peers that misbehave."""

# mypy: disable-error-code="comparison-overlap, index"
# (the client decodes header names, which its types do not know)

import gzip
from collections.abc import Iterator
from typing import Any

import h2.events
import h2.settings
import pytest

from appliance.mux import frames, grpc_framing
from appliance.mux.exchange import Request, Response
from appliance.mux.frames import frame_header
from appliance.mux.grpc_call import MESSAGE_BYTES_MAX, UNSENT_BYTES_MAX, UNSENT_MAX, Call, Session
from appliance.mux.grpc_framing import GrpcError, frame
from appliance.mux.h2_calls import WINDOW_BYTES
from appliance.mux.limits import Limits
from tests.mux.calls import Caller, Recorder
from tests.mux.test_http2 import Collector, Fields, goaways, resets, walk

INITIAL_WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE


class Callers:
    """Makes clients; at the end each connection is lost and must leave nothing behind."""

    def __init__(self) -> None:
        self.made: list[Caller] = []

    def __call__(self, *args: Any, **named: Any) -> Caller:
        self.made.append(Caller(*args, **named))
        return self.made[-1]


@pytest.fixture
def make() -> Iterator[Callers]:
    callers = Callers()
    yield callers
    for each in callers.made:
        if not each.wire.transport.closed:
            each.wire.connection.connection_lost(None)
        assert each.wire.hub.memory.used_bytes == 0
        assert (each.core._calls.held_bytes, each.core._send_side.queued_bytes, len(each.core._calls)) == (0, 0, 0)
        assert all(session.call.closed for session in each.sessions)


def window_updates(data: bytes, stream_id: int) -> list[int]:
    """The increments for one stream, 0 for the connection."""
    return [
        int.from_bytes(payload)
        for kind, _, number, payload in walk(data)
        if kind == frames.WINDOW_UPDATE and number == stream_id
    ]


def data_frame(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    return frame_header(frames.DATA, flags, stream_id, len(payload)) + payload


def reset_frame(stream_id: int, code: int = frames.CANCEL) -> bytes:
    return frame_header(frames.RST_STREAM, 0, stream_id, 4) + code.to_bytes(4)


# A call's life.


def test_messages_go_both_ways_and_the_call_ends_with_its_status_in_trailers(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened()
    peer.say(stream_id, b"one", b"", b"three")
    peer.say(stream_id, b"four")
    assert peer.said(stream_id) == [b"one", b"", b"three", b"four"]
    assert not peer.ended(stream_id) and not session.call.closed
    peer.say(stream_id, end=True)
    assert peer.trailers(stream_id) == {"grpc-status": "0"} and peer.ended(stream_id)
    assert session.heard == ["receive", "receive", "half_closed"]
    head = next(e for e in peer.events if isinstance(e, h2.events.ResponseReceived)).headers
    assert head == [(":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity,gzip")]
    assert resets(peer.raw) == [] and peer.wire.watcher.reasons == []


def test_a_session_sees_what_its_peer_sent_in_the_head(make: Callers) -> None:
    peer = make()
    _, session = peer.opened(extra=[("authorization", "Bearer x"), ("x-request-id", "mine-1"), ("x-bin", "AAE")])
    call = session.call
    assert (call.path, call.peer, call.request_id) == ("/echo", "192.0.2.1", "mine-1")
    assert call.headers[b"authorization"] == b"Bearer x" and call.headers[b"x-bin"] == b"AAE"


def test_messages_that_arrive_together_are_handed_over_together(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    sent = [b"%d" % number * 20 for number in range(200)]
    peer.say(stream_id, *sent)
    assert session.messages == sent
    assert session.heard == ["receive"]


def test_all_that_is_sent_in_one_turn_leaves_in_one_write_of_full_frames(make: Callers) -> None:
    peer = make(window=1 << 20)
    peer.h2.increment_flow_control_window(1 << 20)
    stream_id, session = peer.opened("/keep")
    writes = peer.wire.transport.writes
    for number in range(1_000):
        session.call.send([b"%03d" % number * 20])
    session.call.end(0)
    peer.exchange()
    assert peer.wire.transport.writes == writes + 1
    sizes = [len(each[3]) for each in walk(peer.raw) if each[0] == frames.DATA]
    assert sizes == [frames_bytes() for _ in sizes[:-1]] + [65 * 1_000 % frames_bytes()]
    assert peer.said(stream_id) == [b"%03d" % number * 20 for number in range(1_000)]
    assert peer.grpc_status(stream_id) == 0


def frames_bytes() -> int:
    return 16_384


def test_what_is_answered_on_arrival_leaves_in_one_write_without_another_turn(make: Callers) -> None:
    peer = make()
    stream_id, _ = peer.opened()
    writes = peer.wire.transport.writes
    peer.wire.connection.data_received(data_frame(stream_id, frame(b"a") + frame(b"b")))
    assert peer.wire.loop.ready == []
    assert peer.wire.transport.writes == writes + 1


def test_a_compressed_call_is_inflated(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep", [("grpc-encoding", "gzip")])
    squeezed = gzip.compress(b"x" * 1_000)
    peer.say_bytes(stream_id, b"\1" + len(squeezed).to_bytes(4) + squeezed + frame(b"plain"))
    assert session.messages == [b"x" * 1_000, b"plain"]


def test_a_message_of_the_largest_size_passes_both_ways(make: Callers) -> None:
    peer = make()
    stream_id, _ = peer.opened()
    message = b"0123456789abcdef" * (MESSAGE_BYTES_MAX // 16)
    peer.say(stream_id, message, end=True)
    peer.pump()
    assert peer.said(stream_id) == [message] and peer.grpc_status(stream_id) == 0


def test_a_call_that_ends_before_its_peer_sends_its_status_and_stops_it_without_blame(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    session.call.send([b"last"])
    session.call.end(16, "the token has expired: 100%", [(b"codeq-leader", b"other:1")])
    session.call.send([b"lost"])
    session.call.end(0)
    peer.exchange()
    assert peer.said(stream_id) == [b"last"]
    assert peer.trailers(stream_id) == {
        "grpc-status": "16",
        "grpc-message": "the token has expired: 100%25",
        "codeq-leader": "other:1",
    }
    assert resets(peer.raw) == [(stream_id, frames.NO_ERROR)]
    assert session.heard == [] and session.call.closed


def test_what_is_still_on_its_way_to_an_ended_call_is_no_abuse(make: Callers) -> None:
    peer = make()
    other, kept = peer.opened()
    stream_id, session = peer.opened("/keep")
    session.call.end(14, "going")
    peer.exchange()
    late = b"".join(data_frame(stream_id, frame(b"x" * 500)) for _ in range(530))
    late += data_frame(stream_id, b"\0\0", frames.PADDED) + data_frame(stream_id, frame(b"x"), frames.END_STREAM)
    answer = peer.raw_send(late)
    assert [each for each in walk(answer) if each[0] != frames.WINDOW_UPDATE] == []
    assert window_updates(answer, 0) == [pytest.approx(262_144, abs=600)]
    assert session.messages == [] and peer.wire.watcher.reasons == []
    peer.say(other, b"still here")
    assert kept.messages == [b"still here"]


def test_empty_frames_on_an_ended_call_are_counted(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    session.call.end(0)
    peer.exchange()
    answer = peer.raw_send(data_frame(stream_id, b"") * 11)
    assert goaways(answer) == [(frames.ENHANCE_YOUR_CALM, b"h2-empty-frames")]


def test_a_reset_by_the_peer_is_heard_once_and_nothing_after_it(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    peer.say(stream_id, b"a")
    peer.raw_send(reset_frame(stream_id))
    assert session.heard == ["receive", "gone"] and session.call.closed
    session.call.send([b"x"])
    session.call.end(0)
    session.call.hold()()
    peer.wire.connection.drain(peer.wire.clock.now)
    assert session.heard == ["receive", "gone"]


def test_a_lost_connection_is_heard_by_every_open_call(make: Callers) -> None:
    peer = make()
    sessions = [peer.opened("/keep")[1] for _ in range(5)]
    sessions[0].call.end(0)
    peer.exchange()
    peer.wire.connection.connection_lost(None)
    assert [session.heard for session in sessions] == [[], *[["gone"]] * 4]


def test_half_close_comes_behind_every_message_and_the_session_may_still_answer(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    peer.say(stream_id, b"a", b"b", end=True)
    assert session.heard == ["receive", "half_closed"]
    session.call.send([b"late"])
    session.call.end(0)
    peer.exchange()
    assert peer.said(stream_id) == [b"late"] and peer.grpc_status(stream_id) == 0
    assert resets(peer.raw) == []


def test_data_behind_the_end_of_the_request_resets_the_stream_unread(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    peer.say(stream_id, b"a", end=True)
    answer = peer.raw_send(data_frame(stream_id, frame(b"b")))
    assert resets(answer) == [(stream_id, 5)]
    assert session.messages == [b"a"] and session.heard == ["receive", "half_closed", "gone"]


def test_data_in_one_piece_with_the_end_in_front_of_it_is_not_read_either(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    answer = peer.raw_send(data_frame(stream_id, b"", frames.END_STREAM) + data_frame(stream_id, frame(b"b")))
    assert resets(answer) == [(stream_id, 5)] and session.heard == ["half_closed", "gone"]


def test_trailers_from_the_client_end_its_request(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened()
    peer.say(stream_id, b"a")
    peer.h2.send_headers(stream_id, [("x-checksum", "1")], end_stream=True)
    peer.exchange()
    assert session.heard == ["receive", "half_closed"] and peer.grpc_status(stream_id) == 0


def test_a_call_without_a_message_is_half_closed_at_once(make: Callers) -> None:
    peer = make()
    stream_id = peer.call(end=True)
    peer.exchange()
    assert peer.sessions[0].heard == ["half_closed"] and peer.trailers(stream_id)["grpc-status"] == "0"
    assert resets(peer.raw) == []


# Refused at the start.


@pytest.mark.parametrize(
    ("path", "extra", "method", "status"),
    [
        ("/nowhere", [], "POST", grpc_framing.UNIMPLEMENTED),
        ("/", [], "POST", grpc_framing.UNIMPLEMENTED),
        ("/echo", [], "GET", grpc_framing.UNIMPLEMENTED),
        ("/echo", [("grpc-encoding", "snappy")], "POST", grpc_framing.UNIMPLEMENTED),
        ("/echo", [("grpc-timeout", "0m")], "POST", grpc_framing.DEADLINE_EXCEEDED),
        ("/echo", [("grpc-timeout", "123456789S")], "POST", grpc_framing.INTERNAL),
        ("/echo", [("grpc-timeout", "5")], "POST", grpc_framing.INTERNAL),
    ],
)
def test_a_call_that_cannot_be_served_ends_in_trailers_alone(
    make: Callers, path: str, extra: Fields, method: str, status: int
) -> None:
    peer = make()
    stream_id = peer.call(path, extra, method=method)
    good = peer.call()
    peer.say(good, b"ok")
    assert peer.grpc_status(stream_id) == status
    assert [(kind, flags) for kind, flags, number, _ in walk(peer.raw) if number == stream_id] == [
        (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM),
        (frames.RST_STREAM, 0),
    ]
    fields = peer.trailers(stream_id)
    assert (fields[":status"], fields["content-type"]) == ("200", "application/grpc")
    assert fields["grpc-accept-encoding"] == "identity,gzip"
    assert peer.said(good) == [b"ok"] and peer.wire.watcher.reasons == []


def test_an_unknown_path_is_told_back_only_in_part(make: Callers) -> None:
    peer = make()
    stream_id = peer.call("/" + "%ff" * 2_500)
    peer.exchange()
    assert 200 < len(peer.trailers(stream_id)["grpc-message"]) < 1_000


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "application/grpc-web", "application/grpc-web+proto", "application/grpcx", "text/plain"],
)
def test_another_content_type_is_a_request_like_any_other(make: Callers, content_type: str) -> None:
    handler = Collector()
    peer = make(handler)
    peer.request(b"x", path="/echo", extra=[("content-type", content_type)] if content_type else [])
    peer.exchange()
    assert [each.path for each in handler.requests] == ["/echo"] and peer.sessions == []
    handler.requests[0].respond(Response(415))


@pytest.mark.parametrize("suffix", ["", "+proto", ";charset=utf-8", "+json"])
def test_every_form_of_the_content_type_of_grpc_is_a_call(make: Callers, suffix: str) -> None:
    peer = make()
    stream_id = peer.h2.get_next_available_stream_id()
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/echo")]
    peer.h2.send_headers(stream_id, [*fields, ("content-type", f"application/grpc{suffix}")])
    peer.say(stream_id, b"x")
    assert peer.said(stream_id) == [b"x"]


def test_without_a_handler_of_calls_they_are_requests(make: Callers) -> None:
    handler = Collector()
    peer = make(handler)
    peer.wire.hub.open_call = None
    stream_id = peer.call()
    peer.say(stream_id, b"x", end=True)
    assert [each.body for each in handler.requests] == [frame(b"x")]


@pytest.mark.parametrize("extra", [[("content-type", "application/grpc")], [("authorization", "a")] * 2])
def test_a_head_that_no_request_may_have_resets_the_call_alone(make: Callers, extra: Fields) -> None:
    peer = make()
    good, _ = peer.opened()
    stream_id = peer.call(extra=extra)
    peer.exchange()
    peer.say(good, b"x")
    assert resets(peer.raw) == [(stream_id, frames.PROTOCOL_ERROR)]
    assert peer.said(good) == [b"x"] and peer.wire.watcher.reasons == ["malformed"]


def test_a_call_is_unavailable_while_the_buffers_are_full(make: Callers) -> None:
    peer = make()
    memory = peer.wire.hub.memory
    memory.take(memory.total_bytes)
    stream_id = peer.call()
    peer.exchange()
    assert peer.grpc_status(stream_id) == grpc_framing.UNAVAILABLE and peer.wire.watcher.reasons == ["memory"]
    memory.give(memory.total_bytes)


def test_calls_and_requests_share_the_number_of_streams(make: Callers) -> None:
    handler = Collector()
    peer = make(handler)
    for _ in range(99):
        peer.call()
    request = peer.request(b"x")
    peer.exchange()
    assert len(peer.sessions) == 99 and len(handler.requests) == 1
    above = [peer.h2.get_next_available_stream_id() for _ in range(1)]
    peer.h2.remote_settings.max_concurrent_streams = 1_000
    peer.h2.remote_settings.acknowledge()
    above = [peer.call(), peer.request(b"y")]
    peer.exchange()
    assert resets(peer.raw) == [(stream_id, frames.REFUSED_STREAM) for stream_id in above]
    handler.requests[0].respond(Response(200))
    peer.exchange()
    assert peer.status(request) == 200
    late = peer.call()
    peer.say(late, b"x")
    assert peer.said(late) == [b"x"]
    assert peer.wire.watcher.reasons == ["h2-streams"] * 2


# Deadlines.


def test_a_deadline_ends_the_call_and_its_session_hears_of_it(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep", [("grpc-timeout", "1500m")])
    other, untouched = peer.opened("/keep", [("grpc-timeout", "1H")])
    session.on["gone"] = lambda: session.call.end(grpc_framing.CANCELLED)
    peer.after(1.4)
    assert session.heard == []
    peer.after(0.2)
    assert peer.grpc_status(stream_id) == grpc_framing.DEADLINE_EXCEEDED
    assert session.heard == ["gone"] and session.call.closed
    assert untouched.heard == [] and not peer.ended(other)


def test_a_deadline_that_has_passed_by_arrival_opens_nothing(make: Callers) -> None:
    peer = make()
    peer.call(extra=[("grpc-timeout", "0n")])
    peer.exchange()
    assert peer.sessions == []


# Bad messages.


BAD_MESSAGES = [
    ("a flag of 2", b"\2\0\0\0\0", grpc_framing.INTERNAL),
    ("compressed without an encoding", b"\1\0\0\0\1x", grpc_framing.INTERNAL),
    ("a size past the limit", b"\0" + (MESSAGE_BYTES_MAX + 1).to_bytes(4), grpc_framing.RESOURCE_EXHAUSTED),
]


@pytest.mark.parametrize(("data", "status"), [row[1:] for row in BAD_MESSAGES], ids=[row[0] for row in BAD_MESSAGES])
@pytest.mark.parametrize("padded", [False, True], ids=["lane", "codec"])
def test_a_bad_message_ends_its_call_alone(make: Callers, data: bytes, status: int, padded: bool) -> None:
    peer = make()
    good, _ = peer.opened()
    stream_id, session = peer.opened("/keep")
    session.on["gone"] = lambda: session.call.end(grpc_framing.CANCELLED)
    peer.say_bytes(stream_id, frame(b"before") + data, pad=1 if padded else None)
    assert peer.grpc_status(stream_id) == status
    assert session.messages == [b"before"] and session.heard == ["receive", "gone"]
    peer.say(good, b"x")
    assert peer.said(good) == [b"x"] and peer.wire.watcher.reasons == []


@pytest.mark.parametrize("cut", [b"\0", b"\0\0\0\0", b"\0\0\0\0\5", b"\0\0\0\0\5hell"])
def test_an_end_within_a_message_is_internal_and_no_end_for_the_session(make: Callers, cut: bytes) -> None:
    peer = make()
    stream_id, session = peer.opened()
    peer.say_bytes(stream_id, cut)
    peer.say_bytes(stream_id, b"", end=True)
    assert peer.grpc_status(stream_id) == grpc_framing.INTERNAL
    assert session.heard == ["gone"] and resets(peer.raw) == []


# Sessions that fail.


@pytest.mark.parametrize("name", ["receive", "half_closed", "gone", "room", "drain"])
def test_a_session_that_fails_ends_alone_and_is_told_once(
    make: Callers, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    good, other = peer.opened("/keep")

    def fail() -> None:
        raise ValueError("a bug")

    session.on[name] = fail
    if name == "receive":
        peer.say(stream_id, b"a")
    elif name == "half_closed":
        peer.say(stream_id, end=True)
    elif name == "gone":
        peer.h2.reset_stream(stream_id)
        peer.exchange()
    elif name == "room":
        session.call.send([b"x"] * (UNSENT_MAX + 1))
        peer.exchange()
    peer.say(good, b"x")
    peer.core.drain(peer.wire.clock.now)
    peer.wire.loop.run()
    assert session.heard == ([name] if name == "gone" else [name, "gone"]) and session.call.closed
    assert [record.message for record in caplog.records] == [f"call {session.call.request_id}: /keep failed"]
    assert other.heard == ["receive", "drain"]
    answer = peer.wire.transport.take()
    if name == "drain":
        assert (frames.HEADERS, stream_id) in [(each[0], each[2]) for each in walk(answer)]
    elif name != "gone":
        assert peer.grpc_status(stream_id) == grpc_framing.INTERNAL


def test_a_session_may_refuse_by_raising_a_status(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")

    def refuse() -> None:
        raise GrpcError(grpc_framing.PERMISSION_DENIED, "no")

    session.on["receive"] = refuse
    peer.say(stream_id, b"x")
    assert peer.grpc_status(stream_id) == grpc_framing.PERMISSION_DENIED
    assert session.heard == ["receive", "gone"]


@pytest.mark.parametrize(("error", "status"), [(ValueError("a bug"), grpc_framing.INTERNAL), (GrpcError(7, "no"), 7)])
def test_a_handler_of_calls_that_fails_ends_the_call_alone(make: Callers, error: Exception, status: int) -> None:
    def open_call(call: Call) -> Session | None:
        if call.path == "/bad":
            raise error
        return Recorder(call)

    peer = make(open_call=open_call)
    good, bad = peer.call(), peer.call("/bad")
    peer.exchange()
    assert peer.grpc_status(bad) == status and peer.grpc_status(good) == -1


def test_a_handler_of_calls_may_end_one_at_once(make: Callers) -> None:
    def open_call(call: Call) -> Session | None:
        call.end(16, "no token")
        return None

    peer = make(open_call=open_call)
    stream_id = peer.call()
    peer.exchange()
    assert peer.trailers(stream_id)["grpc-message"] == "no token"
    assert window_updates(peer.raw, stream_id) == []


@pytest.mark.parametrize("name", ["receive", "half_closed"])
def test_a_session_that_has_ended_its_call_hears_nothing_more(make: Callers, name: str) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    session.on[name] = lambda: session.call.end(0)
    peer.say(stream_id, b"x", end=name == "half_closed")
    heard = list(session.heard)
    peer.raw_send(data_frame(stream_id, frame(b"y")) if name == "receive" else reset_frame(stream_id))
    peer.wire.connection.drain(peer.wire.clock.now)
    peer.exchange()
    assert session.heard == heard and peer.grpc_status(stream_id) == 0


# Windows: what may come.


def test_an_open_call_is_granted_its_window_and_again_by_halves(make: Callers) -> None:
    peer = make()
    stream_id, _ = peer.opened("/keep")
    assert window_updates(peer.raw, stream_id) == [WINDOW_BYTES - 65_535]
    peer.raw = b""
    sent = 1_000_000
    peer.say(stream_id, bytes(sent))
    granted = window_updates(peer.raw, stream_id)
    assert all(WINDOW_BYTES // 2 <= each < WINDOW_BYTES // 2 + 49_152 for each in granted)
    assert sent - WINDOW_BYTES // 2 < sum(granted) <= sent + 5
    assert 0 <= sent - sum(window_updates(peer.raw, 0)) < (1 << 20) // 4 + 49_152


def test_a_held_call_is_granted_nothing_until_it_is_let_go(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    other, free = peer.opened("/keep")
    first, second = session.call.hold(), session.call.hold()
    peer.raw = b""
    peer.say(stream_id, *[bytes(995)] * 400)
    peer.say(other, *[bytes(995)] * 400)
    assert window_updates(peer.raw, stream_id) == [] and peer.h2.local_flow_control_window(stream_id) < 2
    assert len(session.messages) == WINDOW_BYTES // 1_000 and len(free.messages) == 400
    first()
    first()
    peer.exchange()
    assert window_updates(peer.raw, stream_id) == []
    second()
    peer.exchange()
    assert window_updates(peer.raw, stream_id) == [pytest.approx(WINDOW_BYTES, abs=2)]


def test_a_call_that_holds_its_connection_keeps_all_of_it_from_being_read(make: Callers) -> None:
    peer = make()
    _, session = peer.opened("/keep")
    release = session.call.hold(connection=True)
    assert not peer.wire.transport.reading
    release()
    peer.exchange()
    assert peer.wire.transport.reading


def test_a_call_let_go_with_most_of_its_window_left_is_granted_nothing(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    release = session.call.hold()
    peer.say(stream_id, bytes(1_000))
    peer.raw = b""
    release()
    peer.exchange()
    assert window_updates(peer.raw, stream_id) == []


@pytest.mark.parametrize("padded", [False, True], ids=["lane", "codec"])
def test_a_peer_that_ignores_a_calls_window_is_reset(make: Callers, padded: bool) -> None:
    peer = make()
    good, kept = peer.opened("/keep")
    stream_id, session = peer.opened("/keep")
    session.call.hold()
    piece = b"\0" + bytes(16_000) if padded else bytes(16_001)
    answer = b""
    for _ in range(WINDOW_BYTES // 16_001):
        answer += peer.raw_send(data_frame(stream_id, piece, frames.PADDED if padded else 0))
    assert resets(answer) == [] and session.heard[-1] == "receive"
    answer = peer.raw_send(data_frame(stream_id, piece, frames.PADDED if padded else 0))
    assert resets(answer) == [(stream_id, frames.FLOW_CONTROL_ERROR)]
    assert session.heard[-1] == "gone" and peer.wire.watcher.reasons == ["h2-malformed"]
    peer.say(good, b"x")
    assert kept.messages == [b"x"]


def test_a_client_that_pads_everything_is_served_like_any_other(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    sent = bytes(range(256)) * 2_000
    peer.say_bytes(stream_id, frame(sent), pad=200)
    assert session.messages == [sent] and goaways(peer.raw) == []
    assert peer.wire.watcher.reasons == []


def test_a_call_whose_first_and_last_bytes_come_through_the_codec_keeps_its_window(make: Callers) -> None:
    peer = make()
    stream_id = peer.call("/keep")
    peer.say_bytes(stream_id, frame(bytes(300_000))[:65_000])
    peer.say_bytes(stream_id, frame(bytes(300_000))[65_000:], end=True)
    assert [len(each) for each in peer.sessions[0].messages] == [300_000]
    assert peer.sessions[0].heard == ["receive", "half_closed"] and goaways(peer.raw) == []


@pytest.mark.parametrize("end", [False, True])
def test_a_declared_length_is_held_against_all_that_came(make: Callers, end: bool) -> None:
    peer = make()
    body = frame(bytes(40_000))
    stream_id, session = peer.opened("/echo", [("content-length", str(len(body)))])
    peer.say_bytes(stream_id, body, end=end)
    if not end:
        peer.say_bytes(stream_id, b"", end=True)
    peer.pump()
    assert peer.grpc_status(stream_id) == 0 and session.messages == [bytes(40_000)]
    assert goaways(peer.raw) == []


def test_the_connections_window_is_returned_whatever_way_the_bytes_come(make: Callers) -> None:
    peer = make(lambda request: request.respond(Response(204)))
    ids = [peer.call("/keep") for _ in range(8)]
    for turn in range(40):
        for number, stream_id in enumerate(ids):
            peer.say_bytes(stream_id, frame(bytes(20_000)), pad=9 if number % 2 else None)
        peer.request(bytes(15_000))
        peer.exchange()
        assert peer.h2.outbound_flow_control_window >= 200_000, turn
    assert all(len(session.messages) == 40 for session in peer.sessions)


# Windows: what may leave.


def test_a_peer_that_does_not_read_is_granted_nothing_and_the_session_hears_when_there_is_room(make: Callers) -> None:
    peer = make(window=1_000)
    stream_id, session = peer.opened("/keep")
    session.call.send([bytes(95)] * UNSENT_MAX)
    peer.exchange()
    assert session.call.unsent == UNSENT_MAX
    session.call.send([bytes(95)])
    peer.exchange()
    peer.raw = b""
    peer.say(stream_id, *[bytes(995)] * 200)
    assert len(session.messages) == 200 and window_updates(peer.raw, stream_id) == []
    assert "room" not in session.heard
    peer.h2.increment_flow_control_window(100 * UNSENT_MAX, stream_id)
    peer.exchange()
    assert session.heard[-1] == "room" and session.call.unsent == 0
    assert window_updates(peer.raw, stream_id) == [200_000]
    assert len(peer.said(stream_id)) == UNSENT_MAX + 1


def test_room_is_not_called_for_what_never_waited_long(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    session.call.send([b"x"] * UNSENT_MAX)
    peer.exchange()
    assert session.heard == [] and session.call.unsent == 0
    assert len(peer.said(stream_id)) == UNSENT_MAX


def test_a_session_that_sends_whenever_there_is_room_is_never_left_waiting(make: Callers) -> None:
    peer = make(window=5_000)
    stream_id, session = peer.opened("/keep")
    turns = [3]

    def again() -> None:
        if turns[0]:
            turns[0] -= 1
            session.call.send([b"y" * 40] * (UNSENT_MAX + 1))
        else:
            session.call.end(0)

    session.on["room"] = again
    again()
    peer.pump()
    assert len(peer.said(stream_id)) == 3 * (UNSENT_MAX + 1) and peer.grpc_status(stream_id) == 0


def test_a_peer_that_never_reads_costs_bounded_memory_and_slows_nobody(make: Callers) -> None:
    peer = make()
    other, _ = peer.opened()
    stream_id, session = peer.opened()
    small = [b"0123456789"] * 200
    for _ in range(1_000):
        if peer.h2.local_flow_control_window(stream_id) < 4_000:
            break
        peer.say(stream_id, *small)
    assert session.call.unsent > UNSENT_MAX
    assert peer.wire.hub.memory.used_bytes < 3 * WINDOW_BYTES
    assert peer.h2.local_flow_control_window(stream_id) < 4_000
    for _ in range(50):
        peer.h2.increment_flow_control_window(1_005)
        peer.say(other, bytes(1_000))
        peer.h2.increment_flow_control_window(1_005, other)
    assert len(peer.said(other)) == 50
    peer.raw_send(reset_frame(stream_id))
    assert len(session.messages) % 200 == 0 and session.heard[-1] == "gone"


@pytest.mark.parametrize(("window", "written"), [(1_000, 0), (1_005, 1), (2_009, 1), (2_010, 2), (50_000, 10)])
def test_a_call_that_is_gone_tells_exactly_how_many_messages_never_left(
    make: Callers, window: int, written: int
) -> None:
    peer = make(window=window)
    stream_id, session = peer.opened("/keep")
    session.call.send([bytes(1_000)] * 10)
    peer.exchange()
    session.call.send([bytes(1_000)] * 2)
    peer.raw_send(reset_frame(stream_id))
    assert session.heard == ["gone"] and session.call.unsent == 12 - written


def test_a_call_is_full_by_bytes_too_and_has_room_when_they_have_left(make: Callers) -> None:
    peer = make(window=1_000)
    stream_id, session = peer.opened("/keep")
    session.call.send([bytes(UNSENT_BYTES_MAX - 100)])
    full = [session.call.full]
    session.call.send([bytes(100)])
    full.append(session.call.full)
    peer.exchange()
    peer.h2.increment_flow_control_window(2 * UNSENT_BYTES_MAX)
    peer.h2.increment_flow_control_window(2 * UNSENT_BYTES_MAX, stream_id)
    peer.exchange()
    full.append(session.call.full)
    assert session.heard == ["room"] and full == [False, True, False]


def test_calls_that_wait_together_crowd_their_connection_until_half_has_left(make: Callers) -> None:
    peer = make(limits=Limits(h2_queue_calls_bytes=100_000), window=0)
    _, quiet_session = peer.opened("/keep")
    ids = []
    for _ in range(4):
        stream_id, session = peer.opened("/keep")
        ids.append(stream_id)
        session.call.send([bytes(30_000)])
        peer.exchange()
    _, late_session = peer.opened("/keep")
    assert all(session.call.full for session in (quiet_session, late_session))
    assert (quiet_session.heard, late_session.heard) == (["crowded"], [])
    peer.h2.increment_flow_control_window(10 << 20)
    for number, stream_id in enumerate(ids):
        assert (quiet_session.heard == ["crowded"]) is (number < 3)
        peer.h2.increment_flow_control_window(40_000, stream_id)
        peer.exchange()
    assert all(session.heard == ["crowded", "room"] for session in peer.sessions[:4])
    assert late_session.heard == ["room"]
    assert not any(session.call.full for session in peer.sessions)


class Gate(Recorder):
    """Takes large messages once the first one said so."""

    message_bytes_max = 20

    def receive(self, messages: list[bytes]) -> None:
        super().receive(messages)
        if messages[0] == b"bad":
            self.call.end(16)
        elif messages[0] == b"hello":
            self.message_bytes_max = MESSAGE_BYTES_MAX


@pytest.fixture
def gate(make: Callers) -> Caller:
    """A client of calls that want a greeting."""
    peer: Caller = make()

    def open_call(call: Call) -> Session:
        peer.sessions.append(Gate(call))
        return peer.sessions[-1]

    peer.wire.hub.open_call = open_call
    return peer


def test_large_messages_are_taken_behind_the_first_in_the_same_frame(gate: Caller) -> None:
    stream_id, session = gate.opened("/gate")
    gate.say(stream_id, b"hello", bytes(10_000), b"more")
    assert session.messages == [b"hello", bytes(10_000), b"more"]


def test_nothing_is_inflated_for_a_peer_that_was_not_let_in(gate: Caller) -> None:
    stream_id, session = gate.opened("/gate", [("grpc-encoding", "gzip")])
    bomb = gzip.compress(bytes(MESSAGE_BYTES_MAX))
    gate.say_bytes(stream_id, frame(b"bad") + b"\1" + len(bomb).to_bytes(4) + bomb)
    assert session.messages == [b"bad"] and gate.grpc_status(stream_id) == 16
    small = gzip.compress(bytes(21))
    stream_id, session = gate.opened("/gate", [("grpc-encoding", "gzip")])
    gate.say_bytes(stream_id, b"\1" + len(small).to_bytes(4) + small)
    assert session.messages == [] and gate.grpc_status(stream_id) == grpc_framing.RESOURCE_EXHAUSTED


def test_a_first_message_above_its_limit_is_refused_on_its_prefix(gate: Caller) -> None:
    stream_id, session = gate.opened("/gate")
    gate.say_bytes(stream_id, frame(bytes(21))[:5])
    assert session.messages == [] and gate.grpc_status(stream_id) == grpc_framing.RESOURCE_EXHAUSTED


def test_a_call_that_never_says_a_word_ends(gate: Caller) -> None:
    silent, _ = gate.opened("/gate")
    spoken, _ = gate.opened("/gate")
    gate.say(spoken, b"hello")
    gate.after(Limits().first_message_seconds + 1)
    assert gate.grpc_status(silent) == grpc_framing.DEADLINE_EXCEEDED and gate.grpc_status(spoken) == -1
    assert gate.wire.watcher.reasons == ["first-message-timeout"]


def test_a_stalled_call_loses_its_patience_while_the_buffers_are_half_full(make: Callers) -> None:
    peer = make(limits=Limits(memory_bytes=400_000))
    _, session = peer.opened("/keep")
    session.call.send([bytes(300_000)])
    peer.exchange()
    peer.after(Limits().h2_stalled_seconds + 1)
    assert session.heard[-1] == "gone" and "h2-stalled" in peer.wire.watcher.reasons


def test_calls_are_counted_from_their_opening_to_their_status(make: Callers) -> None:
    peer = make()
    stream_id, _ = peer.opened()
    lost, _ = peer.opened()
    assert peer.wire.watcher.calls_open == 2
    peer.say(stream_id, end=True)
    peer.raw_send(reset_frame(lost))
    assert peer.wire.watcher.calls_open == 0
    assert peer.wire.watcher.call_statuses == [grpc_framing.OK, grpc_framing.CANCELLED]


def test_a_peer_that_takes_a_byte_a_second_is_reset_in_the_end_and_slows_nobody(make: Callers) -> None:
    peer = make()
    other, _ = peer.opened("/echo")
    stream_id, session = peer.opened("/keep")
    session.call.send([bytes(100_000)])
    peer.exchange()
    answer = b""
    for second in range(310):
        answer += peer.raw_send(frame_header(frames.WINDOW_UPDATE, 0, stream_id, 4) + (1).to_bytes(4))
        answer += peer.raw_send(frame_header(frames.WINDOW_UPDATE, 0, 0, 4) + (1).to_bytes(4))
        if second % 50 == 0:
            peer.raw_send(frame_header(frames.WINDOW_UPDATE, 0, 0, 4) + (10).to_bytes(4))
            assert walk(peer.raw_send(data_frame(other, frame(b"hello"))))[-1][3] == frame(b"hello")
        answer += peer.wire.wait(1.0)
        if session.heard:
            break
    assert second >= 300 and session.heard == ["gone"]
    assert resets(answer) == [(stream_id, frames.CANCEL)] and peer.wire.watcher.reasons == ["h2-stalled"]


def test_the_initial_window_moves_open_calls_below_zero_and_back(make: Callers) -> None:
    peer = make(window=50_000)
    stream_id, session = peer.opened("/keep")
    session.call.send([bytes(39_995)])
    peer.exchange()
    peer.h2.update_settings({INITIAL_WINDOW: 10_000})
    peer.exchange()
    session.call.send([b"x" * 995])
    peer.exchange()
    assert len(peer.body(stream_id)) == 40_000
    peer.h2.update_settings({INITIAL_WINDOW: 40_500})
    peer.exchange()
    assert len(peer.body(stream_id)) == 40_500
    later, second = peer.opened("/keep")
    second.call.send([bytes(30_000)])
    peer.h2.increment_flow_control_window(1_000, stream_id)
    peer.h2.update_settings({INITIAL_WINDOW: 60_000})
    peer.pump()
    assert peer.said(stream_id) == [bytes(39_995), b"x" * 995] and peer.said(later) == [bytes(30_000)]
    assert peer.wire.watcher.reasons == []


def test_an_initial_window_that_overflows_a_calls_ends_the_connection(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    peer.raw_send(frame_header(frames.WINDOW_UPDATE, 0, stream_id, 4) + (2**31 - 1 - 65_535).to_bytes(4))
    setting = (4).to_bytes(2) + (65_536).to_bytes(4)
    answer = peer.raw_send(frame_header(frames.SETTINGS, 0, 0, 6) + setting)
    assert [each[0] for each in goaways(answer)] == [frames.FLOW_CONTROL_ERROR] and session.heard == ["gone"]


@pytest.mark.parametrize(("increment", "code"), [(0, frames.PROTOCOL_ERROR), (2**31 - 1, frames.FLOW_CONTROL_ERROR)])
def test_a_bad_window_update_resets_its_call_alone(make: Callers, increment: int, code: int) -> None:
    peer = make()
    good, _ = peer.opened()
    stream_id, session = peer.opened("/keep")
    answer = peer.raw_send(frame_header(frames.WINDOW_UPDATE, 0, stream_id, 4) + increment.to_bytes(4))
    assert resets(answer) == [(stream_id, code)] and session.heard == ["gone"]
    peer.say(good, b"x")
    assert peer.said(good) == [b"x"]


def test_a_status_waits_for_the_messages_in_front_of_it(make: Callers) -> None:
    peer = make(window=0)
    stream_id, session = peer.opened("/keep")
    session.call.send([b"hello"])
    session.call.end(0)
    peer.exchange()
    assert session.call.closed and peer.body(stream_id) == b"" and peer.grpc_status(stream_id) == -1
    peer.h2.increment_flow_control_window(9, stream_id)
    peer.exchange()
    assert peer.grpc_status(stream_id) == -1
    peer.h2.increment_flow_control_window(1, stream_id)
    peer.exchange()
    assert peer.said(stream_id) == [b"hello"] and peer.grpc_status(stream_id) == 0


def test_what_is_sent_while_the_socket_is_full_leaves_when_it_is_not(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    peer.wire.connection.pause_writing()
    session.call.send([b"a"])
    session.call.send([b"b"])
    peer.exchange()
    assert peer.said(stream_id) == []
    peer.wire.connection.resume_writing()
    peer.exchange()
    assert peer.said(stream_id) == [b"a", b"b"]


def test_calls_take_turns_with_each_other_and_with_answers(make: Callers) -> None:
    peer = make(lambda request: request.respond(Response(200, b"small")), window=1_000_000)
    _, session = peer.opened("/keep")
    session.call.send([bytes(500_000)])
    peer.exchange()
    request = peer.request(b"x")
    for _ in range(2):
        peer.h2.increment_flow_control_window(16_384)
        peer.exchange()
    assert peer.body(request) == b"small"


# Memory and slow messages.


def test_an_incomplete_message_is_in_the_account_and_keeps_the_connection_reading(make: Callers) -> None:
    peer = make()
    stream_id, _ = peer.opened("/keep")
    before = peer.wire.hub.memory.used_bytes
    peer.say_bytes(stream_id, frame(bytes(100_000))[:70_000])
    assert peer.wire.hub.memory.used_bytes == before + 70_000 and peer.core.mid_request
    peer.say_bytes(stream_id, frame(bytes(100_000))[70_000:])
    assert peer.wire.hub.memory.used_bytes == before and not peer.core.mid_request


@pytest.mark.parametrize("end", ["reset", "status", "bad", "lost"])
def test_an_incomplete_message_is_given_back_however_its_call_ends(make: Callers, end: str) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep", [("grpc-timeout", "10S")])
    before = peer.wire.hub.memory.used_bytes
    peer.say_bytes(stream_id, frame(bytes(100_000))[:70_000])
    if end == "reset":
        peer.raw_send(reset_frame(stream_id))
    elif end == "status":
        session.call.end(0)
        peer.exchange()
    elif end == "bad":
        peer.after(11.0)
    else:
        peer.wire.connection.connection_lost(None)
    assert peer.wire.hub.memory.used_bytes < before


def test_an_incomplete_message_is_refused_when_the_buffers_overflow(make: Callers) -> None:
    peer = make()
    good, kept = peer.opened("/keep")
    stream_id, session = peer.opened("/keep")
    memory = peer.wire.hub.memory
    memory.take(memory.total_bytes)
    peer.say_bytes(stream_id, frame(bytes(1_000))[:500])
    assert peer.grpc_status(stream_id) == grpc_framing.RESOURCE_EXHAUSTED and session.heard == ["gone"]
    peer.say(good, b"whole ones are taken")
    assert len(kept.messages) == 1
    memory.give(memory.total_bytes)


def test_a_message_that_does_not_end_runs_out_of_time_and_one_that_does_not(make: Callers) -> None:
    peer = make()
    slow, session = peer.opened("/keep")
    busy, other = peer.opened("/keep")
    peer.say_bytes(slow, frame(bytes(100_000))[:10_000])
    for _ in range(5):
        peer.say_bytes(busy, frame(bytes(1_000))[:500])
        peer.after(10.0)
        peer.say_bytes(busy, frame(bytes(1_000))[500:])
    peer.exchange()
    assert peer.grpc_status(slow) == grpc_framing.RESOURCE_EXHAUSTED and session.heard == ["gone"]
    assert other.heard == ["receive"] * 5 and peer.wire.watcher.reasons == ["body-timeout"]


def test_a_message_that_waits_for_us_does_not_run_out_of_time(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    release = session.call.hold()
    peer.say_bytes(stream_id, frame(bytes(100_000))[:10_000])
    for _ in range(10):
        peer.raw_send(frames.ping(b"12345678", ack=True))
        peer.after(10.0)
    release()
    peer.say_bytes(stream_id, frame(bytes(100_000))[10_000:])
    assert session.heard == ["receive"]


def test_while_incomplete_messages_take_too_much_only_the_oldest_goes_on(make: Callers) -> None:
    peer = make(limits=Limits(h2_upload_bytes=100_000))
    ids = [peer.call("/keep") for _ in range(3)]
    peer.exchange()
    message = frame(bytes(1_000_000))
    peer.raw = b""
    for stream_id in ids:
        peer.say_bytes(stream_id, message[:150_000])

    def granted() -> list[bool]:
        updates = [window_updates(peer.raw, stream_id) for stream_id in ids]
        peer.raw = b""
        return [bool(each) for each in updates]

    assert granted() == [True, False, False]
    peer.say_bytes(ids[0], message[150_000:])
    assert granted() == [True, True, False]
    peer.say_bytes(ids[1], message[150_000:])
    assert granted() == [False, True, True]
    peer.say_bytes(ids[2], message[150_000:])
    assert [len(session.messages) for session in peer.sessions] == [1, 1, 1]
    assert peer.wire.hub.memory.used_bytes < 10_000


def test_an_incomplete_message_is_given_back_though_the_peer_does_not_take_its_status(make: Callers) -> None:
    peer = make(window=0)
    stream_id, session = peer.opened("/keep", [("grpc-timeout", "10S")])
    session.call.send([b"waits"])
    peer.say_bytes(stream_id, frame(bytes(100_000))[:50_000])
    peer.after(11.0)
    assert session.heard == ["gone"] and peer.grpc_status(stream_id) == -1
    assert peer.wire.hub.memory.used_bytes < 1_000


# Habits of honest clients.


def test_a_client_that_probes_bandwidth_and_resets_after_its_end_is_not_hurt(make: Callers) -> None:
    peer = make()
    for _ in range(300):
        stream_id, _ = peer.opened()
        peer.say(stream_id, b"x" * 100)
        peer.h2.ping(b"bdpprobe")
        peer.exchange()
        peer.say(stream_id, end=True)
        assert peer.grpc_status(stream_id) == 0
        assert goaways(peer.raw_send(reset_frame(stream_id))) == []
        peer.wire.clock.now += 0.01
    assert peer.wire.watcher.reasons == []


def test_a_reset_behind_the_end_of_the_request_is_no_abuse_though_the_answer_is_not_there(make: Callers) -> None:
    peer = make()
    for _ in range(600):
        stream_id, session = peer.opened("/keep")
        peer.h2.send_data(stream_id, frame(b"x"), end_stream=True)
        peer.h2.reset_stream(stream_id, frames.CANCEL)
        peer.exchange()
        assert session.heard == ["receive", "half_closed", "gone"]
    assert peer.wire.watcher.reasons == []


def test_thousands_of_pings_that_follow_data_are_answered(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    one = data_frame(stream_id, frame(b"x")) + frames.ping(b"bdpprobe", ack=False)
    answer = b"".join(peer.raw_send(one * 10) for _ in range(150))
    assert sum(each[0] == frames.PING for each in walk(answer)) == 1_500 and len(session.messages) == 1_500
    for _ in range(1_500):
        session.call.send([b"y"])
        peer.exchange()
        peer.raw_send(frames.ping(b"bdpprobe", ack=False))
    assert peer.wire.watcher.reasons == []


def test_pings_on_an_idle_call_are_answered_at_a_civil_rate_only(make: Callers) -> None:
    peer = make()
    peer.opened("/keep")
    for _ in range(60):
        assert [each[0] for each in walk(peer.raw_send(frames.ping(b"keepaliv", ack=False)))] == [frames.PING]
        peer.wire.clock.now += 10.0
    answer = b"".join(peer.raw_send(frames.ping(b"keepaliv", ack=False)) for _ in range(11))
    assert goaways(answer) == [(frames.ENHANCE_YOUR_CALM, b"h2-pings")]


def test_a_silent_peer_with_a_call_is_asked_and_then_given_up(make: Callers) -> None:
    peer = make()
    _, session = peer.opened("/keep")
    for _ in range(5):
        assert [each[0] for each in walk(peer.wire.wait(61.0))] == [frames.PING]
        peer.raw_send(frames.ping(b"keepaliv", ack=True))
    peer.wire.wait(61.0)
    assert goaways(peer.wire.wait(20.0)) == [(frames.NO_ERROR, b"h2-keepalive")]
    assert session.heard == ["gone"]


def test_calls_thrown_away_again_and_again_are_abuse(make: Callers) -> None:
    peer = make()
    for _ in range(101):
        stream_id, _ = peer.opened("/keep")
        peer.h2.reset_stream(stream_id, frames.CANCEL)
        peer.exchange()
    assert goaways(peer.raw) == [(frames.ENHANCE_YOUR_CALM, b"h2-resets")]


# The end of the connection.


def test_a_drain_is_heard_by_every_session_also_by_those_that_come_before_the_last_word(make: Callers) -> None:
    peer = make()
    polite, _ = peer.opened()
    stream_id, slow = peer.opened("/keep")
    peer.wire.connection.drain(peer.wire.clock.now)
    peer.wire.connection.drain(peer.wire.clock.now)
    raw = peer.wire.transport.take()
    assert [each[3][:4] for each in walk(raw) if each[0] == frames.GOAWAY] == [b"\x7f\xff\xff\xff"]
    late = stream_id + 2
    block = peer.h2.encoder.encode(
        [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/keep"),
         ("content-type", "application/grpc")]
    )  # fmt: skip
    peer.raw_send(frame_header(frames.HEADERS, frames.END_HEADERS, late, len(block)) + block)
    assert [session.heard for session in peer.sessions] == [["drain"]] * 3
    assert peer.sessions[0].call.closed and polite
    peer.raw_send(data_frame(stream_id, frame(b"still heard")))
    assert slow.messages == [b"still heard"]
    answer = peer.wire.wait(1.5)
    assert [int.from_bytes(each[3][:4]) for each in walk(answer) if each[0] == frames.GOAWAY] == [late]
    slow.call.end(14)
    peer.wire.loop.run()
    assert not peer.wire.transport.eof_written
    peer.sessions[2].call.end(14)
    peer.wire.loop.run()
    assert peer.wire.transport.eof_written


def test_a_client_that_says_goaway_keeps_its_calls(make: Callers) -> None:
    peer = make()
    stream_id, session = peer.opened("/keep")
    peer.raw_send(frames.goaway(0, 0))
    peer.raw_send(data_frame(stream_id, frame(b"x")))
    assert session.heard == ["receive"]
    peer.wire.connection.drain(peer.wire.clock.now)
    assert session.heard == ["receive", "drain"]
    session.call.end(14)
    peer.wire.loop.run()
    assert peer.wire.transport.eof_written


def test_a_broken_frame_tells_every_session_that_its_peer_is_gone(make: Callers) -> None:
    peer = make()
    _, first = peer.opened("/keep")
    _, second = peer.opened("/keep")
    second.call.hold()
    assert [each[0] for each in goaways(peer.raw_send(data_frame(0, b"x")))] == [frames.PROTOCOL_ERROR]
    assert first.heard == second.heard == ["gone"]


def test_an_answer_given_while_data_is_taken_does_not_come_between(make: Callers) -> None:
    waiting: list[Request] = []
    peer = make(waiting.append)
    request = peer.request(b"x")
    stream_id, session = peer.opened()

    def answer() -> None:
        if waiting:
            waiting.pop().respond(Response(200, b"woken"))

    session.on["receive"] = answer
    peer.say(stream_id, b"a", b"b", end=True)
    assert peer.body(request) == b"woken"
    assert peer.said(stream_id) == [b"a", b"b"] and peer.grpc_status(stream_id) == 0


def test_the_callbacks_of_one_call_may_end_another(make: Callers) -> None:
    peer = make()
    first, one = peer.opened("/keep")
    second, two = peer.opened("/keep")
    one.on["receive"] = lambda: two.call.end(10, "the other said so")
    two.on["gone"] = lambda: one.call.end(0)
    peer.raw_send(data_frame(first, frame(b"x")) + data_frame(second, frame(b"y")))
    assert two.messages == [] and two.heard == []
    _, three = peer.opened("/keep")
    three.on["gone"] = one.call.hold()
    peer.wire.connection.connection_lost(None)
    assert all(session.call.closed for session in peer.sessions)
    peer.wire.transport.closed = True
