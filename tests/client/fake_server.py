"""A small server that speaks both streams, keeps its tasks in memory, and breaks on command.

Owns what faults need: it can lose an event, lose its answer, hold answers back, refuse, drain, name a leader, and
forget a lease. It judges nothing and is no model of the real node's limits; real-node tests do that.
"""

import itertools
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from codeq._wire import producer_pb2, worker_pb2

TOKEN: Final = "the-token"
LOSE = "lose the event and the connection"
CUT = "take the event, lose its answer and the connection"
WAIT_SECONDS: Final = 20.0


class FakeTask:
    """A task and what became of it."""

    def __init__(self, task_id: str, command: str, payload: bytes, trace_parent: str = "") -> None:
        self.id = task_id
        self.command = command
        self.payload = payload
        self.trace_parent = trace_parent
        self.status = "PENDING"
        self.lease_id = ""
        self.result = b""
        self.error = ""
        self.attempts = 0
        self.nacks: list[tuple[int, str]] = []
        self.heartbeats = 0
        self.abandons = 0


class Stream:
    """One open stream: what it sends, in order, and how it is to end."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.greeted = False
        self.readys: deque[worker_pb2.Ready] = deque()
        self.leases: set[str] = set()

    def end(self, status: grpc.StatusCode, details: str = "", leader: str = "") -> None:
        """End it after what is queued."""
        self.out.put((status, details, leader))


class FakeServer:
    """Listens on a port of its own as soon as it is made; `stop` ends it."""

    def __init__(self, credentials: Any = None) -> None:
        self.lock = threading.Condition()
        self.tasks: dict[str, FakeTask] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.pending: deque[FakeTask] = deque()
        self.streams: list[Stream] = []
        self.seen: Counter[str] = Counter()
        """Events by kind."""
        self.batches: list[int] = []
        """Sizes of the batches of creates and of results."""
        self.connections = 0
        self.hellos: list[Any] = []
        self.fault: Callable[[str], str] = lambda _kind: ""
        """Asked for each event but Hello: nothing, LOSE or CUT."""
        self.refuse_hello: tuple[grpc.StatusCode, str, str] | None = None
        self.refuse: dict[str, str] = {}
        """The error message for creates by command, and for results of "result"."""
        self.silent = False
        """Take events and never answer."""
        self._ids = itertools.count(1)
        self._pool = ThreadPoolExecutor(64)
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers(
            [
                _service("producerpb.ProducerStream", self._producer, producer_pb2.ProducerEvent),
                _service("workerpb.WorkerStream", self._worker, worker_pb2.WorkerEvent),
            ]
        )
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"localhost:{self.port}"

    def stop(self) -> None:
        """End all streams and the server."""
        self.end_streams()
        self._server.stop(0).wait(WAIT_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # What a test does.

    def end_streams(self, status: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, leader: str = "") -> None:
        """End what is open now."""
        with self.lock:
            for stream in self.streams:
                stream.end(status, "the test ends it", leader)

    def add(self, command: str, payload: bytes = b"null", **fields: Any) -> FakeTask:
        """A task for workers."""
        with self.lock:
            task = FakeTask(f"task-{next(self._ids)}", command, payload, **fields)
            self.tasks[task.id] = task
            self.pending.append(task)
            self._serve()
            return task

    def take_lease(self, task: FakeTask) -> None:
        """Another worker has it now."""
        with self.lock:
            task.lease_id = "another"

    def wait_for(self, condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
        """Wait until something is so; it is looked at after every event."""
        with self.lock:
            assert self.lock.wait_for(condition, seconds), "it did not happen in time"

    # Streams.

    def _serve_stream(
        self, events: Iterator[Any], context: Any, handle: Callable[[Stream, Any], None]
    ) -> Iterator[Any]:
        stream = Stream(context)
        with self.lock:
            self.connections += 1
            self.streams.append(stream)
            self.lock.notify_all()
        threading.Thread(target=self._read, args=(stream, events, handle), daemon=True).start()
        try:
            while True:
                item = stream.out.get()
                if not isinstance(item, tuple):
                    yield item
                    continue
                status, details, leader = item
                if leader:
                    context.set_trailing_metadata((("codeq-leader", leader),))
                if status is not grpc.StatusCode.OK:
                    context.abort(status, details)
                return
        finally:
            with self.lock:
                if stream in self.streams:
                    self.streams.remove(stream)
                self.lock.notify_all()

    def _read(self, stream: Stream, events: Iterator[Any], handle: Callable[[Stream, Any], None]) -> None:
        try:
            for event in events:
                with self.lock:
                    if stream not in self.streams or not self._take(stream, event, handle):
                        return
                    self.lock.notify_all()
        except grpc.RpcError:
            stream.end(grpc.StatusCode.CANCELLED)
            return
        with self.lock:
            for task_id in stream.leases:
                self._give_back(self.tasks[task_id])
        stream.end(grpc.StatusCode.OK)

    def _take(self, stream: Stream, event: Any, handle: Callable[[Stream, Any], None]) -> bool:
        kind = event.WhichOneof("event")
        self.seen[kind] += 1
        if kind == "hello":
            self.hellos.append(event.hello)
            refusal = self.refuse_hello
            if refusal is None and event.hello.token != TOKEN:
                refusal = (grpc.StatusCode.UNAUTHENTICATED, "wrong token", "")
            if refusal is not None:
                stream.end(*refusal)
                return False
            handle(stream, event)
            return True
        fault = self.fault(kind)
        if fault == LOSE:
            self.streams.remove(stream)
            stream.end(grpc.StatusCode.UNAVAILABLE, "lost before")
            return False
        if fault == CUT or self.silent:
            sent, stream.out = stream.out, queue.SimpleQueue()
            handle(stream, event)
            stream.out = sent
        else:
            handle(stream, event)
        if fault == CUT:
            self.streams.remove(stream)
            stream.end(grpc.StatusCode.UNAVAILABLE, "lost after")
            return False
        return True

    # Producers.

    def _producer(self, events: Iterator[Any], context: Any) -> Iterator[Any]:
        return self._serve_stream(events, context, self._producer_event)

    def _producer_event(self, stream: Stream, event: Any) -> None:
        kind = event.WhichOneof("event")
        if kind == "hello":
            stream.out.put(producer_pb2.ServerEvent(hello_ack=producer_pb2.HelloAck(tenant_id="dev", subject="me")))
        elif kind == "create":
            stream.out.put(producer_pb2.ServerEvent(create_ack=self._create(event.create)))
        elif kind == "create_batch":
            acks = [self._create(each) for each in event.create_batch.tasks]
            self.batches.append(len(acks))
            stream.out.put(producer_pb2.ServerEvent(create_ack_batch=producer_pb2.CreateAckBatch(acks=acks)))

    def _create(self, create: Any) -> Any:
        refusal = self.refuse.get(create.command)
        if refusal:
            return producer_pb2.CreateAck(seq=create.seq, ok=False, error_message=refusal)
        key = (create.command, create.idempotency_key)
        task_id = self.keys.get(key)
        if task_id is None:
            task_id = self.keys[key] = f"task-{next(self._ids)}"
            self.tasks[task_id] = FakeTask(task_id, create.command, create.payload, create.trace_parent)
            self.pending.append(self.tasks[task_id])
            self._serve()
        return producer_pb2.CreateAck(seq=create.seq, ok=True, task_id=task_id)

    # Workers.

    def _worker(self, events: Iterator[Any], context: Any) -> Iterator[Any]:
        return self._serve_stream(events, context, self._worker_event)

    def _worker_event(self, stream: Stream, event: Any) -> None:
        kind = event.WhichOneof("event")
        put = stream.out.put
        if kind == "hello":
            put(worker_pb2.ServerEvent(hello_ack=worker_pb2.HelloAck(tenant_id="dev", worker_id=event.hello.worker_id)))
        elif kind == "ready":
            stream.readys.append(event.ready)
            self._serve()
        elif kind == "result":
            put(worker_pb2.ServerEvent(result_ack=self._result(event.result)))
        elif kind == "result_batch":
            acks = [self._result(each) for each in event.result_batch.results]
            self.batches.append(len(acks))
            put(worker_pb2.ServerEvent(result_ack_batch=worker_pb2.ResultAckBatch(acks=acks)))
        elif kind == "nack":
            put(worker_pb2.ServerEvent(nack_ack=self._nack(event.nack)))
        elif kind == "abandon":
            put(worker_pb2.ServerEvent(abandon_ack=self._abandon(event.abandon)))
        elif kind == "heartbeat":
            put(worker_pb2.ServerEvent(heartbeat_ack=self._heartbeat(event.heartbeat)))

    def _serve(self) -> None:
        """Give waiting tasks to waiting Readys, in order."""
        for stream in self.streams:
            while stream.readys:
                ready = stream.readys[0]
                tasks = [task for task in self.pending if task.command in ready.commands][: max(1, ready.count)]
                if not tasks:
                    break
                stream.readys.popleft()
                messages = [self._claim(stream, task) for task in tasks]
                if ready.count <= 1:
                    event = worker_pb2.ServerEvent(task=worker_pb2.TaskAssignment(task=messages[0]))
                else:
                    event = worker_pb2.ServerEvent(task_batch=worker_pb2.TaskBatch(tasks=messages))
                stream.out.put(event)

    def _claim(self, stream: Stream, task: FakeTask) -> Any:
        self.pending.remove(task)
        task.attempts += 1
        task.status = "CLAIMED"
        task.lease_id = f"lease-{next(self._ids)}"
        stream.leases.add(task.id)
        return worker_pb2.Task(
            id=task.id,
            command=task.command,
            payload=task.payload,
            max_attempts=5,
            attempts=task.attempts,
            lease_id=task.lease_id,
            trace_parent=task.trace_parent,
        )

    def _owned(self, message: Any) -> str:
        """Why an owner's action is refused, or nothing."""
        task = self.tasks[message.task_id]
        if task.status != "CLAIMED":
            return "not-claimed: the task is not claimed"
        return "" if task.lease_id == message.lease_id else "lease-lost: the lease is not held any more"

    def _result(self, message: Any) -> Any:
        task = self.tasks[message.task_id]
        recorded = (task.status, task.result, task.lease_id)
        error = "" if recorded == (message.status, message.result_json, message.lease_id) else self._owned(message)
        error = error or self.refuse.get("result", "")
        if not error:
            task.status, task.result, task.error = message.status, message.result_json, message.error
        return worker_pb2.ResultAck(task_id=task.id, ok=not error, error_message=error)

    def _nack(self, message: Any) -> Any:
        task = self.tasks[message.task_id]
        error = self._owned(message)
        if not error:
            task.nacks.append((message.delay_seconds, message.reason))
            task.status = "NACKED"
        return worker_pb2.NackAck(task_id=task.id, ok=not error, error_message=error)

    def _abandon(self, message: Any) -> Any:
        task = self.tasks[message.task_id]
        error = self._owned(message)
        if not error:
            self._give_back(task)
        return worker_pb2.AbandonAck(task_id=task.id, ok=not error, error_message=error)

    def _give_back(self, task: FakeTask) -> None:
        if task.status == "CLAIMED":
            task.status = "PENDING"
            task.attempts -= 1
            task.abandons += 1
            self.pending.append(task)

    def _heartbeat(self, message: Any) -> Any:
        task = self.tasks[message.task_id]
        error = self._owned(message)
        task.heartbeats += not error
        return worker_pb2.HeartbeatAck(task_id=task.id, ok=not error, error_message=error)


def _service(name: str, behavior: Callable[..., Any], event: Any) -> Any:
    handler = grpc.stream_stream_rpc_method_handler(
        behavior, request_deserializer=event.FromString, response_serializer=lambda message: message.SerializeToString()
    )
    return grpc.method_handlers_generic_handler(name, {"Stream": handler})
