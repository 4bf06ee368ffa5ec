"""The one port over real sockets: every protocol, the caps, the deadlines, reload and drain."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import h2.connection
import httpx
import pytest
import uvloop

from appliance.mux import frames
from appliance.mux.exchange import Handler, Request, Response
from appliance.mux.limits import Limits
from appliance.mux.listener import Listener, bind
from appliance.mux.tls import Tls
from tests.mux.certificates import make_certificate
from tests.mux.support import Watcher, echo
from tests.mux.test_client_hello import make_hello
from tests.mux.test_http2 import walk

SOON = Limits(sniff_seconds=0.15, handshake_seconds=0.3, head_seconds=0.15, idle_seconds=0.3, linger_seconds=0.1)
SWEEP_SECONDS = 0.02


class Port:
    """A running listener with a plaintext address and one that takes TLS only."""

    def __init__(self, listener: Listener, watcher: Watcher, plain: int, secure: int) -> None:
        self.listener = listener
        self.watcher = watcher
        self.plain = plain
        self.secure = secure

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition; fails after five seconds."""
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    async def talk(self, data: bytes, port: int | None = None) -> bytes:
        """Sends bytes in the clear and reads until the end."""
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port or self.plain)
            writer.write(data)
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()


@asynccontextmanager
async def serving(
    handler: Handler = echo, limits: Limits | None = None, tls: Tls | None = None, drain_seconds: float = 0.2
) -> AsyncIterator[Port]:
    watcher = Watcher()
    listener = Listener(
        loop=asyncio.get_running_loop(),
        handler=handler,
        limits=limits or Limits(),
        observer=watcher,
        tls=tls,
        sweep_seconds=SWEEP_SECONDS,
    )
    ports = []
    for plaintext in (True, False):
        (sock,) = bind("127.0.0.1", 0)
        listener.add_socket(sock, plaintext)
        ports.append(sock.getsockname()[1])
    try:
        yield Port(listener, watcher, *ports)
    finally:
        await listener.drain(drain_seconds)
        assert len(listener) == 0
        assert listener.hub.memory.used_bytes == 0
        assert sorted(watcher.opened) == sorted(watcher.closed)


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Runs a test on the loop that the product uses."""

    async def main() -> None:
        async with asyncio.timeout(20):
            await work()

    uvloop.run(main())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


def client_context(certificate: Path, alpn: list[str] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    return context


@pytest.mark.parametrize(("http2", "kind"), [(False, "h1"), (True, "h2"), (False, "h1-tls"), (True, "h2-tls")])
def test_the_same_request_is_served_over_every_protocol(pair: tuple[Path, Path], http2: bool, kind: str) -> None:
    async def work() -> None:
        async with serving(tls=Tls(*pair)) as port:
            secure = kind.endswith("-tls")
            url = f"https://localhost:{port.secure}" if secure else f"http://localhost:{port.plain}"
            async with httpx.AsyncClient(
                http1=not http2, http2=http2, verify=client_context(pair[0]), base_url=url, trust_env=False
            ) as client:
                bodies = [b"%d" % number * 40_000 for number in range(10)]
                answers = await asyncio.gather(*(client.post("/x?y=z", content=body) for body in bodies))
                assert [answer.content for answer in answers] == bodies
                assert answers[0].http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert set(port.watcher.opened) == {kind}

    run(work)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("option", ["--http1.0", "--http1.1", "--http2", "--http2-prior-knowledge"])
def test_curl_is_served(pair: tuple[Path, Path], tmp_path: Path, option: str) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"0123456789" * 100_000)

    async def work() -> None:
        async with serving(tls=Tls(*pair)) as port:
            for url in (f"http://localhost:{port.plain}/", f"https://localhost:{port.secure}/"):
                command = ["curl", "-sS", option, "--cacert", str(pair[0]), "--data-binary", f"@{upload}", url]
                process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
                output, _ = await process.communicate()
                assert output == upload.read_bytes()
            assert port.watcher.reasons == []

    run(work)


def test_tls_works_on_an_address_that_allows_plaintext(pair: tuple[Path, Path]) -> None:
    async def work() -> None:
        async with serving(tls=Tls(*pair)) as port:
            context = client_context(pair[0])
            _, writer = await asyncio.open_connection("localhost", port.plain, ssl=context)
            writer.close()

    run(work)


def test_plaintext_on_a_tls_address_gets_one_clear_error(pair: tuple[Path, Path]) -> None:
    async def work() -> None:
        async with serving(tls=Tls(*pair)) as port:
            answer = await port.talk(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\nxxx", port.secure)
            assert answer.startswith(b"HTTP/1.1 400 ") and b"takes TLS only" in answer
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            assert await port.talk(preface, port.secure) == b""
            assert port.watcher.reasons == ["plaintext-refused"] * 2

    run(work)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"SSH-2.0-x\r\n", "sniff-unknown"),
        (b"CQRF\x01\0\0\0\1", "raft-disabled"),
        (b"\x16\x02\x00\x00\x05", "client-hello"),
        (b"\x16\x03\x01\x40\x00\x01\xff\xff\xff", "client-hello"),
    ],
)
def test_what_is_no_protocol_of_ours_is_closed_and_counted(first: bytes, reason: str) -> None:
    async def work() -> None:
        async with serving() as port:
            assert await port.talk(first) == b""
            assert port.watcher.reasons == [reason]

    run(work)


def test_a_client_that_leaves_early_is_forgotten() -> None:
    async def work() -> None:
        async with serving() as port:
            for first in (b"", b"PO", b"\x16\x03\x01\x02\x00\x01"):
                _, writer = await asyncio.open_connection("127.0.0.1", port.plain)
                writer.write(first)
                await writer.drain()
                await port.until(lambda: len(port.listener) == 1)
                writer.close()
                await port.until(lambda: len(port.listener) == 0)
            assert port.watcher.reasons == ["sniff-closed"] * 3

    run(work)


def test_a_client_hello_in_pieces_is_waited_for_without_spinning(pair: tuple[Path, Path]) -> None:
    async def work() -> None:
        async with serving(tls=Tls(*pair)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port.secure)
            hello = make_hello(["ftp", "smtp"], "localhost")
            for at in range(0, len(hello), 100):
                writer.write(hello[at : at + 100])
                await writer.drain()
                await asyncio.sleep(0.002)
            alert = await reader.read()
            assert alert == b"\x15\x03\x03\x00\x02\x02\x78"  # fatal, no_application_protocol
            writer.close()
            assert port.watcher.reasons == ["alpn-mismatch"]

    run(work)


def test_tls_without_a_certificate_gets_an_alert() -> None:
    async def work() -> None:
        async with serving() as port:
            assert await port.talk(make_hello(["h2"], None)) == b"\x15\x03\x03\x00\x02\x02\x28"
            assert port.watcher.reasons == ["tls-unavailable"]

    run(work)


@pytest.mark.parametrize(
    ("alpn", "first", "reason"),
    [
        (["h2"], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "alpn-mismatch"),
        (["http/1.1"], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "alpn-mismatch"),
        (["http/1.1"], b"CQRF\x01", "alpn-mismatch"),
        (None, b"CQRF\x01", "raft-disabled"),
        (None, b"EHLO\r\n", "sniff-unknown"),
        (["h2"], b"\x16\x03\x01", "sniff-unknown"),
        (None, b"GET / HTTP/1.0\r\n\r\n", ""),
        (["http/1.1"], b"GET / HTTP/1.0\r\n\r\n", ""),
    ],
)
def test_the_first_decrypted_bytes_must_be_what_was_agreed(
    pair: tuple[Path, Path], alpn: list[str] | None, first: bytes, reason: str
) -> None:
    async def work() -> None:
        async with serving(tls=Tls(*pair)) as port:
            context = client_context(pair[0], alpn)
            reader, writer = await asyncio.open_connection("localhost", port.secure, ssl=context)
            writer.write(first)
            try:
                answer = await reader.read()
            except (ConnectionError, ssl.SSLError):
                answer = b""
            writer.close()
            assert bool(answer) is (not reason)
            assert port.watcher.reasons == ([reason] if reason else [])

    run(work)


def test_silence_is_ended_at_every_stage(pair: tuple[Path, Path]) -> None:
    async def work() -> None:
        async with serving(limits=SOON, tls=Tls(*pair)) as port:
            assert await port.talk(b"") == b""
            assert await port.talk(b"PO") == b""
            hello = make_hello(["h2"], None)
            assert await port.talk(hello[:50], port.secure) == b""
            await port.talk(hello, port.secure)
            assert b" 408 " in await port.talk(b"GET / HTTP/1.1\r\nHost:")
            assert b" 200 " in await port.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            context = client_context(pair[0], ["http/1.1"])
            reader, writer = await asyncio.open_connection("localhost", port.secure, ssl=context)
            with pytest.raises(ConnectionResetError):
                if not await reader.read():
                    raise ConnectionResetError
            writer.close()
            assert port.watcher.reasons == [
                *["sniff-timeout"] * 3,
                "handshake",
                "head-timeout",
                "idle",
                "sniff-timeout",
            ]

    run(work)


def test_handshakes_at_once_are_bounded_and_the_next_waits_its_turn(pair: tuple[Path, Path]) -> None:
    async def work() -> None:
        limits = Limits(handshakes=1, handshakes_waiting=1, handshake_seconds=1.0)
        async with serving(limits=limits, tls=Tls(*pair)) as port:
            hello = make_hello(["h2"], None)
            _stuck, stuck_writer = await asyncio.open_connection("127.0.0.1", port.secure)
            stuck_writer.write(hello)
            await port.until(lambda: port.listener._handshakes == 1)
            context = client_context(pair[0], ["http/1.1"])
            waiting = asyncio.create_task(asyncio.open_connection("localhost", port.secure, ssl=context))
            await port.until(lambda: len(port.listener._waiting) == 1)
            assert await port.talk(hello, port.secure) == b""
            assert port.watcher.reasons == ["handshakes"]
            stuck_writer.close()
            _, writer = await waiting
            writer.close()

    run(work)


def test_an_address_that_keeps_shaking_hands_is_refused(pair: tuple[Path, Path]) -> None:
    async def work() -> None:
        limits = Limits(handshakes_burst_per_address=2, handshakes_per_second_per_address=0.01)
        async with serving(limits=limits, tls=Tls(*pair)) as port:
            context = client_context(pair[0], ["http/1.1"])
            for _ in range(2):
                _, writer = await asyncio.open_connection("localhost", port.secure, ssl=context)
                writer.close()
            assert await port.talk(make_hello(["h2"], None), port.secure) == b""
            assert port.watcher.reasons.count("handshakes-per-address") == 1

    run(work)


def test_connections_are_capped_and_the_longest_idle_makes_room() -> None:
    async def work() -> None:
        requests: list[Request] = []

        def handler(request: Request) -> None:
            if request.path == "/wait":
                requests.append(request)
            else:
                echo(request)

        async with serving(handler, Limits(connections=2, idle_closed_at_once=1)) as port:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port.plain)
            writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await port.until(lambda: len(requests) == 1)
            idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port.plain)
            idle_writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await idle_reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in await port.talk(b"GET / HTTP/1.0\r\n\r\n")
            assert port.watcher.reasons == ["connection-evicted"]
            _second_reader, second_writer = await asyncio.open_connection("127.0.0.1", port.plain)
            second_writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await port.until(lambda: len(requests) == 2)
            assert await port.talk(b"GET / HTTP/1.0\r\n\r\n") == b""
            assert port.watcher.reasons == ["connection-evicted", "connections"]
            for each in (writer, idle_writer, second_writer):
                each.close()
            await port.until(lambda: len(port.listener) == 0)
            assert all(request.closed for request in requests)

    run(work)


def test_no_more_idle_connections_are_evicted_than_make_room() -> None:
    async def work() -> None:
        async with serving(limits=Limits(connections=6, idle_closed_at_once=2)) as port:
            idle = []
            for _ in range(6):
                reader, writer = await asyncio.open_connection("127.0.0.1", port.plain)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                idle.append(writer)
            assert b" 200 " in await port.talk(b"GET / HTTP/1.0\r\n\r\n")
            assert b" 200 " in await port.talk(b"GET / HTTP/1.0\r\n\r\n")
            assert port.watcher.reasons == ["connection-evicted"] * 2
            for writer in idle:
                writer.close()

    run(work)


def test_one_address_has_a_cap_of_its_own() -> None:
    async def work() -> None:
        async with serving(limits=Limits(connections_per_address=1)) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port.plain)
            await port.until(lambda: len(port.listener) == 1)
            assert await port.talk(b"GET / HTTP/1.0\r\n\r\n") == b""
            assert port.watcher.reasons == ["connections-per-address"]
            writer.close()
            await port.until(lambda: len(port.listener) == 0)
            assert b" 200 " in await port.talk(b"GET / HTTP/1.0\r\n\r\n")

    run(work)


def test_a_reloaded_certificate_serves_new_connections_and_drops_none(tmp_path: Path) -> None:
    async def work() -> None:
        certificate, key = make_certificate(tmp_path)
        tls = Tls(certificate, key)
        async with serving(tls=tls) as port:
            context = client_context(certificate, ["http/1.1"])
            reader, writer = await asyncio.open_connection("localhost", port.secure, ssl=context)
            old = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            make_certificate(tmp_path)
            tls.reload()
            _, new_writer = await asyncio.open_connection("localhost", port.secure, ssl=client_context(certificate))
            assert new_writer.get_extra_info("ssl_object").getpeercert(binary_form=True) != old
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            writer.close()
            new_writer.close()

    run(work)


def test_a_drain_lets_what_is_under_way_finish_and_closes_the_rest() -> None:
    async def work() -> None:
        requests: list[Request] = []
        async with serving(requests.append) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port.plain)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            silent_reader, silent_writer = await asyncio.open_connection("127.0.0.1", port.plain)
            client = h2.connection.H2Connection()
            h2_reader, h2_writer = await asyncio.open_connection("127.0.0.1", port.plain)
            client.initiate_connection()
            fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
            client.send_headers(1, fields, end_stream=True)
            h2_writer.write(client.data_to_send())
            await port.until(lambda: len(requests) == 2 and len(port.listener) == 3)
            draining = asyncio.create_task(port.listener.drain(5.0))
            assert await silent_reader.read() == b""
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port.plain)
            for request in requests:
                request.respond(Response(200, b"done"))
            answer = await reader.read()
            assert b"Connection: close" in answer and answer.endswith(b"done")
            found = walk(await h2_reader.read())
            assert [each[3] for each in found if each[0] == frames.DATA] == [b"done"]
            assert [each[0] for each in found].count(frames.GOAWAY) == 2
            for each in (writer, silent_writer, h2_writer):
                each.close()
            await draining

    run(work)


def test_a_drain_ends_what_does_not_finish_in_time() -> None:
    async def work() -> None:
        requests: list[Request] = []
        async with serving(requests.append) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port.plain)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await port.until(lambda: len(requests) == 1)
            await port.listener.drain(0.05)
            assert requests[0].closed
            writer.close()

    run(work)


def test_without_descriptors_connections_are_closed_and_the_loop_does_not_spin() -> None:
    class Exhausted(socket.socket):
        """A listening socket whose process has no descriptors for a while."""

        failures = 1

        def accept(self) -> tuple[socket.socket, object]:
            if self.failures:
                self.failures -= 1
                raise OSError(24, "Too many open files")
            return super().accept()

    async def work() -> None:
        async with serving() as port:
            with bind("127.0.0.1", 0)[0] as original:
                exhausted = Exhausted(fileno=original.detach())
            port.listener.add_socket(exhausted, True)
            number = exhausted.getsockname()[1]
            assert await port.talk(b"GET / HTTP/1.0\r\n\r\n", number) == b""
            assert b" 200 " in await port.talk(b"GET / HTTP/1.0\r\n\r\n", number)
            assert port.watcher.reasons == ["no-descriptors"]

    run(work)


def test_bind_listens_on_every_address_of_a_host_and_leaves_nothing_behind_on_failure() -> None:
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    with pytest.raises(OSError):
        bind("127.0.0.1", port)
    for sock in sockets:
        sock.close()


class SteppedClient:
    """A TLS client that does one flight at a time, so that a test can act in the middle of its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, certificate: Path) -> None:
        self._reader, self._writer = reader, writer
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = client_context(certificate)
        self._tls = context.wrap_bio(self._received, self._sent, server_hostname="localhost")

    async def hello(self) -> None:
        """Sends the ClientHello and waits for what the server says to it, without going on."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._writer.write(self._sent.read())
        self._received.write(await self._reader.read(65_536))

    async def ask(self, data: bytes) -> bytes:
        """Ends the handshake, sends `data`, and reads until the end."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._received.write(await self._reader.read(65_536))
        self._tls.write(data)
        self._writer.write(self._sent.read())
        found = b""
        while piece := await self._reader.read(65_536):
            self._received.write(piece)
            with pytest.raises((ssl.SSLWantReadError, ssl.SSLZeroReturnError, ssl.SSLEOFError)):
                while more := self._tls.read(65_536):
                    found += more
                raise ssl.SSLZeroReturnError
        return found


def test_a_handshake_that_a_drain_falls_into_ends_with_an_answer_and_not_with_the_drain(
    pair: tuple[Path, Path],
) -> None:
    async def work() -> None:
        async with serving(tls=Tls(*pair)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port.secure)
            client = SteppedClient(reader, writer, pair[0])
            await client.hello()
            draining = asyncio.create_task(port.listener.drain(10.0))
            await asyncio.sleep(0)
            began = asyncio.get_running_loop().time()
            answer = await client.ask(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
            writer.close()
            await draining
            assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"hi")
            assert b"connection: close" in answer.lower()
            assert asyncio.get_running_loop().time() - began < 5

    run(work)
