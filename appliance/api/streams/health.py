"""grpc.health.v1: whether the node and its services serve.

A node that listens is ready, and while it goes down its streams are ended, so the status of what is known is always
SERVING. Runs on the event loop's thread.
"""

from typing import ClassVar, Final

from google.protobuf.message import DecodeError

from appliance.api.streams.stream import DRAINED
from appliance.api.streams.wire.health_pb2 import HealthCheckRequest, HealthCheckResponse
from appliance.mux.grpc_call import GREETING_BYTES_MAX, Call
from appliance.mux.grpc_framing import INTERNAL, INVALID_ARGUMENT, NOT_FOUND, OK

SERVICES: Final = frozenset({"", "grpc.health.v1.Health", "producerpb.ProducerStream", "workerpb.WorkerStream"})

_SERVING: Final = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
_SERVICE_UNKNOWN: Final = HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN).SerializeToString()


class _OneRequest:
    """The session of a method that takes one request."""

    __slots__ = ("_asked", "_call")

    name: ClassVar[str]
    message_bytes_max: ClassVar[int] = GREETING_BYTES_MAX

    def __init__(self, call: Call) -> None:
        self._call = call
        self._asked = False

    def _answer(self, known: bool) -> None:
        raise NotImplementedError

    def receive(self, messages: list[bytes]) -> None:
        """The request."""
        if self._call.closed:
            return
        if self._asked or len(messages) > 1:
            self._call.end(INVALID_ARGUMENT, "this method takes one request")
            return
        self._asked = True
        try:
            request = HealthCheckRequest.FromString(messages[0])
        except DecodeError:
            self._call.end(INTERNAL, "the request cannot be decoded")
            return
        self._answer(request.service in SERVICES)

    def half_closed(self) -> None:
        """The request is complete."""
        if not self._asked and not self._call.closed:
            self._call.end(INVALID_ARGUMENT, "this method takes one request")

    def gone(self) -> None:
        """Nobody waits for an answer."""

    def crowded(self) -> None:
        """The answers are small."""

    def room(self) -> None:
        """The answers are few."""

    def drain(self) -> None:
        """The node is about to go."""
        if not self._call.closed:
            self._call.end(*DRAINED)


class HealthCheck(_OneRequest):
    """`Check`: the status now."""

    __slots__ = ()

    def _answer(self, known: bool) -> None:
        if known:
            self._call.send([_SERVING])
            self._call.end(OK)
        else:
            self._call.end(NOT_FOUND, "there is no such service")


class HealthWatch(_OneRequest):
    """`Watch`: the status now, and for as long as the peer likes."""

    __slots__ = ()

    def _answer(self, known: bool) -> None:
        self._call.send([_SERVING if known else _SERVICE_UNKNOWN])
