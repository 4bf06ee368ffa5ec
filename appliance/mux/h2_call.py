"""One gRPC call on an HTTP/2 connection: what it has to send, how it ends, and who holds it.

Owns the framing of what leaves and the account of what has not left. It must not know windows, streams or the codec:
its carrier has those. Sans-IO.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from appliance.mux import grpc_framing
from appliance.mux.grpc_call import UNSENT_BYTES_MAX, UNSENT_MAX, Session
from appliance.mux.grpc_framing import MessageReader
from appliance.mux.h2_request import Head2

OPEN: Final = 0
ENDING: Final = 1
CLOSED: Final = 2
_HEADERS: Final = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", grpc_framing.ACCEPTED_ENCODINGS),
]


class Carrier(Protocol):
    """What a connection's calls do for one of them."""

    def send_headers(self, stream_id: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of an answer."""

    def sending(self, call: "GrpcCall") -> None:
        """This call has something to send at the end of the turn."""

    def waiting_bytes(self, call: "GrpcCall") -> int:
        """Bytes that a call has handed over and that have not left."""

    def hold(self) -> None:
        """Read nothing at all from the peer, until as many `release` calls."""

    def release(self) -> None:
        """Undo one `hold`."""

    def grant(self, call: "GrpcCall") -> None:
        """Open the peer's window again, if it is time and the call may be granted."""


class GrpcCall:
    """One call; see `grpc_call.Call` for what it is to its session."""

    __slots__ = (
        "_calls",
        "_ending",
        "_headers_sent",
        "_holds",
        "_parts",
        "_parts_bytes",
        "_sizes",
        "cost_bytes",
        "deadline",
        "full",
        "half_closed",
        "headers",
        "id",
        "opened_at",
        "partial_since",
        "path",
        "peer",
        "reader",
        "request_id",
        "session",
        "state",
        "status",
        "ungranted_bytes",
        "unsent",
    )

    def __init__(
        self, calls: Carrier, stream_id: int, head: Head2, peer: str, request_id: str, cost_bytes: int, now: float
    ) -> None:
        self.id = stream_id
        self.path = head.path
        self.headers = head.headers
        self.peer = peer
        self.request_id = request_id
        self.cost_bytes = cost_bytes
        self.session: Session | None = None
        self.reader: MessageReader | None = None
        self.deadline = 0.0
        self.partial_since = 0.0
        self.state = OPEN
        self.half_closed = False
        self.status = grpc_framing.CANCELLED
        self.opened_at = now
        self.unsent = 0
        self.full = False
        self.ungranted_bytes = 0
        self._calls = calls
        self._headers_sent = False
        self._holds = 0
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._sizes: list[int] = []
        self._ending: list[tuple[bytes, bytes]] | None = None

    @property
    def closed(self) -> bool:
        """Nothing that is sent now arrives."""
        return self.state != OPEN

    def send(self, messages: Sequence[bytes]) -> None:
        """Queue messages; they leave at the end of this turn."""
        if self.state != OPEN or not messages:
            return
        parts, sizes = self._parts, self._sizes
        for message in messages:
            size = len(message)
            parts.append(b"\0" + size.to_bytes(4))
            parts.append(message)
            size += grpc_framing.PREFIX_BYTES
            sizes.append(size)
            self._parts_bytes += size
        self.unsent += len(messages)
        if self.unsent > UNSENT_MAX or self._parts_bytes + self._calls.waiting_bytes(self) > UNSENT_BYTES_MAX:
            self.full = True
        self._calls.sending(self)

    def end(self, status: int, message: str = "", extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """End the call after everything that is queued."""
        if self.state != OPEN:
            return
        self.state = ENDING
        self.status = status
        self._ending = [*grpc_framing.trailers(status, message), *extra]
        self._calls.sending(self)

    def hold(self, *, connection: bool = False) -> Callable[[], None]:
        """Grant no window, or read nothing from the whole connection, until the returned function is called."""
        if connection:
            self._calls.hold()
            return self._calls.release
        self._holds += 1
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._holds -= 1
                self._calls.grant(self)

        return release

    @property
    def held_bytes(self) -> int:
        """Bytes of the incomplete message."""
        return self.reader.held_bytes if self.reader is not None else 0

    @property
    def may_be_granted(self) -> bool:
        """The peer takes what it is sent, and nobody holds it back."""
        return not self._holds and not self.full and not self.half_closed

    def take_parts(self) -> bytes:
        """What is queued, framed, as one piece. Before the first the answer's headers are sent."""
        if self._parts and not self._headers_sent:
            self._headers_sent = True
            self._calls.send_headers(self.id, _HEADERS)
        parts, self._parts = self._parts, []
        self._parts_bytes = 0
        return b"".join(parts)

    def settle_unsent(self, waiting_bytes: int) -> None:
        """The call is over: `unsent` becomes exact, given the bytes handed over that have not left. Until then it is an
        upper bound, since nobody counts which message a frame ended in."""
        waiting_bytes += sum(map(len, self._parts))
        self.unsent = 0
        for size in reversed(self._sizes):
            if waiting_bytes <= 0:
                break
            waiting_bytes -= size
            self.unsent += 1

    def all_sent(self) -> None:
        """Everything that was handed over has left."""
        self.unsent = 0
        self._sizes.clear()

    def take_ending(self) -> list[tuple[bytes, bytes]] | None:
        """The trailers, when the call is to end now."""
        if self._parts or self._ending is None:
            return None
        ending = self._ending
        return ending if self._headers_sent else [*_HEADERS, *ending]
