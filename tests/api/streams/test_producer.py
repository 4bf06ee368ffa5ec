"""The producer stream: section 4 of the contract, one test for each of its sentences."""

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.streams.app import StreamSettings
from appliance.api.streams.settings import EVENT_ITEMS_MAX
from appliance.api.streams.values import new_task
from appliance.api.streams.wire import producer_pb2 as pb
from appliance.mux import grpc_framing as status
from appliance.tasks.ids import parse_id
from appliance.tasks.model import CreateBatch
from appliance.tasks.settings import TaskSettings
from appliance.tasks.shares import INBOX_OPERATIONS, SMALL_TRANSITIONS
from tests.api.streams.support import Producer, StreamNode, create
from tests.api.support import caller

HELLO = pb.ProducerEvent(hello=pb.Hello(token="producer"))


@pytest.fixture
def node() -> StreamNode:
    return StreamNode()


# Hello.


def test_hello_is_acknowledged_with_tenant_and_subject(node: StreamNode) -> None:
    producer = Producer(node, token=None)
    producer.send(HELLO)
    assert producer.take() == [pb.ServerEvent(hello_ack=pb.HelloAck(tenant_id="acme", subject="producer"))]


def test_a_first_event_that_is_not_hello_ends_the_stream(node: StreamNode) -> None:
    for first in (create(), pb.ProducerEvent()):
        producer = Producer(node, token=None)
        producer.send(first, HELLO)
        assert producer.call.ended == (status.FAILED_PRECONDITION, "the first event must be hello")
        assert producer.take() == []
    assert node.offered == []


@pytest.mark.parametrize("token", ["", "nobody", "worker", "producer\0", "producer x", "é" * 9000])
def test_a_token_that_is_not_a_producers_is_unauthenticated(node: StreamNode, token: str) -> None:
    producer = Producer(node, token=None)
    producer.send(pb.ProducerEvent(hello=pb.Hello(token=token)))
    assert producer.status() == status.UNAUTHENTICATED


def test_a_second_hello_is_a_server_error_and_the_stream_lives_on(node: StreamNode) -> None:
    producer = Producer(node)
    producer.send(HELLO)
    assert producer.take()[0].error.code == "InvalidArgument"
    producer.create(seq=1)
    assert producer.acks()[0].ok


def test_an_event_with_nothing_in_it_is_a_server_error(node: StreamNode) -> None:
    producer = Producer(node)
    producer.send_raw(b"", b"\x7a\x03abc")
    assert [event.error.code for event in producer.take()] == ["InvalidArgument"] * 2
    assert producer.status() is None


@pytest.mark.parametrize(
    "garbage", [b"\xff", b"\x12", b"\x12\x7fxx", b"\x12\x03\x12\x01\xff", b"\x0b", b"\x12\x04\x08\x80"]
)
def test_an_event_that_cannot_be_decoded_ends_the_stream_after_what_came_before(
    node: StreamNode, garbage: bytes
) -> None:
    other = Producer(node)
    producer = Producer(node)
    producer.send_raw(create(seq=1).SerializeToString(), garbage, create(seq=2).SerializeToString())
    assert producer.status() is None
    assert [(ack.seq, ack.ok) for ack in producer.acks()] == [(1, True)]
    assert producer.call.ended == (status.INTERNAL, "an event cannot be decoded")
    other.create(seq=3)
    assert other.acks()[0].ok


def test_unknown_fields_are_ignored(node: StreamNode) -> None:
    producer = Producer(node)
    inner = create(seq=1).create.SerializeToString() + b"\xfa\x01\x03abc"
    producer.send_raw(b"\x12" + bytes([len(inner)]) + inner)
    assert producer.acks()[0].ok


# Creates.


