"""Random events of several streams, while groups are lost and peers stop reading: what is owed is paid once."""

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.streams.readys import Kind
from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from appliance.mux import grpc_framing as status
from tests.api.streams.support import Producer, StreamNode, Worker, create

COMMANDS = ("a", "b")
ACKS = ("result_ack", "heartbeat_ack", "nack_ack", "abandon_ack")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(COMMANDS), st.integers(1, 3)),
        st.tuples(st.just("create_batch"), st.sampled_from(COMMANDS), st.integers(0, 4)),
        st.tuples(
            st.just("ready"),
            st.integers(0, 1),
            st.lists(st.sampled_from(COMMANDS), max_size=2),
            st.sampled_from((0, 1, 2, 5)),
            st.integers(1, 300),
        ),
        st.tuples(
            st.sampled_from(("result", "heartbeat", "nack", "abandon", "result_batch")),
            st.integers(0, 1),
            st.integers(0, 50),
            st.booleans(),
        ),
        st.tuples(st.just("bad_result"), st.integers(0, 1)),
        st.tuples(st.sampled_from(("stop", "read")), st.integers(0, 1)),
        st.tuples(st.just("pass_ms"), st.integers(0, 20_000)),
        st.tuples(st.sampled_from(("pump", "fail", "settle"))),
    ),
    max_size=40,
)


Asked = tuple[tuple[str, ...], int]
"""Commands and count of a ready."""

Answered = tuple[bool, int, frozenset[str]]
"""Whether an answer was a single task, how many it brought, and of which commands."""


class Run:
    """One sequence, and what each stream is owed."""

    def __init__(self) -> None:
        self.node = StreamNode()
        self.producer = Producer(self.node)
        self.workers = [Worker(self.node, worker_id=f"w{number}") for number in range(2)]
        self.creates: Counter[int] = Counter()
        self.seq = 0
        self.owed = [Counter[str](), Counter[str]()]
        self.readys = [Counter[Asked](), Counter[Asked]()]
        self.answers: list[dict[Asked, list[Answered]]] = [defaultdict(list), defaultdict(list)]
        self.tasks: list[list[wb.Task]] = [[], []]
        self.delivered: set[str] = set()

    def step(self, name: str, *args: Any) -> None:
        if hasattr(self, name):
            getattr(self, name)(*args)
        else:
            self.own(name, *args)
        self.look()

    def _new(self, command: str) -> pb.CreateTask:
        self.seq += 1
        self.creates[self.seq] += 1
        return pb.CreateTask(seq=self.seq, command=command)

    def create(self, command: str, count: int) -> None:
        self.producer.send(*(pb.ProducerEvent(create=self._new(command)) for _ in range(count)))

    def create_batch(self, command: str, count: int) -> None:
        self.producer.creates(*(self._new(command) for _ in range(count)))

    def ready(self, number: int, commands: list[str], count: int, times: int) -> None:
        self.readys[number][tuple(commands), count] += times
        self.workers[number].ready(*commands, count=count, times=times)

    def own(self, name: str, number: int, index: int, with_lease: bool) -> None:
        tasks = self.tasks[number]
        if not tasks:
            return
        task = tasks[index % len(tasks)]
        worker, lease_id = self.workers[number], task.lease_id if with_lease else ""
        if name == "result_batch":
            results = [wb.Result(task_id=each.id, status="COMPLETED") for each in tasks[-3:]]
            self.owed[number]["result_ack"] += len(results)
            worker.send(wb.WorkerEvent(result_batch=wb.ResultBatch(results=results)))
        else:
            self.owed[number][name + "_ack"] += 1
            getattr(worker, name)(task.id, lease_id=lease_id)

    def bad_result(self, number: int) -> None:
        self.owed[number]["result_ack"] += 1
        self.workers[number].result("nonsense", "DONE")

    def stop(self, number: int) -> None:
        self.workers[number].call.reads = False

    def read(self, number: int) -> None:
        self.workers[number].read_again()

    def pump(self) -> None:
        self.node.scheduler.pump(self.node.now)

    def fail(self) -> None:
        self.pump()
        if self.node.seam.held is not None:
            self.node.fail()

    def settle(self) -> None:
        self.node.settle()

    def pass_ms(self, ms: int) -> None:
        self.node.pass_ms(ms)

    def look(self) -> None:
        for event in self.producer.take():
            for ack in [event.create_ack] if event.HasField("create_ack") else event.create_ack_batch.acks:
                self.creates[ack.seq] -= 1
        for number in range(2):
            for worker_event in self.workers[number].take():
                self._note(number, worker_event)

    def _note(self, number: int, event: wb.ServerEvent) -> None:
        kind = event.WhichOneof("event") or ""
        if kind in ACKS:
            self.owed[number][kind] -= 1
        elif kind == "result_ack_batch":
            self.owed[number]["result_ack"] -= len(event.result_ack_batch.acks)
        else:
            tasks = [event.task.task] if kind == "task" else event.task_batch.tasks
            assert tasks, event
            self._spend(number, kind == "task", list(tasks))

    def _spend(self, number: int, single: bool, tasks: list[wb.Task]) -> None:
        self.tasks[number] += tasks
        leases = {task.lease_id for task in tasks}
        assert not leases & self.delivered, "a lease was delivered twice"
        self.delivered |= leases
        answered = single, len(tasks), frozenset(task.command for task in tasks)
        assert self._assign(number, answered, set()), "tasks that no ready asked for"

    def _assign(self, number: int, answered: Answered, tried: set[Asked]) -> bool:
        """Find a ready for an answer, moving others where needed: which of several that fit was meant does not show."""
        single, length, names = answered
        for asked, total in self.readys[number].items():
            commands, count = asked
            fits = single == (count <= 1) and length <= max(count, 1) and names <= set(commands or COMMANDS)
            if asked in tried or not fits:
                continue
            tried.add(asked)
            assigned = self.answers[number][asked]
            if len(assigned) < total:
                assigned.append(answered)
                return True
            for place, other in enumerate(assigned):
                if self._assign(number, other, tried):
                    assigned[place] = answered
                    return True
        return False

    def waiting(self, number: int) -> int:
        """Readys of a stream that have no answer."""
        return sum(self.readys[number].values()) - sum(map(len, self.answers[number].values()))

    def kinds(self, number: int) -> list[Kind]:
        session = self.workers[number].session
        return list(session._readys._kinds.values())  # type: ignore[attr-defined]


