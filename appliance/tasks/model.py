"""Operations that clients ask for and outcomes that they get: the vocabulary between the fronts and the state machine.

Owns plain values only. Times are wall-clock milliseconds. An operation's `sink` is called exactly once with its
outcome, when that outcome is durable; a `Problem` is an outcome like any other. Outcomes are snapshots and never
change. Only a claim for several answers has several outcomes.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, FAILED, PENDING, Body, State
from appliance.errors import Problem

STATUS_NAMES: Final = {
    PENDING: "PENDING",
    CLAIMED: "CLAIMED",
    COMPLETED: "COMPLETED",
    FAILED: "FAILED",
    DLQ: "DLQ",
}

Sink = Callable[[Any], None]

Prepare = Callable[[Any], Any]
"""Turns an outcome that is no Problem into what the sink is told in its place. It is called with the decision, while
all that the outcome holds is at hand, so that less has to be kept until the group is durable. It must do nothing else:
the decision may yet come to nothing."""

FOREVER_MS: Final = 1 << 62
"""A `wait_ms` without end: such a claim waits until it is withdrawn."""

OUTCOME_TASKS_MAX: Final = 100
"""Tasks in one outcome of a claim for several answers: as many as one answer may have, so that no claim is served for
long while others wait."""


class Task(msgspec.Struct, gc=False):
    """A task as it was at one moment."""

    id: bytes
    body: Body
    state: State


class NewTask(msgspec.Struct, gc=False):
    """What a client asks to create. `run_at` (ms) beats `delay_ms`; 0 means none.

    `queue_attempts` says that the client named no `max_attempts`, so one that is set for the queue counts.
    `terms_hash` covers what the contract compares of two requests with one key, but for the payload; it is empty
    without a key.
    """

    command: str
    payload: bytes
    priority: int = 0
    max_attempts: int = 5
    webhook: str = ""
    key: str = ""
    run_at: int = 0
    delay_ms: int = 0
    trace_parent: str = ""
    trace_state: str = ""
    terms_hash: bytes = b""
    queue_attempts: bool = False


class Operation(msgspec.Struct, gc=False):
    """What every operation carries: the tenant it is confined to and whom to tell.

    The garbage collector does not look into operations. Whoever keeps one whose sink leads back to its keeper has to
    let go of it when it is over.
    """

    tenant: str
    sink: Sink

    @property
    def cost(self) -> int:
        """How many transitions this may take: batches must fit a group whole."""
        return 1

    @property
    def size_bytes(self) -> int:
        """About how much memory it holds while it waits."""
        return 512


class Create(Operation, gc=False):
    """Outcome: Created or Problem."""

    task: NewTask

    @property
    def size_bytes(self) -> int:
        return 512 + len(self.task.payload)


class CreateBatch(Operation, gc=False):
    """Outcome: a list with Created or Problem for each item, in order. Items that are Problems already pass through.

    The valid items are one commit.
    """

    tasks: list[NewTask | Problem]
    prepare: Prepare | None = None

    @property
    def cost(self) -> int:
        return len(self.tasks)

    @property
    def size_bytes(self) -> int:
        return sum([512 if isinstance(task, Problem) else 512 + len(task.payload) for task in self.tasks])


class Claim(Operation, gc=False):
    """Outcome: Claimed (with no tasks where none was there in time) or Problem.

    `commands` None means every queue of the tenant. `wait_ms` is how long to wait for work from the decision on;
    `deadline` and `number`, its place in line, are set by the state machine when the waiting begins. `gone` is set when
    the caller has left. No further task is added to an outcome whose payloads have reached `enough_bytes`.

    A claim that waits for ever may ask for several `answers` of up to `count` tasks each. An outcome spends one of them
    for each `count` tasks begun, and with what is left the claim goes to the end of the line. Until nothing is left the
    caller may add to `answers`; a Problem ends the claim.
    """

    subject: str
    worker: str
    commands: tuple[str, ...] | None
    lease_ms: int
    count: int = 1
    wait_ms: int = 0
    deadline: int = 0
    gone: bool = False
    answers: int = 1
    enough_bytes: int = 8 << 20
    number: int = 0
    prepare: Prepare | None = None
    """Gets the list of tasks, never an empty one."""

    @property
    def cost(self) -> int:
        return self.wanted

    @property
    def wanted(self) -> int:
        """Tasks that the next outcome may have."""
        if self.answers == 1:
            return self.count
        return self.count * min(self.answers, max(1, OUTCOME_TASKS_MAX // self.count))


class OwnerAction(Operation, gc=False):
    """An action on a claimed task. `worker` "" and `lease` None mean that the caller named none."""

    id: bytes
    subject: str
    worker: str
    lease: int | None


class Heartbeat(OwnerAction, gc=False):
    """Outcome: Extended or Problem."""

    extend_ms: int


class Nack(OwnerAction, gc=False):
    """Outcome: Returned or Problem. `delay_ms` None means the queue's backoff."""

    delay_ms: int | None
    reason: str


class Abandon(OwnerAction, gc=False):
    """Outcome: Returned or Problem. `undelivered`: the claim's answer never reached its caller."""

    undelivered: bool = False


