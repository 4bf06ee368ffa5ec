"""The clients of a campaign over gRPC streams: producers and workers that keep the same log as those over REST.

Owns the mix of events on a stream, which acknowledgement belongs to which of them, and what the end of a stream means
for those without one. Stock gRPC underneath, and messages made and read field by field, since a campaign does what no
client of ours would do. All choices come from a `Random` of their own.
"""

import asyncio
import contextlib
import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import grpc
import grpc.aio

from appliance.api.streams.app import PRODUCER_PATH, WORKER_PATH
from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from tests.campaigns.field import (
    COMMANDS,
    MANY_ATTEMPTS,
    QUEUE_PAUSED,
    RETRY_SECONDS,
    STATUS_OF_CODE,
    Field,
    epoch_ms,
    now_ms,
    settle,
)
from tests.campaigns.history import ABANDON, HEARTBEAT, NACK, RESULT, UNKNOWN, Action, Create, Delivery

OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
"""Each stream dials for itself: a shared pool would wait with the backoff of another's failure."""

ROUNDS_MAX: Final = 60
"""Of one stream, before it ends for a reason of its own."""
PAUSE_SECONDS: Final = 0.05
RESET_CHANCE: Final = 0.25
"""Of streams that end by themselves; the others end with END_STREAM and must be told everything they are owed."""
END_SECONDS: Final = 20.0

Message = pb.ProducerEvent | wb.WorkerEvent


class Lost(Exception):
    """The stream has ended without our will."""


