"""Clients: producers, readers and operators, and what all clients share.

A client is a loop of think, ask, hear. Several of them share keys, subjects and tasks, so that they get in each other's
way as real ones do.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, State
from appliance.errors import Problem, invalid
from appliance.tasks.model import (
    Cancel,
    Create,
    CreateBatch,
    NewTask,
    Operation,
    Purge,
    Requeue,
    Resend,
    ResendAll,
)
from appliance.tasks.watches import Watch
from tests.simulation.history import OK, UNKNOWN, Call
from tests.simulation.node import Node
from tests.simulation.violation import Violation
from tests.simulation.world import World

WATCH_LATE_MS = 10_000
KNOWN_MAX = 400
DOWN_LOOK_MS = 500


class Crowd:
    """What the clients of a run know together: leases they once held, and when they all rest."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = world.rng("crowd")
        self.resting_until_ms = 0
        self.leases: list[tuple[bytes, str, str, str, int]] = []
        """`(id, tenant, subject, worker, lease)` of claims that were answered."""
        self.ids: list[tuple[bytes, str]] = []
        """Ids that clients have heard of, with their tenants."""

    def heard_of(self, task_id: bytes, tenant: str) -> None:
        """Remember an id; old ones make room at random."""
        if len(self.ids) < KNOWN_MAX:
            self.ids.append((task_id, tenant))
        else:
            self.ids[self.rng.randrange(KNOWN_MAX)] = (task_id, tenant)

    def held(self, lease: tuple[bytes, str, str, str, int]) -> None:
        """Remember a lease."""
        if len(self.leases) < KNOWN_MAX:
            self.leases.append(lease)
        else:
            self.leases[self.rng.randrange(KNOWN_MAX)] = lease


class Client:
    """One loop of think, ask, hear."""

    def __init__(self, crowd: Crowd, name: str, tenant: str) -> None:
        self.crowd = crowd
        self.world = crowd.world
        self.plan = crowd.world.plan
        self.name = name
        self.tenant = tenant
        self.rng: Random = crowd.world.rng(name)
        self.working = True

    def begin(self) -> None:
        """Take up work at some moment soon."""
        self.world.at(self.rng.randint(0, 100), self._turn)

    def act(self) -> None:
        """One turn; it leads to `think` once."""
        raise NotImplementedError

    def think(self, _: Any = None) -> None:
        """Take the next turn after a while."""
        delay = self.rng.randint(0, 2 * self.plan.think_ms)
        self.world.at(max(delay, self.crowd.resting_until_ms - self.world.now), self._turn)

    def ask(
        self, make: Callable[[Callable[[Any], None]], Operation], then: Callable[[Call], None], expect: str = ""
    ) -> Call:
        """Ask, and let `then` hear of the end."""
        return self.world.ask(make, then, expect)

    def chance(self, chance: float) -> bool:
        """True as often as `chance` says."""
        return self.rng.random() < chance

    def _turn(self) -> None:
        if not self.working:
            return
        if self.world.node is None:
            self.world.at(DOWN_LOOK_MS, self._turn)
        else:
            self.act()


class Producer(Client):
    """Creates tasks: plain, delayed, at a time, with keys that others use too, in batches, and again when in doubt."""

    def act(self) -> None:
        rng = self.rng
        if self.chance(0.2):
            size = rng.randint(2, 6)
            number = len(self.world.history.calls) + 1
            tasks: list[NewTask | Problem] = [self._task(number, at, batched=True) for at in range(size)]
            if self.chance(0.3):
                tasks[rng.randrange(size)] = invalid("this item is wrong")
            self.ask(lambda sink: CreateBatch(self.tenant, sink, tasks), self._heard)
        else:
            task = self._task(len(self.world.history.calls) + 1, 0)
            if self.chance(0.15):
                # The same key from two connections at once.
                twin = _copy(task, len(self.world.history.calls) + 2)
                self._create(task, self._noted)
                task = twin
            self._create(task, self._heard)

    def _create(self, task: NewTask, then: Callable[[Call], None]) -> None:
        self.ask(lambda sink: Create(self.tenant, sink, task), then)

    def _task(self, call: int, at: int, *, batched: bool = False) -> NewTask:
        rng, plan = self.rng, self.plan
        new = NewTask(
            rng.choice(plan.commands),
            b'[%d,%d,"%s"]' % (call, at, b"x" * rng.randint(0, plan.payload_bytes)),
            priority=rng.choice(plan.priorities),
            max_attempts=rng.choice(plan.attempts),
        )
        if self.chance(0.1 if batched else 0.3):
            new.key = f"key-{rng.randrange(plan.keys)}"
            new.terms_hash = b"%d" % (rng.random() < 0.15)
        if self.chance(plan.hook_chance):
            new.webhook = f"https://receiver-{rng.randrange(3)}.example/{call}"
        if self.chance(0.15):
            new.delay_ms = rng.choice((1, 100, 2_000, 15_000))
        elif self.chance(0.1) and self.world.node is not None:
            new.run_at = self.world.wall_ms() + rng.choice((-5_000, 1, 3_000, 30_000, 600_000))
        return new

    def _noted(self, call: Call) -> None:
        for item in call.items:
            if item.verdict == OK:
                self.crowd.heard_of(item.outcome.task.id, self.tenant)

    def _heard(self, call: Call) -> None:
        self._noted(call)
        for item in call.items:
            if item.verdict == UNKNOWN and item.new.key and self.working and self.chance(0.7):
                again = _copy(item.new, len(self.world.history.calls) + 1)
                self._create(again, self._heard)
                return
        self.think()


