"""The streams' production sessions in the simulated node: the call under each of them, and what they reach through it.

`Pipe` is the mux's side of one call: a window that the peer opens by reading, messages that wait for it, a hold while
an inbox is full, resets, END_STREAM and trailers. `Tap` stands between a session and the scheduler, so that the history
and the invariants hear of what a session asks for. Time is the world's.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from appliance.api.rates import Rates
from appliance.api.streams.producer import ProducerStream
from appliance.api.streams.settings import StreamSettings
from appliance.api.streams.stream import World as StreamWorld
from appliance.api.streams.worker import WorkerStream
from appliance.auth.caller import PRODUCER, WORKER_SCOPES, Caller
from appliance.errors import UNAUTHENTICATED, Problem
from appliance.tasks.inbox import Resume
from appliance.tasks.model import Claim, Claimed, CreateBatch, NewTask
from tests.simulation.contract import Contract, Lease
from tests.simulation.history import Call, class_of
from tests.simulation.streams import Stream

if TYPE_CHECKING:
    from tests.simulation.node import Node


class Tokens:
    """Tokens that say what they are: kind, tenant, and until when, in seconds of the wall clock."""

    def authenticate(self, header: bytes | None, now_seconds: float, peer: str = "") -> Caller:
        kind, tenant, expires = (header or b"").decode().removeprefix("Bearer ").split("|")
        if float(expires) <= now_seconds:
            raise Problem(UNAUTHENTICATED, "the token has expired")
        scopes = frozenset(() if kind == PRODUCER else WORKER_SCOPES)
        return Caller(tenant, f"{tenant}-workers", kind, None, scopes, False, False, float(expires))  # type: ignore[arg-type]


class Tap:
    """The scheduler, as one session sees it."""

    def __init__(self, node: "Node", contract: Contract) -> None:
        self._node = node
        self._world = node.world
        self._contract = contract
        self.full = False
        """The tenant's inbox is full, and has not said yet that there is room."""

    def offer(self, operation: Any) -> bool:
        if isinstance(operation, Claim):
            self._note_claim(operation)
        else:
            if isinstance(operation, CreateBatch):
                _equal_requests(operation)
            self._contract.offered(operation)
            call = self._world.overhear(operation, self._node.incarnation)
            operation.sink = partial(self._answered, call, operation.sink)
        _keep_outcome(operation)
        accepted = self._node.scheduler.offer(operation)
        self.full = self.full or not accepted
        return accepted

    def _answered(self, call: Call, sink: Callable[[Any], None], outcome: Any) -> None:
        outcome, told = _parted(outcome)
        self._world.overheard(call, outcome)
        self._contract.decided(call.operation, outcome)
        sink(told)

    @property
    def sliced(self) -> bool:
        """Whether turns of the loop are to be short."""
        return self._node.scheduler.sliced

    def when_room(self, tenant: str, resume: Resume) -> None:
        def room() -> bool | None:
            self.full = False
            return resume()

        self._node.scheduler.when_room(tenant, room)

    def withdraw(self, claim: Claim) -> None:
        for stream in self._world.streams:
            if stream.claim is claim:
                stream.live = False
        self._node.scheduler.withdraw(claim)

    def _note_claim(self, claim: Claim) -> None:
        world = self._world
        stream = Stream(self._node.incarnation, claim.answers, world.step, world.now)
        stream.claim = claim
        world.streams = [each for each in world.streams if each.live]
        world.streams.append(stream)
        claim.sink = partial(self._claimed, stream, claim.sink)

    def _claimed(self, stream: Stream, sink: Callable[[Any], None], outcome: Any) -> None:
        world = self._world
        outcome, told = _parted(outcome)
        if isinstance(outcome, list):
            outcome = Claimed(outcome)
        call = Call(len(world.history.calls) + 1, None, "")
        world.history.calls.append(call)
        call.operation = stream.claim
        call.sent, call.sent_ms = stream.sent, stream.sent_ms
        call.left = not stream.live
        call.close(class_of(outcome), outcome)
        world.tell(call)
        leases = self._contract.granted(outcome)
        sink(told)
        self._contract.dealt_with(leases)
        stream.live = stream.live and stream.claim.answers > 0
        stream.sent_ms = world.now  # it stands in line anew


class _Both(NamedTuple):
    """What was decided, and what is made of it for the session."""

    outcome: Any
    told: Any


