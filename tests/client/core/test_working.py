"""The worker's core: every task done, no handler too many, no outcome under a lease that is gone."""

import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from codeq._core import outcomes
from codeq._core.lease import Lease
from codeq._core.link import State
from codeq._core.working import READY_COUNT_MAX, SETTLE_SECONDS, Working
from codeq._wire import worker_pb2
from tests.client.core.model import LEASE_SECONDS, WorkerModel

DONE = outcomes.Done(b"1")


def make(**options: Any) -> Working:
    return Working(
        ["a:1"],
        token_changes=False,
        jitter=lambda: 0.5,
        **{
            "worker_id": "w",
            "commands": ["work"],
            "concurrency": 4,
            "lease_seconds": LEASE_SECONDS,
            "drain_seconds": 10.0,
            **options,
        },
    )


class Play:
    """A core, a model, and a clock, moved step by step."""

    def __init__(self, tasks: int, concurrency: int) -> None:
        self.concurrency = concurrency
        self.core = make(concurrency=concurrency)
        self.model = WorkerModel(tasks)
        self.now = 0.0
        self.running: list[Lease] = []
        self.lost: set[str] = set()

    def write(self, count: int) -> None:
        if self.core.link.state is State.PAUSED and self.now >= self.core.link.pause_until:
            self.core.connecting(self.now, "token")
        for _ in range(count):
            message = self.core.next_message(self.now)
            if message is None:
                return
            self.model.connection.inbox.append(message)

    def serve(self, count: int) -> None:
        for _ in range(min(count, len(self.model.connection.inbox))):
            self.model.serve(self.now)

    def deliver(self, count: int) -> None:
        self.model.deliver(self.now, count)

    def read(self, count: int) -> None:
        for _ in range(min(count, len(self.model.connection.outbox))):
            self.core.receive(self.now, self.model.connection.outbox.popleft())
        self.take()

    def cut(self, _: int) -> None:
        self.model.cut()
        if self.core.link.state is not State.PAUSED:
            self.core.ended(self.now, "UNAVAILABLE", "cut", "")

    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.core.tick(self.now)
        self.take()

    def finish(self, count: int) -> None:
        self._end(count, DONE)

    def nack(self, count: int) -> None:
        self._end(count, outcomes.Again(0, "no"))

    def abandon(self, count: int) -> None:
        self._end(count, outcomes.GIVE_BACK)

    def _end(self, count: int, outcome: outcomes.Outcome) -> None:
        for _ in range(min(count, len(self.running))):
            self.core.finish(self.now, self.running.pop(0), outcome)

    def take(self) -> None:
        self.running += self.core.take_started()
        for lease in self.core.take_lost():
            assert lease.task.lease_id not in self.lost, "lost twice"
            self.lost.add(lease.task.lease_id)
        assert self.core.busy == len(self.running) <= self.concurrency
        assert self.model.requested_max <= self.concurrency

    def exchange(self, count: int) -> None:
        """A stretch of a good connection, which random single steps rarely make."""
        for _ in range(count):
            for step in (self.write, self.serve, self.deliver, self.read):
                step(count)

    def heal(self) -> None:
        for _ in range(300):
            if all(task.status == "COMPLETED" for task in self.model.tasks.values()) and not self.core._leases:
                return
            self.wait(5)
            for step in (self.write, self.serve, self.deliver, self.read, self.finish):
                step(1_000)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "serve", "deliver", "read", "exchange", "cut", "wait", "finish", "nack", "abandon"]),
        st.integers(1, 8),
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 12), st.integers(1, 5))
def test_every_task_is_done_whatever_the_connection_does(
    steps: list[tuple[str, int]], tasks: int, concurrency: int
) -> None:
    play = Play(tasks, concurrency)
    for name, count in steps:
        getattr(play, name)(count)
    play.heal()
    assert all(task.status == "COMPLETED" for task in play.model.tasks.values())
    assert not play.core._leases
    assert play.core.busy == 0


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 12), st.integers(1, 5))
def test_a_drain_ends_and_leaves_no_lease_behind_on_a_good_connection(
    steps: list[tuple[str, int]], tasks: int, concurrency: int
) -> None:
    play = Play(tasks, concurrency)
    for name, count in steps:
        getattr(play, name)(count)
    play.wait(LEASE_SECONDS)
    play.write(1_000)
    play.serve(1_000)
    play.read(1_000)
    play.core.drain(play.now)
    for _ in range(20):
        if play.core.link.state in (State.ENDING, State.CLOSED):
            break
        for step in (play.write, play.serve, play.read):
            step(1_000)
        play.wait(2)
    else:
        raise AssertionError("the drain did not end")
    assert play.now
    live = [task for task in play.model.tasks.values() if task.status == "CLAIMED" and task.until > play.now]
    held = {lease.task.lease_id for lease in play.running}
    assert not [task for task in live if task.lease_id in held and task.lease_id not in play.lost]


def opened(core: Working) -> None:
    core.connecting(0.0, "token")
    assert core.next_message(0.0) is not None
    core.receive(0.0, worker_pb2.ServerEvent(hello_ack=worker_pb2.HelloAck()))


def assign(core: Working, now: float, *names: str, lease_id: str = "l") -> list[Lease]:
    tasks = [worker_pb2.Task(id=name, command="work", lease_id=lease_id) for name in names]
    core.receive(now, worker_pb2.ServerEvent(task_batch=worker_pb2.TaskBatch(tasks=tasks)))
    return core.take_started()


