"""Bad gRPC of every kind, and what becomes of the call. `{}` tables are filled in with a node's tokens.

A case gets a peer on whose connection another call lives on stream 1; it plays on stream 3.
"""

import gzip
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from tests.e2e import frames
from tests.e2e.bad_http1 import LIMITS
from tests.e2e.frames import ACK, END_STREAM, PADDED, Fields, Outcome, frame, window_update
from tests.e2e.grpc_peer import PRODUCER, WORKER, GrpcPeer, head, prefixed

STREAM: Final = 3
MESSAGE_BYTES_MAX: Final = 4 << 20
NOBODY: Final = "00000000-0000-7000-8000-000000000000"

INVALID_ARGUMENT = Outcome("grpc", 3)
DEADLINE = Outcome("grpc", 4)
DENIED = Outcome("grpc", 7)
EXHAUSTED = Outcome("grpc", 8)
PRECONDITION = Outcome("grpc", 9)
UNIMPLEMENTED = Outcome("grpc", 12)
INTERNAL = Outcome("grpc", 13)
UNAUTHENTICATED = Outcome("grpc", 16)
UNSUPPORTED = Outcome("status", 415, "unsupported-media-type")
PROTOCOL = Outcome("goaway", frames.PROTOCOL_ERROR)
CALM = Outcome("goaway", frames.ENHANCE_YOUR_CALM)
RESET = Outcome("reset", frames.PROTOCOL_ERROR)
ERROR = Outcome("answer", 0, "InvalidArgument")
"""A ServerError with this code; the stream lives on."""
VALIDATION = Outcome("answer", 0, "validation-error")
"""An acknowledgement that says no, with this code; the stream lives on."""


class Tokens(NamedTuple):
    """Of one tenant. The `narrow` worker has one command and no right to claim, the `other` one command only."""

    producer: str
    worker: str
    narrow: str
    other: str


Send = Callable[[GrpcPeer, Tokens], None]


class Bad(NamedTuple):
    """`send` plays the case; `hello` says that a call of this path is open and greeted before."""

    name: str
    send: Send
    outcome: Outcome
    hello: str = ""


def producer_hello(token: str) -> bytes:
    return pb.ProducerEvent(hello=pb.Hello(token=token)).SerializeToString()


def worker_hello(token: str, worker_id: str = "w") -> bytes:
    return wb.WorkerEvent(hello=wb.Hello(token=token, worker_id=worker_id)).SerializeToString()


def greeting(path: str, tokens: Tokens) -> bytes:
    """The right Hello for a path."""
    return producer_hello(tokens.producer) if path == PRODUCER else worker_hello(tokens.worker)


# Heads.


def headed(name: str, outcome: Outcome, *more: tuple[str, str], path: str = PRODUCER, **instead: str) -> Bad:
    """A call whose head has more fields, or others for those named like pseudo-headers or `content_type`."""
    named = {
        f":{key}" if key in ("method", "authority") else key.replace("_", "-"): value for key, value in instead.items()
    }
    fields: Fields = [(key, named.get(key, value)) for key, value in head(path, *more)]
    fields = [field for field in fields if field[1] or field in more]
    ends = outcome == UNSUPPORTED
    return Bad(name, lambda peer, _: peer.send(peer.headers(STREAM, fields, end=ends)), outcome)