class Finish(OwnerAction, gc=False):
    """Outcome: Record or Problem. `result` and `artifacts` are JSON as it came."""

    completed: bool
    result: bytes
    error: str
    artifacts: bytes

    @property
    def size_bytes(self) -> int:
        return 512 + len(self.result) + len(self.artifacts)


class FinishBatch(Operation, gc=False):
    """Outcome: a list with Record or Problem for each item, in order; one commit."""

    items: list[Finish | Problem]
    prepare: Prepare | None = None

    @property
    def cost(self) -> int:
        return len(self.items)

    @property
    def size_bytes(self) -> int:
        return sum([512 if isinstance(item, Problem) else 512 + len(item.result) for item in self.items])


class Cancel(Operation, gc=False):
    """An operator ends a task that is not terminal. `by` and `reason` are for the audit. Outcome: Task or Problem."""

    id: bytes
    by: str = ""
    reason: str = ""


class Requeue(Operation, gc=False):
    """An operator gives a dead letter another life under its old id. Outcome: Task or Problem."""

    id: bytes
    by: str = ""


class Purge(Operation, gc=False):
    """An operator has a dead letter forgotten. Outcome: Stepped or Problem."""

    id: bytes
    by: str = ""


class SetQueue(Operation, gc=False):
    """An operator changes what is set for a queue. Outcome: Changed or Problem.

    `changes` are fields of `QueueControl`; `action` and `detail` are for the audit.
    """

    command: str
    changes: dict[str, Any]
    by: str = ""
    action: str = "queue.set"
    detail: str = ""


class SetLimits(Operation, gc=False):
    """An operator sets a tenant's limits: fields of `TenantControl`. Outcome: Changed or Problem."""

    changes: dict[str, int | None]
    by: str = ""
    detail: str = ""


class Step(Operation, gc=False):
    """An operator's change of up to `limit` tasks, made a few at a time. Outcome: Stepped or Problem.

    `before` is a moment (ms) that they must have entered their state before; `command` None means every queue. `low`,
    `done` and `audited` are the state machine's: where to go on, how far it is, and the number of its audit entry.
    """

    command: str | None
    before: int
    limit: int
    by: str = ""
    low: bytes = b""
    done: int = 0
    audited: int = 0


class RequeueDead(Step, gc=False):
    """Gives dead letters another life."""


class PurgeDead(Step, gc=False):
    """Has dead letters forgotten."""


class Cleanup(Step, gc=False):
    """Sweeps tasks whose retention was over by `before`, and index rows that fit no task."""


class Due(msgspec.Struct, gc=False):
    """A delivery that is to be attempted now: `attempts` were made before, and it has been due since `at` (ms)."""

    id: bytes
    tenant: str
    url: str
    attempts: int
    at: int


class Settle(Operation, gc=False):
    """What became of an attempt to deliver a webhook. Outcome: whether the delivery was given up.

    `final`: another attempt would be in vain. `error` says what went wrong.
    """

    id: bytes
    delivered: bool
    error: str = ""
    final: bool = False


class Resend(Operation, gc=False):
    """An operator has a delivery that was given up sent again. `by` is for the audit. Outcome: Resent or Problem."""

    id: bytes
    by: str = ""


class ResendAll(Operation, gc=False):
    """The same for up to `limit` that were given up before a time (ms). Outcome: Resent or Problem."""

    before: int
    limit: int
    by: str = ""

    @property
    def cost(self) -> int:
        return self.limit


class Resent(msgspec.Struct, gc=False):
    """How many deliveries will be sent again, and whether there are more."""

    count: int
    more: bool


class Subscribe(Operation, gc=False):
    """A worker wants to hear when there is work. Outcome: Subscribed or Problem."""

    subject: str
    commands: tuple[str, ...] | None
    callback: str
    mode: str
    group: str
    min_interval_ms: int
    ttl_ms: int


class Poll(Operation, gc=False):
    """A subscription is renewed, and its owner waits up to `wait_ms` for work. Outcome: Polled or Problem.

    `deadline` is set by the state machine when the waiting begins, `gone` when the caller has left.
    """

    id: bytes
    subject: str
    wait_ms: int
    deadline: int = 0
    gone: bool = False


class Subscribed(msgspec.Struct, gc=False):
    """A subscription and when it ends, unless it is renewed."""

    id: bytes
    expires: int


class Polled(Subscribed, gc=False):
    """The same, and the queues with ready tasks: each command, and how many."""

    ready: list[tuple[str, int]]


class Created(msgspec.Struct, gc=False):
    """The task; `replayed` when an earlier request with the same key made it."""

    task: Task
    replayed: bool = False


class Claimed(msgspec.Struct, gc=False):
    """The tasks that were leased to the caller, in order; empty when none was there in time."""

    tasks: list[Task]


class Record(msgspec.Struct, gc=False):
    """The recorded end of a task."""

    id: bytes
    state: State


class Stepped(msgspec.Struct, gc=False):
    """So many tasks were changed; `more` says that there may be others."""

    done: int
    more: bool = False


class Changed(msgspec.Struct, gc=False):
    """What was set is durable."""


class Extended(msgspec.Struct, gc=False):
    """The lease now ends at `lease_until`."""

    lease_until: int


class Returned(msgspec.Struct, gc=False):
    """The task went back to its queue after `delay_ms`, or to the dead letters."""

    dead: bool
    delay_ms: int
    attempts: int