def test_a_create_is_acknowledged_once_durable(node: StreamNode) -> None:
    producer = Producer(node)
    producer.create(seq=7, payload=b'{"a": 1}')
    node.scheduler.pump(node.now)
    assert producer.take() == []
    (ack,) = producer.acks()
    assert (ack.seq, ack.ok, ack.error_message) == (7, True, "")
    assert node.read(ack.task_id)["payload"] == {"a": 1}


def test_every_field_reaches_the_task(node: StreamNode) -> None:
    producer = Producer(node)
    run_at = Timestamp(seconds=node.now // 1000 + 60, nanos=5_999_999)
    producer.create(
        "a.B:c_d-1",
        payload=b"[1, 2]",
        priority=255,
        webhook="https://example.com/x",
        max_attempts=1000,
        idempotency_key="k",
        run_at=run_at,
        delay_seconds=31_536_000,
        trace_parent="00-x",
        trace_state="a=b",
    )
    task = node.read(producer.acks()[0].task_id)
    for volatile in ("id", "createdAt", "updatedAt"):
        del task[volatile]
    assert task == {
        "command": "a.B:c_d-1",
        "payload": [1, 2],
        "priority": 255,
        "maxAttempts": 1000,
        "status": "PENDING",
        "attempts": 0,
        "tenantId": "acme",
        "webhook": "https://example.com/x",
        "idempotencyKey": "k",
        "runAt": "2026-05-28T20:27:40.005Z",
        "traceParent": "00-x",
        "traceState": "a=b",
    }


UNKNOWN_FIELD = b"\xf8\x07\x01"


@given(
    st.fixed_dictionaries(
        {"command": st.sampled_from(["a", "email", "c" * 128])},
        optional={
            "seq": st.integers(0, (1 << 64) - 1),
            "payload": st.integers(0, 300).map(lambda size: b"1" * size),
            "priority": st.integers(0, 255) | st.just(7),
            "max_attempts": st.integers(0, 9),
            "webhook": st.sampled_from(["", "https://example.com/"]),
            "idempotency_key": st.sampled_from(["", "k"]),
            "delay_seconds": st.integers(0, 9),
            "trace_state": st.sampled_from(["", "a=b"]),
        },
    )
)
def test_a_plain_create_is_read_as_one_with_more_in_it_is(fields: dict[str, Any]) -> None:
    plain = pb.CreateTask(**fields)
    longer = pb.CreateTask.FromString(plain.SerializeToString() + UNKNOWN_FIELD)
    read = [new_task(each, lambda: 0, 5, 1_000) for each in (plain, longer)]
    assert read[0] == read[1]
    assert read[0].priority == fields.get("priority", 0)


def test_zero_and_empty_mean_absent(node: StreamNode) -> None:
    producer = Producer(node)
    producer.create()
    task = node.read(producer.acks()[0].task_id)
    assert (task["payload"], task["priority"], task["maxAttempts"]) == (None, 0, 5)
    assert not {"runAt", "webhook", "idempotencyKey", "traceParent"} & task.keys()


def test_the_configured_attempts_are_the_default() -> None:
    node = StreamNode(StreamSettings(max_attempts=9))
    producer = Producer(node)
    producer.create()
    assert node.read(producer.acks()[0].task_id)["maxAttempts"] == 9


def test_a_delayed_task_waits(node: StreamNode) -> None:
    producer = Producer(node)
    producer.create(delay_seconds=60)
    assert node.read(producer.acks()[0].task_id)["runAt"] == "2026-05-28T20:27:40.000Z"


@pytest.mark.parametrize("seconds", [0, -62_135_596_800, 1])
def test_a_time_in_the_past_runs_at_once(node: StreamNode, seconds: int) -> None:
    producer = Producer(node)
    producer.create(run_at=Timestamp(seconds=seconds))
    assert producer.acks()[0].ok
    assert node.claim()["status"] == "CLAIMED"


def test_seq_comes_back_as_it_came(node: StreamNode) -> None:
    producer = Producer(node)
    seqs = [2**64 - 1, 0, 5, 5, 1]
    producer.send(*(create(seq=seq) for seq in seqs))
    assert [ack.seq for ack in producer.acks()] == seqs


def test_creates_that_arrive_together_are_one_commit(node: StreamNode) -> None:
    producer = Producer(node)
    producer.send(*(create(seq=number) for number in range(100)))
    assert [len(batch.tasks) for batch in node.offers(CreateBatch)] == [100]
    assert [ack.seq for ack in producer.acks()] == list(range(100))


def test_tasks_are_as_old_as_their_events(node: StreamNode) -> None:
    producer = Producer(node)
    batch = pb.CreateTaskBatch(tasks=[pb.CreateTask(seq=2, command="email"), pb.CreateTask(seq=3, command="email")])
    producer.send(create(seq=1), pb.ProducerEvent(create_batch=batch), create(seq=4))
    ids = {ack.seq: parse_id(ack.task_id) or b"" for ack in producer.acks()}
    assert sorted(ids, key=lambda seq: ids[seq]) == [1, 2, 3, 4]


def test_many_large_creates_that_arrive_together_are_several_operations(node: StreamNode) -> None:
    producer = Producer(node)
    payload = json.dumps("x" * 200_000).encode()
    producer.send(*(create(seq=number, payload=payload) for number in range(5)))
    assert [len(batch.tasks) for batch in node.offers(CreateBatch)] == [3, 2]
    assert len(producer.acks()) == 5


def test_a_batch_is_one_commit_and_one_answer_in_input_order(node: StreamNode) -> None:
    producer = Producer(node)
    producer.creates(*(pb.CreateTask(seq=seq, command="email") for seq in (9, 3, 3, 7)))
    assert len(node.offers(CreateBatch)) == 1
    node.settle()
    (event,) = producer.take()
    assert [(ack.seq, ack.ok) for ack in event.create_ack_batch.acks] == [(9, True), (3, True), (3, True), (7, True)]


def test_an_empty_batch_is_answered_with_an_empty_one(node: StreamNode) -> None:
    producer = Producer(node)
    producer.creates()
    (event,) = producer.take()
    assert event.WhichOneof("event") == "create_ack_batch"


def test_a_long_batch_is_answered_in_parts_in_input_order(node: StreamNode) -> None:
    producer = Producer(node)
    producer.creates(*(pb.CreateTask(seq=seq, command="email") for seq in range(2_500)))
    node.settle()
    events = producer.take()
    assert [len(event.create_ack_batch.acks) for event in events] == [1_000, 1_000, 500]
    assert [ack.seq for event in events for ack in event.create_ack_batch.acks] == list(range(2_500))


def test_an_event_of_tiny_items_is_refused_before_they_take_memory(node: StreamNode) -> None:
    producer = Producer(node)
    items = b"\x0a\x00" * (EVENT_ITEMS_MAX + 1)
    size = len(items)
    varint = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    producer.send_raw(b"\x1a" + varint + items)
    assert producer.status() == status.RESOURCE_EXHAUSTED


# Refusals.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": ""}, "validation-error: command"),
        ({"command": "a b"}, "validation-error: command"),
        ({"command": "x" * 129}, "validation-error: command"),
        ({"priority": 256}, "validation-error: priority"),
        ({"priority": -1}, "validation-error: priority"),
        ({"max_attempts": 1001}, "validation-error: max_attempts"),
        ({"max_attempts": -1}, "validation-error: max_attempts"),
        ({"delay_seconds": -1}, "validation-error: delay_seconds"),
        ({"delay_seconds": 31_536_001}, "validation-error: delay_seconds"),
        ({"run_at": Timestamp(seconds=1_780_000_000 + 31_536_001)}, "validation-error: run_at"),
        ({"run_at": Timestamp(seconds=2**62)}, "validation-error: run_at"),
        ({"run_at": Timestamp(seconds=1, nanos=-1)}, "validation-error: run_at"),
        ({"run_at": Timestamp(seconds=1, nanos=10**9)}, "validation-error: run_at"),
        ({"webhook": "x" * 2049}, "validation-error: webhook"),
        ({"webhook": "ftp://example.com"}, "validation-error: webhook"),
        ({"idempotency_key": "k" * 257}, "validation-error: idempotency_key"),
        ({"trace_parent": "a\r\nb"}, "validation-error: trace_parent"),
        ({"trace_state": "x" * 513}, "validation-error: trace_state"),
        ({"payload": b"{"}, "validation-error: payload"),
        ({"payload": b"\xff"}, "validation-error: payload"),
        ({"payload": b'"\xff"'}, "validation-error: payload is not valid UTF-8"),
        ({"payload": b"NaN"}, "validation-error: payload"),
        ({"payload": b"1 2"}, "validation-error: payload"),
        ({"payload": b"[" * 65 + b"]" * 65}, "validation-error: payload is nested deeper than 64"),
        ({"payload": b"[" * 100_000 + b"]" * 100_000}, "validation-error: payload is nested deeper than 64"),
        ({"payload": b'"' + b"x" * 262_143 + b'"'}, "payload-too-large: payload"),
    ],
)
def test_what_is_out_of_range_is_refused_in_its_own_acknowledgement(
    node: StreamNode, fields: dict[str, object], message: str
) -> None:
    producer = Producer(node)
    bad = pb.CreateTask(**{"seq": 2, "command": "email", **fields})  # type: ignore[arg-type]
    producer.send(create(seq=1), pb.ProducerEvent(create=bad), create(seq=3))
    producer.creates(pb.CreateTask(seq=4, command="email"), bad)
    acks = producer.acks()
    assert [(ack.seq, ack.ok) for ack in acks] == [(1, True), (2, False), (3, True), (4, True), (2, False)]
    assert acks[1].error_message.startswith(message)
    assert acks[4].error_message == acks[1].error_message
    assert acks[1].task_id == ""
    assert producer.status() is None


