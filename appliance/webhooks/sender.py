"""One POST to an address that a client named, with every bound that a hostile receiver makes necessary.

Owns the request, its signature, its time, and what counts as delivered: a 2xx answer. Redirects are not followed, a
body is read up to `ANSWER_BYTES_MAX` and forgotten, nothing is decoded. Each attempt has a connection of its own to an
address that the resolver has just checked; the name stays in the Host header and in TLS, where the certificate must be
for it. Must not know what is said, nor how often it is tried.
"""

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import httpcore

from appliance.webhooks.resolver import Resolver, TargetRefused
from appliance.webhooks.target import Target

ANSWER_BYTES_MAX: Final = 16_384
"""What is read of an answer, so that an honest receiver is not cut off while it writes; more is not wanted."""

ANSWER_SECONDS_MAX: Final = 1.0

CONNECT_SHARE: Final = 0.5
"""Of the time for an attempt: how long one address may take to accept and to agree on TLS."""


class Attempt(NamedTuple):
    """What became of a call. `final`: another would be in vain. `refused` is the reason where nothing was called."""

    delivered: bool
    error: str = ""
    final: bool = False
    refused: str = ""


class Sender:
    """Makes calls. `secret_of` gives the secret that signs what goes to a tenant's receivers."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        trust: ssl.SSLContext,
        seconds: float,
        secret_of: Callable[[str], bytes],
        epoch_seconds: Callable[[], float],
        user_agent: str,
    ) -> None:
        """`seconds` bounds an attempt from the look-up of the name to the end of the answer."""
        self._resolver = resolver
        self._trust = trust
        self._seconds = seconds
        self._secret_of = secret_of
        self._epoch_seconds = epoch_seconds
        self._user_agent = user_agent.encode()
        self._timeouts = {
            "connect": seconds * CONNECT_SHARE,
            "read": seconds,
            "write": seconds,
            "pool": seconds,
        }

    async def post(self, target: Target, tenant: str, delivery: str, body: bytes) -> Attempt:
        """Call a target. Whatever is wrong with it is the outcome; nothing is raised but what is our own mistake."""
        try:
            async with asyncio.timeout(self._seconds):
                status = await self._exchange(target, self._headers(target, tenant, delivery, body), body)
        except TargetRefused as refusal:
            return Attempt(False, f"refused: {refusal}", final=True, refused=refusal.reason)
        except TimeoutError:
            return Attempt(False, f"no answer within {self._seconds:g} s")
        except httpcore.TimeoutException:
            return Attempt(False, "no connection in time")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
            return Attempt(False, _words(error))
        if 200 <= status < 300:
            return Attempt(True)
        redirect = ", which is not followed" if 300 <= status < 400 else ""
        return Attempt(False, f"the receiver answered {status}{redirect}")

    def _headers(self, target: Target, tenant: str, delivery: str, body: bytes) -> list[tuple[bytes, bytes]]:
        timestamp = str(int(self._epoch_seconds()))
        return [
            (b"Host", _authority(target)),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", str(len(body)).encode()),
            (b"User-Agent", self._user_agent),
            (b"Accept-Encoding", b"identity"),
            (b"Connection", b"close"),
            (b"X-CodeQ-Delivery", delivery.encode()),
            (b"X-CodeQ-Timestamp", timestamp.encode()),
            (b"X-CodeQ-Signature", signature(self._secret_of(tenant), timestamp, body).encode()),
        ]

    async def _exchange(self, target: Target, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
        """The status of the answer."""
        addresses = await self._resolver.addresses(target)
        host = target.host.encode()
        url = httpcore.URL(scheme=target.scheme.encode(), host=host, port=target.port, target=target.path.encode())
        connection = httpcore.AsyncHTTPConnection(
            origin=url.origin, ssl_context=self._trust, network_backend=_Checked(addresses)
        )
        async with connection:
            extensions = {"timeout": self._timeouts}
            async with connection.stream("POST", url, headers=headers, content=body, extensions=extensions) as answer:
                await _read_out(answer)
                return answer.status


class _Checked(httpcore.AnyIOBackend):
    """Connects to checked addresses, whatever name it is asked for."""

    def __init__(self, addresses: list[str]) -> None:
        super().__init__()
        self._addresses = addresses

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = OSError("the host has no address")
        for address in self._addresses:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


async def _read_out(answer: httpcore.Response) -> None:
    """Let a receiver finish its answer. Whatever becomes of that, the status stands."""
    size = 0
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            async for chunk in answer.aiter_stream():
                size += len(chunk)
                if size > ANSWER_BYTES_MAX:
                    return
    except (TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        return


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """The hex HMAC-SHA256 over timestamp, a dot and the body."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _authority(target: Target) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    default = 443 if target.scheme == "https" else 80
    return (host if target.port == default else f"{host}:{target.port}").encode()


def _words(error: Exception) -> str:
    """What went wrong, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
