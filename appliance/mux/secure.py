"""TLS on one connection: records from and to a plain transport, the plaintext to and from a protocol.

Owns the handshake, the records both ways, and the end with its close_notify. It is a protocol to the transport below
and a transport to the protocol above. The loop has TLS of its own, but keeps a buffer of 256 KiB for each connection,
in pages that earlier handshakes have touched (docs/performance.md). Must not know what is spoken inside; deadlines are
the protocol's. Runs on the event loop's thread.

    HANDSHAKE ── both finished ──► OPEN ── close, or the peer's close_notify ──► CLOSING ── both said so ──► GONE
"""

import asyncio
import ssl
from typing import Any, Final

RECORD_BYTES: Final = 16_384
"""The most that one record holds, and so the most that one read gives."""

HANDSHAKE: Final = 0
OPEN: Final = 1
CLOSING: Final = 2
GONE: Final = 3


class SecureTransport(asyncio.BaseTransport, asyncio.Protocol):
    """The server's side of one connection. `protocol` hears of the connection when the handshake is done, and of its
    end in any case. `handshake` is done when the handshake is over, well or badly."""

    __slots__ = ("_incoming", "_outgoing", "_protocol", "_state", "_tls", "_transport", "handshake")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.handshake: asyncio.Future[None] | None = loop.create_future()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._protocol: Any = protocol
        self._transport: Any = None
        self._state = HANDSHAKE

    @property
    def alpn(self) -> str | None:
        """The application protocol that was agreed."""
        return self._tls.selected_alpn_protocol()

    # From the transport below.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket has a transport."""
        self._transport = transport
        if self._state == GONE:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Records, or pieces of them."""
        self._incoming.write(data)
        if self._state == OPEN:
            self._read()
        elif self._state == HANDSHAKE:
            self._shake_hands()
        elif self._state == CLOSING:
            self._say_goodbye()

    def eof_received(self) -> bool:
        """An end without close_notify is an end too: what is written still leaves."""
        if self._state == OPEN:
            self._protocol.eof_received()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._state = GONE
        self._handshake_is_over()
        self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        """The peer does not take what is written."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """There is room again."""
        self._protocol.resume_writing()

    # From the protocol above.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand over to another protocol; it is told nothing of what was."""
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        """Send plaintext; ignored after an end."""
        if self._state == OPEN:
            try:
                self._tls.write(data)
            except ssl.SSLError:
                self.abort()
            else:
                self._transport.write(self._outgoing.read())

    def get_write_buffer_size(self) -> int:
        """Bytes of records that the socket has not taken."""
        return int(self._transport.get_write_buffer_size())

    def can_write_eof(self) -> bool:
        """Never: close_notify ends both directions here."""
        return False

    def pause_reading(self) -> None:
        """What has come is decrypted already; no more is read."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def close(self) -> None:
        """Send close_notify after all that is written, and end when the peer has answered it; what it still sends is
        thrown away."""
        if self._state == HANDSHAKE:
            self.abort()
        elif self._state == OPEN:
            self._state = CLOSING
            self._transport.resume_reading()
            self._say_goodbye()

    def abort(self) -> None:
        """Close at once."""
        self._state = GONE
        self._handshake_is_over()
        if self._transport is not None:
            self._transport.abort()

    # Inside.

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except ssl.SSLError:
            self._send()  # the alert
            self._end()
            return
        self._state = OPEN
        self._send()
        self._handshake_is_over()
        self._protocol.connection_made(self)
        self._read()

    def _handshake_is_over(self) -> None:
        future, self.handshake = self.handshake, None
        if future is not None and not future.done():
            future.set_result(None)

    def _read(self) -> None:
        incoming, tls = self._incoming, self._tls
        pieces = []
        ended = False
        try:
            while waiting := incoming.pending or tls.pending():
                piece = tls.read(waiting if waiting < RECORD_BYTES else RECORD_BYTES)
                if not piece:
                    ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.abort()
            return
        if self._outgoing.pending:
            self._send()  # a warning, say that nothing is negotiated anew
        if pieces:
            self._protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if ended and self._state == OPEN:
            self._protocol.eof_received()
            self.close()

    def _say_goodbye(self) -> None:
        """A shutdown that finds plaintext unread is an error to the library."""
        try:
            while self._tls.read(RECORD_BYTES):
                pass
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._end()
            return
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError:
            self._end()
        else:
            self._send()
            self._end()

    def _end(self) -> None:
        self._state = GONE
        self._transport.close()

    def _send(self) -> None:
        data = self._outgoing.read()
        if data:
            self._transport.write(data)
