"""One gRPC call as the front hands it over, and what it expects back: the seam between framing and streams.

Owns the two shapes only. A `Call` is the mux's side (whole messages out, a status at the end), a `Session` is the
handler's side (whole messages in). Neither knows the other's inside. Runs on the event loop's thread; nothing here is
a coroutine, and there is one object per stream, not per message.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

UNSENT_MAX = 256
"""Messages that may wait unsent on one stream; past that the stream's window is not opened further."""

UNSENT_BYTES_MAX = 1 << 20
"""And bytes: a few tasks with the largest payloads. What is decided already still comes on top, two groups at most."""

MESSAGE_BYTES_MAX = 4 << 20
"""Inbound, by the contract; refused on the five-byte prefix."""

GREETING_BYTES_MAX = 16 << 10
"""Inbound, from whom we don't know yet: the longest token, a name, and room to spare. A compressed message can cost a
thousand times the CPU of its bytes."""


class Call(Protocol):
    """One open gRPC stream, for its session."""

    path: str
    """`/package.Service/Method`."""
    headers: dict[bytes, bytes]
    peer: str
    request_id: str

    @property
    def closed(self) -> bool:
        """Ended by either side, reset, or its connection lost: nothing that is sent arrives any more."""
        ...

    @property
    def unsent(self) -> int:
        """Messages that wait for the peer's window. Past `UNSENT_MAX` the peer is not granted window either."""
        ...

    @property
    def full(self) -> bool:
        """More waits unsent than may, on this call or on its connection; the session hears of `room` when it has left.
        Until then it should send only what it owes."""
        ...

    def send(self, messages: Sequence[bytes]) -> None:
        """Queue serialized messages, in order. All that is queued in one turn of the loop leaves in one write."""
        ...

    def end(self, status: int, message: str = "", extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """End the stream with a gRPC status after everything queued; further trailers in `extra`. Then `closed`."""
        ...

    def hold(self, *, connection: bool = False) -> Callable[[], None]:
        """Stop granting window to this stream until the returned function is called, once (an inbox is full). A window
        lets much through that is granted already: `connection` stops reading at once, for all streams of it."""
        ...


class Session(Protocol):
    """The handler's side of one stream. After `gone` or its own `end` nothing is called any more."""

    @property
    def message_bytes_max(self) -> int:
        """The largest message that is taken now. Below `MESSAGE_BYTES_MAX` the first message is handed over alone and
        has to come in time, and the limit is looked at once more behind it."""
        ...

    def receive(self, messages: list[bytes]) -> None:
        """Messages that arrived together, uncompressed, in order; never empty."""
        ...

    def half_closed(self) -> None:
        """END_STREAM: the peer sends no more. The session answers what it owes and then ends the call."""
        ...

    def gone(self) -> None:
        """The peer reset the stream or its connection is lost."""
        ...

    def crowded(self) -> None:
        """The call became full because of others on its connection."""
        ...

    def room(self) -> None:
        """What waited unsent has left: the call is not `full` any more."""
        ...

    def drain(self) -> None:
        """The node or the connection is about to go: finish soon and end with UNAVAILABLE."""
        ...


Open = Callable[[Call], Session | None]
"""The handler of new gRPC calls: their session, or None for an unknown service or method (UNIMPLEMENTED)."""
