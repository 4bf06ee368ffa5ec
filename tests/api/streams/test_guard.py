"""Events with too many items are refused on their bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.streams.guard import check_items
from appliance.api.streams.settings import EVENT_ITEMS_MAX
from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from appliance.mux.grpc_framing import RESOURCE_EXHAUSTED, GrpcError


def refused(message: bytes) -> bool:
    try:
        check_items(message)
    except GrpcError as error:
        assert error.status == RESOURCE_EXHAUSTED
        return True
    return False


@pytest.mark.parametrize(
    "event",
    [
        pb.ProducerEvent(create_batch=pb.CreateTaskBatch(tasks=[pb.CreateTask()] * (EVENT_ITEMS_MAX + 1))),
        wb.WorkerEvent(result_batch=wb.ResultBatch(results=[wb.Result()] * (EVENT_ITEMS_MAX + 1))),
        wb.WorkerEvent(ready=wb.Ready(commands=[""] * (EVENT_ITEMS_MAX + 1))),
    ],
)
def test_more_items_than_an_event_may_have_are_refused(event: pb.ProducerEvent | wb.WorkerEvent) -> None:
    assert refused(event.SerializeToString())


def test_as_many_as_it_may_have_are_not() -> None:
    tasks = [pb.CreateTask(seq=1)] * (EVENT_ITEMS_MAX - 1)
    assert not refused(pb.ProducerEvent(create_batch=pb.CreateTaskBatch(tasks=tasks)).SerializeToString())


def test_items_are_counted_over_all_parts_of_an_event() -> None:
    part = pb.ProducerEvent(create_batch=pb.CreateTaskBatch(tasks=[pb.CreateTask()] * (EVENT_ITEMS_MAX // 2)))
    assert refused(part.SerializeToString() * 3)
    assert refused(b"\x1a\x00" * (EVENT_ITEMS_MAX + 1))
    assert refused(b"\x78\x00" * (EVENT_ITEMS_MAX + 1))


def test_a_long_payload_is_one_item() -> None:
    event = pb.ProducerEvent(create=pb.CreateTask(payload=b"[" + b"1,\n" * 80_000 + b"1]"))
    assert not refused(event.SerializeToString())


def test_items_before_a_malformed_end_count() -> None:
    tasks = b"\x0a\x00" * (EVENT_ITEMS_MAX + 1) + b"\xff"
    assert refused(b"\x1a" + bytes([len(tasks) & 127 | 128, len(tasks) >> 7 & 127 | 128, len(tasks) >> 14]) + tasks)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_event_are_left_to_the_decoder(garbage: bytes) -> None:
    assert refused(garbage + b"\x12\xff\xff\xff\x7f" * 20_000) in (True, False)
    assert not refused(garbage)
