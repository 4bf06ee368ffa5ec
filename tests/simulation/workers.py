"""Workers: honest ones with all their ways to end a delivery, and those that use what is not theirs.

Workers of a tenant share a subject, as replicas share a token; some name themselves, some do not.
"""

from typing import Any

from appliance.engine.rows import COMPLETED
from appliance.tasks.model import (
    Abandon,
    Claim,
    Claimed,
    Finish,
    FinishBatch,
    Heartbeat,
    Nack,
    Operation,
    Sink,
    Task,
)
from tests.simulation.clients import Client, Crowd
from tests.simulation.history import OK, Call

EVENTS = ("heartbeat", "complete", "fail", "nack", "abandon")


class Lease:
    """A delivery as its worker knows it."""

    __slots__ = ("id", "number", "subject", "tenant", "until", "worker")

    def __init__(self, task: Task, tenant: str) -> None:
        self.id = task.id
        self.tenant = tenant
        self.subject = task.state.subject
        self.worker = task.state.worker
        self.number: int | None = task.state.lease_number
        self.until = task.state.lease_until


class Owner(Client):
    """What honest and other workers can do to a lease."""

    def do(self, event: str, lease: Lease, result: bytes = b"1") -> Any:
        """The operation for an event of the state table, as a function of its sink."""
        tenant, task_id, subject, worker, number = lease.tenant, lease.id, lease.subject, lease.worker, lease.number
        rng = self.rng

        if event == "heartbeat":
            extend = rng.randint(*self.plan.lease_ms)
            return lambda sink: Heartbeat(tenant, sink, task_id, subject, worker, number, extend)
        if event == "nack":
            delay = rng.choice((None, None, 0, 500, 10_000_000))
            reason = rng.choice(("", "bad luck"))
            return lambda sink: Nack(tenant, sink, task_id, subject, worker, number, delay, reason)
        if event == "abandon":
            return lambda sink: Abandon(tenant, sink, task_id, subject, worker, number)
        return self.finish(lease, event == "complete", result)

    def finish(self, lease: Lease, completed: bool, result: bytes) -> Any:
        """A result, as a function of its sink."""
        error = "" if completed else "it failed"
        return lambda sink: Finish(
            lease.tenant, sink, lease.id, lease.subject, lease.worker, lease.number, completed, result, error, b""
        )


