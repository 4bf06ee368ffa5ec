"""What is put together by hand is what the generated classes make of the same values, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.streams import acks, encode
from appliance.api.streams.leases import Delivered
from appliance.api.streams.producer import _acks
from appliance.api.streams.tasks import Deliveries
from appliance.api.streams.wire import producer_pb2, worker_pb2
from appliance.api.times import time_text
from appliance.engine.rows import CLAIMED, Body, State
from appliance.errors import Problem
from appliance.tasks.ids import id_text
from appliance.tasks.model import Created, Record, Task

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
IDS = st.binary(min_size=16, max_size=16)
TIMES = st.integers(0, 4_000_000_000_000)
STATE = State(CLAIMED, bytes(8), 0, 5, 1)
REFUSAL = Problem("validation-error", "bad: ü")


@pytest.mark.parametrize(
    ("value", "encoded"), [(0, b"\0"), (1, b"\1"), (127, b"\x7f"), (128, b"\x80\1"), (2**64 - 1, b"\xff" * 9 + b"\1")]
)
def test_a_varint_has_seven_bits_to_a_byte(value: int, encoded: bytes) -> None:
    assert encode.varint(value) == encoded


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), IDS, st.booleans()), max_size=20))
def test_acknowledgements_of_creates_are_those_of_the_generated_classes(items: list[tuple[int, bytes, bool]]) -> None:
    outcomes = [
        Created(Task(task_id, Body("c", b"1", 1), STATE)) if created else REFUSAL for _, task_id, created in items
    ]
    made = _acks([seq for seq, _, _ in items], outcomes)
    for (seq, task_id, created), ack in zip(items, made, strict=True):
        expected = (
            producer_pb2.CreateAck(seq=seq, ok=True, task_id=id_text(task_id))
            if created
            else producer_pb2.CreateAck(seq=seq, error_message="validation-error: bad: ü")
        )
        assert ack == expected.SerializeToString()
    batch = producer_pb2.CreateAckBatch(acks=map(producer_pb2.CreateAck.FromString, made))
    assert encode.joined(1, made) == batch.SerializeToString()


RECORDED = st.tuples(IDS.map(id_text), st.just(value=True))
"""A result that is recorded has named a task, so its text is an id's."""


@given(st.lists(RECORDED, max_size=20) | st.lists(RECORDED | st.tuples(TEXTS, st.just(value=False)), max_size=20))
def test_acknowledgements_of_results_are_those_of_the_generated_classes(items: list[tuple[str, bool]]) -> None:
    meant: acks.Meant = [(text, 1) for text, _ in items]
    outcomes = [Record(bytes(16), STATE) if recorded else REFUSAL for _, recorded in items]
    expected = [
        worker_pb2.ResultAck(task_id=text, ok=True)
        if recorded
        else worker_pb2.ResultAck(task_id=text, error_message="validation-error: bad: ü")
        for text, recorded in items
    ]
    singles = [worker_pb2.ServerEvent(result_ack=ack).SerializeToString() for ack in expected]
    over = [each for each, (_, recorded) in zip(meant, items, strict=True) if recorded]
    assert acks.each_finished(meant, outcomes) == (singles, over)
    batch = worker_pb2.ServerEvent(result_ack_batch=worker_pb2.ResultAckBatch(acks=expected))
    assert acks.batch_finished(meant, outcomes) == ([batch.SerializeToString()], over)


@st.composite
def tasks(draw: st.DrawFn) -> list[Task]:
    updated, lease_until = draw(TIMES), draw(TIMES)
    made = []
    for _ in range(draw(st.integers(1, 12))):
        body = Body(
            draw(st.sampled_from(["a", "send-email", "x" * 128])),
            draw(st.binary(min_size=1, max_size=300)),
            draw(st.sampled_from([0, 1_000, 1_700_000_000_123])),
            webhook=draw(TEXTS),
            trace_parent=draw(TEXTS),
            trace_state=draw(TEXTS),
        )
        state = State(
            CLAIMED,
            bytes(8),
            draw(st.integers(0, 255)),
            draw(st.integers(1, 1000)),
            updated,
            attempts=draw(st.integers(1, 1000)),
            lease_until=lease_until,
            lease_number=draw(st.integers(1, 2**40)),
        )
        made.append(Task(draw(IDS), body, state))
    return made


def as_message(task: Task) -> worker_pb2.Task:
    body, state = task.body, task.state
    message = worker_pb2.Task(
        id=id_text(task.id),
        command=body.command,
        payload=body.payload,
        priority=state.priority,
        webhook=body.webhook,
        max_attempts=state.max_attempts,
        status="CLAIMED",
        worker_id="w1",
        lease_until=time_text(state.lease_until),
        attempts=state.attempts,
        tenant_id="acme",
        trace_parent=body.trace_parent,
        trace_state=body.trace_state,
        lease_id=f"{id_text(task.id)}:{state.lease_number}",
    )
    for field, time_ms in (("created_at", body.created), ("updated_at", state.updated)):
        timestamp = getattr(message, field)
        timestamp.SetInParent()
        timestamp.seconds, timestamp.nanos = time_ms // 1000, time_ms % 1000 * 1_000_000
    return message


@given(tasks(), st.integers(1, 5))
def test_deliveries_are_those_of_the_generated_classes(delivered_tasks: list[Task], count: int) -> None:
    deliveries = Deliveries("acme", "w1")
    messages = [as_message(task) for task in delivered_tasks]
    delivered: Delivered = []
    singles = [worker_pb2.ServerEvent(task=worker_pb2.TaskAssignment(task=message)) for message in messages]
    assert deliveries.one_by_one(delivered_tasks, delivered) == [each.SerializeToString() for each in singles]
    assert delivered == [(id_text(task.id), (task.id, task.state.lease_number)) for task in delivered_tasks]
    batches = [
        worker_pb2.ServerEvent(task_batch=worker_pb2.TaskBatch(tasks=messages[start : start + count]))
        for start in range(0, len(messages), count)
    ]
    assert deliveries.batches(delivered_tasks, count, []) == [each.SerializeToString() for each in batches]
