"""What is over is let go at once, not when the garbage collector comes: a busy node runs it rarely, and operations it
never sees."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from appliance.tasks.settings import TaskSettings
from tests.api.streams.support import Producer, StreamNode, Worker, create
from tests.api.support import TASKS, Node

NOBODY = "00000000-0000-7000-8000-000000000000"
GOOD = {"command": "a", "payload": 1}
ROUNDS = 5


def garbage(act: Callable[[], None]) -> int:
    """Objects that only the collector finds, after a few calls."""
    act()
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            act()
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("path", "token", "items"),
    [
        ("/batch", "producer", [GOOD, {"command": "a b", "payload": 1}]),
        ("/batch", "producer", [GOOD, {"command": 5}]),
        ("/batch", "producer", [GOOD, {**GOOD, "webhook": "http://[::1"}]),
        ("/batch", "producer", [GOOD, {"command": "b", "payload": 1}]),
        ("/batch/results", "worker", [{"taskId": NOBODY, "status": "FAILED", "error": "x" * 9_999}]),
    ],
    ids=["a bad command", "a wrong type", "a bad URL", "a queue too many", "a long error"],
)
def test_a_bad_item_of_a_batch_keeps_nothing(path: str, token: str, items: list[dict[str, Any]]) -> None:
    node = Node(tasks=TaskSettings(backoff_policy="fixed", queues_per_tenant_max=1))

    def act() -> None:
        client = node.begin("POST", TASKS + path, items, token)
        node.settle()
        assert "error" in client.answer_once.json[-1]
        client.request = None

    assert garbage(act) == 0


def test_refused_creates_of_a_stream_keep_nothing() -> None:
    node = StreamNode()
    producer = Producer(node)

    def act() -> None:
        producer.send(create("a b"), create("a", payload=b"{"))
        producer.creates(pb.CreateTask(command="a b"), pb.CreateTask(command="a"))
        assert [bool(ack.error_message) for ack in producer.acks()] == [True, True, True, False]
        node.offered.clear()

    assert garbage(act) == 0


def test_refused_results_of_a_stream_keep_nothing() -> None:
    node = StreamNode()
    worker = Worker(node)

    def act() -> None:
        worker.send(wb.WorkerEvent(result=wb.Result(task_id=NOBODY, status="x")))
        worker.result(NOBODY, result_json=b"{")
        assert len(worker.events()) == 2
        node.offered.clear()

    assert garbage(act) == 0


@pytest.mark.parametrize("waits", [False, True], ids=["for tasks that are there", "before there is a task"])
def test_a_worker_stream_that_has_ended_is_kept_by_nothing(waits: bool) -> None:
    node = StreamNode()
    worker = Worker(node)
    for number in range(100):
        command = f"c{number}"
        if waits:
            worker.ready(command)
            node.settle()
        node.create(command)
        if not waits:
            worker.ready(command)
        worker.result(worker.event().task.task.id)
        assert worker.event().result_ack.ok
    worker.ready("none")
    node.settle()
    worker.session.half_closed()
    node.settle()
    assert worker.status() == 0
    call = weakref.ref(worker.call)
    node.offered.clear()
    del worker
    gc.collect()
    assert call() is None