HEADS: Final = (
    headed("an unknown service", UNIMPLEMENTED, path="/nobody.Service/Stream"),
    headed("an unknown method", UNIMPLEMENTED, path="/producerpb.ProducerStream/Nothing"),
    headed("an unknown method of health", UNIMPLEMENTED, path="/grpc.health.v1.Health/Nothing"),
    headed("a service without its method", UNIMPLEMENTED, path="/producerpb.ProducerStream"),
    headed("a slash only", UNIMPLEMENTED, path="/"),
    headed("a slash behind", UNIMPLEMENTED, path=PRODUCER + "/"),
    headed("two slashes in front", UNIMPLEMENTED, path="/" + PRODUCER),
    headed("a path in small letters", UNIMPLEMENTED, path=PRODUCER.lower()),
    headed("an escaped path", UNIMPLEMENTED, path="/producerpb.Producer%53tream/Stream"),
    headed("a REST path", UNIMPLEMENTED, path="/v1/codeq/tasks"),
    headed("a path of thousands of letters", UNIMPLEMENTED, path="/" + "a" * 8_000),
    headed("a path past its limit", RESET, path="/" + "a" * LIMITS.target_bytes),
    headed("a path without a slash", RESET, path="producerpb.ProducerStream/Stream"),
    headed("GET", UNIMPLEMENTED, method="GET"),
    headed("PUT", UNIMPLEMENTED, method="PUT"),
    headed("an unknown method of HTTP", RESET, method="BREW"),
    headed("an authority that is none", RESET, authority="a/b"),
    headed("no content type", UNSUPPORTED, content_type=""),
    headed("JSON", UNSUPPORTED, content_type="application/json"),
    headed("gRPC-Web", UNSUPPORTED, content_type="application/grpc-web"),
    headed("gRPC-Web with protobuf", UNSUPPORTED, content_type="application/grpc-web+proto"),
    headed("a longer content type", UNSUPPORTED, content_type="application/grpcs"),
    headed("text to the worker", UNSUPPORTED, path=WORKER, content_type="text/plain"),
    headed("two content types", RESET, ("content-type", "application/grpc")),
    headed("two tokens", RESET, ("authorization", "Bearer a"), ("authorization", "Bearer b")),
    headed("an encoding that is not ours", UNIMPLEMENTED, ("grpc-encoding", "snappy")),
    headed("deflate", UNIMPLEMENTED, ("grpc-encoding", "deflate")),
    headed("an encoding in capital letters", UNIMPLEMENTED, ("grpc-encoding", "GZIP")),
    headed("two encodings", UNIMPLEMENTED, ("grpc-encoding", "gzip"), ("grpc-encoding", "identity")),
    headed("a timeout of zero", DEADLINE, ("grpc-timeout", "0S")),
    headed("a timeout that is over at once", DEADLINE, ("grpc-timeout", "1n")),
    headed("a timeout that runs out", DEADLINE, ("grpc-timeout", "100m"), path=WORKER),
    headed("a timeout of nine digits", INTERNAL, ("grpc-timeout", "123456789S")),
    headed("a timeout without a unit", INTERNAL, ("grpc-timeout", "5")),
    headed("a timeout without digits", INTERNAL, ("grpc-timeout", "S")),
    headed("a timeout of another unit", INTERNAL, ("grpc-timeout", "5s")),
    headed("a negative timeout", INTERNAL, ("grpc-timeout", "-5S")),
    headed("a broken timeout", INTERNAL, ("grpc-timeout", "1.5S")),
    headed("an empty timeout", INTERNAL, ("grpc-timeout", "")),
    headed("two timeouts", INTERNAL, ("grpc-timeout", "1S"), ("grpc-timeout", "2S")),
    headed("a length past the limit", RESET, ("content-length", str(LIMITS.body_bytes + 1))),
    headed("a length that is none", PROTOCOL, ("content-length", "ten")),
    headed("te with something else", PROTOCOL, ("te", "gzip")),
    headed("a name in capital letters", PROTOCOL, ("X-A", "b")),
    headed("a header of connections", PROTOCOL, ("connection", "close")),
    headed("a line break in a value", PROTOCOL, ("x-a", "b\r\nc: d")),
    headed("too many fields", CALM, *(("x-a", "b") for _ in range(LIMITS.head_fields + 1))),
)  # fmt: skip


# Framing.


def framed(name: str, outcome: Outcome, data: bytes, *, end: bool = False, encoding: str = "") -> list[Bad]:
    """These bytes in place of a message, on both streams, first or behind a Hello."""

    def first(path: str) -> Send:
        def send(peer: GrpcPeer, _: Tokens) -> None:
            peer.send(peer.headers(STREAM, head(path, *more), end=False))
            peer.data(STREAM, data, end=end)

        return send

    def later(peer: GrpcPeer, _: Tokens) -> None:
        peer.data(STREAM, data, end=end)

    more = [("grpc-encoding", encoding)] if encoding else []
    cases = [Bad(f"{name}, first to the {path[1:7]}", first(path), outcome) for path in (PRODUCER, WORKER)]
    if not encoding:
        cases += [Bad(f"{name}, later to the {path[1:7]}", later, outcome, path) for path in (PRODUCER, WORKER)]
    return cases


_SQUEEZED = gzip.compress(b"hello", mtime=0)

