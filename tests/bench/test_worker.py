"""A worker stream against a server of a few lines: what it asks for, completes and counts."""

import pytest

from appliance.api.streams.wire import worker_pb2 as pb
from appliance.bench import wire
from appliance.bench.http2 import Connection
from appliance.bench.plan import WorkerPlan
from appliance.bench.tally import Tally
from appliance.bench.worker import Worker

ID = "01890000-0000-7000-8000-%012x"


class Script:
    """A worker whose messages are read with protobuf."""

    def __init__(self, count: int, slots: int) -> None:
        self.connection = Connection("localhost", "http")
        self.tally = Tally()
        self.worker = Worker(self.connection, WorkerPlan("token", ("a", "b"), "w", count, slots), self.tally)
        self.connection.take()
        self.give(pb.ServerEvent(hello_ack=pb.HelloAck(worker_id="w")), 0.0)

    def give(self, event: pb.ServerEvent, now: float) -> None:
        self.worker.messages([event.SerializeToString()], now)

    def sent(self) -> list[pb.WorkerEvent]:
        data, found = self.connection.take(), []
        while data:
            size = int.from_bytes(data[:3])
            content = data[9 : 9 + size]
            data = data[9 + size :]
            while content:
                size = int.from_bytes(content[1:5])
                found.append(pb.WorkerEvent.FromString(content[5 : 5 + size]))
                content = content[5 + size :]
        return found


def task(number: int, payload: bytes = b"{}") -> pb.Task:
    return pb.Task(id=ID % number, command="a", payload=payload)


def test_readys_stand_for_all_slots() -> None:
    script = Script(count=4, slots=12)
    script.worker.begin()
    readys = [event.ready for event in script.sent()]
    assert [(list(each.commands), each.count) for each in readys] == [(["a", "b"], 4)] * 3


def test_a_batch_is_completed_and_asked_for_again() -> None:
    script = Script(count=4, slots=4)
    script.give(pb.ServerEvent(task_batch=pb.TaskBatch(tasks=[task(1), task(2)])), 1.0)
    results, ready = script.sent()
    assert [each.task_id for each in results.result_batch.results] == [ID % 1, ID % 2]
    assert ready.ready.count == 4
    assert script.tally.delivered == 2
    acks = [pb.ResultAck(task_id=ID % 1, ok=True), pb.ResultAck(task_id=ID % 2, error_message="lease-lost: gone")]
    script.give(pb.ServerEvent(result_ack_batch=pb.ResultAckBatch(acks=acks)), 1.0)
    assert (script.tally.finished, script.tally.refusals) == (1, ["lease-lost: gone"])


def test_single_tasks_are_completed_one_by_one() -> None:
    script = Script(count=1, slots=2)
    events = [pb.ServerEvent(task=pb.TaskAssignment(task=task(number))) for number in range(2)]
    script.worker.messages([event.SerializeToString() for event in events], 1.0)
    first, ready, second, other_ready = script.sent()
    assert (first.result.task_id, second.result.task_id) == (ID % 0, ID % 1)
    assert (first.result.status, first.result.result_json) == ("COMPLETED", b'{"ok":true}')
    assert ready == other_ready
    assert ready.WhichOneof("event") == "ready"
    script.give(pb.ServerEvent(result_ack=pb.ResultAck(task_id=ID % 0, ok=True)), 1.0)
    assert (script.tally.delivered, script.tally.finished) == (2, 1)


@pytest.mark.parametrize("count", [1, 8])
def test_sampled_tasks_are_timed_to_delivery_and_to_the_acknowledged_result(count: int) -> None:
    script = Script(count=count, slots=8)
    blank = wire.payload(60, sampled=True)
    sampled = task(2, blank.replace(wire.stamp(0), wire.stamp(1_000_000_000)))
    if count == 1:
        script.give(pb.ServerEvent(task=pb.TaskAssignment(task=sampled)), 1.5)
        script.give(pb.ServerEvent(result_ack=pb.ResultAck(task_id=ID % 2, ok=True)), 1.75)
    else:
        script.give(pb.ServerEvent(task_batch=pb.TaskBatch(tasks=[task(1), sampled])), 1.5)
        acks = [pb.ResultAck(task_id=ID % number, ok=True) for number in (1, 2)]
        script.give(pb.ServerEvent(result_ack_batch=pb.ResultAckBatch(acks=acks)), 1.75)
    assert list(script.tally.deliveries) == [500_000]
    assert list(script.tally.finishes) == [750_000]
