"""A mixed load over REST and the streams whose clients write down what they were told, the moment they were.

Owns the clients. Everything that is asked for is noted before it is sent, every acknowledgement when it has come, so a
note of one is a promise that the node has made. They judge nothing but statuses that no rule allows. What goes wrong on
the way, and 503, are outcomes like any other: the request may have been carried out.
"""

import asyncio
import contextlib
import json
from collections import Counter
from random import Random
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from codeq._wire import producer_pb2 as producing
from codeq._wire import worker_pb2 as working
from tests.campaigns.wire import Unknown, Wire
from tests.e2e.grpc_peer import PRODUCER as PRODUCER_PATH
from tests.e2e.grpc_peer import WORKER as WORKER_PATH
from tests.e2e.node import Node

TENANT: Final = "storage"
COMMANDS: Final = ("mail", "image", "report")
LEASE_SECONDS: Final = 60
RETRY_SECONDS: Final = 0.05
ANSWER_SECONDS: Final = 20.0
"""On a stream: longer than any answer takes, unless the node has lost it."""
CHANNEL_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
TEXT_BYTES: Final = (0, 0, 50, 300, 2_000, 6_000)
"""From rows of which many fit a page to those that take pages of their own."""

CREATING: Final = "creating"
CREATED: Final = "created"
CLAIMED: Final = "claimed"
FINISHING: Final = "finishing"
FINISHED: Final = "finished"
RETURNED: Final = "returned"
ODD: Final = "odd"
GROUP: Final = "group"
COPIED: Final = "copied"
BACKING_UP: Final = "backing up"
BACKED_UP: Final = "backed up"


class Sink(Protocol):
    """Where notes go."""

    def add(self, what: str, **facts: Any) -> None:
        """Note something."""
        ...


