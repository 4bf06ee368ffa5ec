"""The messages that are made by hand are those of the .proto files, and what comes back is read the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.streams.wire import producer_pb2 as producer
from appliance.api.streams.wire import worker_pb2 as worker
from appliance.bench import wire
from appliance.bench.scenario import PAYLOAD_BYTES_MIN

ID = "01890000-0000-7000-8000-%012x"
slots = st.integers(0, wire.SLOTS_MAX - 1)


def content(message: bytes) -> bytes:
    """A message without its prefix, which must be right."""
    assert message[0] == 0
    assert int.from_bytes(message[1:5]) == len(message) - 5
    return message[5:]


def task(number: int, payload: bytes = b"{}") -> worker.Task:
    return worker.Task(
        id=ID % number, command="c", payload=payload, status="CLAIMED", worker_id="w", attempts=1, tenant_id="t",
        lease_id="7",
    )  # fmt: skip


def test_hello_carries_token_and_worker() -> None:
    assert producer.ProducerEvent.FromString(content(wire.hello("abc"))).hello.token == "abc"
    event = worker.WorkerEvent.FromString(content(wire.hello("abc", "w")))
    assert (event.hello.token, event.hello.worker_id) == ("abc", "w")


@given(slots, st.text(max_size=40), st.integers(0, 255), st.text(max_size=40))
def test_a_create_is_what_protobuf_reads(slot: int, command: str, priority: int, key: str) -> None:
    created = wire.create(slot, command, b"[1]", priority, key)
    event = producer.ProducerEvent.FromString(content(wire.create_event(created)))
    assert (event.create.command, event.create.payload) == (command, b"[1]")
    assert (event.create.priority, event.create.idempotency_key) == (priority, key)
    batch = producer.ProducerEvent.FromString(content(wire.create_batch_event([created, created])))
    assert list(batch.create_batch.tasks) == [event.create, event.create]


@given(st.lists(st.text(min_size=1, max_size=200), max_size=5), st.integers(0, 100), st.integers(0, 86_400))
def test_a_ready_is_what_protobuf_reads(commands: list[str], count: int, lease_seconds: int) -> None:
    ready = worker.WorkerEvent.FromString(content(wire.ready_event(commands, count, lease_seconds))).ready
    assert (list(ready.commands), ready.count, ready.lease_seconds) == (commands, count, lease_seconds)


@given(st.integers(1, 100), st.binary(max_size=300))
def test_results_are_what_protobuf_reads(count: int, result: bytes) -> None:
    form = wire.ResultForm(b'"' + result.hex().encode() + b'"')
    ids = [ID % number for number in range(count)]
    event = worker.WorkerEvent.FromString(content(form.batch([each.encode() for each in ids])))
    assert [each.task_id for each in event.result_batch.results] == ids
    assert {each.status for each in event.result_batch.results} == {"COMPLETED"}
    single = form.single(ids[0].encode())
    assert len(single) == form.single_bytes
    assert worker.WorkerEvent.FromString(content(single)).result == event.result_batch.results[0]


@given(slots, st.integers(1, 70))
def test_acknowledgements_free_their_slot(slot: int, batch: int) -> None:
    seq = producer.CreateTask.FromString(wire.create(slot, "c", b"1")).seq
    acks = [producer.CreateAck(seq=seq, ok=True, task_id=ID % number) for number in range(batch)]
    if batch == 1:
        event = producer.ServerEvent(create_ack=acks[0])
    else:
        event = producer.ServerEvent(create_ack_batch=producer.CreateAckBatch(acks=acks))
    assert wire.acks(event.SerializeToString(), batch) == (slot, batch, ())


@given(slots, st.lists(st.booleans(), min_size=2, max_size=20))
def test_refusals_are_counted_with_their_words(slot: int, outcomes: list[bool]) -> None:
    seq = producer.CreateTask.FromString(wire.create(slot, "c", b"1")).seq
    acks = [
        producer.CreateAck(seq=seq, ok=ok, task_id=ID % 1 if ok else "", error_message="" if ok else "no: never")
        for ok in outcomes
    ]
    event = producer.ServerEvent(create_ack_batch=producer.CreateAckBatch(acks=acks))
    found, ok, refusals = wire.acks(event.SerializeToString(), len(acks))
    assert (found, ok, list(refusals)) == (slot, sum(outcomes), ["no: never"] * outcomes.count(False))


@given(st.lists(st.binary(max_size=40_000), min_size=1, max_size=5))
def test_the_ids_of_tasks_are_found_whatever_their_size(payloads: list[bytes]) -> None:
    tasks = [task(number, payload) for number, payload in enumerate(payloads)]
    message = worker.ServerEvent(task_batch=worker.TaskBatch(tasks=tasks)).SerializeToString()
    assert wire.is_tasks(message)
    assert wire.task_ids(message) == [each.id.encode() for each in tasks]
    single = worker.ServerEvent(task=worker.TaskAssignment(task=tasks[0])).SerializeToString()
    assert wire.is_tasks(single)
    assert wire.task_id(single) == tasks[0].id.encode()


def test_a_task_without_a_proper_id_is_an_error() -> None:
    odd = worker.Task(id="7", payload=b"x" * 60)
    with pytest.raises(wire.MessageError, match="UUID"):
        wire.task_ids(worker.ServerEvent(task_batch=worker.TaskBatch(tasks=[odd])).SerializeToString())


@given(st.integers(0, 10**15), st.integers(PAYLOAD_BYTES_MIN, 2_000))
def test_a_sampled_payload_carries_the_clock(clock_ns: int, size: int) -> None:
    payload = wire.payload(size, sampled=True)
    assert len(payload) == len(wire.payload(size, sampled=False)) == size
    at = payload.index(wire.SAMPLE) + len(wire.SAMPLE)
    stamped = payload[:at] + wire.stamp(clock_ns) + payload[at + wire.STAMP_BYTES :]
    tasks = [task(1, wire.payload(size, sampled=False)), task(2, stamped)]
    message = worker.ServerEvent(task_batch=worker.TaskBatch(tasks=tasks)).SerializeToString()
    assert wire.samples(message) == [clock_ns]


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_acknowledgements_of_results_are_counted(outcomes: list[bool]) -> None:
    acks = [
        worker.ResultAck(task_id=ID % number, ok=ok, error_message="" if ok else "lease-lost: gone")
        for number, ok in enumerate(outcomes)
    ]
    message = worker.ServerEvent(result_ack_batch=worker.ResultAckBatch(acks=acks)).SerializeToString()
    first, ok, refusals = wire.result_acks(message)
    assert (first, ok, len(refusals)) == ((ID % 0).encode(), sum(outcomes), outcomes.count(False))
    single = worker.ServerEvent(result_ack=acks[0]).SerializeToString()
    assert wire.result_acks(single)[:2] == ((ID % 0).encode(), int(outcomes[0]))


def test_an_error_of_the_server_is_raised_with_its_words() -> None:
    message = worker.ServerEvent(error=worker.ServerError(code="Odd", message="this is wrong"))
    with pytest.raises(wire.MessageError, match="this is wrong"):
        wire.result_acks(message.SerializeToString())
    with pytest.raises(wire.MessageError, match="no answer to Hello"):
        wire.check_hello_ack(message.SerializeToString())
    wire.check_hello_ack(worker.ServerEvent(hello_ack=worker.HelloAck(worker_id="w")).SerializeToString())


@given(st.binary(max_size=60))
def test_whatever_the_server_sends_is_read_or_refused(message: bytes) -> None:
    try:
        list(wire.fields(message))
        wire.acks(message, 2)
    except wire.MessageError:
        return
