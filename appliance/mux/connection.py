"""The thin shell between a transport and a protocol core.

Owns one transport: what it reads goes to the core, requests go to the handler, what the core wants to send is written
in one piece per loop turn. It decides when to read: not while a handler holds the connection, the write side is full,
too much is unanswered, or the process is short of memory. While turns of the loop are to be short, much that was read
at once is fed in slices, one per turn. Knows no protocol; `Http1` and `Http2` are its cores. Runs on
the event loop's thread.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from appliance.mux.exchange import Request, Response
from appliance.mux.hub import Hub

log = logging.getLogger("codeq.mux")

SLICE_BYTES: Final = 8 << 10
SLICE_SECONDS: Final = 0.0001
"""While turns are to be short: so much of what was read at once is fed, and as much again as long as it takes less
time than this."""

_NOTHING: Final = memoryview(b"")


class Core(Protocol):
    """The sans-IO side of a connection."""

    closing: bool
    unread: bool

    @property
    def busy(self) -> bool: ...
    @property
    def idle_since(self) -> float | None: ...
    @property
    def mid_request(self) -> bool: ...
    @property
    def full(self) -> bool: ...
    @property
    def has_input(self) -> bool: ...
    @property
    def has_output(self) -> bool: ...
    @property
    def streaming(self) -> bool: ...
    def receive_data(self, data: bytes, now: float) -> None: ...
    def next_request(self, now: float) -> Request | None: ...
    def answer(self, request: Request, response: Response) -> None: ...
    def abandoned(self, request: Request) -> None: ...
    def send_piece(self) -> None: ...
    def data_to_send(self) -> bytes: ...
    def restart_clock(self, now: float) -> None: ...
    def check(self, now: float) -> bool: ...
    def drain(self, now: float) -> None: ...
    def client_left(self) -> None: ...


MakeCore = Callable[["Connection", str, bool, float], Core]
"""Makes a core for (channel, peer address, secure, now)."""


class Connection(asyncio.Protocol):
    """One connection whose protocol is known.

    `kind` is the observer's word for it. `on_lost` is called once with the connection when it is gone. `now` is the
    monotonic clock in seconds.
    """

    __slots__ = (
        "_advancing",
        "_blocked_bytes",
        "_closing_at",
        "_core",
        "_holds",
        "_hub",
        "_in_line",
        "_limits",
        "_linger_bytes",
        "_lingering",
        "_loop",
        "_memory",
        "_now",
        "_on_lost",
        "_progress_at",
        "_progress_bytes",
        "_reading",
        "_transport",
        "_turn_scheduled",
        "_unfed",
        "_write_blocked",
        "kind",
        "peer",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hub: Hub,
        kind: str,
        peer: str,
        make_core: MakeCore,
        now: Callable[[], float],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self.kind = kind
        self.peer = peer
        self._loop = loop
        self._hub = hub
        self._limits = hub.limits
        self._memory = hub.memory
        self._now = now
        self._on_lost = on_lost
        self._core = make_core(self, peer, kind.endswith("-tls"), now())
        self._transport: Any = None
        self._reading = True
        self._holds = 0
        self._advancing = False
        self._turn_scheduled = False
        self._write_blocked = False
        self._blocked_bytes = 0
        self._progress_bytes = 0
        self._progress_at = 0.0
        self._closing_at = 0.0
        self._lingering = False
        self._linger_bytes = 0
        self._unfed = _NOTHING
        self._in_line = False

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready; also called when a connection takes over from the one that sniffed."""
        self._transport = transport
        self._hub.observer.connection_opened(self.kind)

    def data_received(self, data: bytes) -> None:
        """Feed, collect, deliver, write."""
        if self._lingering:
            self._throw_away(data)
        elif not (self._unfed or self._hub.pace.sliced):
            self._feed(data, self._now())
        else:
            self._put_by(data)
            if len(self._unfed) > SLICE_BYTES:
                # Others who are readable now may want little.
                self._update_reading()
                self._stand_in_line()
            else:
                self._feed_slice()

    def _feed(self, data: bytes, now: float) -> None:
        # What calls send in answer leaves with everything else, not in a turn of its own.
        self._advancing = True
        try:
            self._core.receive_data(data, now)
        finally:
            self._advancing = False
        self._advance(now)

    def eof_received(self) -> bool:
        """A client that stops sending is gone: whoever waits for work would otherwise be given some. Queued answers
        still leave."""
        self.close()
        return False

    def pause_writing(self) -> None:
        """The peer does not take what we write."""
        self._write_blocked = True
        self._blocked_bytes = self._transport.get_write_buffer_size()
        self._memory.take(self._blocked_bytes)
        self._progress_bytes = self._blocked_bytes
        self._progress_at = self._now()
        # What fills the buffer may be TLS itself, which answers a peer without asking anybody here.
        self._update_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self._write_blocked = False
        blocked, self._blocked_bytes = self._blocked_bytes, 0
        self._memory.give(blocked)
        self._schedule_turn()

    def connection_lost(self, error: Exception | None) -> None:
        """The end: every request still open learns that its client has gone."""
        self._hub.observer.connection_closed(self.kind)
        self._memory.forget(self._update_reading)
        self._memory.give(self._blocked_bytes)
        self._blocked_bytes = 0
        self._transport = None
        self._forget_unfed()
        self._core.client_left()
        self._on_lost(self)

    # From requests.

    def answer(self, request: Request, response: Response) -> None:
        """Sends a response: at once when nothing else is due on this connection, else with its neighbours' at the end
        of the loop turn."""
        core = self._core
        core.answer(request, response)
        self._hub.observer.responded(response.status, self._now() - request.received_at)
        if self._advancing:
            return
        if core.busy or core.has_input:
            self._schedule_turn()
        else:
            self._flush()

    def abandoned(self, request: Request) -> None:
        """The handler is done with a request whose client had left."""
        self._core.abandoned(request)

    def wake(self) -> None:
        """Writes what is queued at the end of this turn of the loop, or at once where that is urgent."""
        if self._advancing:
            return
        if self._hub.pace.hurried:
            self._flush()
        else:
            self._schedule_turn()

    def hold(self) -> None:
        """Stops reading until as many `release` calls."""
        self._holds += 1
        self._update_reading()

    def release(self) -> None:
        """Undoes one `hold`."""
        self._holds -= 1
        self._schedule_turn()

    # From the listener.

    @property
    def idle_since(self) -> float | None:
        """Since when (monotonic seconds) nothing is under way here, or None."""
        return None if self._closing_at or self._unfed else self._core.idle_since

    def check(self, now: float) -> None:
        """Enforces every deadline; called a few times per second."""
        if self._transport is None:
            return
        if self._closing_at:
            self._check_closing(now)
        elif self._write_blocked:
            self._check_write_progress(now)
        elif not self._reading and not self._core.full:
            self._core.restart_clock(now)
        elif self._core.check(now):
            self._flush()

    def drain(self, now: float) -> None:
        """No new requests; closes when what is under way is done."""
        self._core.drain(now)
        self._flush()

    def close(self) -> None:
        """Closes after what is queued in the transport has left."""
        if self._transport is not None and not self._closing_at:
            self._closing_at = self._now()
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    # Inside.

    def _advance(self, now: float) -> None:
        """Hands over the requests that are complete, a bounded number per turn, then writes."""
        core, dispatch = self._core, self._hub.dispatch
        self._advancing = True
        for _ in range(self._limits.requests_per_turn):
            if self._holds or self._write_blocked:
                break
            request = core.next_request(now)
            if request is None:
                break
            dispatch(request)
        self._advancing = False
        if core.has_output or core.full or not self._reading or self._memory.tight:
            self._flush()
        if core.has_input and not (self._holds or self._write_blocked):
            self._schedule_turn()

    def _put_by(self, data: bytes) -> None:
        self._memory.take(len(data))
        self._unfed = memoryview(bytes(self._unfed) + data)

    def _feed_slice(self) -> None:
        """Feed a slice of what was read at once. No more is read until all of it is fed."""
        began = now = self._now()
        while self._unfed and not (self._holds or self._write_blocked) and now - began <= SLICE_SECONDS:
            if self._core.closing or self._transport is None or self._closing_at:
                self._forget_unfed()
                return
            # An empty view would keep all that was read in memory.
            part, self._unfed = bytes(self._unfed[:SLICE_BYTES]), self._unfed[SLICE_BYTES:] or _NOTHING
            self._memory.give(len(part))
            self._feed(part, now)
            now = self._now()
        self._update_reading()
        if self._unfed and not (self._holds or self._write_blocked or self._core.has_input):
            self._stand_in_line()
        if self._hub.pace.sliced:
            self._hub.pace.fed()

    def _stand_in_line(self) -> None:
        if not self._in_line:
            self._in_line = True
            self._hub.line.stand(self._loop.call_soon, self._feed_in_turn)

    def _feed_in_turn(self) -> None:
        self._in_line = False
        if self._transport is not None and not (self._holds or self._write_blocked or self._core.has_input):
            self._feed_slice()

    def _forget_unfed(self) -> None:
        self._memory.give(len(self._unfed))
        self._unfed = _NOTHING

    def _schedule_turn(self) -> None:
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        if self._transport is None:
            return
        if self._core.has_input and not (self._holds or self._write_blocked):
            self._advance(self._now())
        else:
            self._flush()
        if self._unfed and not (self._holds or self._write_blocked or self._core.has_input):
            self._stand_in_line()

    def _flush(self) -> None:
        if self._closing_at or self._transport is None:
            return
        if self._write_blocked:
            self._update_reading()
            return
        core = self._core
        data = core.data_to_send()
        if data:
            self._transport.write(data)
        streaming = core.streaming
        if streaming:
            self._send_pieces()
            streaming = core.streaming
        if core.closing and not streaming:
            self._finish()
        else:
            self._update_reading()

    def _send_pieces(self) -> None:
        core = self._core
        try:
            while core.streaming and not self._write_blocked:
                core.send_piece()
                data = core.data_to_send()
                if data:
                    self._transport.write(data)
        except Exception:  # the maker of one answer must not end the loop's callback
            log.exception("an answer failed half-way; its connection is closed")
            self.abort()

    def _update_reading(self) -> None:
        core, memory = self._core, self._memory
        reading = not (self._holds or self._write_blocked or core.full or self._unfed)
        if reading and memory.used_bytes > memory.stop_bytes and not core.mid_request:
            memory.wait(self._update_reading)
            reading = False
        if reading is self._reading or self._transport is None or self._closing_at:
            return
        self._reading = reading
        if reading:
            core.restart_clock(self._now())
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _finish(self) -> None:
        """Everything is sent. When the peer may still be sending, its bytes are thrown away for a while: a close with
        unread bytes would make the kernel reset the connection and destroy the answer on its way."""
        if not self._core.unread:
            self.close()
            return
        self._closing_at = self._now()
        self._lingering = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if not self._reading:
            self._transport.resume_reading()

    def _throw_away(self, data: bytes) -> None:
        self._linger_bytes += len(data)
        if self._linger_bytes > self._limits.linger_bytes:
            self._transport.close()

    def _check_closing(self, now: float) -> None:
        waited = now - self._closing_at
        if self._lingering and waited > self._limits.linger_seconds:
            self._lingering = False
            self._closing_at = now
            self._transport.close()
        elif not self._lingering and waited > self._closing_patience_seconds():
            if self._transport.get_write_buffer_size():
                self._hub.observer.refused("write-timeout")
            self._transport.abort()

    def _closing_patience_seconds(self) -> float:
        """A client answers the end of TLS when it looks: at a connection in a pool that may be never. A shutdown does
        not wait for that once everything is written."""
        if self._hub.draining and not self._transport.get_write_buffer_size():
            return self._limits.linger_seconds
        return self._limits.write_seconds

    def _check_write_progress(self, now: float) -> None:
        waiting_bytes = self._transport.get_write_buffer_size()
        if waiting_bytes < self._progress_bytes:
            self._progress_bytes = waiting_bytes
            self._progress_at = now
        elif now - self._progress_at > self._limits.write_seconds:
            self._hub.observer.refused("write-timeout")
            self._transport.abort()