FRAMING: Final = (
    *framed("a flag of 2", INTERNAL, prefixed(b"x", 2)),
    *framed("a flag of 255", INTERNAL, prefixed(b"", 255)),
    *framed("compressed without an encoding", INTERNAL, prefixed(_SQUEEZED, 1)),
    *framed("a size past the limit", EXHAUSTED, prefixed(b"")[:1] + (MESSAGE_BYTES_MAX + 1).to_bytes(4, "big")),
    *framed("the largest size", EXHAUSTED, b"\0\xff\xff\xff\xff"),
    *framed("a prefix cut off", INTERNAL, b"\0\0\0", end=True),
    *framed("a flag alone", INTERNAL, b"\0", end=True),
    *framed("a prefix alone", INTERNAL, b"\0\0\0\0\5", end=True),
    *framed("a message cut off", INTERNAL, prefixed(b"hello")[:-1], end=True),
    *framed("no gzip", INTERNAL, prefixed(b"hello", 1), encoding="gzip"),
    *framed("gzip cut off", INTERNAL, prefixed(_SQUEEZED[:-1], 1), encoding="gzip"),
    *framed("gzip with a wrong sum", INTERNAL, prefixed(_SQUEEZED[:-8] + bytes(8), 1), encoding="gzip"),
    *framed("more behind gzip", INTERNAL, prefixed(_SQUEEZED + b"x", 1), encoding="gzip"),
    *framed("compressed nothing", INTERNAL, prefixed(b"", 1), encoding="gzip"),
    *framed("a bomb", EXHAUSTED, prefixed(gzip.compress(bytes(MESSAGE_BYTES_MAX + 1)), 1), encoding="gzip"),
    *framed("an HTTP request", EXHAUSTED, b"\0GET / HTTP/1.1\r\n\r\n"),
    *framed("JSON without a prefix", INTERNAL, b'{"hello":{"token":"x"}}'),
)  # fmt: skip


# Messages.


def told(name: str, outcome: Outcome, *messages: bytes, path: str = PRODUCER) -> Bad:
    """Messages behind the Hello."""
    return Bad(name, lambda peer, _: peer.data(STREAM, b"".join(map(prefixed, messages))), outcome, path)


def untold(name: str, outcome: Outcome, message: bytes, path: str = PRODUCER) -> Bad:
    """A first message that is no Hello."""
    return Bad(name, lambda peer, _: peer.call(STREAM, path, message), outcome)


_GARBAGE: Final = {
    "one byte": b"\xff",
    "a field cut off": b"\x0a\x05ab",
    "a number without an end": b"\x08" + b"\xff" * 11,
    "a group without an end": b"\x0b",
    "an end of no group": b"\x0c",
    "field zero": b"\x02\x00",
    "a wire type that is none": b"\x0f",
    "a size past the end": b"\x0a\xff\xff\xff\xff\x0f",
    "a text that is no UTF-8": b"\x0a\x03\x0a\x01\xff",
    "text": b"hello there",
}

GARBAGE: Final = tuple(
    case
    for name, message in _GARBAGE.items()
    for case in (
        untold(f"{name}, first", INTERNAL, message),
        told(f"{name}, later", INTERNAL, message),
        told(f"{name}, to the worker", INTERNAL, message, path=WORKER),
    )
)


def creates(name: str, code: str = "validation-error", **fields: Any) -> Bad:
    """A create that is refused by its acknowledgement."""
    task = pb.CreateTask(**{"command": "bad", **fields})
    return told(f"create: {name}", Outcome("answer", 0, code), pb.ProducerEvent(create=task).SerializeToString())


def works(name: str, outcome: Outcome = VALIDATION, **event: Any) -> Bad:
    """A worker's event."""
    return told(f"worker: {name}", outcome, wb.WorkerEvent(**event).SerializeToString(), path=WORKER)


def answered(code: str) -> Outcome:
    return Outcome("answer", 0, code)


def _batch(count: int) -> bytes:
    """A batch of empty creates."""
    batch = pb.CreateTaskBatch(tasks=[pb.CreateTask()] * count)
    return pb.ProducerEvent(create_batch=batch).SerializeToString()