def _copy(new: NewTask, call: int) -> NewTask:
    return NewTask(
        new.command,
        b'[%d,0,""]' % call,
        new.priority,
        new.max_attempts,
        key=new.key,
        terms_hash=new.terms_hash,
    )


class Reader(Client):
    """Reads tasks, its own and others', and waits for results."""

    def act(self) -> None:
        node = self.world.node
        if node is None or not self.crowd.ids:
            self.think()
            return
        task_id, tenant = self.rng.choice(self.crowd.ids)
        self._read(node, tenant, task_id)
        if self.chance(0.5):
            self._watch(node, tenant, task_id)
        else:
            self.think()

    def _read(self, node: Node, tenant: str, task_id: bytes) -> None:
        task = node.scheduler.reads.task(tenant, task_id)
        ledger = self.world.ledger
        state = task.state if task is not None else None
        if state != ledger.states.get(task_id):
            raise Violation("reads", f"task {task_id.hex()} was read as {state}, durable is another")
        for other in self.plan.tenants:
            if other != tenant and node.scheduler.reads.task(other, task_id) is not None:
                raise Violation("Q19", f"tenant {other} reads task {task_id.hex()} of {tenant}")

    def _watch(self, node: Node, tenant: str, task_id: bytes) -> None:
        state = self.world.ledger.states.get(task_id)
        if state is None or state.status >= COMPLETED:
            self.think()
            return
        deadline = node.now() + self.rng.choice((500, 5_000, 30_000))
        told = [False]

        def tell() -> None:
            assert not told[0], "a watch was told twice"
            told[0] = True
            self.world.log("told", task_id.hex())
            self._check(node, task_id, deadline)
            self.think()

        stop = node.scheduler.watches.add(task_id, Watch(tenant, tell), deadline)
        node.scheduler._wake()

        def leave() -> None:
            if not told[0]:
                stop()
                told[0] = True
                self.think()

        if self.chance(0.2):
            self.world.at(self.rng.randint(0, 2_000), leave)
        else:
            self.world.at(deadline - node.now() + WATCH_LATE_MS, self._must_be_told, node, told, stop)

    def _check(self, node: Node, task_id: bytes, deadline: int) -> None:
        state = self.world.ledger.states.get(task_id)
        now = node.now()
        if state is None or state.status >= COMPLETED:
            if state is not None and now >= deadline and state.completed + WATCH_LATE_MS < min(now, deadline):
                raise Violation("watch", f"the end of {task_id.hex()} was told late")
        elif now < deadline and not self.world.history.may_have(task_id, Requeue):
            raise Violation("watch", f"{task_id.hex()} was told of before its end and its deadline")

    def _must_be_told(self, node: Node, told: list[bool], stop: Callable[[], None]) -> None:
        if told[0]:
            return
        if node.alive and self.world.faults and node.healthy_ms + 2 * WATCH_LATE_MS < self.world.now:
            raise Violation("watch", "a watch was not told by its deadline")
        stop()
        told[0] = True
        self.think()


class Operator(Client):
    """Cancels tasks, requeues dead letters, and does both to tasks of others."""

    def act(self) -> None:
        if self.chance(0.2):
            self._resend()
            return
        task_id, tenant = self._choose()
        tenants = self.plan.tenants
        expect = ""
        if self.chance(0.15) and len(tenants) > 1:
            tenant = self.rng.choice([each for each in tenants if each != tenant])
            expect = "not-found"
        if self.chance(0.05):
            task_id, expect = self.rng.randbytes(16), "not-found"
        state = self.world.ledger.states.get(task_id)
        requeue = self.chance(0.7 if state is not None and state.status == DLQ else 0.3)
        if requeue:
            self.ask(lambda sink: Requeue(tenant, sink, task_id, self.name), self.think, expect)
        elif self.chance(0.3):
            self.ask(lambda sink: Purge(tenant, sink, task_id, self.name), self.think, expect)
        else:
            self.ask(lambda sink: Cancel(tenant, sink, task_id, self.name), self.think, expect)

    def _resend(self) -> None:
        """Have deliveries sent again: one that waits, was given up or is gone, or several."""
        outbox, tenant = self.world.ledger.outbox, self.rng.choice(self.plan.tenants)
        if self.chance(0.5) or not outbox:
            before = self.world.wall_ms() - self.rng.choice((0, 0, 5_000))
            self.ask(lambda sink: ResendAll(tenant, sink, before, self.rng.choice((1, 4))), self.think)
            return
        delivery_id = self.rng.choice(sorted(outbox))
        own = outbox[delivery_id].tenant == self.world.ledger.tenants.get(tenant)
        self.ask(lambda sink: Resend(tenant, sink, delivery_id), self.think, "" if own else "not-found")

    def _choose(self) -> tuple[bytes, str]:
        if not self.crowd.ids:
            return bytes(16), self.tenant
        chosen = self.rng.choice(self.crowd.ids)
        wanted = self.rng.choice((DLQ, DLQ, CLAIMED))
        for _ in range(20):
            task_id, tenant = self.rng.choice(self.crowd.ids)
            state: State | None = self.world.ledger.states.get(task_id)
            if state is not None and state.status == wanted:
                return task_id, tenant
        return chosen
