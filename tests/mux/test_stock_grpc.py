"""The stock Python client, synchronous and asynchronous, against a real listener: its calls work unchanged."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from appliance.mux.tls import Tls
from tests.mux.certificates import make_certificate
from tests.mux.echo_server import EchoServer, echo_server

OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.max_send_message_length", 8 << 20),
    ("grpc.enable_http_proxy", 0),
]
SECONDS = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    with echo_server() as one:
        yield one
    assert one.watcher.reasons == []


@pytest.fixture
def channel(server: EchoServer) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", OPTIONS) as one:
        yield one


def method(channel: Any, name: str = "Echo", kind: str = "stream_stream") -> Any:
    """A method without serializers: messages are bytes."""
    return getattr(channel, kind)(f"/test.Echo/{name}")


def failure(act: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        act()
    return caught.value


def test_a_stream_carries_messages_both_ways(channel: Any) -> None:
    sent = [b"%d" % number * (number % 50) for number in range(2_000)]
    assert list(method(channel)(iter(sent), timeout=SECONDS)) == sent


def test_a_stream_answers_before_its_end(channel: Any) -> None:
    outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
    call = method(channel)(iter(outgoing.get, None), timeout=SECONDS)
    for number in range(100):
        outgoing.put(b"%d" % number)
        assert next(call) == b"%d" % number
    outgoing.put(None)
    assert list(call) == [] and call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("kind", ["unary_unary", "stream_unary"])
def test_calls_of_one_answer_work(channel: Any, kind: str) -> None:
    call = method(channel, kind=kind)
    sent = b"x" * 100_000
    assert call(sent if kind == "unary_unary" else iter([sent]), timeout=SECONDS) == sent


def test_large_messages_pass_both_ways(channel: Any) -> None:
    sent = [bytes([number]) * (4 << 20) for number in range(4)]
    assert list(method(channel)(iter(sent), timeout=SECONDS)) == sent


def test_a_message_above_the_limit_is_refused_by_its_prefix(channel: Any) -> None:
    error = failure(lambda: list(method(channel)(iter([bytes((4 << 20) + 1)]), timeout=SECONDS)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert list(method(channel)(iter([b"x"]), timeout=SECONDS)) == [b"x"]


def test_an_empty_stream_ends_well(channel: Any) -> None:
    assert list(method(channel)(iter([]), timeout=SECONDS)) == []


def test_a_stream_of_many_answers_waits_for_a_slow_reader(channel: Any) -> None:
    call = method(channel, "Burst", "unary_stream")(b"20000", timeout=SECONDS)
    assert [int(message) for message in call] == list(range(20_000, 0, -1))


def test_a_compressed_stream_is_understood(server: EchoServer) -> None:
    target = f"127.0.0.1:{server.port}"
    with grpc.insecure_channel(target, OPTIONS, compression=grpc.Compression.Gzip) as channel:
        sent = [b"x" * size for size in (0, 1, 10_000, 3_000_000)]
        assert list(method(channel)(iter(sent), timeout=SECONDS)) == sent


def test_a_compression_that_is_not_ours_is_unimplemented(channel: Any) -> None:
    call = method(channel)
    error = failure(lambda: list(call(iter([b"x" * 1_000]), timeout=SECONDS, compression=grpc.Compression.Deflate)))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metadata_arrives_and_comes_back(channel: Any) -> None:
    metadata = [("x-custom", "value"), ("x-some-bin", b"\0\1\2")]
    call = method(channel, "Heads")(
        iter([b"x-custom", b"x-some-bin", b"user-agent"]), timeout=SECONDS, metadata=metadata
    )
    custom, binary, agent = list(call)
    assert custom == b"value" and binary == b"AAEC" and agent.startswith(b"grpc-python/")
    assert ("x-custom", "value") in [tuple(each) for each in call.trailing_metadata()]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (grpc.StatusCode.UNKNOWN, "test status message"),
        (grpc.StatusCode.UNAVAILABLE, "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"),
        (grpc.StatusCode.UNAUTHENTICATED, "100 % wrong"),
    ],
)
def test_a_status_and_its_message_arrive(channel: Any, status: grpc.StatusCode, text: str) -> None:
    request = f"{status.value[0]} {text}".encode()
    error = failure(lambda: method(channel, "Status", "unary_unary")(request, timeout=SECONDS))
    assert (error.code(), error.details()) == (status, text)


@pytest.mark.parametrize("path", ["/test.Echo/Nothing", "/nobody.Service/Echo"])
def test_an_unknown_method_or_service_is_unimplemented(channel: Any, path: str) -> None:
    error = failure(lambda: channel.unary_unary(path)(b"", timeout=SECONDS))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_runs_out(channel: Any) -> None:
    error = failure(lambda: list(method(channel, "Keep")(iter([b"x"]), timeout=0.1)))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert list(method(channel)(iter([b"x"]), timeout=SECONDS)) == [b"x"]


@pytest.mark.parametrize("answered", [False, True], ids=["after begin", "after the first answer"])
def test_a_cancelled_call_leaves_the_others_alone(channel: Any, answered: bool) -> None:
    outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
    other = method(channel)(iter(outgoing.get, None), timeout=SECONDS)
    never = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"x"
        never.wait(SECONDS)

    for _ in range(20):
        call = method(channel)(requests(), timeout=SECONDS)
        if answered:
            assert next(call) == b"x"
        call.cancel()
        assert call.code() is grpc.StatusCode.CANCELLED
    never.set()
    outgoing.put(b"still here")
    assert next(other) == b"still here"
    outgoing.put(None)


def test_a_call_that_the_server_ends_while_the_client_sends_ends_with_its_status_alone(channel: Any) -> None:
    sending = iter([b"9 enough", *[b"x" * 1_000] * 5_000])
    error = failure(lambda: list(method(channel, "Status")(sending, timeout=SECONDS)))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "enough")
    assert list(method(channel)(iter([b"x"]), timeout=SECONDS)) == [b"x"]


def test_a_hundred_streams_share_a_connection_and_the_next_waits(channel: Any) -> None:
    queues: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(110)]
    calls = [method(channel)(iter(each.get, None), timeout=SECONDS) for each in queues]
    for number, each in enumerate(queues):
        each.put(b"%d" % number)
    for number, call in enumerate(calls[:100]):
        assert next(call) == b"%d" % number
    for each in queues:
        each.put(None)
    assert [list(call) for call in calls[:100]] == [[]] * 100
    assert [list(call) for call in calls[100:]] == [[b"%d" % number] for number in range(100, 110)]


def test_many_connections_are_served_at_once(server: EchoServer) -> None:
    channels = [grpc.insecure_channel(f"127.0.0.1:{server.port}", OPTIONS) for _ in range(100)]
    calls = [method(channel)(iter([b"%d" % number]), timeout=SECONDS) for number, channel in enumerate(channels)]
    assert [list(call) for call in calls] == [[b"%d" % number] for number in range(100)]
    for channel in channels:
        channel.close()


def test_calls_over_tls_work(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with (
        echo_server(Tls(certificate, key)) as server,
        grpc.secure_channel(f"localhost:{server.tls_port}", credentials, OPTIONS) as channel,
    ):
        sent = [b"x" * size for size in (1, 100_000, 1_000_000)]
        assert list(method(channel)(iter(sent), timeout=SECONDS)) == sent
        assert set(server.watcher.opened) == {"h2-tls"}


def test_a_drain_ends_calls_as_unavailable() -> None:
    with echo_server() as server, grpc.insecure_channel(f"127.0.0.1:{server.port}", OPTIONS) as channel:
        outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        call = method(channel)(iter(outgoing.get, None), timeout=SECONDS)
        outgoing.put(b"x")
        assert next(call) == b"x"
        server.drain()
        error = failure(lambda: next(call))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "going")
        outgoing.put(None)


def test_a_client_with_keepalive_pings_is_not_sent_away(server: EchoServer) -> None:
    options = [
        *OPTIONS,
        ("grpc.keepalive_time_ms", 250),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        call = method(channel, "Keep")(iter([b"x"]), timeout=1.5)
        assert failure(lambda: next(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert list(method(channel)(iter([b"x"]), timeout=SECONDS)) == [b"x"]


# The asynchronous client.


def run(server: EchoServer, work: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(SECONDS), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", OPTIONS) as channel:
            await work(channel)

    asyncio.run(main())


def test_asynchronous_streams_carry_messages_both_ways_at_once(server: EchoServer) -> None:
    async def one(channel: Any, number: int) -> None:
        call = method(channel)()
        for message in (b"%d" % number, b"x" * 30_000):
            await call.write(message)
            assert await call.read() == message
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

    async def work(channel: Any) -> None:
        await asyncio.gather(*(one(channel, number) for number in range(100)))

    run(server, work)


def test_an_asynchronous_call_is_cancelled_and_runs_out_of_time(server: EchoServer) -> None:
    async def work(channel: Any) -> None:
        call = method(channel)()
        await call.write(b"x")
        assert await call.read() == b"x"
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED
        late = method(channel, "Keep")(timeout=0.1)
        assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        bad = method(channel, "Status")()
        await bad.write(b"16 no")
        assert (await bad.code(), await bad.details()) == (grpc.StatusCode.UNAUTHENTICATED, "no")
        assert await method(channel, kind="unary_unary")(b"y" * 4_000_000) == b"y" * 4_000_000

    run(server, work)
