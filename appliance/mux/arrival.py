"""A connection before its protocol is known.

Owns the first bytes. `Arrival` looks at an accepted socket without taking anything from it (MSG_PEEK) and raises the
socket's low-water mark to wait for a longer prefix without spinning. `SecureArrival` does the same for the first
decrypted bytes inside TLS and holds them against the protocol that was agreed. What to do with the verdict is the
listener's affair. Runs on the event loop's thread.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from appliance.mux import client_hello
from appliance.mux.client_hello import ClientHello, MalformedHello, NeedMore
from appliance.mux.limits import Limits
from appliance.mux.secure import SecureTransport
from appliance.mux.sniffer import SNIFF_LIMIT_BYTES, Kind, sniff
from appliance.mux.tls import ALPN_H2, ALPN_HTTP1, ALPN_HTTP10

_AGREED: Final = {ALPN_H2: Kind.HTTP2, ALPN_HTTP1: Kind.HTTP1, ALPN_HTTP10: Kind.HTTP1}


class Verdicts(Protocol):
    """What an arrival tells the listener; each is called at most once per arrival."""

    def sniffed(self, arrival: "Arrival", kind: Kind, hello: ClientHello | None) -> None:
        """The protocol is known; `hello` comes with Kind.TLS."""

    def turned_away(self, arrival: "Arrival", reason: str) -> None:
        """It is none of ours, or nothing came; the socket is to be closed."""


class Arrival:
    """One accepted socket, from accept to the verdict."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        peer: str,
        plaintext: bool,
        limits: Limits,
        now: float,
        verdicts: Verdicts,
    ) -> None:
        self.sock = sock
        self.peer = peer
        self.plaintext = plaintext
        self.accepted_at = now
        self._loop = loop
        self._limits = limits
        self._verdicts = verdicts
        self._wanted_bytes = 1
        self._watching = False
        self._decided = False

    @property
    def idle_since(self) -> float | None:
        """An arrival is never idle: its deadline is short enough."""
        return None

    def look(self) -> None:
        """Looks at what has come so far; called at once after accept and whenever the socket is readable."""
        try:
            prefix = self.sock.recv(self._limits.client_hello_bytes, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            self._watch()
            return
        except OSError:
            self._turn_away("sniff-closed")
            return
        if len(prefix) < self._wanted_bytes:
            # Readable below the low-water mark: the peer has closed or reset.
            self._turn_away("sniff-closed")
            return
        kind = sniff(prefix)
        if kind is Kind.TLS:
            self._look_at_hello(prefix)
        elif kind is Kind.NEED_MORE:
            self._want(len(prefix) + 1)
        elif kind is Kind.UNKNOWN:
            self._turn_away("sniff-unknown")
        else:
            self._decide(kind, None)

    def check(self, now: float) -> None:
        """Enforces the sniff deadline."""
        if not self._decided and now - self.accepted_at > self._limits.sniff_seconds:
            self._turn_away("sniff-timeout")

    def drain(self, now: float) -> None:
        """A connection that has said nothing yet is closed."""
        if not self._decided:
            self._turn_away("sniff-closed")

    def abort(self) -> None:
        """Closes at once."""
        self._stop()
        self.sock.close()

    def _look_at_hello(self, prefix: bytes) -> None:
        try:
            hello = client_hello.parse(prefix, self._limits.client_hello_bytes)
        except MalformedHello:
            self._turn_away("client-hello")
            return
        if isinstance(hello, NeedMore):
            self._want(hello.total_bytes)
        else:
            self._decide(Kind.TLS, hello)

    def _want(self, count: int) -> None:
        self._wanted_bytes = count
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        self._watch()

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.add_reader(self.sock.fileno(), self.look)

    def _stop(self) -> None:
        self._decided = True
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self.sock.fileno())

    def _decide(self, kind: Kind, hello: ClientHello | None) -> None:
        self._stop()
        if self._wanted_bytes > 1:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._verdicts.sniffed(self, kind, hello)

    def _turn_away(self, reason: str) -> None:
        self._stop()
        self._verdicts.turned_away(self, reason)


class SecureArrival(asyncio.Protocol):
    """A connection from the beginning of its handshake until the first decrypted bytes say what it is.

    `take_over` is called with this and the kind, and returns the protocol that gets those bytes. One that is not taken
    over ends, and `on_lost` is called with this and the reason.
    """

    __slots__ = (
        "_agreed",
        "_began_at",
        "_limits",
        "_now",
        "_on_lost",
        "_prefix",
        "_reason",
        "_take_over",
        "peer",
        "tls",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: ssl.SSLContext,
        peer: str,
        limits: Limits,
        now: Callable[[], float],
        take_over: Callable[["SecureArrival", Kind], asyncio.Protocol],
        on_lost: Callable[["SecureArrival", str], None],
    ) -> None:
        self.peer = peer
        self.tls = SecureTransport(loop, context, self)
        self._limits = limits
        self._now = now
        self._take_over = take_over
        self._on_lost = on_lost
        self._agreed: Kind | None = None
        self._began_at = now()
        self._prefix = b""
        self._reason = "handshake"

    @property
    def idle_since(self) -> float | None:
        """An arrival is never idle: its deadline is short enough."""
        return None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        self._began_at = self._now()
        self._reason = "sniff-closed"
        alpn = self.tls.alpn
        self._agreed = _AGREED[alpn] if alpn is not None else None

    def data_received(self, data: bytes) -> None:
        """Collects the first bytes; a protocol that differs from the agreed one is closed (RFC 7301, cross-protocol
        attacks)."""
        self._prefix += data
        kind = sniff(self._prefix[:SNIFF_LIMIT_BYTES])
        if kind is Kind.NEED_MORE:
            return
        if kind is Kind.UNKNOWN or kind is Kind.TLS:
            self._turn_away("sniff-unknown")
        elif self._agreed is not None and kind is not self._agreed:
            self._turn_away("alpn-mismatch")
        elif kind is Kind.RAFT:
            self._turn_away("raft-disabled")
        else:
            self._hand_over(kind)

    def _hand_over(self, kind: Kind) -> None:
        protocol = self._take_over(self, kind)
        self.tls.set_protocol(protocol)
        protocol.connection_made(self.tls)
        protocol.data_received(self._prefix)

    def connection_lost(self, error: Exception | None) -> None:
        """Gone before it was known."""
        self._on_lost(self, self._reason)

    def check(self, now: float) -> None:
        """Enforces the deadlines of the handshake and of the first bytes."""
        if self.tls.handshake is not None:
            if now - self._began_at > self._limits.handshake_seconds:
                self.tls.abort()
        elif now - self._began_at > self._limits.sniff_seconds:
            self._turn_away("sniff-timeout")

    def drain(self, now: float) -> None:
        """A connection that has said nothing yet is closed; a handshake may end."""
        if self.tls.handshake is None:
            self.abort()

    def abort(self) -> None:
        """Closes at once."""
        self.tls.abort()

    def _turn_away(self, reason: str) -> None:
        self._reason = reason
        self.tls.abort()
