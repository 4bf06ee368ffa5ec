"""One request and its response, the same two objects whether they travel over HTTP/1.1 or HTTP/2.

Owns the promise around them: a request is answered at most once, its handler hears at most once that the client has
gone, and a holder of the connection lets go at most once. Knows neither sockets nor wire formats; a `Channel` (one
connection) does the writing. Runs on the event loop's thread.

    OPEN ── respond ──► ANSWERED          OPEN ── client leaves ──► GONE ── late respond ──► ANSWERED_GONE
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias

import msgspec

from appliance import errors

OPEN: Final = 0
ANSWERED: Final = 1
GONE: Final = 2
ANSWERED_GONE: Final = 3

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Response:
    """What a handler answers: `status`, `body`, extra `headers`, and the `content_type` of a body that is not empty.

    `chunks` replaces `body` where the answer is made piece by piece: HTTP/1.1 sends it chunked, HTTP/1.0 up to the end
    of the connection, HTTP/2 as DATA frames. A piece is taken only when the connection has room for it.

    Raises ValueError for a header that would break the framing.
    """

    __slots__ = ("body", "chunks", "content_type", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: Headers = (),
        content_type: bytes = b"application/json",
        chunks: Iterable[bytes] | None = None,
    ) -> None:
        for name, value in headers:
            if b"\r" in value or b"\n" in value:
                raise ValueError(f"the header {name!r} would break the framing")
        self.status = status
        self.body = body
        self.headers = headers
        self.content_type = content_type
        self.chunks = chunks


class Channel(Protocol):
    """What a request needs from its connection."""

    def answer(self, request: "Request", response: Response) -> None:
        """Sends the response of a request that is still wanted."""

    def abandoned(self, request: "Request") -> None:
        """The handler let go of a request whose client had left before."""

    def wake(self) -> None:
        """Writes what is queued at the end of this turn of the loop."""

    def hold(self) -> None:
        """Stops reading from the peer; calls nest."""

    def release(self) -> None:
        """Undoes one `hold`."""


class Request:
    """One request, complete with its body. `path` and `query` are as they came, still percent-encoded.

    `headers` maps lower-case names to values; repeated ones are joined with ", " (Cookie with "; ").
    `received_at` is the monotonic time, in seconds, at which the request was complete. `cost_bytes` and `mark` are the
    connection's own: what the request counts in the memory account, and the stream id or the HTTP/1.1 framing flags.
    """

    __slots__ = (
        "_channel",
        "_state",
        "body",
        "cost_bytes",
        "headers",
        "mark",
        "method",
        "on_closed",
        "path",
        "peer",
        "query",
        "received_at",
        "request_id",
        "secure",
    )

    def __init__(
        self,
        channel: Channel,
        method: str,
        path: str,
        query: str,
        headers: dict[bytes, bytes],
        body: bytes,
        peer: str,
        secure: bool,
        request_id: str,
        received_at: float,
        cost_bytes: int = 0,
        mark: int = 0,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.peer = peer
        self.secure = secure
        self.request_id = request_id
        self.received_at = received_at
        self.on_closed: Callable[[], None] | None = None
        self.cost_bytes = cost_bytes
        self.mark = mark
        self._channel = channel
        self._state = OPEN

    @property
    def closed(self) -> bool:
        """The client has gone: nobody will read an answer."""
        return self._state >= GONE

    @property
    def answered(self) -> bool:
        """`respond` has been called."""
        return self._state in (ANSWERED, ANSWERED_GONE)

    def respond(self, response: Response) -> None:
        """Answers the request. Does nothing when the client has gone. Raises RuntimeError on a second answer."""
        state = self._state
        if state == OPEN:
            self._state = ANSWERED
            self.on_closed = None
            self._channel.answer(self, response)
        elif state == GONE:
            self._state = ANSWERED_GONE
            self._channel.abandoned(self)
        elif state == ANSWERED:
            raise RuntimeError("a request was answered twice")

    def hold(self) -> Callable[[], None]:
        """Stops reading this request's connection until the returned function is called (later calls do nothing)."""
        channel = self._channel
        channel.hold()
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                channel.release()

        return release

    def client_left(self) -> bool:
        """For the connection: marks the request as unwanted and tells the handler. Returns True when the handler asked
        to be told, and so owes no answer any more. Exceptions of the handler's `on_closed` pass through."""
        if self._state != OPEN:
            return True
        self._state = GONE
        on_closed, self.on_closed = self.on_closed, None
        if on_closed is None:
            return False
        self._state = ANSWERED_GONE
        on_closed()
        return True


Handler: TypeAlias = Callable[[Request], None]

_encode = msgspec.json.Encoder().encode


def problem_response(problem: errors.Problem) -> Response:
    """The error shape of the REST front: JSON `{"code", "message"}`, with `Retry-After` where the problem has it."""
    body = _encode({"code": problem.code, "message": problem.message})
    headers: Headers = ()
    if problem.retry_after_seconds:
        headers = ((b"Retry-After", b"%d" % problem.retry_after_seconds),)
    return Response(problem.status, body, headers)
