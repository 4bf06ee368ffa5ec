"""Events of both streams behind their Hello: any message is answered or ends its stream, and never more than that."""

from typing import Final

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from tests.api.streams.support import Producer, StreamNode, Worker
from tests.e2e.bad_grpc import NOBODY

LIVES: Final = 500
"""Inputs that share a node: what they create stays in its memory."""

_PRODUCER: Final = (
    pb.ProducerEvent(create=pb.CreateTask(seq=1, command="a", payload=b'{"a":[1]}', priority=3, delay_seconds=1)),
    pb.ProducerEvent(
        create=pb.CreateTask(seq=2**63, command="a", idempotency_key="k", run_at={"seconds": 2_000_000_000})
    ),
    pb.ProducerEvent(create_batch=pb.CreateTaskBatch(tasks=[pb.CreateTask(command="a")] * 3)),
    pb.ProducerEvent(hello=pb.Hello(token="x")),
)
_WORKER: Final = (
    wb.WorkerEvent(ready=wb.Ready(commands=["a"], lease_seconds=5, count=3)),
    wb.WorkerEvent(result=wb.Result(task_id=NOBODY, status="COMPLETED", result_json=b"1", lease_id=NOBODY + ":1")),
    wb.WorkerEvent(nack=wb.Nack(task_id=NOBODY, delay_seconds=1, reason="r")),
    wb.WorkerEvent(heartbeat=wb.Heartbeat(task_id=NOBODY, extend_seconds=1)),
    wb.WorkerEvent(abandon=wb.Abandon(task_id=NOBODY)),
    wb.WorkerEvent(result_batch=wb.ResultBatch(results=[wb.Result(task_id=NOBODY, status="FAILED", error="e")] * 2)),
)
SEEDS: Final = (
    *(b"\0" + event.SerializeToString() for event in _PRODUCER),
    *(b"\1" + event.SerializeToString() for event in _WORKER),
)


class _Stage:
    """The node that inputs share for a while."""

    def __init__(self) -> None:
        self.node = StreamNode()
        self.left = LIVES


_stage = _Stage()


def run(data: bytes) -> None:
    """The first byte says to whom the rest is sent, as one event."""
    global _stage
    if not _stage.left:
        _stage = _Stage()
    _stage.left -= 1
    node = _stage.node
    peer = Worker(node) if data[:1] and data[0] & 1 else Producer(node)
    peer.send_raw(data[1:])
    node.settle()
    if peer.status() is None:
        peer.session.half_closed()
        node.settle()
    assert peer.status() is not None, "a stream must end when its peer has ended it"
    assert not node.errors, node.errors
    # What a node of the tests notes leads back to it past what the collector sees: the node would be kept for ever.
    node.offered.clear()