@given(steps)
def test_every_event_has_its_one_answer_and_every_ready_at_most_one(sequence: list[tuple[Any, ...]]) -> None:
    run = Run()
    for name, *args in sequence:
        run.step(name, *args)
    for number in range(2):
        run.read(number)
    run.node.pass_ms(1_000)
    run.node.pass_ms(1_000)
    run.look()
    assert all(left == 0 for left in run.creates.values())
    for number in range(2):
        assert not any(run.owed[number].values())
        assert run.waiting(number) == sum(kind.waiting for kind in run.kinds(number))
    queues = run.node.scheduler.tasks.registry.by_prefix.values()
    claimable = {queue.command for queue in queues if queue.counts["ready"]}
    for number in range(2):
        for kind in run.kinds(number):
            assert not (kind.waiting and claimable & set(kind.commands or COMMANDS)), "a ready was forgotten"
    for worker in run.workers:
        worker.session.half_closed()
    run.node.settle()
    assert all(worker.call.ended == (status.OK, "") for worker in run.workers)
    assert all(queue.counts["claimed"] == 0 for queue in queues)
    assert len(run.node.scheduler.tasks.waits) == 0


@given(st.binary(max_size=60), st.sampled_from(("producer", "worker")))
def test_whatever_bytes_arrive_nothing_breaks(garbage: bytes, kind: str) -> None:
    node = StreamNode()
    peer = Producer(node) if kind == "producer" else Worker(node)
    peer.send_raw(garbage)
    peer.session.half_closed()
    node.settle()
    assert peer.status() in (status.OK, status.INTERNAL, status.INVALID_ARGUMENT)


@pytest.mark.parametrize("kind", ["producer", "worker"])
def test_a_cut_event_is_refused_or_means_less(kind: str) -> None:
    event = (
        create("email", payload=b'{"a":1}', idempotency_key="k")
        if kind == "producer"
        else wb.WorkerEvent(result_batch=wb.ResultBatch(results=[wb.Result(task_id="x", status="COMPLETED")] * 2))
    )
    whole = event.SerializeToString()
    for length in range(len(whole)):
        node = StreamNode()
        peer = Producer(node) if kind == "producer" else Worker(node)
        peer.send_raw(whole[:length])
        node.settle()
        assert peer.status() in (None, status.INTERNAL)