def events(core: Working, now: float) -> list[worker_pb2.WorkerEvent]:
    found = []
    while (message := core.next_message(now)) is not None:
        found.append(worker_pb2.WorkerEvent.FromString(message))
    return found


def test_readys_ask_for_every_free_slot_and_no_more() -> None:
    core = make(concurrency=250)
    opened(core)
    assert [event.ready.count for event in events(core, 0.0)] == [100, 100, 50]
    assign(core, 0.0, "a", "b", "c")
    [event] = events(core, 0.0)
    assert event.ready.count == 97 <= READY_COUNT_MAX


def test_heartbeats_go_out_three_times_a_lease_and_name_it() -> None:
    core = make()
    opened(core)
    assign(core, 0.0, "a")
    events(core, 0.0)
    assert core.wake_at() == LEASE_SECONDS / 3
    core.tick(10.0)
    [event] = events(core, 10.0)
    assert (event.heartbeat.task_id, event.heartbeat.lease_id) == ("a", "l")
    assert event.heartbeat.extend_seconds == LEASE_SECONDS
    core.receive(10.0, worker_pb2.ServerEvent(heartbeat_ack=worker_pb2.HeartbeatAck(task_id="a", ok=True)))
    core.tick(29.0)
    core.tick(31.0)
    assert core.take_lost() == []


def test_a_lease_without_an_answer_to_its_heartbeats_ends_by_time() -> None:
    core = make()
    opened(core)
    [lease] = assign(core, 0.0, "a")
    core.tick(10.0)
    core.tick(20.0)
    core.tick(30.0)
    assert core.take_lost() == [lease]
    core.finish(31.0, lease, DONE)
    assert not [event for event in events(core, 31.0) if event.WhichOneof("event") == "result"]


def test_a_task_that_comes_again_ends_its_older_lease() -> None:
    core = make()
    opened(core)
    [older] = assign(core, 0.0, "a", lease_id="l1")
    [newer] = assign(core, 1.0, "a", lease_id="l2")
    assert core.take_lost() == [older]
    core.finish(2.0, older, outcomes.Done(b'"old"'))
    core.finish(2.0, newer, outcomes.Done(b'"new"'))
    results = [event.result for event in events(core, 2.0) if event.WhichOneof("event") == "result"]
    assert [(each.lease_id, each.result_json) for each in results] == [("l2", b'"new"')]


def test_a_command_that_nobody_asked_for_is_given_back() -> None:
    core = make()
    opened(core)
    task = worker_pb2.Task(id="a", command="other", lease_id="l")
    core.receive(0.0, worker_pb2.ServerEvent(task=worker_pb2.TaskAssignment(task=task)))
    assert core.take_started() == []
    assert events(core, 0.0)[0].abandon.task_id == "a"


def test_an_outcome_that_cannot_be_taken_now_is_said_again() -> None:
    core = make()
    opened(core)
    [lease] = assign(core, 0.0, "a")
    core.finish(0.0, lease, DONE)
    assert events(core, 0.0)[0].result.task_id == "a"
    full = worker_pb2.ResultAck(task_id="a", ok=False, error_message="unavailable: full")
    core.receive(0.0, worker_pb2.ServerEvent(result_ack=full))
    assert events(core, 0.0) == []
    core.tick(1.0)
    assert events(core, 1.0)[0].result.task_id == "a"


def test_an_outcome_without_an_answer_is_said_again_on_the_next_connection() -> None:
    core = make()
    opened(core)
    [lease] = assign(core, 0.0, "a")
    core.finish(0.0, lease, DONE)
    assert events(core, 0.0)[0].result.task_id == "a"
    core.ended(1.0, "UNAVAILABLE", "cut", "")
    opened(core)
    assert [event.result.lease_id for event in events(core, 2.0)][:1] == ["l"]


def test_what_a_handler_says_after_its_task_was_given_back_is_dropped() -> None:
    core = make()
    opened(core)
    [lease] = assign(core, 0.0, "a")
    core.drain(0.0)
    core.tick(10.0)
    core.finish(11.0, lease, DONE)
    kinds = [event.WhichOneof("event") for event in events(core, 11.0)]
    assert kinds == ["abandon"]


def test_a_drain_that_cannot_be_settled_ends_all_the_same() -> None:
    core = make()
    opened(core)
    assign(core, 0.0, "a")
    core.drain(0.0)
    core.tick(10.0)
    assert core.take_lost()
    core.tick(10.0 + SETTLE_SECONDS)
    assert core.finished


def test_results_are_cut_into_messages_the_server_takes() -> None:
    core = make(concurrency=100)
    opened(core)
    for lease in assign(core, 0.0, *(f"t{number}" for number in range(20))):
        core.finish(0.0, lease, outcomes.Done(b'"' + b"x" * 400_000 + b'"'))
    sizes = [event.ByteSize() for event in events(core, 0.0)]
    assert max(sizes) < 1_300_000
    assert sum(sizes) > 8_000_000


def test_texts_are_cut_in_whole_characters() -> None:
    assert len(outcomes.cut("ä" * 5_000).encode()) == 4_096
    assert outcomes.cut("\ud800") == "?"


def test_a_task_carries_the_fields_of_its_message() -> None:
    core = make()
    opened(core)
    message = worker_pb2.Task(id="a", command="work", payload=b'{"n":1}', max_attempts=2, attempts=2, lease_id="l")
    message.created_at.FromDatetime(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    core.receive(0.0, worker_pb2.ServerEvent(task=worker_pb2.TaskAssignment(task=message)))
    [lease] = core.take_started()
    assert lease.task.payload == {"n": 1}
    assert lease.task.last_attempt
    assert lease.task.created_at == datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
