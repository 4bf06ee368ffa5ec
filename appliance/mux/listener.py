"""The one port: accepts connections, finds out what they are, keeps them in bounds, lets them go.

Owns the listening sockets, the list of everything connected, the caps on it, the coarse sweep that enforces every
deadline, and the drain. Plain sockets and `add_reader`: a transport can not be asked to look without taking. Runs on
the event loop's thread; knows no request.
"""

import asyncio
import contextlib
import errno
import heapq
import logging
import os
import socket
import time
from collections import Counter, deque
from typing import Any, Final, Protocol

from appliance.budgets import AddressBudgets
from appliance.mux.arrival import Arrival, SecureArrival
from appliance.mux.client_hello import ClientHello
from appliance.mux.connection import Connection, Core
from appliance.mux.exchange import Handler
from appliance.mux.http1 import Http1
from appliance.mux.http2 import Http2
from appliance.mux.hub import Hub
from appliance.mux.limits import Limits, Observer
from appliance.mux.refusal import refused
from appliance.mux.sniffer import Kind
from appliance.mux.tls import ALPN, Tls

log = logging.getLogger("codeq.mux")

BACKLOG: Final = 1024
SWEEP_SECONDS: Final = 0.5
"""How late a deadline may be noticed, and how old the Date header may be."""

