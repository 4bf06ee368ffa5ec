"""HTTP/1.1 and 1.0, server side, as bytes in and bytes out.

Owns framing, the order of pipelined answers, keep-alive and the request's deadlines. Sans-IO: no socket, no clock; the
time comes as an argument and the bytes to send are asked for. Whatever is not certainly well framed is refused and ends
the connection, since what follows could be anything. The shell above feeds, takes requests, answers, sends.

Bodies with a known size are sent whole with Content-Length, however large: they are in memory already, so cutting them
into chunks would save nothing. Only an answer made piece by piece is chunked.
"""

import enum
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from appliance.mux.chunked import ChunkedDecoder
from appliance.mux.exchange import Channel, Request, Response, problem_response
from appliance.mux.head import CHUNKED, Head, parse_head, request_line
from appliance.mux.http1_response import (
    CHUNKED_FRAMING,
    CLOSE_DELIMITED,
    CONTINUE,
    LAST_CHUNK,
    has_body,
    render_chunk,
    render_head,
    render_small,
)
from appliance.mux.hub import Hub
from appliance.mux.refusal import RefusedError, body_too_large, malformed, memory_exhausted, refused

KEEP_ALIVE: Final = 1
HTTP10: Final = 2

JOIN_LIMIT_BYTES: Final = 64 * 1024
"""Up to here head and body are joined into one piece: a copy costs less than a second write."""

HEAD_END: Final = b"\r\n\r\n"


class _State(enum.Enum):
    HEAD = 0
    SIZED_BODY = 1
    CHUNKED_BODY = 2
    CLOSED = 3


