"""Streams over the real state machine, with calls that note what they are told and timers that a test lets run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import ceil, inf
from random import Random
from typing import Any, TypeVar

from appliance.api.rates import Rate
from appliance.api.streams.app import PRODUCER_PATH, WORKER_PATH, Streams, StreamSettings
from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from appliance.mux.grpc_call import UNSENT_MAX, Session
from appliance.tasks.model import Operation
from appliance.tasks.settings import TaskSettings
from tests.api.support import Node, caller

T = TypeVar("T")


class FakeCall:
    """A call whose peer reads everything, until it is told to stop reading."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.headers: dict[bytes, bytes] = {}
        self.peer = "127.0.0.1"
        self.request_id = "r1"
        self.closed = False
        self.reads = True
        self.sent: list[bytes] = []
        self.unsent = 0
        self.ended: tuple[int, str] | None = None
        self.held = 0
        self.stopped = 0
        """Holds of the whole connection among them."""

    @property
    def full(self) -> bool:
        return self.unsent > UNSENT_MAX

    def send(self, messages: Sequence[bytes]) -> None:
        assert not self.closed
        assert messages
        assert all(len(message) <= 3 << 20 for message in messages)
        self.sent += messages
        if not self.reads:
            self.unsent += len(messages)

    def end(self, status: int, message: str = "", extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        assert self.ended is None
        self.ended = (status, message)
        self.closed = True

    def hold(self, *, connection: bool = False) -> Callable[[], None]:
        self.held += 1
        self.stopped += connection

        def release() -> None:
            self.held -= 1
            self.stopped -= connection

        return release


class Peer:
    """One client of one stream."""

    def __init__(self, node: "StreamNode", path: str) -> None:
        self.node = node
        self.call = FakeCall(path)
        session = node.streams.open_call(self.call)
        assert session is not None
        self.session: Session = session
        self._read = 0

    def send_raw(self, *messages: bytes) -> None:
        """These messages arrive together; nothing is decided yet."""
        self.session.receive(list(messages))

    def status(self) -> int | None:
        """The gRPC status with which the stream has ended."""
        return self.call.ended[0] if self.call.ended is not None else None

    def leave(self) -> None:
        """RST, or a lost connection."""
        self.call.closed = True
        self.session.gone()

    def read_again(self) -> None:
        """The peer reads what waits for it, and goes on reading."""
        was_full = self.call.unsent > UNSENT_MAX
        self.call.reads, self.call.unsent = True, 0
        if was_full:
            self.session.room()

    def take_raw(self) -> list[bytes]:
        """What came since the last look."""
        new, self._read = self.call.sent[self._read :], len(self.call.sent)
        return new


class Producer(Peer):
    """A producer; `hello` comes first unless a test says otherwise."""

    def __init__(self, node: "StreamNode", token: str | None = "producer") -> None:
        super().__init__(node, PRODUCER_PATH)
        if token is not None:
            self.send(pb.ProducerEvent(hello=pb.Hello(token=token)))
            assert self.take()[0].HasField("hello_ack")

    def send(self, *events: pb.ProducerEvent) -> None:
        self.send_raw(*(event.SerializeToString() for event in events))

    def take(self) -> list[pb.ServerEvent]:
        return [pb.ServerEvent.FromString(message) for message in self.take_raw()]

    def create(self, command: str = "email", **fields: Any) -> None:
        """One create by itself."""
        self.send(create(command, **fields))

    def creates(self, *tasks: pb.CreateTask) -> None:
        """One batch."""
        self.send(pb.ProducerEvent(create_batch=pb.CreateTaskBatch(tasks=tasks)))

    def acks(self) -> list[pb.CreateAck]:
        """Settles; every acknowledgement since the last look, of single creates and of batches."""
        self.node.settle()
        found: list[pb.CreateAck] = []
        for event in self.take():
            if event.HasField("create_ack"):
                found.append(event.create_ack)
            else:
                found += event.create_ack_batch.acks
        return found


class Worker(Peer):
    """A worker; `hello` comes first unless a test says otherwise."""

    def __init__(self, node: "StreamNode", token: str | None = "worker", worker_id: str = "w1") -> None:
        super().__init__(node, WORKER_PATH)
        if token is not None:
            self.send(wb.WorkerEvent(hello=wb.Hello(token=token, worker_id=worker_id)))
            assert self.take()[0].HasField("hello_ack")

    def send(self, *events: wb.WorkerEvent) -> None:
        self.send_raw(*(event.SerializeToString() for event in events))

    def take(self) -> list[wb.ServerEvent]:
        return [wb.ServerEvent.FromString(message) for message in self.take_raw()]

    def events(self) -> list[wb.ServerEvent]:
        """Settles; what came since the last look."""
        self.node.settle()
        return self.take()

    def event(self) -> wb.ServerEvent:
        """Settles; the one event that came since the last look."""
        events = self.events()
        assert len(events) == 1, events
        return events[0]

    def ready(self, *commands: str, times: int = 1, **fields: Any) -> None:
        """Readys that arrive together."""
        self.send(*[wb.WorkerEvent(ready=wb.Ready(commands=commands, **fields))] * times)

    def task(self, **fields: Any) -> wb.Task:
        """A task for a new Ready."""
        self.ready(**fields)
        return self.event().task.task

    def result(self, task_id: str, status: str = "COMPLETED", **fields: Any) -> None:
        self.send(wb.WorkerEvent(result=wb.Result(task_id=task_id, status=status, **fields)))

    def heartbeat(self, task_id: str, **fields: Any) -> None:
        self.send(wb.WorkerEvent(heartbeat=wb.Heartbeat(task_id=task_id, **fields)))

    def nack(self, task_id: str, **fields: Any) -> None:
        self.send(wb.WorkerEvent(nack=wb.Nack(task_id=task_id, **fields)))

    def abandon(self, task_id: str, **fields: Any) -> None:
        self.send(wb.WorkerEvent(abandon=wb.Abandon(task_id=task_id, **fields)))


def create(command: str = "email", **fields: Any) -> pb.ProducerEvent:
    """The event that creates a task."""
    return pb.ProducerEvent(create=pb.CreateTask(command=command, **fields))


class Timer:
    """One call that is due at a moment (ms)."""

    def __init__(self, at: float, function: Callable[[], None]) -> None:
        self.at = at
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        self.function = None


class StreamNode(Node):
    """A node with streams beside its API."""

    def __init__(
        self,
        settings: StreamSettings | None = None,
        tasks: TaskSettings | None = None,
        rates: dict[str, Rate] | None = None,
    ) -> None:
        super().__init__(tasks=tasks, rates=rates)
        self.timers: list[Timer] = []
        self.offered: list[Operation] = []
        offer = self.scheduler.offer
        self.scheduler.offer = partial(self._note, offer)  # type: ignore[method-assign]
        self.streams = Streams(
            self.scheduler,
            self.tokens,
            settings or StreamSettings(),
            lambda: self.now,
            lambda: self.now / 1000,
            self._later,
            Random(1),
            self.rates,
        )

    def _note(self, offer: Callable[[Operation], bool], operation: Operation) -> bool:
        self.offered.append(operation)
        return offer(operation)

    def offers(self, kind: type[T]) -> list[T]:
        """The operations of this kind that were offered so far."""
        return [each for each in self.offered if isinstance(each, kind)]

    def _later(self, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        timer = Timer(self.now + ceil(seconds * 1000), function)
        self.timers.append(timer)
        return timer.cancel

    @property
    def timers_set(self) -> int:
        return sum(timer.function is not None for timer in self.timers)

    def pass_ms(self, ms: int) -> None:
        end = self.now + ms
        while True:
            due = min((timer.at for timer in self.timers if timer.function is not None), default=inf)
            if due > end:
                break
            super().pass_ms(max(0, int(due) - self.now))
            for timer in list(self.timers):
                if timer.function is not None and timer.at <= self.now:
                    function, timer.function = timer.function, None
                    function()
        super().pass_ms(end - self.now)

    def fail(self) -> None:
        """The group that is under way is lost."""
        self.scheduler.pump(self.now)
        assert self.seam.held is not None
        number, self.seam.held = self.seam.held[0], None
        self.scheduler.failed(number, self.now)

    def expiring(self, token: str, seconds: float, kind: Any = "worker") -> str:
        """A token that is valid for so long from now; its name."""
        self.tokens.callers[token] = replace(caller(kind), expires=self.now / 1000 + seconds)
        return token

    def ready_tasks(self, count: int, command: str = "email", **fields: Any) -> list[str]:
        """New tasks; their ids."""
        return [self.create(command, **fields)["id"] for _ in range(count)]

    def statuses(self, task_ids: Iterable[str]) -> list[str]:
        return [self.read(task_id)["status"] for task_id in task_ids]
