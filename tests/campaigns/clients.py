"""The clients of a campaign: producers, workers and readers that keep a log of all they send and hear.

Owns the mix of a load and the writing of `History`: a request is logged before it is sent, its outcome when it comes.
They judge nothing but statuses that no rule allows. All of their choices come from a `Random` of their own.
"""

import asyncio
import contextlib
import datetime
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.campaigns.history import (
    ABANDON,
    HEARTBEAT,
    NACK,
    RESULT,
    UNKNOWN,
    Action,
    Create,
    Delivery,
    End,
    History,
    Read,
)
from tests.campaigns.wire import Unknown, Wire

COMMANDS: Final = ("mail", "image", "report")
PAUSE_SECONDS: Final = 0.012
"""Between two requests of a client, at most: the campaign is about moments, not about throughput."""
KNOWN_IDS_MAX: Final = 2_000
MANY_ATTEMPTS: Final = 10
"""Of a task in a batch: were its only delivery lost with a kill, it would end among the dead letters unseen, and its
batch would look torn."""
RETRY_SECONDS: Final = 0.02
STATUS_OF_CODE: Final = {"": 200, "not-claimed": 409, "lease-lost": 409, "permission-denied": 403, "not-found": 404}


def now_ms() -> float:
    """Wall clock."""
    return time.time() * 1000


class Field:
    """What all clients share: the log, whether the node is up, and whether the load goes on."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.up = asyncio.Event()
        self.stopping = False
        self.known: list[str] = []
        self.marks = 0
        self.batches = 0

    async def settle(self) -> None:
        """Wait until the node is up."""
        await self.up.wait()

    def expect(self, what: str, status: int, answer: Any, *allowed: int) -> bool:
        """Whether the request was carried out. Any status that is not `allowed` is an oddity; 503 never is."""
        if status not in (*allowed, 503):
            self.history.oddities.append(f"{what}: {status} {answer}")
        return status in (200, 201)

    def remember(self, task: str) -> None:
        """Keep an id for readers."""
        if len(self.known) < KNOWN_IDS_MAX:
            self.known.append(task)
        else:
            self.known[hash(task) % KNOWN_IDS_MAX] = task


class Producer:
    """Creates tasks one by one and in batches, with keys and without, and insists on those with keys."""

    def __init__(self, field: Field, rng: Random, wires: tuple[Wire, Wire]) -> None:
        self._field = field
        self._rng = rng
        self._wire, self._second = wires

    async def run(self) -> None:
        """Until the load stops and everything that was insisted on is there."""
        while not self._field.stopping:
            await self._field.settle()
            kind = self._rng.random()
            if kind < 0.45:
                await self._single(keyed=False)
            elif kind < 0.65:
                await self._single(keyed=True)
            elif kind < 0.75:
                await self._twice_at_once()
            else:
                await self._batch()
            await asyncio.sleep(self._rng.random() * PAUSE_SECONDS)

    def _new(self, *, keyed: bool) -> tuple[str, dict[str, Any]]:
        self._field.marks += 1
        mark = f"task-{self._field.marks:08}"
        rng = self._rng
        body: dict[str, Any] = {
            "command": rng.choice(COMMANDS),
            "payload": {"mark": mark, "text": "x" * rng.choice((0, 100, 2_000))},
            "priority": rng.randrange(3),
            "maxAttempts": rng.choice((1, 2, 5, 5, 5)),
        }
        if rng.random() < 0.1:
            body["delaySeconds"] = 1
        if keyed:
            body["idempotencyKey"] = mark
        return mark, body

    def _log(self, mark: str, *, keyed: bool, batch: int = 0) -> Create:
        create = Create(mark, keyed, batch, now_ms())
        self._field.history.creates.append(create)
        return create

    def _acknowledge(self, create: Create, status: int, task: Any) -> None:
        create.answered_ms, create.status = now_ms(), status
        if task is not None:
            create.id = task["id"]
            self._field.remember(create.id)

    async def _attempt(self, wire: Wire, mark: str, body: dict[str, Any], *, keyed: bool) -> bool:
        """One request; whether its outcome is known."""
        create = self._log(mark, keyed=keyed)
        try:
            status, answer = await wire.post("/tasks", body)
        except Unknown:
            return False
        if self._field.expect("create", status, answer, 200, 201):
            self._acknowledge(create, status, answer)
        return status < 500

    async def _single(self, *, keyed: bool) -> None:
        mark, body = self._new(keyed=keyed)
        while not await self._attempt(self._wire, mark, body, keyed=keyed):
            if not keyed:
                return
            await asyncio.sleep(RETRY_SECONDS)
            await self._field.settle()
        if keyed and self._rng.random() < 0.2:
            await self._attempt(self._wire, mark, body, keyed=True)

    async def _twice_at_once(self) -> None:
        mark, body = self._new(keyed=True)
        await asyncio.gather(
            self._attempt(self._wire, mark, body, keyed=True), self._attempt(self._second, mark, body, keyed=True)
        )

    async def _batch(self) -> None:
        tasks = [self._new(keyed=self._rng.random() < 0.3) for _ in range(self._rng.randrange(2, 20))]
        for _, body in tasks:
            body["maxAttempts"] = MANY_ATTEMPTS
        self._field.batches += 1
        number = self._field.batches
        creates = [self._log(mark, keyed="idempotencyKey" in body, batch=number) for mark, body in tasks]
        try:
            status, answer = await self._wire.post("/tasks/batch", [body for _, body in tasks])
        except Unknown:
            return
        if self._field.expect("batch", status, answer, 200):
            for create, item in zip(creates, answer, strict=True):
                if "task" in item:
                    self._acknowledge(create, 200, item["task"])
                else:
                    self._field.history.oddities.append(f"batch item: {item}")


@dataclass(slots=True)
class Lease:
    """A delivery in a worker's hands."""

    task: str
    lease: str
    number: int
    until_ms: float


