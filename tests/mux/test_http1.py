"""HTTP/1.1: what is served, what is refused and with which status, in which order answers leave."""

# mypy: disable-error-code="unreachable"
# (an attribute that a call has changed is taken for unchanged)

import itertools
import json
import re
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.mux.exchange import Request, Response
from appliance.mux.limits import Limits
from tests.campaigns import http1_differential
from tests.mux.support import Wire, echo

POST = b"POST /tasks?a=1 HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """A request head with the given extra lines."""
    fields = [line for line in (host, *lines) if line]
    return b"\r\n".join([first, *fields, b"", b""])


class Collector:
    """A handler that keeps requests for later."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> None:
        self.requests.append(request)


def statuses(data: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


def test_a_request_reaches_the_handler_as_it_came() -> None:
    handler = Collector()
    wire = Wire(handler)
    wire.send(
        b"PUT /a%20b?x=%2F&y HTTP/1.1\r\nHost: h:1\r\nX-A: 1 \r\nx-a:2\r\nCookie: a\r\nCookie: b\r\n"
        b"X-Request-Id: mine-1\r\nContent-Length: 3\r\n\r\nabc"
    )
    (request,) = handler.requests
    assert (request.method, request.path, request.query, request.body) == ("PUT", "/a%20b", "x=%2F&y", b"abc")
    assert request.headers[b"x-a"] == b"1, 2"
    assert request.headers[b"cookie"] == b"a; b"
    assert (request.request_id, request.peer, request.secure) == ("mine-1", "192.0.2.1", False)


def test_a_response_has_length_date_and_request_id() -> None:
    wire = Wire()
    answer = wire.send(POST)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 5\r\n" in answer
    assert b"\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in answer
    assert re.search(rb"\r\nX-Request-Id: [0-9a-f]{12}-1\r\n", answer)
    assert answer.endswith(b"\r\n\r\nhello")
    assert not wire.transport.closed


@pytest.mark.parametrize("sent", [b"has space", b"x" * 129, b'quote"', b"\xff", b""])
def test_a_harmful_request_id_is_replaced(sent: bytes) -> None:
    handler = Collector()
    Wire(handler).send(head(b"X-Request-Id: " + sent))
    assert re.fullmatch(r"[0-9a-f]{12}-1", handler.requests[0].request_id)


def test_a_request_cut_into_bytes_is_the_same_request() -> None:
    wire = Wire()
    whole = wire.send(POST)
    cut = b"".join(wire.send(POST[at : at + 1]) for at in range(len(POST)))
    assert cut == whole.replace(b"-1\r\n", b"-2\r\n")


def test_pipelined_requests_are_answered_in_order_whatever_order_the_handler_takes() -> None:
    handler = Collector()
    wire = Wire(handler)
    assert wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(4))) == b""
    first, second, third, fourth = handler.requests
    for request in (third, second):
        request.respond(Response(200, request.path.encode()))
    wire.loop.run()
    assert wire.transport.take() == b""
    first.respond(Response(200, b"/0"))
    wire.loop.run()
    assert re.findall(rb"\r\n\r\n(/\d)", wire.transport.take()) == [b"/0", b"/1", b"/2"]
    fourth.respond(Response(200, b"/3"))
    assert wire.transport.take().endswith(b"/3")


def test_answers_of_one_turn_are_written_together() -> None:
    handler = Collector()
    wire = Wire(handler)
    wire.send(GET * 8)
    for request in handler.requests:
        request.respond(Response(200, b"x"))
    wire.loop.run()
    assert wire.transport.writes == 1


def test_unanswered_pipelined_requests_are_bounded_and_the_rest_waits_unread() -> None:
    handler = Collector()
    wire = Wire(handler, Limits(pipeline=3))
    wire.send(GET * 10)
    assert len(handler.requests) == 3
    assert not wire.transport.reading
    for request in list(handler.requests):
        request.respond(Response(200))
    wire.loop.run()
    assert len(handler.requests) == 6
    while any(not request.answered for request in handler.requests):
        next(request for request in handler.requests if not request.answered).respond(Response(200))
        wire.loop.run()
    assert len(handler.requests) == 10
    assert wire.transport.reading
    assert statuses(wire.transport.take()) == [200] * 10


def test_large_answers_are_written_before_more_requests_are_taken() -> None:
    served: list[int] = []

    def handler(request: Request) -> None:
        served.append(1)
        request.respond(Response(200, b"x" * 300_000))

    wire = Wire(handler)
    write = wire.transport.write

    def write_and_fill(data: bytes) -> None:
        write(data)
        wire.connection.pause_writing()

    wire.transport.write = write_and_fill  # type: ignore[method-assign]
    wire.send(GET * 5)
    for count in range(1, 6):
        assert len(served) == count
        wire.connection.resume_writing()
        wire.loop.run()