@pytest.mark.parametrize("payload", [b"[" * 64 + b"]" * 64, b" 1 ", b'"' + b"[" * 100 + b'"', b"1e999", '"é"'.encode()])
def test_a_payload_is_kept_as_it_came(node: StreamNode, payload: bytes) -> None:
    producer = Producer(node)
    producer.create(payload=payload)
    assert payload in node.call("GET", f"/v1/codeq/tasks/{producer.acks()[0].task_id}", token="producer").body


def test_a_replayed_create_is_ok_with_the_original_id(node: StreamNode) -> None:
    producer = Producer(node)
    producer.create(seq=1, idempotency_key="k", payload=b'{"a":1,"b":2}')
    producer.create(seq=2, idempotency_key="k", payload=b'{"b":2, "a":1}')
    producer.create(seq=3, idempotency_key="k", payload=b"3")
    first, replayed, conflict = producer.acks()
    assert (replayed.ok, replayed.task_id) == (True, first.task_id)
    assert not conflict.ok
    assert conflict.error_message.startswith("idempotency-conflict: ")


def test_a_key_means_the_same_on_both_fronts(node: StreamNode) -> None:
    task = node.create(idempotencyKey="k", runAt="2027-01-01T00:00:00Z", delaySeconds=5)
    producer = Producer(node)
    seconds = 1_798_761_600
    producer.create(idempotency_key="k", payload=b'{"a": 1}', run_at=Timestamp(seconds=seconds), delay_seconds=5)
    assert producer.acks()[0].task_id == task["id"]