def _keep_outcome(operation: Any) -> None:
    """A session has its answers made with the decision; the history wants what they were made of."""
    prepare = getattr(operation, "prepare", None)
    if prepare is not None:
        operation.prepare = lambda outcome: _Both(outcome, prepare(outcome))


def _parted(outcome: Any) -> tuple[Any, Any]:
    return outcome if isinstance(outcome, _Both) else (outcome, outcome)


def _equal_requests(operation: CreateBatch) -> None:
    """Requests with one key are the same one here, though each payload has its own mark."""
    for task in operation.tasks:
        if isinstance(task, NewTask) and task.key:
            task.terms_hash = b"0"


class Pipe:
    """One call and its session. `heard` gets the peer's messages, `ended` the status, once everything was read."""

    path = peer = request_id = ""

    def __init__(
        self, node: "Node", contract: Contract, rng: Random, heard: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        self.node = node
        self.contract = contract
        self.headers: dict[bytes, bytes] = {}
        self.closed = False
        self.full = False
        self.over = False
        """The peer has seen the end, or has reset the stream."""
        self.held = 0
        self.reads = True
        self._world = node.world
        self._rng = rng
        self._heard = heard
        self._ended = ended
        self._unsent: deque[tuple[bytes, list[Lease]]] = deque()
        self._unsent_max = rng.choice((3, 16, 256))
        self._exposed_max = node.world.plan.constants["readys.EXPOSED_TASKS"]
        self._tasks_left = 0
        """Messages with tasks that may still come while the call is full: those of claims that were decided before."""
        self._window = self._window_max = rng.choice((1, 4, 1_000))
        self._down: list[bytes] = []
        self._up: deque[tuple[Callable[[], bytes], Callable[[], None]]] = deque()
        self._up_due = False
        self._wants_end = False
        self._first = True
        plan = node.world.plan
        settings = StreamSettings(settle_seconds=plan.settle_seconds, age_seconds=plan.age_seconds)
        unlimited = Rates({}, lambda tenant: None, node.now)
        rest: tuple[Any, ...] = (Tokens(), settings, node.now, self._epoch_seconds, self._later, rng, unlimited)
        kind = ProducerStream if contract.producer else WorkerStream
        self._tap = Tap(node, contract)
        self._session: Any = kind(StreamWorld(self._tap, *rest), self)  # type: ignore[arg-type]

    # What the session is given.

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    def send(self, messages: Sequence[bytes]) -> None:
        if self.closed or not messages:
            raise self.contract.broken("sends nothing, or after its end")
        for message in messages:
            leases = self.contract.leaving(message)
            self._unsent.append((message, leases))
            self._tasks_left -= self.full and bool(leases)
        if self._tasks_left < 0:
            raise self.contract.broken("gets tasks that were claimed while its call was full")
        self._move()
        if len(self._unsent) > self._unsent_max:
            self._fill()

    def end(self, status: int, message: str = "", extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        if self.closed:
            raise self.contract.broken("ends twice")
        self.closed = True
        self._world.log("stream-end", self.contract.name, status)
        self.contract.ended(status)
        self._move()

    def hold(self, *, connection: bool = False) -> Callable[[], None]:
        self.held += 1

        def release() -> None:
            self.held -= 1
            self._look_up()

        return release

    def _later(self, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        timer = [function]

        def ring() -> None:
            if timer and self.node.alive:
                timer.pop()()

        self._world.at(ceil(seconds * 1000), ring)
        return timer.clear

    def _epoch_seconds(self) -> float:
        return self._world.wall_ms() / 1000

    # To the peer.

    def _fill(self) -> None:
        """What waits unsent is too much: the session hears of it and claims nothing until there is room."""
        if self.full:
            return
        self.full, self._tasks_left = True, 0
        kept = getattr(self._session, "_readys", None)
        for kind in () if kept is None else kept._kinds.values():
            decided = kind.exposed - (kind.claim.answers if kind.claim is not None else 0)
            if decided > self._exposed_max:
                raise self.contract.broken(f"is given {decided} answers to readys of one kind before the first is sent")
            self._tasks_left += decided

    def _move(self) -> None:
        """What the window has room for leaves the node."""
        if not self._down and self._unsent and self._window:
            self._world.at(self._rng.randint(0, 3), self._arrive)
        while self._unsent and self._window:
            self._window -= 1
            message, leases = self._unsent.popleft()
            self.contract.written(leases)
            self._down.append(message)
        if not self._unsent:
            if self.full and not self.closed:
                self._world.at(0, self._room)
            if self.closed and not self._down:
                self._world.at(0, self._finish)
        self._look_up()

    def _room(self) -> None:
        if self.full and not self.closed and self.node.alive and not self._unsent:
            self.full = False
            self._session.room()

    def _arrive(self) -> None:
        if self.over:
            return
        down, self._down = self._down, []
        for message in down:
            self._heard(message)
        if self.reads:
            self._window = self._window_max
        if self.node.alive:
            self._move()

    def read_on(self) -> None:
        """The peer reads again."""
        self.reads = True
        self._window = self._window_max
        if self.node.alive and not self.over:
            self._move()

    def _finish(self) -> None:
        if not self.over:
            self.over = True
            self._ended()

    @property
    def ending(self) -> bool:
        """Whether the session has decided to end."""
        return self._session._closing is not None or getattr(self._session, "_winding", None) is not None

    def waiting(self) -> list[tuple[tuple[str, ...] | None, int]]:
        """Commands and number of the Readys that wait, of each kind, as the session has them."""
        kept = getattr(self._session, "_readys", None)
        return [] if kept is None else [(kind.commands, kind.waiting) for kind in kept._kinds.values()]

    def unasked(self) -> list[Any]:
        """Kinds of Readys that wait while no claim of theirs can be answered, though the peer could be sent more."""
        kept = getattr(self._session, "_readys", None)
        if kept is None or self.full:
            return []
        return [kind for kind in kept._kinds.values() if kind.waiting and not (kind.claim and kind.claim.answers)]

    # From the peer.

    def push(self, event: Callable[[], bytes], owed: Callable[[], None]) -> None:
        """The peer sends an event; `owed` notes what it is owed, once the session takes the event.

        Most of what a peer sends to a session that does not read is never taken, so an event is made when it is.
        """
        self._up.append((event, owed))
        self._look_up()

    def half_close(self) -> None:
        """The peer sends END_STREAM behind its events."""
        self._wants_end = True
        self._look_up()

    def _look_up(self) -> None:
        if not self._up_due and (self._up or self._wants_end):
            self._up_due = True
            self._world.at(self._rng.randint(0, 4), self._up_arrives)

    def _up_arrives(self) -> None:
        self._up_due = False
        if self.closed or not self.node.alive:
            return
        if self._up and (self.held or self.unsent > self._unsent_max):
            return  # no window: it is looked at again when there is
        if self._up:
            self._take(1 if self._first else self._rng.randint(1, len(self._up)))
        elif self._wants_end:
            self._half_close()
        self._look_up()

    def _take(self, count: int) -> None:
        self._first = False
        events = [self._up.popleft() for _ in range(count)]
        for _, owed in events:
            if self._session._closing is None and not self.contract.garbage:
                owed()
        self._world.log("events", self.contract.name, count)
        self._session.receive([event() for event, _ in events])
        if self._tap.full and not self.held and not self.closed:
            raise self.contract.broken("reads on beside a full inbox")

    def _half_close(self) -> None:
        self._wants_end = False
        self.contract.half_closed = True
        self._world.log("half-close", self.contract.name)
        self._session.half_closed()
        self.contract.shut = True

    def reset(self) -> None:
        """The peer resets the stream, or its connection is lost."""
        if self.over:
            return
        self.over = True
        if self.closed or not self.node.alive:
            return
        self.closed = self.contract.shut = self.contract.gone = True
        self._world.log("reset", self.contract.name)
        self._session.gone()
        self.contract.lost()

    def drain(self) -> None:
        """The node or the connection is about to go."""
        if not self.closed:
            self._world.log("drain", self.contract.name)
            self.contract.drained_seconds = self._epoch_seconds()
            self._session.drain()
            self.contract.shut = True

    def crowd(self) -> None:
        """Others of the connection wait unsent, for a while."""
        if not self.closed and not self.full:
            self._fill()
            self._session.crowded()
            self._world.at(self._rng.randint(1, 2_000), self._room)

    def wind_up(self) -> None:
        """The peer sends what it has and END_STREAM, and reads all there is."""
        if self.over or not self.node.alive:
            return
        self._window_max = 1_000_000
        self.read_on()
        while self._up and not self.closed:
            self._take(1)
        if not self.closed and not self.contract.half_closed:
            self._half_close()
