"""What arrives on the streams of an HTTP/2 connection, and when more may.

Owns the receive windows. The connection's window is returned as bytes arrive, a stream's only while the connection
buffers little or the stream is the oldest unfinished one: so memory is bounded, and one body can always finish.
Sans-IO.
"""

import logging

import h2.exceptions

from appliance.mux.exchange import Request
from appliance.mux.h2_codec import Codec
from appliance.mux.h2_request import Head2
from appliance.mux.limits import Limits

log = logging.getLogger("codeq.mux")


class Stream:
    """One request on its way in, and until it is answered. `ended`: the client sends no more; `responded`: its answer
    has begun."""

    __slots__ = ("began_at", "body", "cost_bytes", "ended", "head", "id", "request", "responded", "ungranted_bytes")

    def __init__(self, stream_id: int, cost_bytes: int, now: float) -> None:
        self.id = stream_id
        self.head: Head2 | None = None
        self.cost_bytes = cost_bytes
        self.body = bytearray()
        self.request: Request | None = None
        self.began_at = now
        self.ended = False
        self.responded = False
        self.ungranted_bytes = 0


class Uploads:
    """The unfinished bodies of one connection. `streams` is the connection's own table, oldest first.

    Invariant: `buffered_bytes` is the sum of the bodies of unfinished streams.
    """

    __slots__ = ("_codec", "_limits", "_streams", "_ungranted_bytes", "buffered_bytes")

    def __init__(self, codec: Codec, limits: Limits, streams: dict[int, Stream]) -> None:
        self.buffered_bytes = 0
        self._codec = codec
        self._limits = limits
        self._streams = streams
        self._ungranted_bytes = 0

    def connection_received(self, count: int) -> None:
        """Bytes came in on any stream, known or not; padding counts."""
        self._ungranted_bytes += count
        if self._ungranted_bytes * 2 >= self._limits.h2_connection_window_bytes:
            self._codec.increment_flow_control_window(self._ungranted_bytes)
            self._ungranted_bytes = 0

    def received(self, stream: Stream, data: bytes, flow_controlled_bytes: int) -> None:
        """Adds `data` to a stream's body."""
        stream.body += data
        stream.ungranted_bytes += flow_controlled_bytes
        self.buffered_bytes += len(data)

    def withheld(self, stream: Stream) -> bool:
        """The stream has used up its window and we keep it shut."""
        return stream.ungranted_bytes >= self._limits.h2_stream_window_bytes

    def grant(self, stream: Stream) -> None:
        """Opens a stream's window again when half of it is used and there is room for what may come."""
        if stream.ungranted_bytes * 2 < self._limits.h2_stream_window_bytes:
            return
        if self.buffered_bytes > self._limits.h2_upload_bytes and stream is not self._oldest():
            return
        try:
            self._codec.increment_flow_control_window(stream.ungranted_bytes, stream.id)
        except (h2.exceptions.ProtocolError, KeyError) as error:
            # The codec has just reset the stream itself and its event is yet to come.
            log.debug("stream %d can not be granted more: %s", stream.id, error)
        stream.ungranted_bytes = 0

    def done(self, stream: Stream, grant_others: bool) -> None:
        """A body is complete or given up: those that waited for its room may go on."""
        self.buffered_bytes -= len(stream.body)
        stream.body = bytearray()
        if grant_others:
            for each in self._streams.values():
                if not each.ended and not each.responded:
                    self.grant(each)

    def _oldest(self) -> Stream | None:
        return next((each for each in self._streams.values() if not each.ended and not each.responded), None)
