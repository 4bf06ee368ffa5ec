"""TLS on one connection, against the library's own client in memory: bytes both ways, and every way to an end."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.mux.secure import RECORD_BYTES, SecureTransport
from appliance.mux.tls import Tls
from tests.mux.certificates import make_certificate
from tests.mux.support import FakeTransport


class Protocol(asyncio.Protocol):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> None:
        self.told.append("eof")

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append("lost")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Lower(FakeTransport):
    """A plain transport that may be told to read on whenever."""

    def resume_reading(self) -> None:
        self.reading = True


class Pair:
    """A server's side over a fake transport, and a client that knows the certificate."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pair: tuple[Path, Path], client: ssl.SSLContext) -> None:
        self.protocol = Protocol()
        self.lower = Lower()
        self.server = SecureTransport(loop, Tls(*pair).context, self.protocol)
        self.handshake = self.server.handshake
        lower: Any = self.lower
        self.server.connection_made(lower)
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self._received, self._sent, server_hostname="localhost")

    def shake_hands(self, step: int = 1 << 20) -> None:
        """All of it, the client's flights in pieces of `step` bytes."""
        while True:
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self.deliver(step)
            else:
                break
        self.deliver(step)

    def deliver(self, step: int = 1 << 20) -> None:
        """What each side has for the other."""
        data = self._sent.read()
        for start in range(0, len(data), step):
            self.server.data_received(data[start : start + step])
        self._received.write(self.lower.take())

    def leave(self) -> None:
        """The client says goodbye."""
        with pytest.raises(ssl.SSLWantReadError):
            self.client.unwrap()

    def heard(self) -> bytes:
        """What the client can decrypt."""
        self.deliver()
        found = b""
        try:
            while piece := self.client.read(RECORD_BYTES):
                found += piece
        except ssl.SSLWantReadError:
            pass
        return found

    def socket(self) -> str:
        """How the transport below stands."""
        return "aborted" if self.lower.aborted else "closed" if self.lower.closed else "open"

    @property
    def over(self) -> bool:
        """The handshake has ended, in whatever way."""
        return self.server.handshake is None and self.handshake is not None and self.handshake.done()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def client(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.maximum_version = request.param
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture
def pair(loop: asyncio.AbstractEventLoop, certificate: tuple[Path, Path], client: ssl.SSLContext) -> Pair:
    return Pair(loop, certificate, client)


@pytest.fixture
def open_pair(pair: Pair) -> Pair:
    pair.shake_hands()
    return pair


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_bytes_go_both_ways_however_they_are_cut(pair: Pair, step: int) -> None:
    pair.shake_hands(step)
    assert pair.protocol.told == ["made"] and pair.over
    assert pair.server.alpn == "h2"
    pair.client.write(b"question")
    pair.deliver(step)
    assert b"".join(pair.protocol.pieces) == b"question"
    pair.server.write(b"answer")
    assert pair.heard() == b"answer"


def test_what_comes_with_the_end_of_a_handshake_is_not_left_behind(pair: Pair) -> None:
    while True:
        try:
            pair.client.do_handshake()
        except ssl.SSLWantReadError:
            pair.deliver()
        else:
            break
        if pair.client.version() == "TLSv1.2" and pair.protocol.told:
            break
    pair.client.write(b"at once")
    pair.deliver()
    assert pair.protocol.told == ["made"]
    assert pair.protocol.pieces == [b"at once"]


def test_records_that_come_together_are_handed_over_as_one(open_pair: Pair) -> None:
    data = bytes(range(256)) * (3 * RECORD_BYTES // 256) + b"and some more"
    open_pair.client.write(data)
    open_pair.client.write(b"!")
    open_pair.deliver()
    assert open_pair.protocol.pieces == [data + b"!"]


@pytest.mark.parametrize("cut", [3, 1_000, RECORD_BYTES])
def test_a_record_in_two_pieces_is_read_to_its_end(open_pair: Pair, cut: int) -> None:
    data = b"x" * RECORD_BYTES
    open_pair.client.write(data)
    open_pair.deliver(cut)
    assert b"".join(open_pair.protocol.pieces) == data


def test_large_answers_leave_whole(open_pair: Pair) -> None:
    data = bytes(range(256)) * 2_000
    open_pair.server.write(data)
    assert open_pair.heard() == data


def test_a_close_waits_for_the_answer_to_its_close_notify_and_throws_away_the_rest(open_pair: Pair) -> None:
    open_pair.server.write(b"last words")
    open_pair.server.pause_reading()
    open_pair.server.close()
    assert open_pair.lower.reading and open_pair.socket() == "open"
    open_pair.client.write(b"too late")
    assert open_pair.heard() == b"last words"
    open_pair.client.unwrap()
    open_pair.deliver()
    assert open_pair.socket() == "closed"
    assert open_pair.protocol.pieces == [] and open_pair.protocol.told == ["made"]


def test_unread_bytes_do_not_keep_a_close_from_saying_so(open_pair: Pair) -> None:
    open_pair.server.close()
    open_pair.client.write(b"x" * 3 * RECORD_BYTES)
    open_pair.deliver()
    assert open_pair.client.read(RECORD_BYTES) == b""
    assert open_pair.socket() == "open"


def test_a_peer_that_says_goodbye_is_answered_and_let_go(open_pair: Pair) -> None:
    open_pair.client.write(b"and now goodbye")
    open_pair.leave()
    open_pair.deliver()
    assert open_pair.protocol.pieces == [b"and now goodbye"]
    assert open_pair.protocol.told == ["made", "eof"]
    open_pair.client.unwrap()
    assert open_pair.socket() == "closed"


def test_an_end_without_goodbye_is_told_too(open_pair: Pair) -> None:
    assert open_pair.server.eof_received() is False
    assert open_pair.protocol.told == ["made", "eof"]


def test_after_an_end_nothing_is_sent(open_pair: Pair) -> None:
    open_pair.server.close()
    open_pair.lower.take()
    open_pair.server.write(b"ignored")
    open_pair.server.close()
    assert open_pair.lower.take() == b""
    open_pair.server.connection_lost(None)
    open_pair.server.write(b"ignored")
    assert open_pair.lower.take() == b""
    assert open_pair.protocol.told == ["made", "lost"]


def test_a_damaged_record_ends_the_connection(open_pair: Pair) -> None:
    open_pair.server.data_received(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert open_pair.socket() == "aborted"
    assert open_pair.protocol.pieces == []


def test_a_failed_handshake_ends_with_an_alert(pair: Pair) -> None:
    pair.server.data_received(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")
    assert pair.lower.take()[:1] == b"\x15"
    assert pair.socket() == "closed"
    pair.server.connection_lost(None)
    assert pair.protocol.told == ["lost"] and pair.over


@pytest.mark.parametrize("end", [SecureTransport.abort, SecureTransport.close])
def test_a_handshake_can_be_given_up(pair: Pair, end: Any) -> None:
    end(pair.server)
    assert pair.socket() == "aborted" and pair.over


def test_what_is_given_up_before_it_has_a_transport_ends_when_it_gets_one(
    loop: asyncio.AbstractEventLoop, certificate: tuple[Path, Path]
) -> None:
    lower: Any = Lower()
    server = SecureTransport(loop, Tls(*certificate).context, Protocol())
    server.abort()
    server.connection_made(lower)
    assert lower.aborted


def test_a_slow_peer_is_told_of_and_its_bytes_are_counted(open_pair: Pair) -> None:
    open_pair.lower.buffered_bytes = 70_000
    open_pair.server.pause_writing()
    assert open_pair.server.get_write_buffer_size() == 70_000
    open_pair.server.resume_writing()
    assert open_pair.protocol.told == ["made", "pause", "resume"]
    assert not open_pair.server.can_write_eof()