def test_creates_of_a_lost_group_are_acknowledged_as_unavailable(node: StreamNode) -> None:
    producer = Producer(node)
    producer.create(seq=1)
    producer.creates(pb.CreateTask(seq=2, command="email"), pb.CreateTask(seq=3, command="email"))
    node.fail()
    acks = producer.acks()
    assert [(ack.seq, ack.ok) for ack in acks] == [(1, False), (2, False), (3, False)]
    assert all(ack.error_message.startswith("unavailable: ") for ack in acks)


def test_creates_are_refused_one_by_one_while_the_disk_is_full(node: StreamNode) -> None:
    producer = Producer(node)
    node.scheduler.set_accepts_creates(accepts=False)
    producer.create(seq=1)
    assert producer.acks()[0].error_message.startswith("unavailable: ")


def test_a_full_inbox_closes_the_window_until_there_is_room() -> None:
    node = StreamNode(tasks=TaskSettings(inbox_operations_max=2))
    producer = Producer(node)
    for seq in range(4):
        producer.create(seq=seq)
    assert (producer.call.held, producer.call.stopped) == (1, 0)
    assert len(producer.acks()) == 4
    assert producer.call.held == 0


def test_beside_a_quiet_tenant_the_connection_of_a_noisy_one_is_not_read_until_there_is_room() -> None:
    node = StreamNode()
    producer = Producer(node)
    shares = node.scheduler._shares
    shares.took(caller("producer").tenant, 10 * SMALL_TRANSITIONS, 0)
    shares.took("quiet", 1, 0)
    shares.closed(node.now, 10 * SMALL_TRANSITIONS, 0)
    for seq in range(INBOX_OPERATIONS):
        producer.create(seq=seq)
    assert (producer.call.held, producer.call.stopped) == (1, 1)
    assert len(producer.acks()) == INBOX_OPERATIONS
    assert producer.call.held == 0


