"""Everything that leaves an HTTP/2 connection as DATA, and every window that lets it.

Owns the send windows of the connection and its streams, and the answers that wait for them. It is the only one who
counts: a window kept in two places would drift apart. Streams take turns frame by frame, so one large answer does not
hold back the small ones. Sans-IO.

Invariant: `queued_bytes` is the sum of what waits, and the same amount is taken in the memory account.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Final

from appliance.mux.frames import DATA, END_STREAM, FLOW_CONTROL_ERROR, Http2Error, frame_header
from appliance.mux.h2_abuse import Abuse
from appliance.mux.memory import Memory

log = logging.getLogger("codeq.mux")

WINDOW_LIMIT_BYTES: Final = 2**31 - 1
DEFAULT_WINDOW_BYTES: Final = 65_535
FRAME_BYTES: Final = 16_384
"""What every peer accepts; larger frames would only make the turns longer."""
PROGRESS_BYTES: Final = 1_024
"""A stream makes progress when it sent this much: a window that opens by one byte at a time is a window kept shut."""


class WindowOverflowError(Exception):
    """A peer raised the window of a stream above 2^31 - 1."""


class Outgoing:
    """The sending half of one stream."""

    __slots__ = ("_progress_bytes", "at", "body", "failed", "lasting", "pieces", "progress_at", "stream_id", "window")

    def __init__(self, stream_id: int, window: int) -> None:
        self.stream_id = stream_id
        self.lasting = False
        """More may be appended after everything has left; the stream does not end with its DATA."""
        self.window = window
        self.body = b""
        self.at = 0
        self.pieces: Iterator[bytes] | None = None
        self.failed = False
        self.progress_at = 0.0
        self._progress_bytes = 0

    def sent(self, count: int, now: float) -> None:
        """Records `count` bytes of progress."""
        self.at += count
        self.window -= count
        self._progress_bytes += count
        if self._progress_bytes >= PROGRESS_BYTES:
            self._progress_bytes = 0
            self.progress_at = now

    def next_piece(self) -> bool:
        """Fetches the next piece of an answer that is made piece by piece. Returns False when there is none."""
        if self.pieces is None:
            return False
        try:
            self.body = next((piece for piece in self.pieces if piece), b"")
        except Exception:
            log.exception("an answer failed half-way; its stream is reset")
            self.failed = True
            self.body = b""
        self.at = 0
        if not self.body:
            self.pieces = None
        return bool(self.body)


class SendSide:
    """The send windows and waiting answers of one connection."""

    __slots__ = ("_abuse", "_initial_window", "_memory", "_pending", "_ready", "_streams", "queued_bytes", "window")

    def __init__(self, abuse: Abuse, memory: Memory) -> None:
        self.window = DEFAULT_WINDOW_BYTES
        self.queued_bytes = 0
        self._abuse = abuse
        self._memory = memory
        self._initial_window = DEFAULT_WINDOW_BYTES
        self._streams: dict[int, Outgoing] = {}
        self._pending: dict[int, Outgoing] = {}
        self._ready: dict[int, Outgoing] = {}

    @property
    def sendable(self) -> bool:
        """`take` would give something."""
        return self.window > 0 and bool(self._ready)

    @property
    def waiting(self) -> bool:
        """Something has not left."""
        return bool(self._pending)

    def open(self, stream_id: int) -> None:
        """A stream exists: its window counts from now on."""
        self._streams[stream_id] = Outgoing(stream_id, self._initial_window)

    def close(self, stream_id: int) -> None:
        """Forgets a stream and what it still had to send."""
        outgoing = self._streams.pop(stream_id, None)
        self._ready.pop(stream_id, None)
        if outgoing is not None and self._pending.pop(stream_id, None) is not None:
            self._queued(outgoing.at - len(outgoing.body))

    def queue(self, stream_id: int, body: bytes, pieces: Iterable[bytes] | None, now: float) -> Outgoing | None:
        """Queues an answer's body. Returns the stream when there is nothing to wait for: no body after all."""
        outgoing = self._streams[stream_id]
        outgoing.body = body
        outgoing.progress_at = now
        if pieces is not None:
            outgoing.pieces = iter(pieces)
            if not outgoing.next_piece():
                return outgoing
        self._queued(len(outgoing.body))
        self._pending[stream_id] = outgoing
        if outgoing.window > 0:
            self._ready[stream_id] = outgoing
        return None

    def append(self, stream_id: int, data: bytes, now: float) -> None:
        """Queues more of a stream that does not end with its DATA."""
        outgoing = self._streams[stream_id]
        outgoing.lasting = True
        if stream_id in self._pending:
            outgoing.body = outgoing.body[outgoing.at :] + data
        else:
            outgoing.body = data
            outgoing.progress_at = now
            self._pending[stream_id] = outgoing
        outgoing.at = 0
        self._queued(len(data))
        if outgoing.window > 0:
            self._ready[stream_id] = outgoing

    def waits(self, stream_id: int) -> bool:
        """Whether a stream has DATA that has not left."""
        return stream_id in self._pending

    def waiting_bytes(self, stream_id: int) -> int:
        """Bytes of a stream that have not left."""
        outgoing = self._pending.get(stream_id)
        return 0 if outgoing is None else len(outgoing.body) - outgoing.at

    def take(self, out: list[bytes], budget_bytes: int, now: float) -> list[Outgoing]:
        """Appends DATA frames of about `budget_bytes` to `out`; returns the streams that are finished or failed, and
        the lasting ones that have nothing left."""
        done = []
        ready = self._ready
        while ready and budget_bytes > 0 and self.window > 0:
            stream_id = next(iter(ready))
            outgoing = ready.pop(stream_id)
            size = min(FRAME_BYTES, self.window, outgoing.window, len(outgoing.body) - outgoing.at)
            piece = outgoing.body[outgoing.at : outgoing.at + size]
            outgoing.sent(size, now)
            self.window -= size
            budget_bytes -= size
            self._queued(-size)
            self._abuse.data_sent()
            ended = outgoing.at == len(outgoing.body) and not self._refill(outgoing)
            flags = END_STREAM if ended and not outgoing.failed and not outgoing.lasting else 0
            out.append(frame_header(DATA, flags, stream_id, size))
            out.append(piece)
            if ended:
                del self._pending[stream_id]
                done.append(outgoing)
            elif outgoing.window > 0:
                ready[stream_id] = outgoing
        return done

    def _refill(self, outgoing: Outgoing) -> bool:
        if not outgoing.next_piece():
            return False
        self._queued(len(outgoing.body))
        return True

    def _queued(self, count: int) -> None:
        self.queued_bytes += count
        if count > 0:
            self._memory.take(count)
        else:
            self._memory.give(-count)

    def connection_window_update(self, increment: int) -> None:
        """The peer raised the connection's window. Raises Http2Error when that passes 2^31 - 1."""
        self.window += increment
        if self.window > WINDOW_LIMIT_BYTES:
            raise Http2Error(FLOW_CONTROL_ERROR, "the connection's window overflows")

    def stream_window_update(self, stream_id: int, increment: int) -> None:
        """The peer raised a stream's window; a stream that is gone is no matter. Raises WindowOverflowError."""
        outgoing = self._streams.get(stream_id)
        if outgoing is None:
            return
        outgoing.window += increment
        if outgoing.window > WINDOW_LIMIT_BYTES:
            raise WindowOverflowError
        self._update_ready(outgoing)

    def initial_window_changed(self, size: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE moves the window of every open stream, below zero if need be (RFC 9113 6.9.2).
        Raises Http2Error when one passes 2^31 - 1."""
        change = size - self._initial_window
        self._initial_window = size
        for outgoing in self._streams.values():
            outgoing.window += change
            if outgoing.window > WINDOW_LIMIT_BYTES:
                raise Http2Error(FLOW_CONTROL_ERROR, "a stream's window overflows")
            self._update_ready(outgoing)

    def _update_ready(self, outgoing: Outgoing) -> None:
        stream_id = outgoing.stream_id
        if stream_id in self._pending and outgoing.window > 0:
            self._ready.setdefault(stream_id, outgoing)
        else:
            self._ready.pop(stream_id, None)

    def stalled(self, seconds: float, lasting_seconds: float, now: float) -> list[int]:
        """Streams that wanted to send for longer than this, by their kind, and made no progress."""
        return [
            stream_id
            for stream_id, each in self._pending.items()
            if now - each.progress_at > (lasting_seconds if each.lasting else seconds)
        ]

    def restart_clock(self, now: float) -> None:
        """Nothing could be sent for a reason of ours: everybody's patience begins again."""
        for outgoing in self._pending.values():
            outgoing.progress_at = now
