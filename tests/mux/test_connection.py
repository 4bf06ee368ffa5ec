"""The shell: when it reads, when it writes, how it closes."""

# mypy: disable-error-code="unreachable"
# (an attribute that a call has changed is taken for unchanged)

import pytest

from appliance import errors
from appliance.mux.connection import SLICE_BYTES, SLICE_SECONDS
from appliance.mux.exchange import Handler, Request, Response
from appliance.mux.limits import Limits
from tests.mux.support import Wire, echo

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_handler_that_raises_answers_500_and_the_connection_lives(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: Request) -> None:
        if request.path == "/bug":
            raise KeyError("bug")
        echo(request)

    wire = Wire(handler)
    answer = wire.send(b"GET /bug HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n" + GET)
    assert answer.startswith(b"HTTP/1.1 500 ") and b'"code":"internal"' in answer
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert "mine" in caplog.text


def test_a_problem_that_a_handler_raises_is_its_answer() -> None:
    def handler(request: Request) -> None:
        raise errors.Problem(errors.NOT_FOUND, "no such task")

    assert Wire(handler).send(GET).startswith(b"HTTP/1.1 404 ")


def test_a_close_callback_that_raises_does_not_keep_the_others_from_hearing() -> None:
    heard: list[str] = []

    def handler(request: Request) -> None:
        def closed() -> None:
            heard.append(request.path)
            raise ValueError("bug")

        request.on_closed = closed

    wire = Wire(handler)
    wire.send(GET + GET)
    wire.connection.connection_lost(None)
    assert heard == ["/", "/"] and wire.lost == [wire.connection]


def test_a_hold_stops_reading_until_every_holder_lets_go() -> None:
    requests: list[Request] = []
    wire = Wire(requests.append)
    wire.send(GET)
    first, second = requests[0].hold(), requests[0].hold()
    assert not wire.transport.reading
    first()
    wire.loop.run()
    assert not wire.transport.reading
    second()
    wire.loop.run()
    assert wire.transport.reading


def test_a_hold_keeps_pipelined_requests_waiting() -> None:
    requests: list[Request] = []
    releases = []

    def handler(request: Request) -> None:
        requests.append(request)
        if len(requests) == 1:
            releases.append(request.hold())

    wire = Wire(handler)
    wire.send(GET * 3)
    assert len(requests) == 1
    releases[0]()
    wire.loop.run()
    assert len(requests) == 3


def test_a_deadline_does_not_run_while_we_hold_the_client() -> None:
    requests: list[Request] = []
    wire = Wire(requests.append)
    wire.send(GET + b"GET / HT")
    release = requests[0].hold()
    wire.wait(60)
    release()
    wire.loop.run()
    assert wire.wait(5) == b"" and wire.watcher.reasons == []


def test_a_peer_that_does_not_read_stops_being_read_and_is_cut_off() -> None:
    requests: list[Request] = []
    wire = Wire(requests.append)
    wire.send(GET)
    wire.transport.buffered_bytes = 100_000
    wire.connection.pause_writing()
    assert not wire.transport.reading
    requests[0].respond(Response(200, b"x"))
    assert wire.transport.take() == b"" and not wire.transport.reading
    assert wire.hub.memory.used_bytes == 100_000
    wire.transport.buffered_bytes = 90_000
    wire.wait(25)
    wire.wait(25)
    assert not wire.transport.aborted
    wire.wait(10)
    assert wire.transport.aborted and wire.watcher.reasons == ["write-timeout"]
    wire.connection.connection_lost(None)
    assert wire.hub.memory.used_bytes == 0


def test_an_end_that_the_peer_began_has_a_deadline_too() -> None:
    wire = Wire()
    wire.transport.buffered_bytes = 1
    assert wire.connection.eof_received() is False
    assert wire.transport.closed
    wire.connection.check(wire.clock.now + 29)
    assert wire.watcher.reasons == []
    wire.connection.check(wire.clock.now + 31)
    assert wire.transport.aborted and wire.watcher.reasons == ["write-timeout"]