ALERT_HANDSHAKE_FAILURE: Final = b"\x15\x03\x03\x00\x02\x02\x28"
ALERT_NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for every address that `host` stands for. Raises OSError when one can not be bound."""
    sockets: list[socket.socket] = []
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # "::" and "0.0.0.0" are two addresses; a dual-stack socket would take both.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


class Member(Protocol):
    """Anything connected, in whatever stage."""

    @property
    def idle_since(self) -> float | None: ...
    def check(self, now: float) -> None: ...
    def drain(self, now: float) -> None: ...
    def abort(self) -> None: ...


class Listener:
    """Serves `handler` on the sockets it is given. Without `tls` only plaintext is possible."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        limits: Limits,
        observer: Observer,
        tls: Tls | None,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self.hub = Hub(handler, limits, observer)
        self._loop = loop
        self._limits = limits
        self._observer = observer
        self._tls = tls
        self._sockets: dict[socket.socket, bool] = {}
        self._members: dict[Member, str] = {}
        self._per_address: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes = 0
        self._handshake_budgets = AddressBudgets(
            limits.handshakes_per_second_per_address, limits.handshakes_burst_per_address
        )
        self._waiting: deque[tuple[Arrival, float]] = deque()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._evicted: set[Member] = set()
        self._nobody_idle = False
        self._descriptors_logged = False
        self._empty = asyncio.Event()
        self._now = time.monotonic
        self._sweep_seconds = sweep_seconds
        self._sweep_handle = loop.call_soon(self._sweep)

    def __len__(self) -> int:
        """How many connections there are, in any stage."""
        return len(self._members)

    def add_socket(self, sock: socket.socket, plaintext: bool) -> None:
        """Starts to accept on a bound, listening socket; `plaintext` allows requests outside TLS on it."""
        sock.setblocking(False)
        self._sockets[sock] = plaintext
        self._loop.add_reader(sock.fileno(), self._accept, sock)

    async def drain(self, timeout_seconds: float) -> None:
        """Stops accepting, lets what is under way finish for at most `timeout_seconds`, then closes everything."""
        self.hub.draining = True
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()
        now = self._now()
        for member in list(self._members):
            member.drain(now)
        await self._wait_until_empty(timeout_seconds)
        for member in list(self._members):
            member.abort()
            if isinstance(member, Arrival):
                self._forget(member)
        await self._wait_until_empty(1.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sweep_handle.cancel()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    async def _wait_until_empty(self, timeout_seconds: float) -> None:
        if self._members:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_seconds)

    # Accepting.

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(self._limits.accepts_per_turn):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._accept_failed(listening, error)
                return
            self._arrived(sock, str(address[0]), self._sockets[listening])

    def _accept_failed(self, listening: socket.socket, error: OSError) -> None:
        """Without descriptors the socket stays readable and the loop would spin: the spare one is spent to take the
        connection off the queue and close it."""
        self._observer.refused("no-descriptors")
        if not self._descriptors_logged:
            self._descriptors_logged = True
            log.error("a connection could not be accepted: %s", error)
        if error.errno not in (errno.EMFILE, errno.ENFILE) or self._spare < 0:
            return
        os.close(self._spare)
        with contextlib.suppress(OSError):
            listening.accept()[0].close()
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._spare = -1

    def _arrived(self, sock: socket.socket, peer: str, plaintext: bool) -> None:
        reason = self._no_place_for(peer)
        if reason:
            self._observer.refused(reason)
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        arrival = Arrival(self._loop, sock, peer, plaintext, self._limits, self._now(), self)
        self._members[arrival] = peer
        self._per_address[peer] += 1
        arrival.look()

    def _no_place_for(self, peer: str) -> str:
        if self._per_address[peer] >= self._limits.connections_per_address:
            return "connections-per-address"
        if len(self._members) - len(self._evicted) >= self._limits.connections and not self._make_room():
            return "connections"
        return ""

    def _make_room(self) -> bool:
        """Closes the connections that have been idle longest. When there are none, the search rests until the next
        sweep: it walks over every connection."""
        if self._nobody_idle:
            return False
        idle = [(since, id(member), member) for member in self._members if (since := member.idle_since) is not None]
        longest = heapq.nsmallest(self._limits.idle_closed_at_once, idle)
        for _, _, member in longest:
            self._observer.refused("connection-evicted")
            self._evicted.add(member)
            member.drain(self._now())
        self._nobody_idle = not longest
        return bool(longest)

    # Verdicts.

    def turned_away(self, arrival: Arrival, reason: str) -> None:
        """An arrival that will not be served."""
        self._observer.refused(reason)
        arrival.sock.close()
        self._forget(arrival)

    def sniffed(self, arrival: Arrival, kind: Kind, hello: ClientHello | None) -> None:
        """An arrival that said what it is."""
        if kind is Kind.TLS:
            self._begin_tls(arrival, hello)
        elif kind is Kind.RAFT:
            self.turned_away(arrival, "raft-disabled")
        elif arrival.plaintext or kind is Kind.HTTP1:
            self._spawn(self._serve_plaintext(arrival, kind))
        else:
            self.turned_away(arrival, "plaintext-refused")

    async def _serve_plaintext(self, arrival: Arrival, kind: Kind) -> None:
        connection = self._make_connection(arrival.peer, kind, secure=False, served=arrival.plaintext)
        self._replace(arrival, connection)
        try:
            await self._loop.connect_accepted_socket(lambda: connection, arrival.sock)
        except OSError:
            self._observer.refused("sniff-closed")
            arrival.sock.close()
            self._forget(connection)
        else:
            if self.hub.draining:
                connection.drain(self._now())

    def _make_connection(self, peer: str, kind: Kind, secure: bool, served: bool = True) -> Connection:
        def make_core(channel: Connection, peer: str, secure: bool, now: float) -> Core:
            if kind is Kind.HTTP2:
                return Http2(self.hub, channel, peer, secure, now)
            refusal = None if served else refused("plaintext-refused", 400, "this address takes TLS only: use https://")
            return Http1(self.hub, channel, peer, secure, now, refusal)

        word = "h2" if kind is Kind.HTTP2 else "h1"
        name = f"{word}-tls" if secure else word
        return Connection(self._loop, self.hub, name, peer, make_core, self._now, self._forget)

    # TLS.

    def _begin_tls(self, arrival: Arrival, hello: ClientHello | None) -> None:
        if self._tls is None:
            self._refuse_tls(arrival, ALERT_HANDSHAKE_FAILURE, "tls-unavailable")
        elif hello is not None and hello.alpn is not None and not _any_of_ours(hello.alpn):
            self._refuse_tls(arrival, ALERT_NO_APPLICATION_PROTOCOL, "alpn-mismatch")
        elif not self._handshake_budgets.spend(arrival.peer, self._now()):
            self.turned_away(arrival, "handshakes-per-address")
        elif self._handshakes < self._limits.handshakes:
            self._start_handshake(arrival)
        elif len(self._waiting) < self._limits.handshakes_waiting:
            self._waiting.append((arrival, self._now()))
        else:
            self.turned_away(arrival, "handshakes")

    def _refuse_tls(self, arrival: Arrival, alert: bytes, reason: str) -> None:
        with contextlib.suppress(OSError):
            # Unread bytes would turn the close into a reset, which can overtake the alert.
            arrival.sock.recv(self._limits.client_hello_bytes)
            arrival.sock.send(alert)
        self.turned_away(arrival, reason)

    def _start_handshake(self, arrival: Arrival) -> None:
        self._handshakes += 1
        self._spawn(self._serve_tls(arrival))

    async def _serve_tls(self, arrival: Arrival) -> None:
        if self._tls is None:
            raise AssertionError("a handshake needs a certificate")
        secure = SecureArrival(
            self._loop,
            self._tls.context,
            arrival.peer,
            self._limits,
            self._now,
            self._take_over,
            self._secure_lost,
        )
        tls, over = secure.tls, secure.tls.handshake
        self._replace(arrival, secure)
        try:
            await self._loop.connect_accepted_socket(lambda: tls, arrival.sock)
            if over is not None:
                await over
        except OSError:
            arrival.sock.close()
            tls.connection_lost(None)
        finally:
            self._handshakes -= 1
            self._next_handshake()

    def _next_handshake(self) -> None:
        while self._waiting and self._handshakes < self._limits.handshakes:
            arrival, _ = self._waiting.popleft()
            if arrival in self._members:
                self._start_handshake(arrival)

    def _expire_waiting(self, now: float) -> None:
        while self._waiting and now - self._waiting[0][1] > self._limits.handshake_seconds:
            arrival, _ = self._waiting.popleft()
            if arrival in self._members:
                self.turned_away(arrival, "handshakes")

    def _take_over(self, secure: SecureArrival, kind: Kind) -> Connection:
        connection = self._make_connection(secure.peer, kind, secure=True)
        self._replace(secure, connection)
        if self.hub.draining:
            # Its first request came with the end of a handshake: it is read before the connection learns of the drain.
            self._loop.call_soon(lambda: connection.drain(self._now()))
        return connection

    def _secure_lost(self, secure: SecureArrival, reason: str) -> None:
        self._observer.refused(reason)
        self._forget(secure)

    # The list of everything connected.

    def _replace(self, old: Member, new: Member) -> None:
        peer = self._members.pop(old)
        self._members[new] = peer

    def _forget(self, member: Member) -> None:
        peer = self._members.pop(member, None)
        if peer is None:
            return
        self._evicted.discard(member)
        self._per_address[peer] -= 1
        if not self._per_address[peer]:
            del self._per_address[peer]
        if not self._members:
            self._empty.set()

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep(self) -> None:
        """Looks at every deadline. One timer for all: one per request would cost more than to parse the request."""
        self._sweep_handle = self._loop.call_later(self._sweep_seconds, self._sweep)
        self.hub.refresh_date(time.time())
        self._nobody_idle = False
        self._descriptors_logged = False
        if self._spare < 0:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        now = self._now()
        self._expire_waiting(now)
        for member in list(self._members):
            member.check(now)


def _any_of_ours(offered: tuple[bytes, ...]) -> bool:
    return any(name.encode() in offered for name in ALPN)
