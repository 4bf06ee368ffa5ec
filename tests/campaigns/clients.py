"""The clients of a campaign over REST: producers, workers and readers that keep a log of all they send and hear.

Owns the mix of that load. They judge nothing but statuses that no rule allows, and don't know which version of HTTP
their wires speak. All of their choices come from a `Random` of their own.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.campaigns.field import (
    COMMANDS,
    MANY_ATTEMPTS,
    PAUSE_SECONDS,
    RETRY_SECONDS,
    STATUS_OF_CODE,
    Field,
    epoch_ms,
    now_ms,
    settle,
)
from tests.campaigns.history import (
    ABANDON,
    HEARTBEAT,
    NACK,
    RESULT,
    UNKNOWN,
    Action,
    Delivery,
    EmptyClaim,
    End,
    Read,
)
from tests.campaigns.wire import Unknown, Wire


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
            await self._repeat_doubtful()
            await asyncio.sleep(self._rng.random() * PAUSE_SECONDS)
        await self._repeat_doubtful()

    async def _attempt(self, wire: Wire, mark: str, body: dict[str, Any]) -> bool:
        """One request; whether its outcome is known."""
        field = self._field
        create = field.log(mark, body)
        try:
            status, answer = await wire.post("/tasks", body)
        except Unknown:
            return field.refuse(create, "")
        conflict = (409,) if create.key in field.contested else ()
        if field.expect("create", status, answer, 200, 201, *conflict):
            field.acknowledge(create, status, answer["id"])
        elif status == 409:
            field.acknowledge(create, status, "")
        elif status == 503:
            return field.refuse(create, answer["code"])
        return status < 500

    async def _single(self, *, keyed: bool) -> None:
        mark, body = self._field.new_task(self._rng, keyed=keyed)
        await self._insist(mark, body)
        if keyed and self._rng.random() < 0.2:
            await self._attempt(self._wire, mark, body)
        elif keyed and self._rng.random() < 0.1:
            # Another request with the key of the first: a conflict until the first has been swept.
            self._field.contested.add(mark)
            payload = {"mark": f"{mark}-other"}
            await self._attempt(self._wire, f"{mark}-other", {**body, "payload": payload, "priority": 7})

    async def _insist(self, mark: str, body: dict[str, Any]) -> None:
        while not await self._attempt(self._wire, mark, body):
            if "idempotencyKey" not in body:
                return
            await asyncio.sleep(RETRY_SECONDS)
            await self._field.settle()

    async def _repeat_doubtful(self) -> None:
        while self._field.doubtful:
            await self._insist(*self._field.doubtful.pop())

    async def _twice_at_once(self) -> None:
        mark, body = self._field.new_task(self._rng, keyed=True)
        await asyncio.gather(self._attempt(self._wire, mark, body), self._attempt(self._second, mark, body))

    async def _batch(self) -> None:
        rng, field = self._rng, self._field
        count = rng.randrange(2, 20)
        tasks = [field.new_task(rng, keyed=rng.random() < 0.3, attempts=MANY_ATTEMPTS) for _ in range(count)]
        field.batches += 1
        number = field.batches
        creates = [field.log(mark, body, number) for mark, body in tasks]
        try:
            status, answer = await self._wire.post("/tasks/batch", [body for _, body in tasks])
        except Unknown:
            status, answer = 503, None
        if not field.expect("batch", status, answer, 200):
            answer = [{"error": {"code": ""}}] * count
        for create, item in zip(creates, answer, strict=True):
            if "task" in item:
                field.acknowledge(create, 200, item["task"]["id"])
            elif not field.refuse(create, item["error"]["code"]) and status == 200:
                field.history.oddities.append(f"batch item: {item}")


@dataclass(slots=True)
class Lease:
    """A delivery in a worker's hands."""

    task: str
    lease: str
    number: int
    until_ms: float


class Worker:
    """Claims tasks and does with them what workers do, and what they should not."""

    def __init__(self, field: Field, rng: Random, wire: Wire, name: str, strangers: Field) -> None:
        self._field = field
        self._rng = rng
        self._wire = wire
        self._name = name
        self._strangers = strangers
        self._sleepers: list[Lease] = []

    async def run(self) -> None:
        """Until the load stops."""
        while not self._field.stopping:
            await self._field.settle()
            for lease in await self._claim():
                await self._work(lease)
            await self._awake()
            if self._rng.random() < 0.05:
                await self._trespass()
            await asyncio.sleep(self._rng.random() * PAUSE_SECONDS)

    async def _trespass(self) -> None:
        """Q19: what belongs to another tenant is not there, whatever is asked of it."""
        if not self._strangers.known:
            return
        task, kind = self._rng.choice(self._strangers.known), self._rng.choice((RESULT, NACK, ABANDON, HEARTBEAT))
        body = {"leaseId": f"{task}:1", "workerId": self._name, **({"status": "FAILED"} if kind == RESULT else {})}
        with contextlib.suppress(Unknown):
            status, answer = await self._wire.post(f"/tasks/{task}/{kind}", body)
            self._field.expect(f"{kind} of another tenant's task", status, answer, 404)

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
            "commands": sorted(rng.sample(COMMANDS, rng.randrange(1, 4)))
            if not lease_seconds and rng.random() < 0.8
            else [],
            "leaseSeconds": lease_seconds or rng.choice((1, 1, 2, 3)),
            "waitSeconds": rng.choice((0, 1)) if wait_seconds < 0 else wait_seconds,
            "workerId": self._name,
        }
        path = "/tasks/claim"
        if count > 1:
            path, body["count"] = "/tasks/claim/batch", count
        sent_ms = now_ms()
        try:
            status, answer = await self._wire.post(path, body)
        except Unknown:
            self._field.history.unknown_claims += count
            return []
        if status == 503:
            self._field.history.unknown_claims += count
        if not self._field.expect("claim", status, answer, 200, 204):
            if status == 204:
                self._empty(tuple(body["commands"]) or COMMANDS, sent_ms)
            return []
        tasks = answer["tasks"] if count > 1 else [answer]
        if not tasks:
            self._empty(tuple(body["commands"]) or COMMANDS, sent_ms)
        return [self._delivered(task, body["leaseSeconds"]) for task in tasks]

    def _empty(self, commands: tuple[str, ...], sent_ms: float) -> None:
        queues = tuple(map(self._field.queue, commands))
        self._field.history.empty_claims.append(EmptyClaim(queues, sent_ms, now_ms()))

    def _delivered(self, task: dict[str, Any], lease_seconds: int) -> Lease:
        number = int(task["leaseId"].rpartition(":")[2])
        until_ms = epoch_ms(task["leaseUntil"])
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
            action.until_ms = epoch_ms(answer["leaseUntil"])
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
        settle(action, status)
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
                    settle(action, STATUS_OF_CODE[code])


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


async def look_at_all(field: Field, wires: Sequence[Wire]) -> None:
    """Write down how every task ended."""
    tasks = iter(sorted(field.history.ids()))

    async def look(wire: Wire) -> None:
        for task in tasks:
            status, answer = await wire.get(f"/tasks/{task}")
            if field.expect("last look", status, answer, 200, 404) or status == 404:
                found = answer if status == 200 else None
                ended_ms = epoch_ms(found["completedAt"]) if found and "completedAt" in found else 0
                field.history.ends[task] = End(now_ms(), found, ended_ms)

    await asyncio.gather(*map(look, wires))