def test_what_waited_for_the_peer_is_written_when_it_reads_again() -> None:
    requests: list[Request] = []
    wire = Wire(requests.append)
    wire.send(GET)
    wire.connection.pause_writing()
    requests[0].respond(Response(200, b"late"))
    wire.connection.resume_writing()
    wire.loop.run()
    assert wire.transport.take().endswith(b"late") and wire.transport.reading


def test_a_refused_peer_is_listened_to_a_little_longer_and_then_closed() -> None:
    wire = Wire()
    wire.send(b"nonsense\r\n\r\n")
    assert wire.transport.eof_written and not wire.transport.closed
    wire.send(b"more" * 100)
    wire.wait(2.5)
    assert wire.transport.closed


def test_a_refused_peer_that_sends_on_and_on_is_closed_early() -> None:
    wire = Wire(limits=Limits(linger_bytes=1_000))
    wire.send(b"nonsense\r\n\r\n")
    wire.send(b"x" * 1_001)
    assert wire.transport.closed


def test_when_memory_is_tight_idle_connections_are_not_read_and_bodies_are_finished() -> None:
    wire = Wire(limits=Limits(memory_bytes=100_000))
    wire.hub.memory.take(85_000)
    wire.send(GET)
    assert not wire.transport.reading
    wire.hub.memory.give(85_000)
    assert wire.transport.reading
    wire.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    wire.hub.memory.take(85_000)
    assert wire.send(b"6") == b""
    assert wire.transport.reading


def test_when_memory_is_full_new_requests_are_answered_503_without_their_handler() -> None:
    requests: list[Request] = []
    wire = Wire(requests.append, limits=Limits(memory_bytes=100_000))
    wire.hub.memory.take(95_000)
    answer = wire.send(GET)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1\r\n" in answer
    assert requests == [] and wire.watcher.reasons == ["memory"]


def test_a_body_that_would_exhaust_the_memory_is_given_up() -> None:
    wire = Wire(limits=Limits(memory_bytes=100_000))
    wire.hub.memory.take(70_000)
    answer = wire.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 50_000)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert wire.hub.memory.used_bytes == 70_000


def test_the_observer_sees_every_response_and_both_ends_of_the_connection() -> None:
    wire = Wire()
    wire.send(GET + b"nonsense\r\n\r\n")
    wire.connection.connection_lost(None)
    assert wire.watcher.statuses == [200, 400]
    assert wire.watcher.opened == wire.watcher.closed == ["h1"]


def test_more_requests_than_one_turn_takes_are_all_served() -> None:
    wire = Wire(limits=Limits(requests_per_turn=4))
    assert wire.send(GET * 50).count(b"HTTP/1.1 200 ") == 50
    assert wire.transport.writes == 13


def test_a_shutdown_does_not_wait_for_a_peer_that_never_acknowledges_the_close() -> None:
    requests: list[Request] = []
    wire = Wire(requests.append, kind="h1-tls")
    wire.send(GET)
    wire.hub.draining = True
    wire.connection.drain(wire.clock.now)
    requests[0].respond(Response(200, b"last"))
    assert wire.transport.take().endswith(b"last") and wire.transport.closed
    wire.transport.buffered_bytes = 100
    wire.connection.check(wire.clock.now + 2.5)
    assert not wire.transport.aborted
    wire.transport.buffered_bytes = 0
    wire.connection.check(wire.clock.now + 2.5)
    assert wire.transport.aborted


# Short turns of the loop.


class Pace:
    """Somebody wants little, and turns are to be short."""

    def __init__(self) -> None:
        self.sliced = True
        self.hurried = False
        self.reads = 0

    def fed(self) -> None:
        self.reads += 1


