"""The world of one seed: virtual time, the node and its clock, the calls of its clients, and the event log.

Events lie in one heap by (virtual time, sequence number). Every choice comes from a child of the seed's generator, one
for each part, so that one more draw in one place shifts no other.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Any

from appliance.engine.group import TableWrites
from appliance.engine.rows import Letter, decode_mark
from appliance.engine.tables import META
from appliance.errors import Problem
from appliance.tasks.model import Claim, Claimed, Due, Operation
from appliance.tasks.moves import MARK_KEY
from appliance.tasks.table import EDGES
from tests.simulation.chance import Chance
from tests.simulation.history import FAIL, OPEN, UNKNOWN, Call, History, class_of
from tests.simulation.ledger import Change, Ledger
from tests.simulation.node import EPOCH_MS, Node
from tests.simulation.plan import Plan
from tests.simulation.store import DictionaryStore
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.sessions import Pipe
    from tests.simulation.streams import Stream

LOG_TAIL = 80
DIGESTED_LINES = 500
"""Lines of the log that are taken into the digest at once."""
OVERLOAD_MS = 2_500


class Watcher:
    """What the invariants are told, in the order in which it happens."""

    def sent(self, call: Call) -> None:
        """A client sends a call."""

    def answered(self, call: Call) -> None:
        """The node answers a call (its verdict is set), or the client learns that it never will."""

    def committed(self, change: Change) -> None:
        """A group has become durable; the ledger holds it already, `change` has what was before."""

    def started(self, node: Node) -> None:
        """The node has started on what the store holds."""

    def ticked(self, node: Node) -> None:
        """Some time has passed while the node runs."""

    def sending(self, due: Due, node: Node) -> None:
        """The courier takes a delivery over."""

    def received(self, due: Due, letter: Letter | None) -> None:
        """A receiver gets what was read for it."""

    def attempted(self, due: Due, *, delivered: bool, final: bool) -> None:
        """The courier knows how an attempt has ended, and is about to say so."""

    def drained(self) -> None:
        """Faults have ended and every task has had its end; nothing has been swept since."""

    def ended(self) -> None:
        """Everything has been swept."""


class Watchers:
    """For each event, those of the invariants that want to hear of it."""

    def __init__(self, watchers: Sequence[Watcher] = ()) -> None:
        self.sent: list[Callable[[Call], None]] = _hearing(watchers, "sent")
        self.answered: list[Callable[[Call], None]] = _hearing(watchers, "answered")
        self.committed: list[Callable[[Change], None]] = _hearing(watchers, "committed")
        self.started: list[Callable[[Node], None]] = _hearing(watchers, "started")
        self.ticked: list[Callable[[Node], None]] = _hearing(watchers, "ticked")
        self.sending: list[Callable[[Due, Node], None]] = _hearing(watchers, "sending")
        self.received: list[Callable[[Due, Letter | None], None]] = _hearing(watchers, "received")
        self.attempted: list[Callable[..., None]] = _hearing(watchers, "attempted")
        self.drained: list[Callable[[], None]] = _hearing(watchers, "drained")
        self.ended: list[Callable[[], None]] = _hearing(watchers, "ended")


def _hearing(watchers: Sequence[Watcher], event: str) -> list[Any]:
    return [getattr(each, event) for each in watchers if getattr(type(each), event) is not getattr(Watcher, event)]


class World:
    """Everything of one seed that is not a client and not an invariant."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now = 0
        self.step = 0
        self.faults = True
        self.wall_offset_ms = 0
        self.went_back = False
        self.crashes = 0
        self.store = DictionaryStore()
        self.ledger = Ledger()
        self.history = History()
        self.node: Node | None = None
        self.incarnations = 0
        self.edges = [0] * len(EDGES)
        self.watchers = Watchers()
        self.streams: list[Stream] = []
        self.pipes: list[Pipe] = []
        self._marks = 0
        self.tail: deque[str] = deque(maxlen=LOG_TAIL)
        self.durable_hooks: list[Callable[[Change], None]] = []
        self._digest = hashlib.sha256()
        self._undigested: list[str] = []
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._sequence = 0
        self._answering = False
        self._net = self.rng("net")

    # Time, chance and the log.

    def rng(self, part: str) -> Random:
        """The generator of one part."""
        return Chance(f"{self.plan.seed}/{part}")

    def at(self, delay_ms: int, event: Callable[..., object], *args: Any) -> None:
        """Let an event happen after a delay."""
        self._sequence += 1
        heappush(self._heap, (self.now + delay_ms, self._sequence, event, args))

    def run(self, until: Callable[[], bool], limit_ms: int) -> bool:
        """Let events happen until the condition holds. False: nothing is left to happen, or time is over."""
        heap = self._heap
        end_ms = self.now + limit_ms
        while not until():
            if not heap or heap[0][0] > end_ms:
                return False
            self.now, _, event, args = heappop(heap)
            event(*args)
        return True

    def wall_ms(self) -> int:
        """What the node's wall clock shows."""
        return EPOCH_MS + self.now + self.wall_offset_ms

    def log(self, *words: Any) -> None:
        """Note an event: its place, its time and its words are part of the run's identity."""
        self.step += 1
        line = f"{self.step} {self.now} {' '.join(map(str, words))}"
        self.tail.append(line)
        self._undigested.append(line)
        if len(self._undigested) >= DIGESTED_LINES:
            self._take_in()

    def _take_in(self) -> None:
        self._digest.update("".join(self._undigested).encode())
        self._undigested.clear()

    def digest(self) -> str:
        """The identity of everything that has happened."""
        self._take_in()
        return self._digest.hexdigest()

    # The node.

    def start(self) -> None:
        """Start the node on what the store holds."""
        self.incarnations += 1
        row = self.store.get(META, MARK_KEY)
        if row is not None and decode_mark(row).last_time > self.wall_ms():
            self.went_back = True
        self.log("start", self.incarnations, self.wall_ms())
        self.node = Node(self, self.incarnations)
        for started in self.watchers.started:
            started(self.node)

    def crash(self) -> None:
        """End the node: whoever was asking hears no more."""
        node = self.node
        if node is None:
            return
        self.log("crash")
        self.crashes += 1
        self._count_edges(node)
        self.node = None
        node.crash()
        for call in list(self.history.open.values()):
            if call.incarnation == node.incarnation:
                self._close(call, UNKNOWN)

    def _count_edges(self, node: Node) -> None:
        self.edges = [before + now for before, now in zip(self.edges, node.scheduler.edge_counts(), strict=True)]

    def edge_counts(self) -> list[int]:
        """How often each edge was taken, over all incarnations."""
        if self.node is not None:
            self._count_edges(self.node)
            self.node = None
        return self.edges

    def commit(self, writes: list[TableWrites], fresh: list[set[bytes]], change: Change) -> None:
        """A group is on disk."""
        self.log("commit", change.group)
        self.ledger.take(self.store.apply(writes, fresh), change, self.step, self.now)
        for committed in self.watchers.committed:
            committed(change)

    def durable(self, change: Change) -> None:
        """The node has heard that a group is on disk and has answered."""
        for hook in self.durable_hooks:
            hook(change)

    # Calls.

    def ask(
        self, make: Callable[[Callable[[Any], None]], Operation], then: Callable[[Call], None], expect: str = ""
    ) -> Call:
        """Send what `make` builds around the call's sink; `then` hears of the end of the call."""
        call = Call(len(self.history.calls) + 1, then, expect)
        self._begin(call, make(lambda outcome: self._answer(call, outcome)))
        if self._answering and self._net.random() < 0.5:
            self._arrive(call)  # the next request of a connection was read together with this one
        else:
            self.at(self._net.randint(0, 3), self._arrive, call)
        return call

    def _begin(self, call: Call, operation: Operation) -> None:
        self.history.begin(call, operation, self.ledger.lease_of)
        self.log("ask", call.number, type(operation).__name__, operation.tenant)
        call.sent, call.sent_ms = self.step, self.now
        for sent in self.watchers.sent:
            sent(call)

    def overhear(self, operation: Operation, incarnation: int) -> Call:
        """Note what a session of this life of the node asks for by itself."""
        call = Call(len(self.history.calls) + 1, None, "")
        call.incarnation = incarnation
        self._begin(call, operation)
        return call

    def overheard(self, call: Call, outcome: Any) -> None:
        """A session is about to be told the outcome of what it asked for."""
        if call.verdict != OPEN:
            raise Violation("answers", f"call {call.number} was answered twice")
        self._close(call, class_of(outcome), outcome)

    def next_mark(self) -> int:
        """A number that no other payload begins with: those of calls are positive."""
        self._marks -= 1
        return self._marks

    def leave(self, call: Call) -> None:
        """The caller of a claim goes away before its answer."""
        if call.verdict == OPEN:
            call.left = True
            call.operation.gone = True
            self.log("leave", call.number)

    def _arrive(self, call: Call) -> None:
        if self.node is None:
            self._close(call, FAIL)
            return
        call.incarnation = self.node.incarnation
        self.node.offer(call.operation)

    def _answer(self, call: Call, outcome: Any) -> None:
        if call.verdict != OPEN:
            raise Violation("answers", f"call {call.number} was answered twice")
        then = call.then
        at_once = then is not None and not self._answering and self._net.random() < 0.2
        if at_once:
            call.then = None
        self._close(call, class_of(outcome), outcome)
        if at_once and then is not None:
            self._answering = True
            then(call)
            self._answering = False

    def _close(self, call: Call, verdict: str, outcome: Any = None) -> None:
        del self.history.open[call.number]
        call.close(verdict, outcome)
        self.tell(call)
        if call.then is not None:
            self.at(self._net.randint(0, 3), call.then, call)

    def tell(self, call: Call) -> None:
        """The end of a call, for the log and the invariants."""
        self.log("answer", call.number, call.verdict, _words(call.outcome))
        call.answered, call.answered_ms = self.step, self.now
        for answered in self.watchers.answered:
            answered(call)

    def overloaded(self) -> bool:
        """Whether clients ask for more than the node can do: something is not decided for long. A claim that stands in
        line is, and waits on purpose."""
        late_ms = self.now - OVERLOAD_MS
        return any(
            call.sent_ms < late_ms
            for call in self.history.open.values()
            if not (isinstance(call.operation, Claim) and call.operation.number)
        ) or any(
            stream.live
            and stream.incarnation == self.incarnations
            and stream.sent_ms < late_ms
            and not stream.claim.number
            for stream in self.streams
        )

    def unanswered(self) -> list[Call]:
        """Calls that must still be answered: all but claims whose caller has left."""
        return [call for call in self.history.open.values() if not (call.left and isinstance(call.operation, Claim))]


def _words(outcome: Any) -> str:
    if isinstance(outcome, Problem):
        return outcome.code
    if isinstance(outcome, list):
        return ",".join(_words(each) for each in outcome)
    if isinstance(outcome, Claimed):
        return ",".join(f"{task.id.hex()}/{task.state.lease_number}" for task in outcome.tasks)
    return type(outcome).__name__ if outcome is not None else "-"
