"""Producers and workers on streams: what honest, slow, rude and broken peers do to the production sessions."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from appliance.auth.caller import PRODUCER, WORKER
from appliance.tasks.ids import id_text
from tests.simulation.clients import Client, Crowd
from tests.simulation.contract import Contract
from tests.simulation.node import Node
from tests.simulation.sessions import Pipe

GARBAGE = b"\xff\xff\xff"
READYS_MAX = 80
"""Without an answer, of one simulated worker: more than a peer that does not read may be given."""


class StreamClient(Client):
    """Opens a stream, uses it, and ends it one way or another; then opens the next."""

    kind = ""

    def __init__(self, crowd: Crowd, name: str, tenant: str) -> None:
        super().__init__(crowd, name, tenant)
        self.pipe: Pipe | None = None
        self._number = 0
        self._ending = False

    def act(self) -> None:
        node = self.world.node
        pipe = self.pipe
        if node is None or pipe is None or pipe.over or pipe.node is not node:
            self.pipe = None
            if node is not None:
                self._open(node)
        elif not self._ending:
            self._use(pipe)
        elif self.chance(0.1):
            pipe.reset()
        self.think()

    def wind_up(self) -> None:
        """The faults are over: whatever is owed must come now."""
        if self.pipe is not None and self.pipe.node is self.world.node:
            self.pipe.wind_up()

    def _open(self, node: Node) -> None:
        world, rng = self.world, self.rng
        self._number += 1
        self._ending = False
        contract = Contract(world, f"{self.name}/{self._number}", self.kind, self.tenant)
        pipe = self.pipe = Pipe(node, contract, world.rng(contract.name), self._heard, _nothing)
        now_seconds = world.wall_ms() / 1000
        expires = now_seconds + rng.choice((5.0, 60.0, 3_600.0, 1e9))
        contract.expires_seconds = expires
        if world.plan.age_seconds:
            contract.aged_seconds = now_seconds + 0.9 * world.plan.age_seconds
        world.pipes.append(pipe)
        world.log("stream-open", contract.name)
        pipe.push(partial(self._hello, f"{self.kind}|{self.tenant}|{expires!r}"), _nothing)

    def _use(self, pipe: Pipe) -> None:
        way = self.rng.random()
        if way < 0.02:
            pipe.half_close()
            self._ending = True
        elif way < 0.035:
            pipe.reset()
        elif way < 0.045:
            pipe.drain()
        elif way < 0.05:
            pipe.push(lambda: GARBAGE, partial(setattr, pipe.contract, "garbage", True))
            self._ending = True
        elif way < 0.08:
            pipe.reads = False
        elif way < 0.18:
            pipe.read_on()
        elif way < 0.19:
            pipe.crowd()
        else:
            self._work(pipe)

    def _hello(self, token: str) -> bytes:
        raise NotImplementedError

    def _work(self, pipe: Pipe) -> None:
        raise NotImplementedError

    def _heard(self, message: bytes) -> None:
        raise NotImplementedError


class StreamProducer(StreamClient):
    """Creates one by one and in batches."""

    kind = PRODUCER

    def __init__(self, crowd: Crowd, name: str, tenant: str) -> None:
        super().__init__(crowd, name, tenant)
        self._seq = 0

    def _hello(self, token: str) -> bytes:
        return pb.ProducerEvent(hello=pb.Hello(token=token)).SerializeToString()

    def _work(self, pipe: Pipe) -> None:
        rng = self.rng
        if self.chance(0.7):
            for _ in range(rng.choice((1, 1, 3, 6))):
                create = self._create()
                pipe.push(partial(_create_event, create), partial(_owe, pipe.contract, [create]))
        else:
            creates = [self._create() for _ in range(rng.randint(0, 5))]
            pipe.push(partial(_batch_event, creates), partial(_owe, pipe.contract, creates))

    def _create(self) -> dict[str, Any]:
        """The fields of the next create."""
        rng, plan = self.rng, self.plan
        self._seq += 1
        mark = self.world.next_mark()
        return {
            "seq": self._seq,
            "command": rng.choice(plan.commands),
            "payload": b'[%d,0,"%s"]' % (mark, b"x" * rng.randint(0, plan.payload_bytes)),
            "priority": rng.choice((*plan.priorities, *plan.priorities, 999)),
            "max_attempts": rng.choice(plan.attempts),
            "idempotency_key": f"key-{rng.randrange(plan.keys)}" if self.chance(0.2) else "",
            "delay_seconds": rng.choice((0, 0, 0, 0, 1, 15)),
        }

    def _heard(self, message: bytes) -> None:
        event = pb.ServerEvent.FromString(message)
        for ack in [event.create_ack] if event.HasField("create_ack") else event.create_ack_batch.acks:
            if ack.ok:
                self.crowd.heard_of(bytes.fromhex(ack.task_id.replace("-", "")), self.tenant)


def _create_event(create: dict[str, Any]) -> bytes:
    return pb.ProducerEvent(create=pb.CreateTask(**create)).SerializeToString()


def _batch_event(creates: list[dict[str, Any]]) -> bytes:
    tasks = [pb.CreateTask(**create) for create in creates]
    return pb.ProducerEvent(create_batch=pb.CreateTaskBatch(tasks=tasks)).SerializeToString()


def _owe(contract: Contract, creates: list[dict[str, Any]]) -> None:
    contract.seqs.update((create["seq"], pb.CreateTask(**create)) for create in creates)


class StreamWorker(StreamClient):
    """Asks for tasks and ends them in every way there is; some of it reads slowly or not at all."""

    kind = WORKER

    def __init__(self, crowd: Crowd, name: str, tenant: str) -> None:
        super().__init__(crowd, name, tenant)
        self._batch = self.rng.choice((2, 5))
        """One size of batches, so that Readys compare: a wider one fits whatever a narrower one does."""
        self._commands: list[tuple[str, ...]] = [(), *((command,) for command in self.plan.commands)]

    def _hello(self, token: str) -> bytes:
        return wb.WorkerEvent(hello=wb.Hello(token=token, worker_id=self.name)).SerializeToString()

    def _work(self, pipe: Pipe) -> None:
        contract, rng = pipe.contract, self.rng
        if self.chance(0.05):
            self._send(pipe, wb.WorkerEvent, _nothing)
        elif self.chance(0.1) and self.crowd.leases:
            self._meddle(pipe)
        elif contract.readys.total() < READYS_MAX:
            asked = rng.choice(self._commands), rng.choice((0, 0, self._batch))
            lease_seconds = max(1, rng.randint(*self.plan.lease_ms) // 1_000)
            ready, waits = partial(_ready_event, *asked, lease_seconds), partial(contract.waits, asked)
            for _ in range(rng.choice((1, 1, 3, 10))):
                if not pipe.over:
                    pipe.push(ready, waits)

    def _meddle(self, pipe: Pipe) -> None:
        """Something about a task that this stream may never have got."""
        task_id, _, _, _, number = self.rng.choice(self.crowd.leases)
        text = id_text(task_id)
        lease_id = self.rng.choice((f"{text}:{number}", f"{text}:999", "nonsense"))
        result = wb.Result(task_id=text, lease_id=lease_id, status=self.rng.choice(("COMPLETED", "DONE")))
        owed = partial(_count, pipe.contract.acks, ("result_ack", text))
        self._send(pipe, lambda: wb.WorkerEvent(result=result), owed)

    def _send(self, pipe: Pipe, event: Callable[[], wb.WorkerEvent], owed: Callable[[], None]) -> None:
        if not pipe.over:
            pipe.push(lambda: event().SerializeToString(), owed)

    def _heard(self, message: bytes) -> None:
        pipe = self.pipe
        event = wb.ServerEvent.FromString(message)
        tasks = [event.task.task] if event.HasField("task") else list(event.task_batch.tasks)
        if pipe is None:
            return
        for task in tasks:
            number = int(task.lease_id.rpartition(":")[2])
            task_id = bytes.fromhex(task.id.replace("-", ""))
            self.crowd.held((task_id, self.tenant, f"{self.tenant}-workers", self.name, number))
        if len(tasks) > 1 and self.chance(0.4):
            self._finish_together(pipe, tasks)
        else:
            for task in tasks:
                self._treat(pipe, task)

    def _finish_together(self, pipe: Pipe, tasks: list[wb.Task]) -> None:
        results = [wb.Result(task_id=task.id, lease_id=task.lease_id, status="COMPLETED") for task in tasks]

        def owed() -> None:
            for task in tasks:
                pipe.contract.acks["result_ack", task.id] += 1

        self._send(pipe, lambda: wb.WorkerEvent(result_batch=wb.ResultBatch(results=results)), owed)

    def _treat(self, pipe: Pipe, task: wb.Task) -> None:
        delay_ms = self.rng.choice((0, 5, 500, 1_500))
        way = self.rng.random()
        if way < 0.5:
            self._later(delay_ms, pipe, task, "result")
        elif way < 0.65:
            self._later(delay_ms, pipe, task, "nack")
        elif way < 0.75:
            self._later(delay_ms, pipe, task, "abandon")
        elif way < 0.85:
            self._later(0, pipe, task, "heartbeat")
            self._later(1_000, pipe, task, "result")
        elif way < 0.92:
            self._later(0, pipe, task, "result")
            self._later(delay_ms, pipe, task, self.rng.choice(("result", "nack", "abandon", "heartbeat")))

    def _later(self, delay_ms: int, pipe: Pipe, task: wb.Task, event: str) -> None:
        self.world.at(delay_ms, self._do, pipe, task, event)

    def _do(self, pipe: Pipe, task: wb.Task, kind: str) -> None:
        rng = self.rng
        fields: dict[str, Any] = {"task_id": task.id, "lease_id": rng.choice((task.lease_id, task.lease_id, ""))}
        if kind == "result":
            error = rng.choice(("", "", "it failed"))
            fields |= {"status": "FAILED" if error else "COMPLETED", "error": error, "result_json": b"1"}
        elif kind == "heartbeat":
            fields["extend_seconds"] = max(1, rng.randint(*self.plan.lease_ms) // 1_000)
        elif kind == "nack":
            fields["delay_seconds"] = rng.choice((0, 1))
        owed = partial(self._owed, pipe.contract, kind, task.id)
        self._send(pipe, lambda: wb.WorkerEvent(**{kind: _EVENTS[kind](**fields)}), owed)

    def _owed(self, contract: Contract, kind: str, text: str) -> None:
        contract.acks[f"{kind}_ack", text] += 1
        if kind == "abandon":
            contract.asked_back.add(bytes.fromhex(text.replace("-", "")))


_EVENTS: dict[str, Any] = {"result": wb.Result, "nack": wb.Nack, "abandon": wb.Abandon, "heartbeat": wb.Heartbeat}


@cache
def _ready_event(commands: tuple[str, ...], count: int, lease_seconds: int) -> bytes:
    ready = wb.Ready(commands=commands, lease_seconds=lease_seconds, count=count)
    return wb.WorkerEvent(ready=ready).SerializeToString()


def _count(counter: Any, key: Any) -> None:
    counter[key] += 1


def _nothing() -> None:
    """Nothing is owed, or nobody waits for it."""