def test_a_chunked_body_is_reassembled() -> None:
    wire = Wire()
    request = (
        head(b"Transfer-Encoding: Chunked", first=b"POST / HTTP/1.1") + b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: 1\r\n\r\n"
    )
    assert wire.send(request + GET).count(b"HTTP/1.1 200") == 2
    assert b"".join(wire.send(request[at : at + 1]) for at in range(len(request))).endswith(b"abcde")


def test_an_answer_in_pieces_is_chunked() -> None:
    wire = Wire(lambda request: request.respond(Response(200, chunks=iter([b"abc", b"", b"de"]))))
    answer = wire.send(GET + GET)
    assert b"Transfer-Encoding: chunked\r\n" in answer
    assert b"Content-Length" not in answer
    assert answer.count(b"\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") == 2


def test_an_answer_in_pieces_ends_with_the_connection_on_http_1_0() -> None:
    wire = Wire(lambda request: request.respond(Response(200, chunks=iter([b"abc", b"de"]))))
    answer = wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nabcde")
    assert b"chunked" not in answer and b"Connection: close" in answer
    assert wire.transport.closed


def test_a_piece_is_made_only_when_there_is_room_for_it() -> None:
    made: list[int] = []

    def pieces() -> object:
        for number in range(4):
            made.append(number)
            yield b"x"

    wire = Wire(lambda request: request.respond(Response(200, chunks=pieces())))  # type: ignore[arg-type]
    write = wire.transport.write

    def write_and_fill(data: bytes) -> None:
        write(data)
        if len(made) == 2:
            wire.connection.pause_writing()

    wire.transport.write = write_and_fill  # type: ignore[method-assign]
    wire.send(GET)
    assert made == [0, 1]
    made.append(9)
    wire.connection.resume_writing()
    wire.loop.run()
    assert wire.transport.take().endswith(b"0\r\n\r\n")


def test_an_answer_that_fails_half_way_ends_its_connection() -> None:
    def pieces() -> object:
        yield b"x"
        raise ValueError("broken")

    wire = Wire(lambda request: request.respond(Response(200, chunks=pieces())))  # type: ignore[arg-type]
    assert not wire.send(GET).endswith(b"0\r\n\r\n")
    assert wire.transport.aborted


def test_head_has_the_length_and_no_body() -> None:
    wire = Wire(lambda request: request.respond(Response(200, b"hello")))
    answer = wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Content-Length: 5\r\n" in answer and answer.endswith(b"\r\n\r\n")


def test_204_has_no_length_and_no_type() -> None:
    wire = Wire(lambda request: request.respond(Response(204)))
    assert b"Content-" not in wire.send(GET)


def test_100_continue_is_sent_when_the_body_is_waited_for() -> None:
    wire = Wire()
    expecting = head(b"Content-Length: 2", b"Expect: 100-Continue", first=b"POST / HTTP/1.1")
    assert wire.send(expecting) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wire.send(b"ok").endswith(b"ok")
    assert b" 100 " not in wire.send(expecting + b"ok")
    assert wire.send(expecting.replace(b"1.1", b"1.0")) == b""


def test_100_continue_waits_for_the_answers_before_it() -> None:
    handler = Collector()
    wire = Wire(handler)
    assert wire.send(GET + head(b"Content-Length: 2", b"Expect: 100-continue", first=b"POST / HTTP/1.1")) == b""
    handler.requests[0].respond(Response(200))
    wire.loop.run()
    assert statuses(wire.transport.take()) == [200, 100]


@pytest.mark.parametrize(
    ("request_bytes", "closes"),
    [
        (head(), False),
        (head(b"Connection: close"), True),
        (head(b"Connection: x, Close"), True),
        (head(first=b"GET / HTTP/1.0"), True),
        (head(b"Connection: keep-alive", first=b"GET / HTTP/1.0"), False),
        (b"GET / HTTP/1.0\r\n\r\n", True),
    ],
)
def test_the_connection_is_kept_or_closed_as_the_version_says(request_bytes: bytes, closes: bool) -> None:
    wire = Wire()
    answer = wire.send(request_bytes)
    assert statuses(answer) == [200]
    assert wire.transport.closed is closes
    assert (b"Connection: close" in answer) is closes