EVENTS: Final = (
    untold("a create before hello", PRECONDITION, pb.ProducerEvent(create=pb.CreateTask()).SerializeToString()),
    untold("a batch before hello", PRECONDITION, _batch(0)),
    untold("nothing before hello", PRECONDITION, b""),
    untold("an unknown field before hello", PRECONDITION, b"\xfa\x07\x01x"),
    *(
        untold(f"{event.WhichOneof('event')} before hello", PRECONDITION, event.SerializeToString(), WORKER)
        for event in (
            wb.WorkerEvent(ready=wb.Ready()),
            wb.WorkerEvent(result=wb.Result()),
            wb.WorkerEvent(nack=wb.Nack()),
            wb.WorkerEvent(heartbeat=wb.Heartbeat()),
            wb.WorkerEvent(abandon=wb.Abandon()),
            wb.WorkerEvent(result_batch=wb.ResultBatch()),
        )
    ),
    untold("a worker_id past its limit", INVALID_ARGUMENT, worker_hello("x", "w" * 129), WORKER),
    told("an event with nothing in it", ERROR, b""),
    told("an event with an unknown field only", ERROR, b"\xfa\x07\x01x"),
    told("a second hello", ERROR, producer_hello("x")),
    told("an empty event to the worker", ERROR, b"", path=WORKER),
    told("a second hello to the worker", ERROR, worker_hello("x"), path=WORKER),
    told("too many items", EXHAUSTED, _batch(20_001)),
    creates("no command", command=""),
    creates("a command with a space", command="a b"),
    creates("a command past its limit", command="c" * 1_000),
    creates("a payload that is no JSON", payload=b"{"),
    creates("a payload that is no UTF-8", payload=b'"\xff"'),
    creates("a payload with more behind", payload=b"1 2"),
    creates("a payload past its limit", "payload-too-large", payload=b'"' + b"x" * (256 << 10) + b'"'),
    creates("a payload nested too deep", payload=b"[" * 5_000 + b"]" * 5_000),
    creates("a negative priority", priority=-1),
    creates("a priority past its limit", priority=2**31 - 1),
    creates("negative attempts", max_attempts=-1),
    creates("a negative delay", delay_seconds=-1),
    creates("a delay past its limit", delay_seconds=2**31 - 1),
    creates("a webhook that is no URL", webhook="nowhere"),
    creates("a key past its limit", idempotency_key="k" * 1_000),
    creates("a time before time", run_at={"seconds": -(2**62)}),
    works("ready for too many", INVALID_ARGUMENT, ready=wb.Ready(count=2**31 - 1)),
    works("ready for 101", INVALID_ARGUMENT, ready=wb.Ready(count=101)),
    works("ready for less than none", INVALID_ARGUMENT, ready=wb.Ready(count=-1)),
    works("a negative lease", INVALID_ARGUMENT, ready=wb.Ready(lease_seconds=-1)),
    works("a lease past its limit", INVALID_ARGUMENT, ready=wb.Ready(lease_seconds=86_401)),
    works("a bad command", INVALID_ARGUMENT, ready=wb.Ready(commands=["a b"])),
    works("too many commands", INVALID_ARGUMENT, ready=wb.Ready(commands=[f"c{number}" for number in range(1_001)])),
    told("more readys than may wait", EXHAUSTED,
         *[wb.WorkerEvent(ready=wb.Ready(commands=["nothing"])).SerializeToString()] * 10_001, path=WORKER),
    works("a result of nobody's task", answered("not-found"), result=wb.Result(task_id=NOBODY, status="COMPLETED")),
    works("a result of no task", answered("not-found"), result=wb.Result(task_id="no id", status="COMPLETED")),
    works("a result with a bad status", result=wb.Result(task_id=NOBODY, status="DONE")),
    works("a result that is no JSON", result=wb.Result(task_id=NOBODY, status="COMPLETED", result_json=b"{")),
    works("an error past its limit", result=wb.Result(task_id=NOBODY, status="FAILED", error="x" * 100_000)),
    works("a heartbeat for nobody", answered("not-found"), heartbeat=wb.Heartbeat(task_id=NOBODY)),
    works("a negative heartbeat", heartbeat=wb.Heartbeat(task_id=NOBODY, extend_seconds=-1)),
    works("a nack for nobody", answered("not-found"), nack=wb.Nack(task_id=NOBODY)),
    works("a negative nack", nack=wb.Nack(task_id=NOBODY, delay_seconds=-1)),
    works("an abandon for nobody", answered("not-found"), abandon=wb.Abandon(task_id=NOBODY)),
)  # fmt: skip


