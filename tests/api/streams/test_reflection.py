"""Server reflection, v1 and v1alpha."""

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from appliance.api.streams.reflection import V1, V1ALPHA
from appliance.api.streams.wire import producer_pb2
from appliance.mux import grpc_framing as status
from appliance.mux.grpc_call import UNSENT_MAX
from tests.api.streams.support import Peer, StreamNode

PATHS = {
    V1: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    V1ALPHA: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}


class Asking(Peer):
    """A client of one version."""

    def __init__(self, module: Any) -> None:
        super().__init__(StreamNode(), PATHS[module])
        self.module = module

    def ask(self, **fields: Any) -> Any:
        request = self.module.ServerReflectionRequest(**fields)
        self.send_raw(request.SerializeToString())
        (message,) = self.take_raw()
        response = self.module.ServerReflectionResponse.FromString(message)
        assert response.original_request == request
        assert response.valid_host == request.host
        return response


@pytest.fixture(params=[V1, V1ALPHA], ids=["v1", "v1alpha"])
def asking(request: pytest.FixtureRequest) -> Asking:
    return Asking(request.param)


def files(response: Any) -> list[str]:
    described = response.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(each).name for each in described]


def test_services_are_listed(asking: Asking) -> None:
    services = asking.ask(host="h", list_services="*").list_services_response.service
    assert [service.name for service in services] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "producerpb.ProducerStream",
        "workerpb.WorkerStream",
    ]


@pytest.mark.parametrize(
    "symbol",
    [
        "workerpb.WorkerStream",
        "workerpb.WorkerStream.Stream",
        "workerpb.Task",
        "workerpb.Task.payload",
        ".workerpb.Ready",
    ],
)
def test_a_file_is_found_by_its_symbols_with_what_it_depends_on(asking: Asking, symbol: str) -> None:
    response = asking.ask(file_containing_symbol=symbol)
    assert files(response) == ["worker.proto", "google/protobuf/timestamp.proto"]


def test_an_enum_and_a_nested_type_are_symbols(asking: Asking) -> None:
    symbol = "grpc.health.v1.HealthCheckResponse.ServingStatus"
    assert files(asking.ask(file_containing_symbol=symbol)) == ["health.proto"]


def test_a_client_can_make_a_request_of_what_it_is_told(asking: Asking) -> None:
    pool = DescriptorPool()
    response = asking.ask(file_by_filename="producer.proto")
    for each in reversed(response.file_descriptor_response.file_descriptor_proto):
        pool.AddSerializedFile(each)
    event = GetMessageClass(pool.FindMessageTypeByName("producerpb.ProducerEvent"))
    message: Any = event(create={"seq": 7, "command": "email"})
    assert producer_pb2.ProducerEvent.FromString(message.SerializeToString()).create.seq == 7


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"file_by_filename": "google/protobuf/descriptor.proto"}, status.NOT_FOUND),
        ({"file_by_filename": ""}, status.NOT_FOUND),
        ({"file_containing_symbol": "google.protobuf.FileDescriptorProto"}, status.NOT_FOUND),
        ({"file_containing_extension": {"containing_type": "workerpb.Task", "extension_number": 1}}, status.NOT_FOUND),
        ({"all_extension_numbers_of_type": "nothing"}, status.NOT_FOUND),
        ({}, status.INVALID_ARGUMENT),
    ],
)
def test_what_is_not_there_is_an_error_response_and_the_stream_lives_on(
    asking: Asking, fields: dict[str, Any], code: int
) -> None:
    assert asking.ask(**fields).error_response.error_code == code
    assert asking.status() is None
    assert asking.ask(list_services="").HasField("list_services_response")


def test_our_types_have_no_extensions(asking: Asking) -> None:
    numbers = asking.ask(all_extension_numbers_of_type="workerpb.Task").all_extension_numbers_response
    assert (numbers.base_type_name, list(numbers.extension_number)) == ("workerpb.Task", [])


def test_the_stream_ends_with_its_questions(asking: Asking) -> None:
    asking.send_raw(b"\x3a\x00", b"\x3a\x00")
    assert len(asking.take_raw()) == 2
    asking.session.half_closed()
    assert asking.call.ended == (status.OK, "")


def test_what_cannot_be_answered_ends_the_stream(asking: Asking) -> None:
    asking.send_raw(b"\x3a\x00", b"\xff", b"\x3a\x00")
    assert len(asking.take_raw()) == 1
    assert asking.status() == status.INTERNAL


def test_a_long_question_and_many_at_once_are_refused() -> None:
    for messages, code in (
        ([b"\x0a\x81\x40" + b"x" * 8193], status.INVALID_ARGUMENT),
        ([b"\x3a\x00"] * (UNSENT_MAX + 1), status.RESOURCE_EXHAUSTED),
    ):
        asking = Asking(V1)
        asking.send_raw(*messages)
        assert asking.status() == code


def test_drain_ends_the_stream(asking: Asking) -> None:
    asking.session.drain()
    assert asking.status() == status.UNAVAILABLE
    asking.session.half_closed()
    asking.session.drain()