class Worker:
    """Claims tasks and does with them what workers do, and what they should not."""

    def __init__(self, field: Field, rng: Random, wire: Wire, name: str) -> None:
        self._field = field
        self._rng = rng
        self._wire = wire
        self._name = name
        self._sleepers: list[Lease] = []

    async def run(self) -> None:
        """Until the load stops."""
        while not self._field.stopping:
            await self._field.settle()
            for lease in await self._claim():
                await self._work(lease)
            await self._awake()
            await asyncio.sleep(self._rng.random() * PAUSE_SECONDS)

    async def drain(self) -> int:
        """Claim what is there and finish it at once; how many there were."""
        leases = await self._claim(count=100, wait_seconds=0, lease_seconds=20)
        if leases:
            await self._finish_together(leases)
        return len(leases)

    async def _claim(self, count: int = 0, wait_seconds: int = -1, lease_seconds: int = 0) -> list[Lease]:
        rng = self._rng
        count = count or rng.choice((1, 1, 5, 20))
        body: dict[str, Any] = {
            "commands": sorted(rng.sample(COMMANDS, rng.randrange(1, 4))) if lease_seconds == 0 else [],
            "leaseSeconds": lease_seconds or rng.choice((1, 1, 2, 3)),
            "waitSeconds": rng.choice((0, 1)) if wait_seconds < 0 else wait_seconds,
            "workerId": self._name,
        }
        path = "/tasks/claim"
        if count > 1:
            path, body["count"] = "/tasks/claim/batch", count
        try:
            status, answer = await self._wire.post(path, body)
        except Unknown:
            self._field.history.unknown_claims += count
            return []
        if status == 503:
            self._field.history.unknown_claims += count
        if not self._field.expect("claim", status, answer, 200, 204):
            return []
        tasks = answer["tasks"] if count > 1 else [answer]
        return [self._delivered(task, body["leaseSeconds"]) for task in tasks]

    def _delivered(self, task: dict[str, Any], lease_seconds: int) -> Lease:
        number = int(task["leaseId"].rpartition(":")[2])
        until_ms = _epoch_ms(task["leaseUntil"])
        self._field.history.deliveries.append(
            Delivery(
                task["id"],
                task["payload"]["mark"],
                number,
                task["attempts"],
                task["maxAttempts"],
                until_ms - lease_seconds * 1000,
                until_ms,
                now_ms(),
            )
        )
        return Lease(task["id"], task["leaseId"], number, until_ms)

    async def _work(self, lease: Lease) -> None:
        ways: tuple[tuple[float, Callable[[Lease], Awaitable[None]]], ...] = (
            (0.62, self._complete),
            (0.70, self._fail),
            (0.78, self._nack),
            (0.84, self._abandon),
            (0.91, self._beat_and_complete),
            (0.95, self._complete_twice),
            (0.98, self._oversleep),
        )
        chance = self._rng.random()
        for bound, way in ways:
            if chance < bound:
                await way(lease)
                return
        # Left alone: the lease expires.

    async def _complete(self, lease: Lease) -> None:
        await self._finish(lease, "COMPLETED")

    async def _fail(self, lease: Lease) -> None:
        await self._finish(lease, "FAILED")

    async def _beat_and_complete(self, lease: Lease) -> None:
        action, answer = await self._act(HEARTBEAT, lease, extendSeconds=self._rng.choice((1, 2)))
        if action.status == 200:
            action.until_ms = _epoch_ms(answer["leaseUntil"])
        await self._finish(lease, "COMPLETED")

    async def _nack(self, lease: Lease) -> None:
        delay: dict[str, Any] = self._rng.choice(({}, {"delaySeconds": 0}, {"delaySeconds": 1}))
        await self._act(NACK, lease, reason="not now", **delay)

    async def _abandon(self, lease: Lease) -> None:
        await self._act(ABANDON, lease)

    async def _complete_twice(self, lease: Lease) -> None:
        await self._finish(lease, "COMPLETED")
        await self._finish(lease, "COMPLETED")
        await self._finish(lease, "FAILED")

    async def _oversleep(self, lease: Lease) -> None:
        self._sleepers.append(lease)

    async def _awake(self) -> None:
        """What was slept over is tried all the same: nobody told this worker that its lease is gone."""
        while self._sleepers and self._sleepers[0].until_ms + 100 < now_ms():
            lease = self._sleepers.pop(0)
            await self._rng.choice((self._complete, self._nack, self._abandon, self._beat_and_complete))(lease)

    async def _finish(self, lease: Lease, status: str) -> None:
        """A result, sent again until there is an answer, as a worker should."""
        while True:
            action, _ = await self._act(RESULT, lease, value=status, status=status, result={"by": self._name})
            if action.status != UNKNOWN or self._field.stopping:
                return
            await asyncio.sleep(RETRY_SECONDS)
            await self._field.settle()

    async def _act(self, kind: str, lease: Lease, *, value: str = "", **fields: Any) -> tuple[Action, Any]:
        """One owner action, as it went, and the answer."""
        action = Action(kind, lease.task, lease.number, now_ms(), value)
        self._field.history.actions.append(action)
        body = {"workerId": self._name, "leaseId": lease.lease, **fields}
        try:
            status, answer = await self._wire.post(f"/tasks/{lease.task}/{kind}", body)
        except Unknown:
            return action, None
        self._field.expect(kind, status, answer, 200, 403, 404, 409)
        _settle(action, status)
        return action, answer

    async def _finish_together(self, leases: list[Lease]) -> None:
        actions = [Action(RESULT, lease.task, lease.number, now_ms(), "COMPLETED") for lease in leases]
        self._field.history.actions.extend(actions)
        items = [
            {"taskId": lease.task, "leaseId": lease.lease, "workerId": self._name, "status": "COMPLETED"}
            for lease in leases
        ]
        try:
            status, answer = await self._wire.post("/tasks/batch/results", items)
        except Unknown:
            return
        if self._field.expect("results", status, answer, 200):
            for action, item in zip(actions, answer, strict=True):
                code = item["error"]["code"] if "error" in item else ""
                if code not in STATUS_OF_CODE:
                    self._field.history.oddities.append(f"result item: {item}")
                else:
                    _settle(action, STATUS_OF_CODE[code])