# Tokens.


def greeted(name: str, outcome: Outcome, path: str, token: Callable[[Tokens], str], *messages: bytes) -> Bad:
    """A Hello with this token, and what comes behind it."""
    make = producer_hello if path == PRODUCER else worker_hello
    return Bad(name, lambda peer, tokens: peer.call(STREAM, path, make(token(tokens)), *messages), outcome)


def _ready(*commands: str) -> bytes:
    return wb.WorkerEvent(ready=wb.Ready(commands=commands)).SerializeToString()


TOKENS: Final = (
    greeted("no token", UNAUTHENTICATED, PRODUCER, lambda _: ""),
    greeted("a token that is none", UNAUTHENTICATED, PRODUCER, lambda _: "x"),
    greeted("a token past its limit", UNAUTHENTICATED, PRODUCER, lambda _: "x" * 8_193),
    greeted("a hello past its limit", EXHAUSTED, PRODUCER, lambda _: "x" * (16 << 10)),
    greeted("a token beyond ASCII", UNAUTHENTICATED, PRODUCER, lambda _: "tökén.☺.😈"),
    greeted("a token with a line break", UNAUTHENTICATED, PRODUCER, lambda tokens: tokens.producer + "\r\nx"),
    greeted("a token with its scheme", UNAUTHENTICATED, PRODUCER, lambda tokens: "Bearer " + tokens.producer),
    greeted("a token cut off", UNAUTHENTICATED, PRODUCER, lambda tokens: tokens.producer[:-4]),
    greeted("a worker's token for the producer", UNAUTHENTICATED, PRODUCER, lambda tokens: tokens.worker),
    greeted("a producer's token for the worker", UNAUTHENTICATED, WORKER, lambda tokens: tokens.producer),
    greeted("no token for the worker", UNAUTHENTICATED, WORKER, lambda _: ""),
    greeted("ready without the scope", DENIED, WORKER, lambda tokens: tokens.narrow, _ready("one")),
    greeted("ready for another command", DENIED, WORKER, lambda tokens: tokens.other, _ready("two")),
    greeted("ready for one of two", DENIED, WORKER, lambda tokens: tokens.other, _ready("one", "two")),
)  # fmt: skip


# HTTP/2 below an open call.


def raw(name: str, outcome: Outcome, data: bytes, path: str = PRODUCER) -> Bad:
    """Frames behind the Hello of an open call."""
    return Bad(name, lambda peer, _: peer.send(data), outcome, path)


HTTP2: Final = (
    raw("a window of zero more", RESET, window_update(STREAM, 0)),
    raw("a window past its limit", Outcome("reset", frames.FLOW_CONTROL_ERROR), window_update(STREAM, 2**31 - 1)),
    raw("padding longer than its frame", PROTOCOL, frame(frames.DATA, PADDED, STREAM, b"\xff")),
    raw("a second head", PROTOCOL, frame(frames.HEADERS, frames.END_HEADERS | END_STREAM, STREAM, b"\x82")),
    raw("trailers without an end", PROTOCOL, frame(frames.HEADERS, frames.END_HEADERS, STREAM, b"\x00\x01a\x01b")),
    raw("a bad prefix within padding", INTERNAL, frame(frames.DATA, PADDED, STREAM, b"\x03\x07" + bytes(7))),
    raw("a window update cut short", Outcome("goaway", frames.FRAME_SIZE_ERROR),
        frame(frames.WINDOW_UPDATE, 0, STREAM, bytes(3))),
    raw("a call on an even stream", PROTOCOL, frame(frames.HEADERS, frames.END_HEADERS, 4, b"\x82")),
    raw("empty DATA again and again", CALM,
        frame(frames.DATA, 0, STREAM) * (LIMITS.h2_empty_frames + 1)),
    raw("pings again and again", CALM,
        frame(frames.PING, 0, 0, bytes(8)) * (LIMITS.h2_pings + 2)),
    raw("an answer to a setting with content", Outcome("goaway", frames.FRAME_SIZE_ERROR),
        frame(frames.SETTINGS, ACK, 0, bytes(6))),
)  # fmt: skip

TABLE: Final = HEADS + FRAMING + GARBAGE + EVENTS + TOKENS + HTTP2
