"""A non-blocking socket, with TLS or without, under one HTTP/2 connection.

Owns the socket: everything readable is read before anything is handled, and what is to be sent goes out in one piece.
"""

import socket
import ssl
import time
from typing import Final

from appliance.bench.http2 import Connection, PeerError
from appliance.bench.plan import Target

CONNECT_SECONDS: Final = 30.0
_READ_BYTES: Final = 1 << 18
_READS_MAX: Final = 32
"""Of one TLS record (16 KiB) each, before others get their turn."""


def tls_context(target: Target) -> ssl.SSLContext | None:
    """How to speak TLS to a target: verified, and HTTP/2 only."""
    if not target.tls:
        return None
    context = ssl.create_default_context(cafile=str(target.ca) if target.ca else None)
    context.set_alpn_protocols(["h2"])
    return context


class Link:
    """One connection. The calls raise OSError and PeerError."""

    __slots__ = ("_rest", "_socket", "http2", "writable_wanted")

    def __init__(self, target: Target, context: ssl.SSLContext | None) -> None:
        plain = socket.create_connection((target.host, target.port), CONNECT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain if context is None else context.wrap_socket(plain, server_hostname=target.host)
        self._socket.setblocking(False)
        self._rest = b""
        self.writable_wanted = False
        self.http2 = Connection(target.authority, "https" if target.tls else "http")
        # At once: a server waits for the first bytes a few seconds only, and there may be a thousand more to connect.
        self.write()

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self) -> None:
        """Handle what has arrived."""
        for _ in range(_READS_MAX):
            try:
                data = self._socket.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                raise PeerError("the server closed the connection")
            self.http2.receive(data, time.monotonic())
            # A plain socket has given all that it had; TLS gives one record and keeps the rest where no selector looks.
            if isinstance(self._socket, ssl.SSLSocket):
                continue
            return

    def write(self) -> None:
        """Send what is ready; afterwards `writable_wanted` tells whether some is left."""
        data = self._rest + self.http2.take() if self._rest else self.http2.take()
        try:
            while data:
                data = data[self._socket.send(data) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        self._rest = data
        self.writable_wanted = bool(data)
