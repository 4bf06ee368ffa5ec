"""What both streams share: Hello, what is owed to the peer, and the ways to an end.

Owns the order of an end: no more events, then everything owed, then the status. One object per stream, no coroutine and
no future; runs on the event loop's thread, and time comes through the functions that it is given. Must not know HTTP/2,
nor what the events of a stream mean.

    open ── Hello ──► events ──┬─ END_STREAM, a bad event ─────────► closing ── nothing owed ──► over
                               └─ drain, age, token expiry ─► winding ──┘ (a worker's leases first)
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from random import Random
from typing import ClassVar, Final, NamedTuple, Protocol

from google.protobuf.message import DecodeError

from appliance.api.rates import Rates
from appliance.api.streams.guard import check_items
from appliance.api.streams.settings import StreamSettings
from appliance.auth.caller import Caller
from appliance.errors import RATE_LIMITED, Problem
from appliance.mux.grpc_call import GREETING_BYTES_MAX, MESSAGE_BYTES_MAX, Call
from appliance.mux.grpc_framing import (
    CANCELLED,
    FAILED_PRECONDITION,
    INTERNAL,
    OK,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    GrpcError,
)
from appliance.tasks.model import Operation
from appliance.tasks.scheduler import Scheduler

INVALID_ARGUMENT_NAME: Final = "InvalidArgument"
"""The code of a ServerError, in gRPC's words."""

_TIMER_SECONDS_MAX: Final = 86_400.0
"""Tokens may live for years; timers are set for a day at most and then again."""

_AGE_JITTER: Final = 0.1

Later = Callable[[float, Callable[[], None]], Callable[[], None]]
"""Calls a function after so many seconds; the returned function cancels that."""


class Authenticates(Protocol):
    """Who knows tokens: the caller of an `Authorization` header at this time (epoch seconds) from this address, or a
    raised Problem."""

    def authenticate(self, header: bytes | None, now_seconds: float, peer: str = "") -> Caller: ...


class World(NamedTuple):
    """What every stream works with. `clock` is the state machine's time (ms), `epoch_seconds` the wall clock."""

    scheduler: Scheduler
    validator: Authenticates
    settings: StreamSettings
    clock: Callable[[], int]
    epoch_seconds: Callable[[], float]
    later: Later
    rng: Random
    rates: Rates


class End(NamedTuple):
    """How a stream ends: a gRPC status and a message for people."""

    status: int
    message: str = ""


DRAINED: Final = End(UNAVAILABLE, "the node is shutting down")
EXPIRED: Final = End(UNAUTHENTICATED, "the token has expired")
AGED: Final = End(UNAVAILABLE, "the stream has reached its maximum age")
GONE: Final = End(CANCELLED)


