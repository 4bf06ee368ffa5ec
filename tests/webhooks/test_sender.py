"""The sender against receivers of every kind, over real sockets."""

import asyncio
import hashlib
import hmac
import ssl
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.addresses import PrivateAddress, is_public
from appliance.cli import pki
from appliance.webhooks.resolver import OWN, PRIVATE, LookUp, Resolver
from appliance.webhooks.sender import Attempt, Sender
from appliance.webhooks.target import parse_target
from tests.webhooks.receiver import Receiver

SECRET = b"s" * 32
BODY = b'{"taskId":"t"}'
SECONDS = 0.5
NOW = 1_800_000_000.9


class Names:
    """A name server: each look-up of a name takes the next of its answers, the last for ever."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): each for name, each in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, allow_private: bool) -> list[str]:
        self.asked.append(host)
        answers = self._answers[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if not found:
            raise OSError("no such name")
        if not allow_private and not all(map(is_public, found)):
            raise PrivateAddress("the host has a private address")
        return found


def post(
    url: str,
    *,
    look_up: LookUp | None = None,
    allow_private: bool = True,
    own_ports: tuple[int, ...] = (),
    trust: ssl.SSLContext | None = None,
    body: bytes = BODY,
) -> Coroutine[Any, Any, Attempt]:
    async def sent() -> Attempt:
        resolver = Resolver(allow_private=allow_private, own_ports=lambda: own_ports, threads=4, look_up=look_up)
        try:
            sender = Sender(
                resolver,
                trust=trust or ssl.create_default_context(),
                seconds=SECONDS,
                secret_of=lambda tenant: SECRET + tenant.encode(),
                epoch_seconds=lambda: NOW,
                user_agent="codeq/1",
            )
            return await sender.post(parse_target(url, allow_private=True), "acme", "d-1", body)
        finally:
            resolver.close()

    return sent()


def attempt(path: str) -> tuple[Attempt, Receiver, float]:
    """One call of one behaviour: what became of it, the receiver, and how long it took."""

    async def run() -> tuple[Attempt, Receiver, float]:
        async with Receiver() as receiver:
            began = time.monotonic()
            outcome = await post(receiver.url(path))
            return outcome, receiver, time.monotonic() - began

    return asyncio.run(run())


def test_a_delivery_is_a_signed_post() -> None:
    outcome, receiver, _ = attempt("/ok/a?b=%20")
    assert outcome == Attempt(True)
    (received,) = receiver.received
    assert received.path == "/ok/a?b=%20" and received.body == BODY
    timestamp = received.headers["x-codeq-timestamp"]
    signed = hmac.new(SECRET + b"acme", timestamp.encode() + b"." + BODY, hashlib.sha256).hexdigest()
    assert timestamp == "1800000000" and received.headers["x-codeq-signature"] == signed
    assert received.headers["x-codeq-delivery"] == "d-1"
    assert received.headers["content-type"] == "application/json" and received.headers["user-agent"] == "codeq/1"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/fail", "answered 500"),
        ("/redirect", "answered 302, which is not followed"),
        ("/close", "RemoteProtocolError"),
        ("/nonsense", "RemoteProtocolError"),
        ("/heads", "RemoteProtocolError"),
        ("/hang", "no answer within 0.5 s"),
        ("/drip", "no answer within 0.5 s"),
    ],
)
def test_a_bad_receiver_is_a_failed_attempt_in_bounded_time(path: str, words: str) -> None:
    outcome, receiver, seconds = attempt(path)
    assert not outcome.delivered and not outcome.final and words in outcome.error
    assert "secret" not in outcome.error and "\n" not in outcome.error
    assert len(receiver.received) == 1 and seconds < SECONDS + 2


@pytest.mark.parametrize("path", ["/endless", "/bomb"])
def test_a_body_is_neither_read_to_its_end_nor_decoded(path: str) -> None:
    tracemalloc.start()
    try:
        outcome, _, _ = attempt(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome == Attempt(True)
    assert peak_bytes < 8 << 20


def test_nobody_there_is_a_failed_attempt() -> None:
    async def run() -> Attempt:
        async with Receiver() as receiver:
            url = receiver.url()
        return await post(url)

    outcome = asyncio.run(run())
    assert not outcome.delivered and not outcome.final and "ConnectError" in outcome.error


def test_a_tls_handshake_that_never_comes_is_a_failed_attempt() -> None:
    async def run() -> Attempt:
        async with Receiver() as receiver:
            return await post(receiver.url("/hang").replace("http:", "https:"))

    assert not asyncio.run(run()).delivered


def _with_names(look_up: Names, **more: Any) -> tuple[Attempt, Receiver]:
    async def run() -> tuple[Attempt, Receiver]:
        async with Receiver() as receiver:
            url = receiver.url(host=more.pop("host", "hook.example"))
            return await post(url, look_up=look_up, **more), receiver

    return asyncio.run(run())


def test_the_name_is_looked_up_once_and_the_checked_address_is_called() -> None:
    names = Names(hook_example=[["127.0.0.1"], ["203.0.113.1"]])
    outcome, receiver = _with_names(names)
    assert outcome.delivered and names.asked == ["hook.example"]
    assert receiver.received[0].headers["host"] == f"hook.example:{receiver.port}"


@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]]
)
def test_a_name_with_any_private_address_is_never_called(answers: list[str]) -> None:
    outcome, receiver = _with_names(Names(hook_example=[answers]), allow_private=False)
    assert not outcome.delivered and outcome.final and outcome.refused == PRIVATE
    assert receiver.connections == 0


def test_a_name_that_lies_the_second_time_is_judged_anew_at_each_attempt() -> None:
    names = Names(hook_example=[["203.0.113.1"], ["127.0.0.1"]])

    async def run() -> tuple[Attempt, Attempt, Receiver]:
        async with Receiver() as receiver:
            url = receiver.url(host="hook.example")
            first = await post(url, look_up=names, allow_private=False)
            return first, await post(url, look_up=names, allow_private=False), receiver

    first, second, receiver = asyncio.run(run())
    assert not first.delivered  # a documentation address is not public either
    assert second.refused == PRIVATE and receiver.connections == 0


def test_an_unknown_name_may_be_known_later() -> None:
    outcome, _ = _with_names(Names(hook_example=[[]]))
    assert not outcome.delivered and not outcome.final and "no such name" in outcome.error


def test_a_name_server_that_hangs_costs_the_time_of_an_attempt() -> None:
    def hang(host: str, port: int, allow_private: bool) -> list[str]:
        time.sleep(SECONDS * 2)
        return ["127.0.0.1"]

    began = time.monotonic()
    outcome, receiver = _with_names(hang)  # type: ignore[arg-type]
    assert "no answer within" in outcome.error and receiver.connections == 0
    assert time.monotonic() - began < SECONDS * 2 + 2


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "0.0.0.0"])
def test_the_nodes_own_ports_are_never_called_even_where_private_targets_are_allowed(address: str) -> None:
    async def run() -> tuple[Attempt, Receiver]:
        async with Receiver() as receiver:
            url = receiver.url(host=address)
            return await post(url, own_ports=(receiver.port,)), receiver

    outcome, receiver = asyncio.run(run())
    assert outcome.final and outcome.refused == OWN and receiver.connections == 0


def test_the_next_address_is_tried_where_one_does_not_accept() -> None:
    outcome, _ = _with_names(Names(hook_example=[["127.0.0.9", "127.0.0.1"]]))
    assert outcome.delivered


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a receiver shows (a certificate for hook.example), and what trusts it."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server-key.pem"
    now = datetime.now(UTC)
    pki.ensure_server_certificate(authority, folder / "ca-key.pem", certificate, key, now, ("hook.example",))
    shows = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shows.load_cert_chain(certificate, key)
    return shows, ssl.create_default_context(cafile=str(authority))


Posted = Callable[[str, ssl.SSLContext | None], tuple[Attempt, list[str | None]]]


@pytest.fixture
def over_tls(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> Posted:
    shows, _ = tls

    def posted(host: str, trust: ssl.SSLContext | None) -> tuple[Attempt, list[str | None]]:
        asked: list[str | None] = []
        shows.sni_callback = lambda _socket, name, _context: asked.append(name)

        async def run() -> Attempt:
            async with Receiver(tls=shows) as receiver:
                names = Names(**{host.replace(".", "_"): [["127.0.0.1"]]})
                return await post(receiver.url(host=host), look_up=names, trust=trust)

        return asyncio.run(run()), asked

    return posted


def test_tls_is_for_the_name_although_an_address_is_called(
    over_tls: Posted, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    assert over_tls("hook.example", tls[1]) == (Attempt(True), ["hook.example"])


def test_a_certificate_for_another_name_or_of_a_stranger_is_a_failed_attempt(
    over_tls: Posted, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    assert not over_tls("other.example", tls[1])[0].delivered
    assert not over_tls("hook.example", None)[0].delivered