class Reader:
    """Reads tasks that exist, with their own tenant's token and with a stranger's."""

    def __init__(self, field: Field, rng: Random, wire: Wire, stranger: Wire) -> None:
        self._field = field
        self._rng = rng
        self._wire = wire
        self._stranger = stranger

    async def run(self) -> None:
        """Until the load stops."""
        while not self._field.stopping:
            await self._field.settle()
            if self._field.known:
                with contextlib.suppress(Unknown):
                    await self._read(self._rng.choice(self._field.known))
            await asyncio.sleep(self._rng.random() * PAUSE_SECONDS)

    async def _read(self, task: str) -> None:
        sent_ms = now_ms()
        status, answer = await self._wire.get(f"/tasks/{task}")
        self._field.expect("read", status, answer, 200, 404)
        self._field.history.reads.append(Read(task, sent_ms, now_ms(), status))
        if self._rng.random() < 0.1:
            status, answer = await self._stranger.get(f"/tasks/{task}")
            self._field.expect("read by a stranger", status, answer, 404)


async def look_at_all(field: Field, wire: Wire) -> None:
    """Write down how every task ended."""
    for task in sorted(field.history.ids()):
        status, answer = await wire.get(f"/tasks/{task}")
        if field.expect("last look", status, answer, 200, 404) or status == 404:
            field.history.ends[task] = End(now_ms(), answer if status == 200 else None)


def _settle(action: Action, status: int) -> None:
    action.answered_ms = now_ms()
    action.status = status if status < 500 else UNKNOWN


def _epoch_ms(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp() * 1000
