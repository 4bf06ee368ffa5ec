"""A scheduler on a desk: dictionary store, a seam that lands groups when it is told to, and a clock set by hand."""

from collections import deque
from random import Random
from typing import Any

from appliance.engine.group import TableWrites
from appliance.errors import Problem
from appliance.tasks.model import (
    Abandon,
    Cancel,
    Claim,
    Claimed,
    Create,
    CreateBatch,
    Created,
    Finish,
    Heartbeat,
    Nack,
    NewTask,
    Operation,
    Requeue,
    Task,
)
from appliance.tasks.scheduler import Scheduler
from appliance.tasks.settings import TaskSettings
from tests.simulation.node import same_json, same_request
from tests.simulation.store import DictionaryStore

START_MS = 1_800_000_000_000
TENANT = "acme"
SUBJECT = "workers"
ROUNDS_MAX = 5_000


class Desk:
    """Everything a test needs to ask and to see what becomes durable when."""

    def __init__(
        self,
        settings: TaskSettings | None = None,
        *,
        depth: int = 1,
        start_ms: int = START_MS,
        store: DictionaryStore | None = None,
    ) -> None:
        self.settings = settings or TaskSettings(backoff_policy="fixed", backoff_base_ms=1_000)
        self.store = store or DictionaryStore()
        self.now = start_ms
        self.depth = depth
        self.flights: deque[tuple[int, list[TableWrites], list[set[bytes]]]] = deque()
        self.woken = 0
        self.errors: list[BaseException] = []
        self.scheduler = self.start()

    def start(self) -> Scheduler:
        """A new process on what the store holds; what was on its way is lost."""
        self.flights.clear()
        self.scheduler = Scheduler(
            self.store,
            self,
            self.settings,
            Random(7),
            wake=self._wake,
            now=self.now,
            same_json=same_json,
            same_request=same_request,
            on_error=self.errors.append,
        )
        return self.scheduler

    def _wake(self) -> None:
        self.woken += 1

    # The seam.

    def ready(self) -> bool:
        return len(self.flights) < self.depth

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        self.flights.append((number, writes, self.scheduler.overlay.all_groups()[-2].fresh))

    def land(self) -> None:
        """The oldest group on its way becomes durable."""
        number, writes, fresh = self.flights.popleft()
        self.store.apply(writes, fresh)
        self.scheduler.durable(number, self.now)

    def fail(self, problem: Problem | None = None) -> None:
        """The oldest group on its way, and all after it, are lost."""
        number, *_ = self.flights[0]
        self.flights.clear()
        self.scheduler.failed(number, self.now, problem)

    def settle(self) -> None:
        """Pump and land until nothing is left to do now, as a driver does."""
        for _ in range(ROUNDS_MAX):
            woken = self.woken
            self.scheduler.pump(self.now)
            if self.flights:
                self.land()
            elif self.woken == woken and self.scheduler.next_time() > self.now:
                return
        raise AssertionError("the scheduler always has something to do")

    def pass_ms(self, ms: int) -> None:
        """Let time pass, and do what it brings."""
        self.now += ms
        self.settle()

    # Asking.

    def offer(self, operation: Operation) -> list[Any]:
        """Offer an operation; the list gets its outcome when it is answered."""
        heard: list[Any] = []
        operation.sink = heard.append
        self.scheduler.offer(operation)
        return heard

    def ask(self, operation: Operation) -> Any:
        """Offer an operation and settle; its outcome."""
        heard = self.offer(operation)
        self.settle()
        assert len(heard) == 1, heard
        return heard[0]

    def create(self, command: str = "mail", tenant: str = TENANT, **fields: Any) -> Task:
        """Create one task."""
        outcome = self.ask(create(command, tenant, **fields))
        assert isinstance(outcome, Created), outcome
        return outcome.task

    def claim(self, *commands: str, count: int = 1, tenant: str = TENANT, worker: str = "") -> list[Task]:
        """Claim tasks for a minute, without waiting."""
        outcome = self.ask(claim(*commands, count=count, tenant=tenant, worker=worker))
        assert isinstance(outcome, Claimed), outcome
        return outcome.tasks

    def one(self, *commands: str) -> Task:
        """Claim exactly one task."""
        tasks = self.claim(*commands)
        assert len(tasks) == 1
        return tasks[0]

    def read(self, task: Task, tenant: str = TENANT) -> Task:
        """The task as it is durable."""
        found = self.scheduler.reads.task(tenant, task.id)
        assert found is not None
        return found


def unheard(_: Any) -> None:
    """A sink that is replaced when the operation is offered."""


def create(command: str = "mail", tenant: str = TENANT, **fields: Any) -> Create:
    """A create."""
    return Create(tenant, unheard, NewTask(command, fields.pop("payload", b"{}"), **fields))


def create_batch(size: int, tenant: str = TENANT, **fields: Any) -> CreateBatch:
    """A batch of equal creates."""
    return CreateBatch(tenant, unheard, [NewTask("mail", b"{}", **fields) for _ in range(size)])


def claim(
    *commands: str,
    count: int = 1,
    wait_ms: int = 0,
    tenant: str = TENANT,
    worker: str = "",
    lease_ms: int = 60_000,
) -> Claim:
    """A claim; no commands means all."""
    return Claim(tenant, unheard, SUBJECT, worker, commands or None, lease_ms, count, wait_ms)


def finish(
    task: Task, result: bytes = b"1", *, completed: bool = True, lease: int | None = None, error: str = "", **who: str
) -> Finish:
    """A result."""
    return Finish(*_owner(task, who), lease, completed, result, error, b"")


def heartbeat(task: Task, extend_ms: int, lease: int | None = None, **who: str) -> Heartbeat:
    """A heartbeat."""
    return Heartbeat(*_owner(task, who), lease, extend_ms)


def nack(task: Task, delay_ms: int | None = None, reason: str = "", lease: int | None = None, **who: str) -> Nack:
    """A nack."""
    return Nack(*_owner(task, who), lease, delay_ms, reason)


def abandon(task: Task, lease: int | None = None, *, undelivered: bool = False, **who: str) -> Abandon:
    """An abandon."""
    return Abandon(*_owner(task, who), lease, undelivered)


def cancel(task: Task, tenant: str = TENANT) -> Cancel:
    """An operator's cancel."""
    return Cancel(tenant, unheard, task.id)


def requeue(task: Task, tenant: str = TENANT) -> Requeue:
    """An operator's requeue."""
    return Requeue(tenant, unheard, task.id)


def code(outcome: Any) -> str:
    """The code of a refusal."""
    assert isinstance(outcome, Problem), outcome
    return outcome.code


def _owner(task: Task, who: dict[str, str]) -> tuple[str, Any, bytes, str, str]:
    return (who.get("tenant", TENANT), unheard, task.id, who.get("subject", SUBJECT), who.get("worker", ""))
