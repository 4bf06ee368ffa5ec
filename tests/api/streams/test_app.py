"""Which session answers which path."""

import pytest

from appliance.api.streams.app import SERVICES
from appliance.api.streams.reflection import V1
from tests.api.streams.support import FakeCall, Peer, StreamNode


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/producerpb.ProducerStream",
        "/producerpb.ProducerStream/stream",
        "/producerpb.ProducerStream/Stream/",
        "/workerpb.ProducerStream/Stream",
        "/grpc.health.v1.Health/List",
    ],
)
def test_there_is_no_session_for_an_unknown_method(path: str) -> None:
    assert StreamNode().streams.open_call(FakeCall(path)) is None


def test_every_service_that_reflection_lists_has_its_methods() -> None:
    node = StreamNode()
    asking = Peer(node, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    asking.send_raw(V1.ServerReflectionRequest(list_services="").SerializeToString())
    response = V1.ServerReflectionResponse.FromString(asking.take_raw()[0])
    listed = [service.name for service in response.list_services_response.service]
    assert sorted(SERVICES) == sorted(f"/{name}/" for name in listed)
    methods = ("Stream", "Check", "Watch", "ServerReflectionInfo")
    for prefix in SERVICES:
        assert any(node.streams.open_call(FakeCall(prefix + method)) for method in methods)