def test_an_offer_to_upgrade_is_ignored_and_its_body_is_read() -> None:
    wire = Wire()
    lines = (b"Upgrade: h2c", b"Connection: Upgrade", b"HTTP2-Settings: AAA", b"Content-Length: 2")
    assert statuses(wire.send(head(*lines, first=b"POST / HTTP/1.1") + b"ok" + GET)) == [200, 200]


def test_an_absolute_target_is_reduced_to_its_path() -> None:
    handler = Collector()
    Wire(handler).send(head(first=b"GET http://a:80/x?y HTTP/1.1") + head(first=b"GET HTTPS://a HTTP/1.1"))
    assert [(each.path, each.query) for each in handler.requests] == [("/x", "y"), ("/", "")]


REFUSED = [
    ("no host", head(host=b""), 400),
    ("two hosts", head(b"Host: a"), 400),
    ("empty host", head(host=b"Host:"), 400),
    ("host with a path", head(host=b"Host: a/b"), 400),
    ("host with user info", head(host=b"Host: u@a"), 400),
    ("host with a space", head(host=b"Host: a b"), 400),
    ("host with a bad port", head(host=b"Host: a:8x"), 400),
    ("length and coding", head(b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400),
    ("coding and length", head(b"Transfer-Encoding: chunked", b"Content-Length: 1"), 400),
    ("two lengths", head(b"Content-Length: 1", b"Content-Length: 1"), 400),
    ("list of lengths", head(b"Content-Length: 1, 1"), 400),
    ("signed length", head(b"Content-Length: +1"), 400),
    ("negative length", head(b"Content-Length: -1"), 400),
    ("hex length", head(b"Content-Length: 0x1"), 400),
    ("empty length", head(b"Content-Length:"), 400),
    ("length above 64 bits", head(b"Content-Length: 99999999999999999999"), 400),
    ("length with an underscore", head(b"Content_Length: 1"), 400),
    ("coding with an underscore", head(b"Transfer_Encoding: chunked"), 400),
    ("unknown coding before chunked", head(b"Transfer-Encoding: gzip, chunked"), 501),
    ("chunked not last", head(b"Transfer-Encoding: chunked, gzip"), 400),
    ("almost chunked", head(b"Transfer-Encoding: xchunked"), 400),
    ("chunked twice", head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    ("coding in HTTP/1.0", head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"), 400),
    ("space before the colon", head(b"X : 1"), 400),
    ("folded line", head(b"X: 1", b" 2"), 400),
    ("first line folded", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("bare LF", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("bare LF behind a field", b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400),
    ("bare CR in a value", head(b"X: a\rb"), 400),
    ("NUL in a value", head(b"X: a\0b"), 400),
    ("no colon", head(b"X"), 400),
    ("empty name", head(b": 1"), 400),
    ("bracket in a name", head(b"X[: 1"), 400),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400),
    ("HTTP/2.0 in the request line", head(first=b"GET / HTTP/2.0"), 505),
    ("HTTP/1.2", head(first=b"GET / HTTP/1.2"), 505),
    ("lower-case version", head(first=b"GET / http/1.1"), 400),
    ("HTTP/1.10", head(first=b"GET / HTTP/1.10"), 400),
    ("two spaces", head(first=b"GET  / HTTP/1.1"), 400),
    ("tab for a space", head(first=b"GET\t/ HTTP/1.1"), 400),
    ("lower-case method", head(first=b"get / HTTP/1.1"), 400),
    ("unknown method", head(first=b"BREW / HTTP/1.1"), 501),
    ("CONNECT", head(first=b"CONNECT a:1 HTTP/1.1"), 501),
    ("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("asterisk", head(first=b"OPTIONS * HTTP/1.1"), 400),
    ("relative target", head(first=b"GET x HTTP/1.1"), 400),
    ("fragment", head(first=b"GET /a#b HTTP/1.1"), 400),
    ("target not ASCII", head(first=b"GET /\xc3\xa9 HTTP/1.1"), 400),
    ("control in the target", head(first=b"GET /\x01 HTTP/1.1"), 400),
    ("absolute target with user info", head(first=b"GET http://u@a/ HTTP/1.1"), 400),
    ("other scheme", head(first=b"GET ftp://a/ HTTP/1.1"), 400),
    ("target of 8 KiB and one", head(first=b"GET /" + b"a" * 8192 + b" HTTP/1.1"), 414),
    ("head of 16 KiB and more", head(b"X: " + b"a" * 16_384), 431),
    ("101 fields", head(*[b"X: 1"] * 100), 431),
    ("expectation that is not known", head(b"Expect: 200-maybe", b"Content-Length: 1"), 417),
    ("body of 8 MiB and one", head(b"Content-Length: 8388609"), 413),
    ("authorization twice", head(b"Authorization: Bearer a", b"Authorization: Bearer b"), 400),
    ("content type twice", head(b"Content-Type: a/b", b"Content-Type: a/b"), 400),
    ("bad chunk size", head(b"Transfer-Encoding: chunked") + b"x\r\n", 400),
    ("chunk too large", head(b"Transfer-Encoding: chunked") + b"FFFFFFFF\r\n", 413),
    ("chunk without its end", head(b"Transfer-Encoding: chunked") + b"1\r\nab\r\n0\r\n\r\n", 400),
    ("blank lines", b"\r\n\r\n" + GET, 400),
]


@pytest.mark.parametrize(("request_bytes", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_bad_request_is_refused_and_ends_the_connection(request_bytes: bytes, status: int) -> None:
    handler = Collector()
    for pieces in ([request_bytes + GET], [request_bytes[at : at + 1] for at in range(len(request_bytes))]):
        wire = Wire(handler)
        answer = b"".join(wire.send(piece) for piece in pieces)
        assert statuses(answer) == [status]
        assert b"\r\nConnection: close\r\n" in answer
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert body["code"] == ("payload-too-large" if status == 413 else "validation-error") and body["message"]
        assert wire.transport.eof_written
        assert len(wire.watcher.reasons) == 1
        assert wire.hub.memory.used_bytes == 0
    assert handler.requests == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        head(*[b"X: 1"] * 99),
        head(first=b"GET /" + b"a" * 8191 + b" HTTP/1.1"),
        head(b"X: " + b"a" * (16_384 - len(head(b"X: ")))),
        head(b"Content-Length: 8388608") + b"x" * 8_388_608,
        head(host=b"Host: [::1]:8443"),
        head(host=b"Host: a.b-c_d:0"),
        b"\r\n" + GET,
        head(b"X: caf\xc3\xa9\ttab"),
    ],
    ids=["100 fields", "target of 8 KiB", "head of 16 KiB", "body of 8 MiB", "IPv6", "name", "one blank line", "latin"],
)
def test_what_is_just_within_the_limits_is_served(request_bytes: bytes) -> None:
    assert statuses(Wire().send(request_bytes)) == [200]


def test_requests_before_a_bad_one_are_answered_first() -> None:
    handler = Collector()
    wire = Wire(handler)
    assert wire.send(GET + GET + b"nonsense\r\n\r\n") == b""
    for request in handler.requests:
        request.respond(Response(200))
    wire.loop.run()
    assert statuses(wire.transport.take()) == [200, 200, 400]


def test_a_client_that_leaves_in_the_middle_of_a_body_changes_nothing() -> None:
    handler = Collector()
    wire = Wire(handler)
    wire.send(POST[:-1])
    wire.connection.connection_lost(None)
    assert handler.requests == []
    assert wire.hub.memory.used_bytes == 0


def test_a_handler_learns_that_its_client_has_left() -> None:
    handler = Collector()
    wire = Wire(handler)
    wire.send(GET + GET)
    heard: list[str] = []
    handler.requests[0].on_closed = lambda: heard.append("first")
    wire.connection.connection_lost(None)
    assert heard == ["first"]
    assert all(request.closed for request in handler.requests)
    handler.requests[1].respond(Response(200))
    assert wire.transport.take() == b""
    assert wire.hub.memory.used_bytes == 0


def test_a_slow_head_is_answered_408_however_it_trickles() -> None:
    wire = Wire()
    answer = b""
    for at in range(12):
        answer += wire.send(GET[at : at + 1]) + wire.wait(1.0)
    assert statuses(answer) == [408]
    assert wire.watcher.reasons == ["head-timeout"]


def test_a_body_below_the_minimum_rate_is_answered_408() -> None:
    wire = Wire()
    wire.send(head(b"Content-Length: 8000000"))
    answer = b""
    for _ in range(100):
        answer += wire.send(b"x" * 200) + wire.wait(1.0)
    assert statuses(answer) == [408]
    assert wire.watcher.reasons == ["body-timeout"]


def test_a_body_above_the_minimum_rate_may_take_long() -> None:
    wire = Wire()
    wire.send(head(b"Content-Length: 200000"))
    for _ in range(99):
        assert wire.send(b"x" * 2_000) + wire.wait(1.0) == b""
    assert statuses(wire.send(b"x" * 2_000)) == [200]


def test_an_idle_connection_is_closed_and_one_that_waits_for_an_answer_is_not() -> None:
    wire = Wire()
    wire.send(GET)
    wire.wait(299)
    assert not wire.transport.closed
    wire.wait(2)
    assert wire.transport.closed and wire.watcher.reasons == ["idle"]
    waiting = Wire(Collector())
    waiting.send(GET)
    waiting.wait(400)
    assert not waiting.transport.closed


def test_a_draining_connection_says_close_and_closes() -> None:
    handler = Collector()
    wire = Wire(handler)
    wire.send(GET)
    wire.hub.draining = True
    wire.connection.drain(wire.clock.now)
    assert not wire.transport.closed
    handler.requests[0].respond(Response(200))
    assert b"Connection: close" in wire.transport.take()
    assert wire.transport.closed


def test_a_header_that_would_break_the_framing_is_a_bug_and_not_sent() -> None:
    wire = Wire(lambda request: request.respond(Response(200, headers=((b"Location", b"/a\r\nX: 1"),))))
    assert statuses(wire.send(GET)) == [500]


def test_a_drain_answers_every_pipelined_request_that_was_handed_over() -> None:
    handler = Collector()
    wire = Wire(handler, Limits(pipeline=2))
    wire.send(GET * 4)
    wire.hub.draining = True
    wire.connection.drain(wire.clock.now)
    for request in handler.requests:
        request.respond(Response(200))
        wire.loop.run()
    answer = wire.transport.take()
    assert statuses(answer) == [200, 200] and answer.count(b"Connection: close") == 1
    assert len(handler.requests) == 2 and wire.transport.eof_written


# Against another implementation.

_lines = st.sampled_from(
    [
        b"Host: a",
        b"Host: b",
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Content-Length: 3, 3",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"X: y",
        b"X : y",
        b" folded",
        b"Upgrade: h2c",
        b"Content_Length: 3",
    ]
)
_firsts = st.sampled_from([b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"PUT / HTTP/1.0", b"HEAD / HTTP/1.1", b"GET /"])
_bodies = st.sampled_from(
    [b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n", b"03;x\r\nabc\r\n0\r\nT: 1\r\n\r\n"]
)
_messages = st.builds(
    lambda first, lines, body: b"\r\n".join([first, *lines, b"", b""]) + body,
    _firsts,
    st.lists(_lines, max_size=4).map(lambda lines: [b"Host: a", *lines]) | st.lists(_lines, max_size=3),
    _bodies,
)


@st.composite
def _streams(draw: st.DrawFn) -> bytes:
    """Requests in a row, sometimes with a byte changed, dropped or doubled."""
    data = b"".join(draw(st.lists(_messages, min_size=1, max_size=3)))
    if draw(st.booleans()) and data:
        at = draw(st.integers(0, len(data) - 1))
        replacement = draw(st.sampled_from([b"", b"\r", b"\n", b" ", b"\0", b":", b"0", data[at : at + 1] * 2]))
        data = data[:at] + replacement + data[at + 1 :]
    return data


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_another_parser_sees_the_same_requests_or_ours_is_stricter_for_a_known_reason(rng: Random) -> None:
    data = http1_differential.make(rng)
    assert http1_differential.compare(data, http1_differential.cut(data, rng)).finding == ""


@settings(max_examples=300, deadline=None)
@given(_streams())
def test_no_request_is_seen_that_another_parser_does_not_see(data: bytes) -> None:
    mine, other = http1_differential.ours([data]), http1_differential.theirs(data)
    assert mine.requests == other.requests[: len(mine.requests)]


@pytest.mark.parametrize("greeting", [b"EHLO localhost\r\n", b"USER x\r\nPASS y\r\n", b"GET /\r\n"])
def test_another_protocol_that_looks_like_a_method_is_refused_at_its_first_line(greeting: bytes) -> None:
    wire = Wire(echo)
    assert statuses(wire.send(greeting)) == [400]


@settings(max_examples=100, deadline=None)
@given(_streams(), st.lists(st.integers(0, 200), max_size=5))
@example(b"GET / HTTP/\n.1\r\nHost: a\r\n\r\n", [12])
def test_what_is_seen_does_not_depend_on_how_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    def read(pieces: list[bytes]) -> tuple[list[tuple[str, bytes]], list[int]]:
        seen: list[tuple[str, bytes]] = []

        def handler(request: Request) -> None:
            seen.append((request.method, request.body))
            echo(request)

        wire = Wire(handler)
        answers = b"".join(wire.send(piece) for piece in pieces)
        return seen, [status for status in statuses(answers) if status != 100]

    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert read([data]) == read([data[start:end] for start, end in itertools.pairwise(edges)])