class Load:
    """The clients of one node. `operations` ends it after about so many requests; 0: only `stop` does."""

    def __init__(self, node: Node, sink: Sink, seed: str, *, operations: int = 0, pause_seconds: float = 0.0) -> None:
        self.counts: Counter[str] = Counter()
        self._target = f"127.0.0.1:{node.port}"
        self._port = node.port
        self._producer = node.producer(TENANT)
        self._worker = node.worker(TENANT)
        self._sink = sink
        self._seed = seed
        self.left = operations or 1 << 60
        self._pause_seconds = pause_seconds
        self._marks = 0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End it soon."""
        self._stopping.set()

    async def run(self, rest: int = 3, producers: int = 1, workers: int = 2) -> None:
        """So many clients of each kind, until it is stopped or all is done."""
        async with asyncio.TaskGroup() as clients:
            busy = [clients.create_task(self._rest(number)) for number in range(rest)]
            busy += [clients.create_task(self._again(self._produce, number)) for number in range(producers)]
            idle = [clients.create_task(self._again(self._work, number)) for number in range(workers)]
            await asyncio.wait(busy)
            for each in idle:
                each.cancel()

    def _random(self, part: str) -> Random:
        return Random(f"{self._seed}/{part}")

    def _goes_on(self) -> bool:
        self.left -= 1
        return self.left > 0 and not self._stopping.is_set()

    async def _breathe(self, seconds: float = 0.0) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds or self._pause_seconds):
                await self._stopping.wait()

    def _note(self, what: str, **facts: Any) -> None:
        self.counts[what] += 1
        self._sink.add(what, **facts)

    def _new(self, rng: Random) -> dict[str, Any]:
        self._marks += 1
        mark = f"{self._seed}-{self._marks}"
        task: dict[str, Any] = {
            "command": rng.choice(COMMANDS),
            "payload": {"mark": mark, "text": rng.choice("abc") * rng.choice(TEXT_BYTES)},
            "priority": rng.randrange(3),
            "maxAttempts": 10,
        }
        if rng.random() < 0.3:
            task["idempotencyKey"] = mark
        self._note(CREATING, mark=mark)
        return task

    def _created(self, task_id: str, task: dict[str, Any]) -> None:
        self._note(CREATED, id=task_id, command=task["command"], payload=task["payload"])

    # REST.

    async def _rest(self, number: int) -> None:
        rng = self._random(f"rest {number}")
        producer, worker = Wire(self._port, self._producer), Wire(self._port, self._worker)
        try:
            while self._goes_on():
                try:
                    await rng.choice((self._create, self._create_batch, self._claim))(rng, producer, worker)
                except Unknown:
                    self.counts["unknown"] += 1
                    await self._breathe(RETRY_SECONDS)
                await self._breathe()
        finally:
            producer.close()
            worker.close()

    def _went_well(self, what: str, status: int, answer: Any) -> bool:
        if status in (200, 201):
            return True
        if status == 503:
            self.counts["unavailable"] += 1
        elif status != 204:
            self._note(ODD, text=f"{what}: {status} {answer}")
        return False

    async def _create(self, rng: Random, producer: Wire, _worker: Wire) -> None:
        task = self._new(rng)
        status, answer = await producer.post("/tasks", task)
        if self._went_well("create", status, answer):
            self._created(answer["id"], task)

    async def _create_batch(self, rng: Random, producer: Wire, _worker: Wire) -> None:
        tasks = [self._new(rng) for _ in range(rng.randrange(2, 12))]
        status, answer = await producer.post("/tasks/batch", tasks)
        if self._went_well("batch", status, answer):
            for task, item in zip(tasks, answer, strict=True):
                if "task" in item:
                    self._created(item["task"]["id"], task)
                elif item["error"]["code"] != "unavailable":
                    self._note(ODD, text=f"batch item: {item}")

    async def _claim(self, rng: Random, _producer: Wire, worker: Wire) -> None:
        asked = {"commands": [], "leaseSeconds": LEASE_SECONDS, "waitSeconds": 0, "count": rng.randrange(2, 10)}
        status, answer = await worker.post("/tasks/claim/batch", asked)
        if self._went_well("claim", status, answer):
            for task in answer["tasks"]:
                self._claimed(task["id"], task["leaseId"])
            for task in answer["tasks"]:
                await self._settle(rng, worker, task["id"], task["leaseId"])

    def _claimed(self, task_id: str, lease_id: str) -> None:
        self._note(CLAIMED, id=task_id, lease=_number(lease_id))

    async def _settle(self, rng: Random, worker: Wire, task_id: str, lease_id: str) -> None:
        chance = rng.random()
        if chance < 0.7:
            result = {"lease": lease_id, "status": rng.choice(("COMPLETED", "FAILED"))}
            self._note(FINISHING, id=task_id)
            body = {"leaseId": lease_id, "status": result["status"], "result": result}
            status, answer = await worker.post(f"/tasks/{task_id}/result", body)
            if self._went_well("result", status, answer):
                self._note(FINISHED, id=task_id, status=result["status"], result=result)
        elif chance < 0.9:
            kind = rng.choice(("nack", "abandon", "heartbeat"))
            status, answer = await worker.post(f"/tasks/{task_id}/{kind}", {"leaseId": lease_id})
            if self._went_well(kind, status, answer) and kind != "heartbeat":
                self._note(RETURNED, id=task_id, lease=_number(lease_id))

    # The streams.

    async def _again(self, client: Any, number: int) -> None:
        """A stream, and another one when it breaks."""
        rng = self._random(f"{client.__name__} {number}")
        while self._goes_on():
            async with grpc.aio.insecure_channel(self._target, CHANNEL_OPTIONS) as channel:
                try:
                    await client(rng, channel)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError, EOFError):
                    self.counts["streams lost"] += 1
            await self._breathe(RETRY_SECONDS)

    async def _produce(self, rng: Random, channel: Any) -> None:
        call = _call(channel, PRODUCER_PATH, producing.ProducerEvent, producing.ServerEvent)
        await call.write(producing.ProducerEvent(hello=producing.Hello(token=self._producer)))
        await _read(call)
        while self._goes_on():
            tasks = [self._new(rng) for _ in range(rng.choice((1, 1, 4, 16)))]
            creates = [_create_task(seq, task) for seq, task in enumerate(tasks)]
            if len(creates) == 1:
                await call.write(producing.ProducerEvent(create=creates[0]))
            else:
                batch = producing.CreateTaskBatch(tasks=creates)
                await call.write(producing.ProducerEvent(create_batch=batch))
            await self._take_creates(call, tasks)
            await self._breathe()
        await call.done_writing()

    async def _take_creates(self, call: Any, tasks: list[dict[str, Any]]) -> None:
        left = len(tasks)
        while left:
            event = await _read(call)
            for ack in [event.create_ack] if event.HasField("create_ack") else event.create_ack_batch.acks:
                left -= 1
                if ack.ok:
                    self._created(ack.task_id, tasks[ack.seq])
                elif ack.error_message.startswith("unavailable"):
                    self.counts["unavailable"] += 1
                else:
                    self._note(ODD, text=f"create on a stream: {ack.error_message}")

    async def _work(self, rng: Random, channel: Any) -> None:
        call = _call(channel, WORKER_PATH, working.WorkerEvent, working.ServerEvent)
        await call.write(working.WorkerEvent(hello=working.Hello(token=self._worker)))
        await _read(call)
        while self._goes_on():
            ready = working.Ready(lease_seconds=LEASE_SECONDS, count=rng.choice((1, 5)))
            await call.write(working.WorkerEvent(ready=ready))
            # There may be no work for long: the load's end ends this wait.
            event = await call.read()
            if event is grpc.aio.EOF:
                raise EOFError
            tasks = [event.task.task] if event.HasField("task") else list(event.task_batch.tasks)
            for task in tasks:
                self._claimed(task.id, task.lease_id)
            for task in tasks:
                await self._settle_on_stream(rng, call, task)
            await self._breathe()
        await call.done_writing()

    async def _settle_on_stream(self, rng: Random, call: Any, task: working.Task) -> None:
        chance = rng.random()
        if chance < 0.75:
            result = {"lease": task.lease_id, "status": rng.choice(("COMPLETED", "FAILED"))}
            self._note(FINISHING, id=task.id)
            sent = working.Result(
                task_id=task.id,
                status=result["status"],
                result_json=json.dumps(result).encode(),
                lease_id=task.lease_id,
            )
            await call.write(working.WorkerEvent(result=sent))
            if self._agreed((await _read(call)).result_ack):
                self._note(FINISHED, id=task.id, status=result["status"], result=result)
        elif chance < 0.85:
            await call.write(working.WorkerEvent(nack=working.Nack(task_id=task.id, lease_id=task.lease_id)))
            if self._agreed((await _read(call)).nack_ack):
                self._note(RETURNED, id=task.id, lease=_number(task.lease_id))
        else:
            await call.write(working.WorkerEvent(abandon=working.Abandon(task_id=task.id, lease_id=task.lease_id)))
            if self._agreed((await _read(call)).abandon_ack):
                self._note(RETURNED, id=task.id, lease=_number(task.lease_id))

    def _agreed(self, ack: Any) -> bool:
        if ack.ok:
            return True
        if ack.error_message.startswith("unavailable"):
            self.counts["unavailable"] += 1
        else:
            self._note(ODD, text=f"on a worker's stream: {ack}")
        return False


def _number(lease_id: str) -> int:
    return int(lease_id.rpartition(":")[2])


def _create_task(seq: int, task: dict[str, Any]) -> producing.CreateTask:
    return producing.CreateTask(
        seq=seq,
        command=task["command"],
        payload=json.dumps(task["payload"]).encode(),
        priority=task["priority"],
        max_attempts=task["maxAttempts"],
        idempotency_key=task.get("idempotencyKey", ""),
    )


def _call(channel: Any, path: str, sent: Any, received: Any) -> Any:
    return channel.stream_stream(
        path, request_serializer=sent.SerializeToString, response_deserializer=received.FromString
    )()


async def _read(call: Any) -> Any:
    async with asyncio.timeout(ANSWER_SECONDS):
        event = await call.read()
    if event is grpc.aio.EOF:
        raise EOFError
    return event
