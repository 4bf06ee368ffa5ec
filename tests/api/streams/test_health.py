"""grpc.health.v1."""

import pytest

from appliance.api.streams.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse
from appliance.mux import grpc_framing as status
from tests.api.streams.support import Peer, StreamNode

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
KNOWN = ["", "producerpb.ProducerStream", "workerpb.WorkerStream", "grpc.health.v1.Health"]


def ask(path: str, service: str) -> Peer:
    peer = Peer(StreamNode(), path)
    peer.send_raw(HealthCheckRequest(service=service).SerializeToString())
    return peer


def statuses(peer: Peer) -> list[int]:
    return [HealthCheckResponse.FromString(message).status for message in peer.take_raw()]


@pytest.mark.parametrize("service", KNOWN)
def test_what_is_known_serves(service: str) -> None:
    peer = ask(CHECK, service)
    assert statuses(peer) == [HealthCheckResponse.SERVING]
    assert peer.call.ended == (status.OK, "")
    peer.session.half_closed()


def test_check_of_an_unknown_service_is_not_found() -> None:
    peer = ask(CHECK, "nobody")
    assert statuses(peer) == []
    assert peer.status() == status.NOT_FOUND


@pytest.mark.parametrize("service", [*KNOWN, "nobody"])
def test_watch_answers_and_stays_open_until_the_node_goes(service: str) -> None:
    peer = ask(WATCH, service)
    unknown = service == "nobody"
    assert statuses(peer) == [HealthCheckResponse.SERVICE_UNKNOWN if unknown else HealthCheckResponse.SERVING]
    peer.session.half_closed()
    assert peer.status() is None
    peer.session.drain()
    assert peer.status() == status.UNAVAILABLE


@pytest.mark.parametrize("path", [CHECK, WATCH])
def test_a_request_that_is_missing_or_wrong_is_refused(path: str) -> None:
    peer = Peer(StreamNode(), path)
    peer.session.half_closed()
    assert peer.status() == status.INVALID_ARGUMENT
    for messages, expected in (([b"\xff"], status.INTERNAL), ([b"", b""], status.INVALID_ARGUMENT)):
        peer = Peer(StreamNode(), path)
        peer.send_raw(*messages)
        assert peer.status() == expected


def test_a_second_request_is_refused() -> None:
    peer = ask(WATCH, "")
    peer.send_raw(b"")
    assert peer.status() == status.INVALID_ARGUMENT
    peer.leave()
