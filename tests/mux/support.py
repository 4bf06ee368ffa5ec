"""Builders that the tests of the front share: a hub, an observer that remembers, a transport that is none."""

from collections.abc import Callable
from typing import Any

from appliance.mux.connection import Connection
from appliance.mux.exchange import Handler, Request, Response
from appliance.mux.http1 import Http1
from appliance.mux.hub import Hub
from appliance.mux.limits import REASONS, Limits


class Watcher:
    """An observer that remembers what it was told and insists on known reasons."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.statuses: list[int] = []
        self.calls_open = 0
        self.call_statuses: list[int] = []

    def connection_opened(self, kind: str) -> None:
        self.opened.append(kind)

    def connection_closed(self, kind: str) -> None:
        self.closed.append(kind)

    def refused(self, reason: str) -> None:
        assert reason in REASONS
        self.reasons.append(reason)

    def responded(self, status: int, seconds: float) -> None:
        self.statuses.append(status)

    def call_opened(self) -> None:
        self.calls_open += 1

    def call_ended(self, status: int) -> None:
        self.calls_open -= 1
        self.call_statuses.append(status)


def echo(request: Request) -> None:
    """Answers with the request's own body."""
    request.respond(Response(200, request.body, content_type=b"application/octet-stream"))


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeTransport:
    """Keeps what is written; its write buffer fills and drains when told."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.writes = 0
        self.closed = self.aborted = self.eof_written = False
        self.reading = True
        self.buffered_bytes = 0

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data
        self.writes += 1

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.buffered_bytes

    def take(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self.written)
        self.written.clear()
        return data


class FakeLoop:
    """Runs `call_soon` callbacks when told."""

    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.ready.append(callback)

    def run(self) -> None:
        while self.ready:
            ready, self.ready = self.ready, []
            for callback in ready:
                callback()


class Wire:
    """One connection over a fake transport, loop and clock. `beside` another it has the same listener and loop."""

    def __init__(
        self,
        handler: Handler = echo,
        limits: Limits | None = None,
        make_core: Any = None,
        kind: str = "h1",
        clock: Any = None,
        beside: "Wire | None" = None,
    ) -> None:
        self.watcher = Watcher()
        self.hub: Hub = beside.hub if beside else Hub(handler, limits or Limits(), self.watcher)
        self.clock = clock or Clock()
        self.loop: FakeLoop = beside.loop if beside else FakeLoop()
        self.transport = FakeTransport()
        self.lost: list[Connection] = []

        def make(channel: Connection, peer: str, secure: bool, now: float) -> Any:
            return (make_core or Http1)(self.hub, channel, peer, secure, now)

        loop: Any = self.loop
        self.connection = Connection(loop, self.hub, kind, "192.0.2.1", make, self.clock, self.lost.append)
        transport: Any = self.transport
        self.connection.connection_made(transport)

    def send(self, data: bytes) -> bytes:
        """Delivers bytes and returns what came back."""
        self.connection.data_received(data)
        self.loop.run()
        return self.transport.take()

    def wait(self, seconds: float) -> bytes:
        """Moves the clock and lets the deadlines be checked; returns what came back."""
        self.clock.now += seconds
        if not self.transport.closed:
            self.connection.check(self.clock.now)
        self.loop.run()
        return self.transport.take()