class SlowClock:
    """Whatever happens takes longer than a slice may."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 2 * SLICE_SECONDS
        return self.now


LARGE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (3 * SLICE_BYTES, bytes(3 * SLICE_BYTES))


def _paced(handler: Handler = echo) -> tuple[Wire, Pace]:
    pace = Pace()
    wire = Wire(handler, clock=SlowClock())
    wire.hub.pace = pace
    return wire, pace


def _turns(wire: Wire) -> int:
    """Let the loop turn until nothing is left; how often it did."""
    count = 0
    while wire.loop.ready:
        count += 1
        ready, wire.loop.ready = wire.loop.ready, []
        for callback in ready:
            callback()
    return count


def test_while_turns_are_short_much_that_was_read_is_fed_in_slices() -> None:
    wire, pace = _paced()
    wire.connection.data_received(LARGE)
    assert (wire.transport.take(), wire.transport.reading, pace.reads) == (b"", False, 0)
    assert wire.connection.idle_since is None
    assert _turns(wire) >= 3
    assert pace.reads >= 3, "after each slice"
    assert wire.transport.take().startswith(b"HTTP/1.1 200 ")
    assert wire.transport.reading
    assert wire.hub.memory.used_bytes == 0


def test_slices_that_take_no_time_are_fed_in_one_turn() -> None:
    wire = Wire()
    wire.hub.pace = Pace()
    wire.connection.data_received(LARGE)
    wire.loop.ready.pop(0)()
    assert wire.transport.take().startswith(b"HTTP/1.1 200 ")


def test_connections_with_much_to_feed_are_fed_one_per_turn_and_one_with_little_at_once() -> None:
    first, pace = _paced()
    others = [Wire(clock=SlowClock(), beside=first) for _ in range(2)]
    for other in others:
        other.connection.data_received(LARGE)
    first.connection.data_received(GET)
    assert first.transport.take().startswith(b"HTTP/1.1 200 ")
    assert pace.reads == 1
    for turn in range(2, 6):
        ready, first.loop.ready = first.loop.ready, []
        for callback in ready:
            callback()
        assert pace.reads == turn
    _turns(first)
    assert all(other.transport.take().startswith(b"HTTP/1.1 200 ") for other in others)


def test_what_is_not_fed_yet_counts_as_memory_and_goes_with_its_connection() -> None:
    wire, _ = _paced()
    wire.connection.data_received(LARGE)
    assert wire.hub.memory.used_bytes >= len(LARGE) - SLICE_BYTES
    wire.connection.connection_lost(None)
    _turns(wire)
    assert wire.hub.memory.used_bytes == 0


def test_what_comes_before_all_is_fed_waits_behind_it() -> None:
    wire, pace = _paced()
    wire.connection.data_received(LARGE)
    pace.sliced = False
    wire.connection.data_received(GET)
    _turns(wire)
    assert wire.transport.take().count(b"HTTP/1.1 200 ") == 2


def test_a_hold_keeps_slices_waiting() -> None:
    requests: list[Request] = []
    releases = []

    def handler(request: Request) -> None:
        requests.append(request)
        if len(requests) == 1:
            releases.append(request.hold())

    wire, _ = _paced(handler)
    wire.connection.data_received(GET + LARGE)
    _turns(wire)
    assert len(requests) == 1
    releases[0]()
    _turns(wire)
    assert len(requests) == 2


def test_what_follows_the_last_request_is_not_fed() -> None:
    wire, _ = _paced()
    wire.connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + bytes(3 * SLICE_BYTES))
    _turns(wire)
    assert wire.transport.take().count(b"HTTP/1.1 200 ") == 1
    assert wire.hub.memory.used_bytes == 0


@pytest.mark.parametrize("hurried", [False, True])
def test_what_is_urgent_leaves_at_once(hurried: bool) -> None:
    wire, pace = _paced()
    wire.send(GET)
    pace.hurried = hurried
    wire.connection.wake()
    assert (not wire.loop.ready) is hurried
