"""A server as a few dictionaries, for the cores: it takes bytes, answers with events, and its connection can be cut.

Time is a number that the test moves; a lease ends when it says so. Nothing here is random.
"""

from collections import deque
from typing import Any

from codeq._wire import producer_pb2, worker_pb2


class Connection:
    """Both directions between a core and the model: bytes that were written and events that were not read yet."""

    def __init__(self) -> None:
        self.inbox: deque[bytes] = deque()
        self.outbox: deque[Any] = deque()


class ProducerModel:
    """Creates by key."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, str], str] = {}
        self.payloads: dict[str, bytes] = {}
        self.unavailable = False
        self.connection = Connection()

    def serve(self) -> None:
        """Take one event and answer it."""
        event = producer_pb2.ProducerEvent.FromString(self.connection.inbox.popleft())
        kind = event.WhichOneof("event")
        put = self.connection.outbox.append
        if kind == "hello":
            put(producer_pb2.ServerEvent(hello_ack=producer_pb2.HelloAck(tenant_id="t")))
        elif kind == "create":
            put(producer_pb2.ServerEvent(create_ack=self._create(event.create)))
        else:
            acks = [self._create(each) for each in event.create_batch.tasks]
            put(producer_pb2.ServerEvent(create_ack_batch=producer_pb2.CreateAckBatch(acks=acks)))

    def _create(self, create: producer_pb2.CreateTask) -> producer_pb2.CreateAck:
        key = (create.command, create.idempotency_key)
        if key not in self.ids:
            if self.unavailable:
                return producer_pb2.CreateAck(seq=create.seq, ok=False, error_message="unavailable: later")
            self.ids[key] = f"task-{len(self.ids)}"
            self.payloads[self.ids[key]] = create.payload
        return producer_pb2.CreateAck(seq=create.seq, ok=True, task_id=self.ids[key])


class ModelTask:
    """A task of the model."""

    def __init__(self, task_id: str) -> None:
        self.id = task_id
        self.lease_id = ""
        self.until = 0.0
        self.status = "PENDING"
        self.result = b""
        self.deliveries = 0
        self.abandons = 0


class WorkerModel:
    """Tasks, leases and waiting Readys."""

    def __init__(self, count: int) -> None:
        self.tasks = {f"task-{number}": ModelTask(f"task-{number}") for number in range(count)}
        self.readys: deque[int] = deque()
        self.requested_max = 0
        self.connection = Connection()
        self._leases = 0

    def cut(self) -> None:
        """The connection is lost: waiting Readys with it, leases stay."""
        self.readys.clear()
        self.connection = Connection()

    def serve(self, now: float) -> None:
        """Take one event and answer it."""
        event = worker_pb2.WorkerEvent.FromString(self.connection.inbox.popleft())
        kind = event.WhichOneof("event")
        put = self.connection.outbox.append
        if kind == "hello":
            put(worker_pb2.ServerEvent(hello_ack=worker_pb2.HelloAck(worker_id="w")))
        elif kind == "ready":
            self.readys.append(event.ready.count)
            self.requested_max = max(self.requested_max, sum(self.readys))
        elif kind == "result":
            put(worker_pb2.ServerEvent(result_ack=self._result(now, event.result)))
        elif kind == "result_batch":
            acks = [self._result(now, each) for each in event.result_batch.results]
            put(worker_pb2.ServerEvent(result_ack_batch=worker_pb2.ResultAckBatch(acks=acks)))
        elif kind == "nack":
            error = self._give_back(now, event.nack)
            ack = worker_pb2.NackAck(task_id=event.nack.task_id, ok=not error, error_message=error)
            put(worker_pb2.ServerEvent(nack_ack=ack))
        elif kind == "abandon":
            error = self._give_back(now, event.abandon)
            self.tasks[event.abandon.task_id].abandons += not error
            abandoned = worker_pb2.AbandonAck(task_id=event.abandon.task_id, ok=not error, error_message=error)
            put(worker_pb2.ServerEvent(abandon_ack=abandoned))
        else:
            error = self._heartbeat(now, event.heartbeat)
            beat = worker_pb2.HeartbeatAck(task_id=event.heartbeat.task_id, ok=not error, error_message=error)
            put(worker_pb2.ServerEvent(heartbeat_ack=beat))

    def deliver(self, now: float, most: int) -> None:
        """Answer the oldest Ready with what is claimable, at most so many; never with nothing."""
        claimable = [task for task in self.tasks.values() if self._claimable(now, task)]
        if not self.readys or not claimable:
            return
        count = self.readys.popleft()
        claimed = [self._claim(now, task) for task in claimable[: max(1, min(count, most))]]
        if count <= 1:
            event = worker_pb2.ServerEvent(task=worker_pb2.TaskAssignment(task=claimed[0]))
        else:
            event = worker_pb2.ServerEvent(task_batch=worker_pb2.TaskBatch(tasks=claimed))
        self.connection.outbox.append(event)

    def _claimable(self, now: float, task: ModelTask) -> bool:
        return task.status == "PENDING" or (task.status == "CLAIMED" and now >= task.until)

    def _claim(self, now: float, task: ModelTask) -> worker_pb2.Task:
        self._leases += 1
        task.status = "CLAIMED"
        task.lease_id = f"lease-{self._leases}"
        task.until = now + LEASE_SECONDS
        task.deliveries += 1
        return worker_pb2.Task(id=task.id, command="work", lease_id=task.lease_id, payload=b"1", attempts=1)

    def _refusal(self, now: float, task: ModelTask, lease_id: str) -> str:
        if task.status != "CLAIMED":
            return "not-claimed: it is not claimed"
        return "" if task.lease_id == lease_id and now < task.until else "lease-lost: no"

    def _result(self, now: float, result: worker_pb2.Result) -> worker_pb2.ResultAck:
        task = self.tasks[result.task_id]
        repeat = (task.status, task.result, task.lease_id) == (result.status, result.result_json, result.lease_id)
        error = "" if repeat else self._refusal(now, task, result.lease_id)
        if not error:
            task.status, task.result = result.status, result.result_json
        return worker_pb2.ResultAck(task_id=task.id, ok=not error, error_message=error)

    def _give_back(self, now: float, message: worker_pb2.Nack | worker_pb2.Abandon) -> str:
        task = self.tasks[message.task_id]
        error = self._refusal(now, task, message.lease_id)
        if not error:
            task.status = "PENDING"
        return error

    def _heartbeat(self, now: float, beat: worker_pb2.Heartbeat) -> str:
        task = self.tasks[beat.task_id]
        error = self._refusal(now, task, beat.lease_id)
        if not error:
            task.until = max(task.until, now + beat.extend_seconds)
        return error


LEASE_SECONDS = 30
