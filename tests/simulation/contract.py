"""What a node owes to one stream, and what it may do in its name: noted and checked event by event.

Looks at the messages that a session gives to its call, the operations that it offers, and their outcomes; never into
the session. `Pipe` tells it what arrives, what leaves, and how the stream ends.
"""

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Any

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from appliance.auth.caller import PRODUCER
from appliance.errors import CANCELLED, LEASE_LOST, NOT_CLAIMED, NOT_FOUND, Problem
from appliance.mux.grpc_framing import INTERNAL, OK, UNAUTHENTICATED, UNAVAILABLE
from appliance.tasks.ids import id_text, parse_id
from appliance.tasks.model import Abandon, Claimed, CreateBatch, Created, Finish, FinishBatch, Heartbeat, Nack
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

Lease = tuple[bytes, int]
Asked = tuple[tuple[str, ...], int]
"""Commands and count of a Ready."""

_LEASE_OVER = (CANCELLED, LEASE_LOST, NOT_CLAIMED, NOT_FOUND)
_ACKS = {"result_ack": Finish, "heartbeat_ack": Heartbeat, "nack_ack": Nack, "abandon_ack": Abandon}


class Contract:
    """One stream's accounts."""

    def __init__(self, world: "World", name: str, kind: str, tenant: str) -> None:
        self.name = name
        self.tenant = tenant
        self.seqs: dict[int, pb.CreateTask] = {}
        """Creates without an acknowledgement."""
        self.acks: Counter[tuple[str, str]] = Counter()
        """Acknowledgements that are owed, by field and task id as it was sent."""
        self.readys: Counter[Asked] = Counter()
        """Readys without an answer."""
        self.readys_ms = 0
        """When a Ready last came or was answered."""
        self.held: dict[bytes, int] = {}
        """The newest lease that was given to the stream, by task, as long as nothing says that it is over."""
        self.asked_back: set[bytes] = set()
        """Tasks that the client abandons itself."""
        self.half_closed = self.shut = self.gone = self.garbage = False
        """`shut`: no task may be sent any more."""
        self.drained_seconds = 0.0
        """When the node asked for its end, by the wall clock; 0: never."""
        self.expires_seconds = 0.0
        self.aged_seconds = 0.0
        """From which time of the wall clock on the stream may end of itself; 0: never."""
        self._world = world
        self.producer = kind == PRODUCER
        self._outcomes: Counter[tuple[str, bytes]] = Counter()
        self._created: set[bytes] = set()
        self._granted: set[Lease] = set()
        self._sent: set[Lease] = set()
        self._written: set[Lease] = set()
        self._returned: set[Lease] = set()
        self.greeted = False

    def broken(self, message: str) -> Violation:
        """What to raise."""
        return Violation("sessions", f"{self.name}: {message}")

    def waits(self, asked: Asked) -> None:
        """The session takes a Ready."""
        self.readys[asked] += 1
        self.readys_ms = self._world.now

    # What a session offers, and what becomes of it.

    def offered(self, operation: Any) -> None:
        """The session asks for something in the stream's name."""
        if not isinstance(operation, Abandon):
            return
        lease = operation.id, operation.lease or 0
        self._returned.add(lease)
        if operation.undelivered:
            if lease in self._written:
                raise self.broken(f"gives {lease[0].hex()} back as undelivered, which was delivered")
        elif operation.id not in self.asked_back and not self.half_closed:
            raise self.broken(f"abandons {lease[0].hex()}, and nobody asked for it")

    def decided(self, operation: Any, outcome: Any) -> None:
        """An operation's outcome is about to be told to the session."""
        if isinstance(operation, CreateBatch):
            created = [] if isinstance(outcome, Problem) else outcome
            self._created |= {each.task.id for each in created if isinstance(each, Created)}
            return
        items = operation.items if isinstance(operation, FinishBatch) else [operation]
        outcomes = outcome if isinstance(outcome, list) else [outcome] * len(items)
        for item, each in zip(items, outcomes, strict=True):
            if isinstance(item, Finish | Heartbeat | Nack | Abandon):
                self._settle(item, each)

    def _settle(self, item: Any, outcome: Any) -> None:
        refused = isinstance(outcome, Problem)
        if not refused:
            self._outcomes[type(item).__name__, item.id] += 1
        over = outcome.code in _LEASE_OVER if refused else not isinstance(item, Heartbeat)
        if over and item.lease in (None, self.held.get(item.id)):
            self.held.pop(item.id, None)

    def granted(self, outcome: Any) -> list[Lease]:
        """A claim's outcome is about to be told to the session; its leases."""
        tasks = outcome.tasks if isinstance(outcome, Claimed) else []
        leases = [(task.id, task.state.lease_number) for task in tasks]
        self._granted.update(leases)
        return leases

    def dealt_with(self, leases: list[Lease]) -> None:
        """The session has heard of these leases: each is sent, or given back at once."""
        for lease in leases:
            if lease not in self._sent and lease not in self._returned:
                raise self.broken(f"has lost lease {lease[1]} of {lease[0].hex()}")

    # What leaves.

    def leaving(self, message: bytes) -> list[Lease]:
        """The session sends a message; the leases in it."""
        if self.producer:
            self._producer_leaving(pb.ServerEvent.FromString(message))
            return []
        event = wb.ServerEvent.FromString(message)
        kind = event.WhichOneof("event") or ""
        if kind == "task":
            return self._tasks([event.task.task], single=True)
        if kind == "task_batch":
            return self._tasks(list(event.task_batch.tasks), single=False)
        for ack in event.result_ack_batch.acks if kind == "result_ack_batch" else ():
            self._acknowledged("result_ack", ack)
        if kind in _ACKS:
            self._acknowledged(kind, getattr(event, kind))
        elif kind == "hello_ack":
            self._hello_ack()
        return []

    def _producer_leaving(self, event: pb.ServerEvent) -> None:
        if event.HasField("hello_ack"):
            self._hello_ack()
        for ack in [event.create_ack] if event.HasField("create_ack") else event.create_ack_batch.acks:
            create = self.seqs.pop(ack.seq, None)
            if create is None:
                raise self.broken(f"seq {ack.seq} is acknowledged, and nothing is owed")
            if ack.ok:
                self._made(create, parse_id(ack.task_id) or b"")

    def _made(self, create: pb.CreateTask, task_id: bytes) -> None:
        ledger = self._world.ledger
        if task_id not in self._created or (task_id not in ledger.states and task_id not in ledger.swept):
            raise self.broken(f"seq {create.seq} is acknowledged with {task_id.hex()}, which is not on disk")
        body = ledger.bodies.get(task_id)
        if body is not None and (body.command, body.key) != (create.command, create.idempotency_key):
            raise self.broken(f"seq {create.seq} is acknowledged with the task of another create")
        if body is not None and not body.key and body.payload != create.payload:
            raise self.broken(f"seq {create.seq} is acknowledged with the task of another create")

    def _hello_ack(self) -> None:
        if self.greeted:
            raise self.broken("is greeted twice")
        self.greeted = True

    def _acknowledged(self, kind: str, ack: Any) -> None:
        self.acks[kind, ack.task_id] -= 1
        if self.acks[kind, ack.task_id] < 0:
            raise self.broken(f"{kind} of {ack.task_id} is sent, and none is owed")
        if ack.ok:
            outcome = _ACKS[kind].__name__, parse_id(ack.task_id) or b""
            self._outcomes[outcome] -= 1
            if self._outcomes[outcome] < 0:
                raise self.broken(f"{kind} of {ack.task_id} says ok, and no outcome does")

    def _tasks(self, tasks: list[wb.Task], *, single: bool) -> list[Lease]:
        if self.shut:
            raise self.broken("gets tasks after its end")
        fits = [
            asked
            for asked, waiting in self.readys.items()
            if waiting
            and single == (asked[1] <= 1)
            and 0 < len(tasks) <= max(asked[1], 1)
            and all(not asked[0] or task.command in asked[0] for task in tasks)
        ]
        if not fits:
            raise self.broken(f"gets {len(tasks)} tasks that no ready waits for")
        # Which one was meant does not show. Taking the narrowest leaves the ones that fit more.
        self.readys[min(fits, key=lambda asked: (not asked[0], len(asked[0]), asked[1]))] -= 1
        self.readys_ms = self._world.now
        leases = [(parse_id(task.id) or b"", int(task.lease_id.rpartition(":")[2])) for task in tasks]
        for lease in leases:
            if lease not in self._granted or lease in self._sent:
                raise self.broken(f"gets lease {lease[1]} of {lease[0].hex()}, which is not its own or came before")
            self.held[lease[0]] = lease[1]
        self._sent.update(leases)
        return leases

    def written(self, leases: list[Lease]) -> None:
        """A message has left for the peer."""
        self._written.update(leases)

    # The end.

    def lost(self) -> None:
        """The stream was reset, and its session has dealt with it: what was never written must be on its way back."""
        for task_id, number in self.held.items():
            if (task_id, number) not in self._written and (task_id, number) not in self._returned:
                raise self.broken(f"is reset, and {task_id.hex()}, which was never written, is not given back")

    def ended(self, status: int) -> None:
        """The session ends the stream."""
        owed = [*self.seqs, *(f"{kind} of {text}" for (kind, text), count in self.acks.items() if count)]
        if owed:
            raise self.broken(f"ends with status {status} and owes {owed[:3]}")
        # A clock that has jumped back meanwhile does not take a decision to end back.
        now_seconds = inf if self._world.plan.jump_chance else self._world.wall_ms() / 1000
        allowed = {
            OK: self.half_closed,
            INTERNAL: self.garbage,
            UNAUTHENTICATED: 0 < self.expires_seconds <= now_seconds,
            UNAVAILABLE: self.drained_seconds > 0 or 0 < self.aged_seconds <= now_seconds,
        }
        if not allowed.get(status, False):
            raise self.broken(f"ends with status {status} for no reason")
        if self.half_closed:
            for task_id, number in self.held.items():
                if (task_id, number) not in self._returned:
                    raise self.broken(f"END_STREAM has left {id_text(task_id)} leased")