class Worker(Owner):
    """Claims and ends deliveries in every way there is."""

    def __init__(self, crowd: Crowd, name: str, tenant: str) -> None:
        super().__init__(crowd, name, tenant)
        self.subject = f"{tenant}-workers"
        self.worker = self.rng.choice(("", name))

    def act(self) -> None:
        rng, plan = self.rng, self.plan
        commands: tuple[str, ...] | None = None
        if self.chance(0.6):
            commands = tuple(rng.sample(plan.commands, rng.randint(1, len(plan.commands))))
            if self.chance(0.1):
                commands += ("nobody-creates-this",)
        count = rng.choice((1, 1, 2, 4))
        wait = rng.choice((0, plan.wait_ms, plan.wait_ms))
        lease = rng.randint(*plan.lease_ms)
        call = self.ask(
            lambda sink: Claim(self.tenant, sink, self.subject, self.worker, commands, lease, count, wait), self._heard
        )
        if self.chance(0.12):
            self.world.at(rng.choice((1, 5, 50, 500)), self.world.leave, call)

    def _heard(self, call: Call) -> None:
        self.receive(call)
        self.think()

    def receive(self, call: Call) -> None:
        """Deal with the tasks of a claim's outcome."""
        tasks = call.outcome.tasks if isinstance(call.outcome, Claimed) else []
        leases = [Lease(task, self.tenant) for task in tasks]
        for lease in leases:
            self.crowd.held((lease.id, lease.tenant, lease.subject, lease.worker, lease.number or 0))
        if call.left:
            for lease in leases:
                self._undelivered(lease)
        elif len(leases) > 1 and self.chance(0.4):
            self._finish_together(leases)
        else:
            for lease in leases:
                self._treat(lease)

    def _undelivered(self, lease: Lease) -> None:
        self.ask(
            lambda sink: Abandon(
                lease.tenant, sink, lease.id, lease.subject, lease.worker, lease.number, undelivered=True
            ),
            _nothing,
        )

    def _finish_together(self, leases: list[Lease]) -> None:
        number = len(self.world.history.calls) + 1

        def make(sink: Sink) -> Operation:
            items = [self.finish(each, self.chance(0.8), b'["together",%d]' % number)(_nothing) for each in leases]
            return FinishBatch(self.tenant, sink, items)

        self.ask(make, _nothing)

    def _treat(self, lease: Lease) -> None:
        rng = self.rng
        node = self.world.node
        left = max(1, lease.until - node.now()) if node is not None else 1
        if self.chance(0.3):
            lease.number = None
        if self.chance(0.2):
            lease.worker = ""
        way = rng.random()
        if way < 0.40:
            self._later(rng.randint(0, left // 2), "complete", lease)
        elif way < 0.47:
            self._later(rng.randint(0, left // 2), "fail", lease)
        elif way < 0.60:
            self._later(rng.randint(0, left // 2), "nack", lease)
        elif way < 0.71:
            self._later(0, "abandon", lease)
        elif way < 0.79:
            self._later(left // 3, "heartbeat", lease)
            self._later(left - left // 4, "complete", lease)
        elif way < 0.86:
            self._later(left - rng.randint(0, 3), rng.choice(EVENTS), lease)
        elif way < 0.92:
            self._later(left + rng.choice((1, 5, 200)), rng.choice(EVENTS), lease)
        elif way < 0.96:
            self._twice(lease)

    def _later(self, delay: int, event: str, lease: Lease) -> None:
        self.world.at(delay, lambda: self.ask(self.do(event, lease), _nothing))

    def _twice(self, lease: Lease) -> None:
        """The same result again, or another, each sent before the last was heard of or after."""
        completed = self.chance(0.5)
        result = b'{"number":%d}' % self.rng.randrange(3)
        self.ask(self.finish(lease, completed, result), _nothing)
        for _ in range(2):
            other = b' { "number" : 1 } ' if self.chance(0.3) else result
            outcome = completed if self.chance(0.8) else not completed
            self.world.at(
                self.rng.choice((0, 10, 1_000)), lambda o=outcome, r=other: self.ask(self.finish(lease, o, r), _nothing)
            )


class Mischief(Owner):
    """Uses leases that are over, leases of others, and tasks of other tenants."""

    def act(self) -> None:
        rng, crowd = self.rng, self.crowd
        event = rng.choice(EVENTS)
        lease = self._lease()
        expect = ""
        way = rng.random()
        if lease is None or way < 0.04:
            lease, expect = self._invented(), "not-found"
        elif way < 0.25:
            lease.subject, expect = "intruder", "refused"
        elif way < 0.40 and lease.worker:
            lease.worker, expect = "another-worker", "refused"
        elif way < 0.55 and len(self.plan.tenants) > 1:
            lease.tenant = rng.choice([each for each in self.plan.tenants if each != lease.tenant])
            expect = "not-found"
        elif self.chance(0.3):
            state = self.world.ledger.states.get(lease.id)
            if state is None or state.status >= COMPLETED or self.chance(0.2):
                lease.number = None
        crowd.world.ask(self.do(event, lease, rng.choice((b"1", b"2"))), self.think, expect)

    def _lease(self) -> Lease | None:
        leases = self.crowd.leases
        if not leases:
            return None
        lease = Lease.__new__(Lease)
        lease.id, lease.tenant, lease.subject, lease.worker, number = self.rng.choice(leases)
        lease.number, lease.until = number, 0
        return lease

    def _invented(self) -> Lease:
        lease = Lease.__new__(Lease)
        lease.id, lease.tenant, lease.subject = self.rng.randbytes(16), self.tenant, f"{self.tenant}-workers"
        lease.worker, lease.number, lease.until = "", 1, 0
        return lease


class Drainer(Owner):
    """Ends whatever is left, once the faults are over."""

    def act(self) -> None:
        self.ask(
            lambda sink: Claim(self.tenant, sink, f"{self.tenant}-drain", "", None, 30_000, 10, 3_600_000), self._heard
        )

    def _heard(self, call: Call) -> None:
        if call.verdict == OK:
            for task in call.outcome.tasks:
                self.ask(self.finish(Lease(task, self.tenant), True, b"0"), _nothing)
        self.world.at(1 if call.verdict == OK else 2_000, self._turn)


def _nothing(_: Any) -> None:
    """Nobody waits for this answer."""