class _Client:
    """One stream after another, until the load stops."""

    path: str

    def __init__(self, field: Field, rng: Random, port: int, token: str, name: str) -> None:
        self._field = field
        self._rng = rng
        self._port = port
        self._token = token
        self._name = name
        self._call: Any = None

    async def run(self) -> None:
        """Until the load stops."""
        while not self._field.stopping:
            await self._field.settle()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}", OPTIONS) as channel:
                self._call = channel.stream_stream(self.path, None, None)()
                await self._one_stream()
            await asyncio.sleep(RETRY_SECONDS)

    async def _one_stream(self) -> None:
        reader = asyncio.create_task(self._read())
        try:
            await self._send(self._hello())
            for _ in range(self._rng.randrange(1, ROUNDS_MAX)):
                if self._field.stopping or reader.done():
                    break
                await self._round()
                await asyncio.sleep(self._rng.random() * PAUSE_SECONDS)
            await self._end(reader)
        except Lost:
            pass
        finally:
            self._call.cancel()
            with contextlib.suppress(Lost, asyncio.CancelledError):
                await reader
        self._lost()

    async def _end(self, reader: "asyncio.Task[None]") -> None:
        if self._rng.random() < RESET_CHANCE or reader.done():
            return
        self._half_closing()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await asyncio.shield(reader)
                if await self._call.code() == grpc.StatusCode.OK:
                    self._ended_well()

    async def _send(self, event: Message) -> None:
        try:
            await self._call.write(event.SerializeToString())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not self._call.done():
                raise
            raise Lost from None

    async def _read(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            while (message := await self._call.read()) is not grpc.aio.EOF:
                self._heard(message)

    def _odd(self, text: str) -> None:
        self._field.history.oddities.append(f"{self._name}: {text}")

    # What a role does.

    def _hello(self) -> Message:
        raise NotImplementedError

    async def _round(self) -> None:
        raise NotImplementedError

    def _heard(self, message: bytes) -> None:
        raise NotImplementedError

    def _half_closing(self) -> None:
        """END_STREAM is about to be sent."""

    def _ended_well(self) -> None:
        """The stream has ended with OK: whatever it was owed has come."""
        raise NotImplementedError

    def _lost(self) -> None:
        """The stream is no more: what has no outcome yet gets none."""
        raise NotImplementedError


class StreamProducer(_Client):
    """Creates one by one and in batches; keyed creates without an answer are left for others to repeat."""

    path = PRODUCER_PATH

    def __init__(self, field: Field, rng: Random, port: int, token: str, name: str) -> None:
        super().__init__(field, rng, port, token, name)
        self._seq = 0
        self._open: dict[int, tuple[Create, dict[str, Any]]] = {}

    def _hello(self) -> Message:
        return pb.ProducerEvent(hello=pb.Hello(token=self._token))

    async def _round(self) -> None:
        rng, field = self._rng, self._field
        way = rng.random()
        if way < 0.3 and field.doubtful:
            mark, body = field.doubtful.pop()
            await self._send(pb.ProducerEvent(create=self._create(mark, body)))
        elif way < 0.7:
            for _ in range(rng.randrange(1, 6)):
                mark, body = field.new_task(rng, keyed=rng.random() < 0.3)
                await self._send(pb.ProducerEvent(create=self._create(mark, body)))
        else:
            field.batches += 1
            count = rng.randrange(2, 20)
            tasks = [field.new_task(rng, keyed=rng.random() < 0.3, attempts=MANY_ATTEMPTS) for _ in range(count)]
            creates = [self._create(mark, body, field.batches) for mark, body in tasks]
            await self._send(pb.ProducerEvent(create_batch=pb.CreateTaskBatch(tasks=creates)))

    def _create(self, mark: str, body: dict[str, Any], batch: int = 0) -> pb.CreateTask:
        self._seq += 1
        self._open[self._seq] = self._field.log(mark, body, batch), body
        return pb.CreateTask(
            seq=self._seq,
            command=body["command"],
            payload=json.dumps(body["payload"]).encode(),
            priority=body["priority"],
            max_attempts=body["maxAttempts"],
            idempotency_key=body.get("idempotencyKey", ""),
            delay_seconds=body.get("delaySeconds", 0),
        )

    def _heard(self, message: bytes) -> None:
        event = pb.ServerEvent.FromString(message)
        if event.HasField("create_ack"):
            self._acknowledged(event.create_ack)
        elif event.HasField("create_ack_batch"):
            for ack in event.create_ack_batch.acks:
                self._acknowledged(ack)
        elif not event.HasField("hello_ack"):
            self._odd(f"{event}")

    def _acknowledged(self, ack: pb.CreateAck) -> None:
        if ack.seq not in self._open:
            self._odd(f"seq {ack.seq} was acknowledged twice")
            return
        create, body = self._open.pop(ack.seq)
        code = ack.error_message.partition(":")[0]
        if ack.ok:
            self._field.acknowledge(create, 200, ack.task_id)
        elif code == QUEUE_PAUSED:
            self._field.refuse(create, code)
        elif code == "unavailable":
            self._in_doubt(create, body)
        elif code == "idempotency-conflict" and create.key in self._field.contested:
            self._field.acknowledge(create, 409, "")
        else:
            self._odd(f"create: {ack}")

    def _in_doubt(self, create: Create, body: dict[str, Any]) -> None:
        self._field.refuse(create, "")
        if create.key and create.key == create.mark:
            self._field.doubtful.append((create.mark, body))

    def _ended_well(self) -> None:
        if self._open:
            self._odd(f"ended with OK, and {len(self._open)} creates had no answer")

    def _lost(self) -> None:
        for create, body in self._open.values():
            self._in_doubt(create, body)
        self._open.clear()


@dataclass(slots=True)
class _Held:
    """A delivery in a stream worker's hands."""

    task: str
    lease: str
    number: int
    until_ms: float


@dataclass(slots=True)
class _Session:
    """What one stream of a worker has asked for and got."""

    lease_seconds: int
    waiting: deque[int] = field(default_factory=deque)
    """The counts of the Readys without an answer."""
    open: dict[tuple[str, str], deque[Action]] = field(default_factory=lambda: defaultdict(deque))
    """Events without their acknowledgement, in order, by kind and task."""
    held: dict[str, _Held] = field(default_factory=dict)
    fresh: list[_Held] = field(default_factory=list)
    """Deliveries that nothing was decided about yet."""
    half_closed_ms: float = 0


class StreamWorker(_Client):
    """Asks for tasks and does with them what workers do, and what they should not."""

    path = WORKER_PATH

    def _hello(self) -> Message:
        self._session = _Session(self._rng.choice((1, 1, 2, 3)))
        return wb.WorkerEvent(hello=wb.Hello(token=self._token, worker_id=self._name))

    async def _round(self) -> None:
        session, rng = self._session, self._rng
        while len(session.waiting) < 3:
            count = rng.choice((0, 0, 3, 10))
            commands = sorted(rng.sample(COMMANDS, rng.randrange(1, 4))) if rng.random() < 0.8 else []
            session.waiting.append(max(count, 1))
            ready = wb.Ready(commands=commands, lease_seconds=session.lease_seconds, count=count)
            await self._send(wb.WorkerEvent(ready=ready))
        fresh, session.fresh = session.fresh, []
        if len(fresh) > 2 and rng.random() < 0.5:
            await self._send(
                wb.WorkerEvent(result_batch=wb.ResultBatch(results=[self._result(h, "COMPLETED") for h in fresh]))
            )
        else:
            for held in fresh:
                await self._work(held)

    async def _work(self, held: _Held) -> None:
        rng = self._rng
        way = rng.random()
        if way < 0.55:
            await self._finish(held, "COMPLETED")
        elif way < 0.62:
            await self._finish(held, "FAILED")
        elif way < 0.72:
            event = wb.Nack(task_id=held.task, lease_id=held.lease, reason="not now", delay_seconds=rng.choice((0, 1)))
            self._act(NACK, held)
            await self._send(wb.WorkerEvent(nack=event))
        elif way < 0.82:
            self._act(ABANDON, held)
            # Without `lease_id` the lease is meant that this stream received last.
            lease_id = rng.choice((held.lease, ""))
            await self._send(wb.WorkerEvent(abandon=wb.Abandon(task_id=held.task, lease_id=lease_id)))
        elif way < 0.90:
            seconds = rng.choice((1, 2))
            action = self._act(HEARTBEAT, held)
            action.until_ms, action.until_max_ms = now_ms() + seconds * 1000, float(seconds * 1000)
            event_beat = wb.Heartbeat(task_id=held.task, lease_id=held.lease, extend_seconds=seconds)
            await self._send(wb.WorkerEvent(heartbeat=event_beat))
            await self._finish(held, "COMPLETED")
        elif way < 0.94:
            await self._finish(held, "COMPLETED")
            await self._finish(held, "COMPLETED")
            await self._finish(held, "FAILED")
        # Left alone: the lease expires, or END_STREAM gives it back.

    async def _finish(self, held: _Held, status: str) -> None:
        await self._send(wb.WorkerEvent(result=self._result(held, status)))

    def _result(self, held: _Held, status: str) -> wb.Result:
        self._act(RESULT, held, status)
        return wb.Result(task_id=held.task, lease_id=held.lease, status=status, result_json=b'{"by": "stream"}')

    def _act(self, kind: str, held: _Held, value: str = "") -> Action:
        action = Action(kind, held.task, held.number, now_ms(), value)
        self._field.history.actions.append(action)
        self._session.open[kind, held.task].append(action)
        return action

    def _heard(self, message: bytes) -> None:
        event = wb.ServerEvent.FromString(message)
        kind = event.WhichOneof("event")
        if kind == "task":
            self._delivered([event.task.task])
        elif kind == "task_batch":
            self._delivered(list(event.task_batch.tasks))
        elif kind == "result_ack_batch":
            for ack in event.result_ack_batch.acks:
                self._acknowledged(RESULT, ack)
        elif kind in _KIND_OF_ACK:
            self._acknowledged(_KIND_OF_ACK[kind], getattr(event, kind))
        elif kind != "hello_ack":
            self._odd(f"{event}")

    def _delivered(self, tasks: list[wb.Task]) -> None:
        session, history = self._session, self._field.history
        wanted = max(session.waiting, default=0)
        if not tasks or len(tasks) > wanted:
            self._odd(f"{len(tasks)} tasks came, and Readys for {list(session.waiting)} were waiting")
            return
        # Which Ready was meant does not show: one that fits.
        session.waiting.remove(min(count for count in session.waiting if count >= len(tasks)))
        for task in tasks:
            number, until_ms = int(task.lease_id.rpartition(":")[2]), epoch_ms(task.lease_until)
            claimed_ms = until_ms - session.lease_seconds * 1000
            mark = json.loads(task.payload)["mark"]
            history.deliveries.append(
                Delivery(task.id, mark, number, task.attempts, task.max_attempts, claimed_ms, until_ms, now_ms())
            )
            held = _Held(task.id, task.lease_id, number, until_ms)
            session.held[task.id] = held
            session.fresh.append(held)
            if session.half_closed_ms:
                self._given_back(held)

    def _acknowledged(self, kind: str, ack: Any) -> None:
        session = self._session
        actions = session.open.get((kind, ack.task_id))
        if not actions:
            self._odd(f"{kind} of {ack.task_id} was acknowledged, and none was open")
            return
        action = actions.popleft()
        code = ack.error_message.partition(":")[0]
        if code == "unavailable":
            settle(action, UNKNOWN)
        elif code not in STATUS_OF_CODE:
            self._odd(f"{kind}: {ack}")
        else:
            settle(action, STATUS_OF_CODE[code])
            if kind == HEARTBEAT:
                action.until_max_ms += action.answered_ms
        held = session.held.get(ack.task_id)
        if kind != HEARTBEAT and action.status == 200 and held is not None and held.number == action.number:
            del session.held[ack.task_id]

    def _half_closing(self) -> None:
        self._session.half_closed_ms = now_ms()
        for held in self._session.held.values():
            self._given_back(held)

    def _given_back(self, held: _Held) -> None:
        """What is held goes back with the end of the stream; nobody says so, so the outcome stays unknown."""
        action = Action(ABANDON, held.task, held.number, self._session.half_closed_ms)
        self._field.history.actions.append(action)

    def _ended_well(self) -> None:
        if any(self._session.open.values()):
            self._odd("ended with OK, and not every event was acknowledged")

    def _lost(self) -> None:
        # Each Ready without an answer may have taken tasks that never arrived.
        self._field.history.unknown_claims += sum(self._session.waiting)


_KIND_OF_ACK: Final = {"result_ack": RESULT, "heartbeat_ack": HEARTBEAT, "nack_ack": NACK, "abandon_ack": ABANDON}
