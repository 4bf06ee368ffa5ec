"""Server reflection, v1 and v1alpha: which services there are, and the files that describe them.

Owns an index of our own files and what they depend on; nothing else that is in the process is shown. Asks for no
token: the files are public. Runs on the event loop's thread.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message

from appliance.api.streams.stream import DRAINED, End
from appliance.api.streams.wire import health_pb2, producer_pb2, reflection_pb2, reflection_v1alpha_pb2, worker_pb2
from appliance.mux.grpc_call import GREETING_BYTES_MAX, UNSENT_MAX, Call
from appliance.mux.grpc_framing import INTERNAL, INVALID_ARGUMENT, NOT_FOUND, OK, RESOURCE_EXHAUSTED

V1: Final = reflection_pb2
V1ALPHA: Final = reflection_v1alpha_pb2

_OWN_FILES: Final = [module.DESCRIPTOR for module in (producer_pb2, worker_pb2, health_pb2, V1, V1ALPHA)]

REQUEST_BYTES_MAX: Final = 4_096
"""A request comes back in its answer, and the longest name is much shorter."""


def _with_dependencies(file: FileDescriptor) -> Iterator[FileDescriptor]:
    yield file
    for dependency in file.dependencies:
        yield from _with_dependencies(dependency)


def _message_symbols(message: Descriptor) -> Iterator[str]:
    yield message.full_name
    yield from (field.full_name for field in message.fields)
    yield from (enum.full_name for enum in message.enum_types)
    for nested in message.nested_types:
        yield from _message_symbols(nested)


def _symbols(file: FileDescriptor) -> Iterator[str]:
    for message in file.message_types_by_name.values():
        yield from _message_symbols(message)
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)


_FILES: Final = {each.name: each for file in _OWN_FILES for each in _with_dependencies(file)}
_FILE_OF: Final = {symbol: file for file in _FILES.values() for symbol in _symbols(file)}
_SERVICES: Final = sorted(service.full_name for file in _OWN_FILES for service in file.services_by_name.values())


class Reflection:
    """One stream of questions, of either version: `module` is `V1` or `V1ALPHA`."""

    __slots__ = ("_call", "_request", "_response")

    message_bytes_max: ClassVar[int] = GREETING_BYTES_MAX

    def __init__(self, module: Any, call: Call) -> None:
        self._call = call
        self._request: type[Message] = module.ServerReflectionRequest
        self._response: type[Message] = module.ServerReflectionResponse

    def receive(self, messages: list[bytes]) -> None:
        """Questions; each gets its answer."""
        call = self._call
        if call.closed:
            return
        if max(len(messages), call.unsent) > UNSENT_MAX:
            # An answer is a hundred times as long as its question, and nobody had to show a token.
            call.end(RESOURCE_EXHAUSTED, "too many questions at once")
            return
        answers, end = [], None
        for message in messages:
            if len(message) > REQUEST_BYTES_MAX:
                end = End(INVALID_ARGUMENT, f"a request must not be longer than {REQUEST_BYTES_MAX} bytes")
                break
            try:
                request: Any = self._request.FromString(message)
            except DecodeError:
                end = End(INTERNAL, "a request cannot be decoded")
                break
            answers.append(self._answer(request))
        if answers:
            call.send(answers)
        if end is not None:
            call.end(*end)

    def half_closed(self) -> None:
        """All questions have been asked."""
        if not self._call.closed:
            self._call.end(OK)

    def gone(self) -> None:
        """Nobody waits for an answer."""

    def crowded(self) -> None:
        """Answers are made when asked for."""

    def room(self) -> None:
        """Answers are made when asked for."""

    def drain(self) -> None:
        """The node is about to go."""
        if not self._call.closed:
            self._call.end(*DRAINED)

    def _answer(self, request: Any) -> bytes:
        response: Any = self._response(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            response.list_services_response.SetInParent()
            for name in _SERVICES:
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            _describe(response, _FILES.get(request.file_by_filename))
        elif kind == "file_containing_symbol":
            _describe(response, _FILE_OF.get(request.file_containing_symbol.removeprefix(".")))
        elif kind == "all_extension_numbers_of_type" and request.all_extension_numbers_of_type in _FILE_OF:
            response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        elif kind is None:
            _fail(response, INVALID_ARGUMENT, "the request asks nothing that is known")
        else:
            _fail(response, NOT_FOUND, "there is no such extension or type")
        serialized: bytes = response.SerializeToString()
        return serialized


def _describe(response: Any, file: FileDescriptor | None) -> None:
    if file is None:
        _fail(response, NOT_FOUND, "there is no such file or symbol")
        return
    described = {each.name: each.serialized_pb for each in _with_dependencies(file)}
    response.file_descriptor_response.file_descriptor_proto.extend(described.values())


def _fail(response: Any, status: int, message: str) -> None:
    response.error_response.error_code = status
    response.error_response.error_message = message
