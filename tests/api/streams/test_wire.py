"""The generated messages are those of proto/, which are those of published clients."""

from importlib import resources
from pathlib import Path

from google.protobuf.internal import api_implementation
from google.protobuf.message import Message
from grpc_tools import protoc

from appliance.api.streams.wire import producer_pb2, worker_pb2

ROOT = Path(__file__).parents[3]
STREAMS = ROOT / "appliance" / "api" / "streams"


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    include = str(resources.files("grpc_tools") / "_proto")
    sources = sorted(str(path) for path in (ROOT / "proto").glob("*.proto"))
    folders = [f"-I{ROOT / 'proto'}", f"-I{include}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    assert protoc.main(["protoc", *folders, *sources]) == 0
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in (STREAMS / "wire").glob("*_pb2.py*")}
    assert committed == made, "run ./dev proto"


def test_messages_are_parsed_by_the_compiled_runtime() -> None:
    assert api_implementation.Type() == "upb"


def test_field_numbers_are_those_of_published_clients() -> None:
    def numbers(message: type[Message]) -> dict[str, int]:
        return {field.name: field.number for field in message.DESCRIPTOR.fields}

    assert numbers(producer_pb2.CreateTask) == {
        "seq": 1,
        "command": 2,
        "payload": 3,
        "priority": 4,
        "webhook": 5,
        "max_attempts": 6,
        "idempotency_key": 7,
        "run_at": 8,
        "delay_seconds": 9,
        "trace_parent": 10,
        "trace_state": 11,
    }
    assert numbers(worker_pb2.Task) == {
        "id": 1,
        "command": 2,
        "payload": 3,
        "priority": 4,
        "webhook": 5,
        "max_attempts": 6,
        "status": 7,
        "worker_id": 8,
        "lease_until": 9,
        "attempts": 10,
        "tenant_id": 11,
        "created_at": 12,
        "updated_at": 13,
        "trace_parent": 14,
        "trace_state": 15,
        "lease_id": 16,
    }
    assert list(numbers(producer_pb2.ProducerEvent).values()) == [1, 2, 3]
    assert list(numbers(producer_pb2.ServerEvent).values()) == [1, 2, 3, 4]
    assert list(numbers(worker_pb2.WorkerEvent).values()) == [1, 2, 3, 4, 5, 6, 7]
    assert list(numbers(worker_pb2.ServerEvent).values()) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert numbers(producer_pb2.ServerError) == {"code": 1, "message": 2}
    assert numbers(worker_pb2.ServerError) == {"message": 1, "code": 2}
    assert numbers(worker_pb2.Result) == {"task_id": 1, "status": 2, "result_json": 3, "error": 4, "lease_id": 5}
    assert numbers(worker_pb2.Nack) == {"task_id": 1, "delay_seconds": 2, "reason": 3, "lease_id": 4}
    assert numbers(worker_pb2.Heartbeat) == {"task_id": 1, "extend_seconds": 2, "lease_id": 3}
    assert numbers(worker_pb2.Abandon) == {"task_id": 1, "lease_id": 2}