class Http1:
    """One connection. `closing` means: close once everything has been sent. `unread` means: the peer may still be
    sending a request that was refused, so close gently.

    Invariant: answers leave in the order of `_outstanding`; nothing is parsed after a refusal.
    """

    def __init__(
        self, hub: Hub, channel: Channel, peer: str, secure: bool, now: float, refusal: RefusedError | None = None
    ) -> None:
        """`refusal` is what the first request is answered with, whatever it is, on an address that serves none."""
        self.closing = False
        self.unread = False
        self._hub = hub
        self._limits = hub.limits
        self._memory = hub.memory
        self._channel = channel
        self._peer = peer
        self._secure = secure
        self._state = _State.HEAD
        self._buffer = b""
        self._at = 0
        self._starved = False
        self._scanned = 0
        self._head: Head | None = None
        self._sized_body = bytearray()
        self._chunks = ChunkedDecoder(hub.limits)
        self._held_bytes = 0
        self._began_at = 0.0
        self._last_active = now
        self._outstanding: deque[Request] = deque()
        self._early: dict[Request, Response] = {}
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._stream: Iterator[bytes] | None = None
        self._stream_chunked = False
        self._stream_keep_alive = False
        self._blank_line_skipped = False
        self._continue_due = False
        self._refusal = refusal

    # What the shell asks.

    @property
    def busy(self) -> bool:
        """Requests are waiting for their answers."""
        return bool(self._outstanding)

    @property
    def idle_since(self) -> float | None:
        """Since when nothing at all is under way, or None."""
        if self._outstanding or self._at < len(self._buffer) or self._state is not _State.HEAD:
            return None
        return self._last_active

    @property
    def mid_request(self) -> bool:
        """A request has begun and needs more bytes: reading on is what frees its memory."""
        return self._state is _State.SIZED_BODY or self._state is _State.CHUNKED_BODY

    @property
    def full(self) -> bool:
        """No more may be read before something is answered, or written."""
        return len(self._outstanding) >= self._limits.pipeline or self._out_bytes > self._limits.answers_bytes

    @property
    def has_input(self) -> bool:
        """Bytes are waiting that have not been looked at, and there is room for a request."""
        return self._at < len(self._buffer) and not self._starved and not self.full

    @property
    def has_output(self) -> bool:
        """There is something to send, or the connection is to end."""
        return bool(self._out) or self.closing or self._stream is not None

    # Receiving.

    def receive_data(self, data: bytes, now: float) -> None:
        """Takes bytes from the peer. Afterwards the caller takes requests until there is none."""
        self._last_active = now
        if self._state is _State.CLOSED:
            self.unread = True
            return
        if self._at < len(self._buffer):
            data = self._buffer[self._at :] + data
        self._buffer = data
        self._at = 0
        self._starved = False

    def next_request(self, now: float) -> Request | None:
        """The next complete request, if there is one and room for its answer."""
        if not self.has_input:
            return None
        try:
            if self._refusal is not None:
                raise self._refusal
            request = self._parse(now)
            self._starved = request is None
            return request
        except RefusedError as refusal:
            self._refuse(refusal)
            return None

    def _parse(self, now: float) -> Request | None:
        if self._state is _State.HEAD and not self._take_head(now):
            return None
        head = self._head
        if head is None:
            raise AssertionError("a body is read without its head")
        if head.length == CHUNKED:
            body = self._take_chunks()
        else:
            body = self._take_sized(head.length)
        if body is None:
            self._ask_for_body(head)
            return None
        return self._complete(head, body, now)

    def _take_head(self, now: float) -> bool:
        buffer = self._buffer
        if not self._blank_line_skipped and buffer.startswith(b"\r\n", self._at):
            # Some old clients end a body with one line end too many; RFC 9112 2.2 asks for patience with one.
            self._at += 2
            self._blank_line_skipped = True
        at = self._at
        end = buffer.find(HEAD_END, max(at, self._scanned))
        if end < 0:
            self._wait_for_head(now)
            return False
        end += len(HEAD_END)
        if end - at > self._limits.head_bytes:
            raise self._head_too_large()
        head = parse_head(buffer[at:end], self._limits)
        self._at = end
        self._scanned = 0
        self._blank_line_skipped = False
        self._head = head
        self._held_bytes = end - at
        self._memory.used_bytes += end - at
        self._begin_body(head, now)
        return True

    def _wait_for_head(self, now: float) -> None:
        """The head is incomplete: starts its deadline, and refuses at once what can never become one."""
        buffer, at = self._buffer, self._at
        waiting_bytes = len(buffer) - at
        if waiting_bytes > self._limits.head_bytes:
            raise self._head_too_large()
        line_end = buffer.find(b"\n", at)
        if line_end >= 0 and (line_end == at or buffer[line_end - 1] != 0x0D):
            raise malformed("a line does not end with CRLF")
        if line_end > at + 1 and line_end >= self._scanned:
            # Another protocol's greeting may look like a method, and would wait for the end of a head in vain.
            request_line(buffer[at : line_end - 1], self._limits)
        if waiting_bytes and not self._began_at:
            self._began_at = now
        if at:
            self._buffer = buffer[at:]
            self._at = 0
        self._scanned = max(0, waiting_bytes - len(HEAD_END) + 1)

    def _head_too_large(self) -> RefusedError:
        return refused("head-too-large", 431, f"a request head may have at most {self._limits.head_bytes} bytes")

    def _begin_body(self, head: Head, now: float) -> None:
        self._began_at = now
        if head.length == CHUNKED:
            self._state = _State.CHUNKED_BODY
            self._chunks = ChunkedDecoder(self._limits)
        else:
            if head.length > self._limits.body_bytes:
                raise body_too_large(self._limits.body_bytes)
            self._state = _State.SIZED_BODY

    def _take_sized(self, length: int) -> bytes | None:
        have = len(self._sized_body)
        piece = self._buffer[self._at : self._at + length - have]
        self._at += len(piece)
        self._account(len(piece))
        if not have and len(piece) == length:
            return piece
        self._sized_body += piece
        if have + len(piece) < length:
            return None
        body = bytes(self._sized_body)
        self._sized_body = bytearray()
        return body

    def _take_chunks(self) -> bytes | None:
        before = len(self._chunks.body)
        self._at = self._chunks.feed(self._buffer, self._at)
        self._account(len(self._chunks.body) - before)
        return bytes(self._chunks.body) if self._chunks.complete else None

    def _account(self, count: int) -> None:
        self._held_bytes += count
        self._memory.used_bytes += count
        if self._memory.exhausted:
            raise memory_exhausted()

    def _ask_for_body(self, head: Head) -> None:
        if head.expects_continue:
            head.expects_continue = False
            if self._outstanding:
                self._continue_due = True
            else:
                self._out.append(CONTINUE)

    def _complete(self, head: Head, body: bytes, now: float) -> Request:
        headers = head.headers
        request = Request(
            self._channel,
            head.method,
            head.path,
            head.query,
            headers,
            body,
            self._peer,
            self._secure,
            self._hub.request_id(headers.get(b"x-request-id")),
            now,
            self._held_bytes,
            (KEEP_ALIVE if head.keep_alive else 0) | (HTTP10 if head.http10 else 0),
        )
        self._held_bytes = 0
        self._head = None
        self._began_at = 0.0
        self._continue_due = False
        if head.keep_alive:
            self._state = _State.HEAD
        else:
            self.unread = self._at < len(self._buffer)
            self._stop_parsing()
        self._outstanding.append(request)
        return request

    def _refuse(self, refusal: RefusedError) -> None:
        """Ends the conversation with one error answer, after the answers that are still due."""
        self._hub.observer.refused(refusal.reason)
        self._stop_parsing()
        self.unread = True
        self._give_held()
        request = Request(
            self._channel,
            "GET",
            "/",
            "",
            {},
            b"",
            self._peer,
            self._secure,
            self._hub.request_id(None),
            self._last_active,
        )
        self._outstanding.append(request)
        request.respond(problem_response(refusal.problem))

    def _stop_parsing(self) -> None:
        self._state = _State.CLOSED
        self._buffer = b""
        self._at = 0

    def _give_held(self) -> None:
        held, self._held_bytes = self._held_bytes, 0
        self._sized_body = bytearray()
        self._chunks = ChunkedDecoder(self._limits)
        if held:
            self._memory.give(held)

    # Answering.

    def answer(self, request: Request, response: Response) -> None:
        """Queues the response of an outstanding request; it leaves when those before it have."""
        if self._outstanding[0] is not request or self._stream is not None:
            self._early[request] = response
            self._memory.used_bytes += len(response.body)
            return
        self._send(request, response)
        if self._early:
            self._send_early()

    def _send_early(self) -> None:
        while self._outstanding and self._stream is None:
            response = self._early.pop(self._outstanding[0], None)
            if response is None:
                return
            self._memory.give(len(response.body))
            self._send(self._outstanding[0], response)

    def _send(self, request: Request, response: Response) -> None:
        last = self._hub.draining and len(self._outstanding) == 1
        keep_alive = bool(request.mark & KEEP_ALIVE) and not last
        http10 = bool(request.mark & HTTP10)
        if response.chunks is not None and has_body(response.status):
            self._begin_stream(request, response, response.chunks, keep_alive, http10)
            return
        body = response.body
        self._out_bytes += len(body)
        usual = request.mark == KEEP_ALIVE and not last and request.method != "HEAD" and has_body(response.status)
        if usual and 0 < len(body) <= JOIN_LIMIT_BYTES:
            self._out.append(render_small(response, self._hub.date, request.request_id))
            self._sent(request, keep_alive)
            return
        head = render_head(response, None, self._hub.date, request.request_id, keep_alive, http10)
        if not body or request.method == "HEAD" or not has_body(response.status):
            self._out.append(head)
        elif len(body) <= JOIN_LIMIT_BYTES:
            self._out.append(head + body)
        else:
            self._out += head, body
        self._sent(request, keep_alive)

    def _sent(self, request: Request, keep_alive: bool) -> None:
        self._outstanding.popleft()
        if request.cost_bytes:
            self._memory.give(request.cost_bytes)
        if not keep_alive:
            self._finish()
        elif self._continue_due and not self._outstanding:
            self._continue_due = False
            self._out.append(CONTINUE)

    def _finish(self) -> None:
        """That was the last answer on this connection."""
        self.closing = True
        if self._state is not _State.CLOSED:
            self.unread = self.mid_request or self._at < len(self._buffer)
            self._stop_parsing()

    def _begin_stream(
        self, request: Request, response: Response, chunks: Iterable[bytes], keep_alive: bool, http10: bool
    ) -> None:
        self._stream_chunked = not http10
        self._stream_keep_alive = keep_alive and not http10
        framing = CLOSE_DELIMITED if http10 else CHUNKED_FRAMING
        date, request_id = self._hub.date, request.request_id
        self._out.append(render_head(response, framing, date, request_id, self._stream_keep_alive, http10))
        if request.method == "HEAD":
            self._sent(request, self._stream_keep_alive)
        else:
            self._stream = iter(chunks)

    # Sending.

    @property
    def streaming(self) -> bool:
        """An answer made piece by piece is under way: `send_piece` has more."""
        return self._stream is not None

    def send_piece(self) -> None:
        """Queues the next piece of the answer under way. Exceptions of its maker pass through."""
        if self._stream is None:
            raise AssertionError("no answer is under way")
        piece = next(self._stream, None)
        if piece is None:
            if self._stream_chunked:
                self._out.append(LAST_CHUNK)
            self._stream = None
            self._sent(self._outstanding[0], self._stream_keep_alive)
            self._send_early()
        elif piece:
            self._out.append(render_chunk(piece) if self._stream_chunked else piece)

    def data_to_send(self) -> bytes:
        """The bytes to send now."""
        out = self._out
        if not out:
            return b""
        self._out = []
        self._out_bytes = 0
        return out[0] if len(out) == 1 else b"".join(out)

    # Time and ends.

    def restart_clock(self, now: float) -> None:
        """The peer was kept from sending by us: its deadlines begin again."""
        self._last_active = now
        if self._began_at:
            self._began_at = now

    def check(self, now: float) -> bool:
        """Enforces the deadlines. Returns True when something changed."""
        if self._state is _State.CLOSED:
            return False
        limits = self._limits
        idle_since = self.idle_since
        if idle_since is not None:
            if now - idle_since <= limits.idle_seconds:
                return False
            self._hub.observer.refused("idle")
            self._finish()
        elif self._state is _State.HEAD:
            if not self._began_at or now - self._began_at <= limits.head_seconds:
                return False
            self._refuse(refused("head-timeout", 408, "the request head took too long"))
        else:
            if self._continue_due:
                self._began_at = now
            allowed = limits.body_seconds + self._held_bytes / limits.body_bytes_per_second
            if now - self._began_at <= allowed:
                return False
            self._refuse(refused("body-timeout", 408, "the request body came too slowly"))
        return True

    def drain(self, now: float) -> None:
        """No more requests: closes when nothing is outstanding; the last answer that is due says so itself."""
        if self.idle_since is not None:
            self._finish()
        elif self._outstanding and self._state is _State.HEAD:
            self.unread = self._at < len(self._buffer)
            self._stop_parsing()

    def client_left(self) -> None:
        """The connection is gone: tells the handlers and returns the memory."""
        self._stop_parsing()
        self._give_held()
        outstanding, self._outstanding = self._outstanding, deque()
        for response in self._early.values():
            self._memory.give(len(response.body))
        self._early.clear()
        self._stream = None
        for request in outstanding:
            self._memory.give(request.cost_bytes)
            self._hub.client_left(request)

    def abandoned(self, request: Request) -> None:
        """Nothing is kept for a request whose client has gone."""