# Ends.


def test_end_stream_is_answered_with_all_acknowledgements_and_ok(node: StreamNode) -> None:
    producer = Producer(node)
    producer.create(seq=1)
    producer.session.half_closed()
    assert producer.status() is None
    assert producer.acks()[0].ok
    assert producer.call.ended == (status.OK, "")


def test_an_empty_stream_ends_ok(node: StreamNode) -> None:
    producer = Producer(node, token=None)
    producer.session.half_closed()
    assert producer.call.ended == (status.OK, "")


def test_drain_acknowledges_what_was_taken_and_ends_unavailable(node: StreamNode) -> None:
    producer = Producer(node)
    producer.create(seq=1)
    producer.session.drain()
    producer.create(seq=2)
    assert [ack.seq for ack in producer.acks()] == [1]
    assert producer.status() == status.UNAVAILABLE
    assert len(node.offered) == 1


def test_a_peer_that_has_left_is_told_nothing(node: StreamNode) -> None:
    producer = Producer(node)
    producer.create(seq=1)
    producer.leave()
    node.settle()
    assert producer.take() == []
    assert producer.status() is None
    assert node.timers_set == 0


def test_the_stream_ends_when_its_token_expires(node: StreamNode) -> None:
    producer = Producer(node, node.expiring("short", 90_000, "producer"))
    node.pass_ms(89_999_000)
    assert producer.status() is None
    node.pass_ms(2_000)
    assert producer.call.ended == (status.UNAUTHENTICATED, "the token has expired")
    assert node.timers_set == 0


def test_the_stream_ends_at_its_maximum_age_give_or_take_a_tenth() -> None:
    node = StreamNode(StreamSettings(age_seconds=100))
    producers = [Producer(node) for _ in range(20)]
    node.pass_ms(89_999)
    assert not any(producer.call.closed for producer in producers)
    node.pass_ms(10_000)
    ended = [producer.call.ended for producer in producers if producer.call.ended]
    assert 0 < len(ended) < 20
    node.pass_ms(11_000)
    assert all(producer.call.ended and producer.call.ended[0] == status.UNAVAILABLE for producer in producers)


def test_an_ordinary_stream_has_no_timer(node: StreamNode) -> None:
    Producer(node)
    assert node.timers_set == 0