class Stream:
    """One stream, as a `Session` of its call."""

    __slots__ = (
        "_caller",
        "_closing",
        "_holding",
        "_over",
        "_owed",
        "_stop_timer",
        "call",
        "message_bytes_max",
        "sent",
        "world",
    )

    kind: ClassVar[str]
    """Which tokens it takes."""

    def __init__(self, world: World, call: Call) -> None:
        self.world = world
        self.call = call
        self.sent = 0
        """Messages given to the call so far."""
        self.message_bytes_max = GREETING_BYTES_MAX
        self._caller: Caller | None = None
        self._owed = 0
        self._closing: End | None = None
        self._over = False
        self._holding = False
        self._stop_timer: Callable[[], None] | None = None

    # What a stream is made of.

    def _take(self, message: bytes) -> None:
        """One event. Raises GrpcError, or DecodeError, to end the stream."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Hand over what the events that came together have collected."""
        raise NotImplementedError

    # What the call says.

    def receive(self, messages: list[bytes]) -> None:
        """Events that arrived together."""
        if self._closing is not None:
            return
        end = None
        try:
            for message in messages:
                check_items(message)
                self._take(message)
        except GrpcError as error:
            end = End(error.status, error.message)
        except DecodeError:
            end = End(INTERNAL, "an event cannot be decoded")
        self._flush()
        if end is not None:
            self._close(end)

    def half_closed(self) -> None:
        """END_STREAM: answer what is owed, then OK."""
        self._close(End(OK))

    def gone(self) -> None:
        """Nothing that is sent arrives any more."""
        self._closing = GONE
        self._finish()

    def crowded(self) -> None:
        """Others of the connection wait unsent."""

    def room(self) -> None:
        """What waited unsent has left."""

    def drain(self) -> None:
        """The node is about to go."""
        self._wind_down(DRAINED)

    # Hello.

    def _hello(self, token: str) -> Caller:
        """The caller of a token; from now on its expiry and the stream's age are watched."""
        world = self.world
        try:
            caller = world.validator.authenticate(b"Bearer " + token.encode(), world.epoch_seconds(), self.call.peer)
        except Problem as problem:
            limited = problem.code == RATE_LIMITED
            raise GrpcError(RESOURCE_EXHAUSTED if limited else UNAUTHENTICATED, problem.message) from None
        if caller.kind != self.kind:
            raise GrpcError(UNAUTHENTICATED, f"this stream takes a {self.kind} token")
        try:
            world.rates.hello(self.kind, caller)
        except Problem as problem:
            raise GrpcError(RESOURCE_EXHAUSTED, problem.message) from None
        self._caller = caller
        self.message_bytes_max = MESSAGE_BYTES_MAX
        age = world.settings.age_seconds
        aged = world.epoch_seconds() + age * (1 + world.rng.uniform(-_AGE_JITTER, _AGE_JITTER)) if age else inf
        if min(aged, caller.expires) < inf:
            self._watch(min(aged, caller.expires), AGED if aged < caller.expires else EXPIRED)
        return caller

    def _first(self, event: str | None) -> None:
        if event != "hello":
            raise GrpcError(FAILED_PRECONDITION, "the first event must be hello")

    def _watch(self, until: float, end: End) -> None:
        """Wind down at this time of the wall clock."""
        left = until - self.world.epoch_seconds()
        if left <= 0:
            self._stop_timer = None
            self._wind_down(end)
        else:
            wait = min(left, _TIMER_SECONDS_MAX)
            self._stop_timer = self.world.later(wait, partial(self._watch, until, end))

    # Operations and answers.

    def _ask(self, operation: Operation) -> None:
        """Hand an operation over, whose sink must call `_answered`; a full inbox closes this stream's window."""
        self._owed += 1
        self._offer(operation)

    def _offer(self, operation: Operation) -> None:
        if not self.world.scheduler.offer(operation) and not self._holding and not self.call.closed:
            self._holding = True
            release = self.call.hold(connection=self.world.scheduler.sliced)
            self.world.scheduler.when_room(operation.tenant, partial(self._resume, release))

    def _resume(self, release: Callable[[], None]) -> bool:
        self._holding = False
        release()
        return not self._over

    def _answered(self) -> None:
        """An operation's outcome was dealt with."""
        self._owed -= 1
        if self._closing is not None:
            self._settle()

    def _send(self, messages: Sequence[bytes]) -> None:
        if not self.call.closed:
            self.sent += len(messages)
            self.call.send(messages)

    # Ways to an end.

    def _close(self, end: End) -> None:
        """No more events; end as soon as nothing is owed."""
        if self._closing is None:
            self._closing = end
            self._settle()

    def _wind_down(self, end: End) -> None:
        """End soon for a reason of our own."""
        self._close(end)

    def _settle(self) -> None:
        """End, if nothing is owed."""
        if not self._owed:
            self._finish()

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        if self._stop_timer is not None:
            self._stop_timer()
            self._stop_timer = None
        assert self._closing is not None
        if not self.call.closed:
            self.call.end(*self._closing)


def error_text(problem: Problem) -> str:
    """A refusal as acknowledgements carry it."""
    return f"{problem.code}: {problem.message}"
