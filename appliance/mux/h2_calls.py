"""The gRPC calls of one HTTP/2 connection: from DATA to whole messages, and back.

Owns the receive window of each call, the messages that come in, and what becomes of all of them together; what leaves
is framed in `h2_call`. Their plain DATA frames come straight from the frame walker, so a message costs no event, no
future and no second window account; headers, ends and resets stay with the codec. Sans-IO.

A peer is granted window only while its call is not held and takes what it is sent: a slow peer slows itself.
"""

import logging
from collections.abc import Callable
from typing import Final, Protocol

import h2.connection
import h2.exceptions

from appliance.mux import frames, grpc_framing
from appliance.mux.grpc_call import MESSAGE_BYTES_MAX, Session
from appliance.mux.grpc_framing import GrpcError, MessageReader
from appliance.mux.h2_call import CLOSED, OPEN, GrpcCall
from appliance.mux.h2_request import Head2
from appliance.mux.h2_send import DEFAULT_WINDOW_BYTES, SendSide
from appliance.mux.hub import Hub

log = logging.getLogger("codeq.mux")

WINDOW_BYTES: Final = 256 << 10
"""What a peer may have under way on one call: two turns of the loop at the throughput of one core."""

PATH_SHOWN_MAX: Final = 200
"""Characters of an unknown path that are told back: trailers must fit what the peer accepts as headers."""

_CONTENT_TYPES: Final = (b"application/grpc", b"application/grpc+", b"application/grpc;")


class Owner(Protocol):
    """What a connection gives to its calls."""

    def emit(self, data: bytes) -> None:
        """Queue whole frames."""

    def collect(self) -> None:
        """Queue what the codec has to send."""

    def wake(self) -> None:
        """Write what is queued at the end of this turn of the loop."""

    def hold(self) -> None:
        """Stop reading from the peer until as many `release` calls."""

    def release(self) -> None:
        """Undo one `hold`."""

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Reset a stream that the codec knows; its call is dropped on the way."""

    def end_early(self, stream_id: int) -> None:
        """Reset an answered stream whose peer may still be sending, without blame."""


def is_grpc(content_type: bytes) -> bool:
    """Whether this media type is gRPC's own; gRPC-Web is another protocol."""
    return content_type == _CONTENT_TYPES[0] or content_type.startswith(_CONTENT_TYPES[1:])


class Calls:
    """The calls of one connection, by stream id. `lane`: those whose plain DATA the codec need not see.

    Invariant: `held_bytes` is the sum of their incomplete messages, and the same amount is taken in the memory account.
    """

    __slots__ = (
        "_by_id",
        "_codec",
        "_crowded",
        "_draining",
        "_hub",
        "_owner",
        "_send_side",
        "_sending",
        "_ungranted_bytes",
        "held_bytes",
        "lane",
    )

    def __init__(self, hub: Hub, owner: Owner, codec: h2.connection.H2Connection, send_side: SendSide) -> None:
        self._hub = hub
        self._owner = owner
        self._codec = codec
        self._send_side = send_side
        self.lane: set[int] = set()
        self.held_bytes = 0
        self._by_id: dict[int, GrpcCall] = {}
        self._sending: dict[GrpcCall, None] = {}
        self._ungranted_bytes = 0
        self._crowded = False
        self._draining = False

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._by_id

    # From the peer.

    def open(self, stream_id: int, head: Head2, peer: str, cost_bytes: int, now: float) -> None:
        """A new call. One that cannot be served ends at once, with its status in trailers alone."""
        request_id = self._hub.request_id(head.headers.get(b"x-request-id"))
        call = GrpcCall(self, stream_id, head, peer, request_id, cost_bytes, now)
        self._hub.observer.call_opened()
        self._by_id[stream_id] = call
        self._send_side.open(stream_id)
        self._guarded(call, self._begin, call, head, now)
        if call.state != OPEN:
            return
        if head.length is None:
            # The codec holds a declared length against the DATA that it has seen, so it has to see all of it.
            self.lane.add(stream_id)
        self._widen(stream_id, WINDOW_BYTES - self._hub.limits.h2_stream_window_bytes)
        self._owner.collect()
        if self._draining and call.session is not None:
            self._guarded(call, call.session.drain)

    def _begin(self, call: GrpcCall, head: Head2, now: float) -> None:
        if self._hub.memory.full:
            self._hub.observer.refused("memory")
            raise GrpcError(grpc_framing.UNAVAILABLE, "the node's buffers are full")
        timeout = head.headers.get(b"grpc-timeout")
        if timeout is not None:
            seconds = grpc_framing.parse_timeout_seconds(timeout)
            if seconds <= 0:
                raise GrpcError(grpc_framing.DEADLINE_EXCEEDED, "the deadline has passed")
            call.deadline = now + seconds
        encoding = head.headers.get(b"grpc-encoding", b"")
        grpc_framing.check_encoding(encoding)
        open_call = self._hub.open_call
        session = call.session = open_call(call) if open_call is not None and head.method == "POST" else None
        if session is not None:
            largest = session.message_bytes_max
            call.reader = MessageReader(encoding, largest, first=largest < MESSAGE_BYTES_MAX)
            call.full = self._crowded
        else:
            call.end(grpc_framing.UNIMPLEMENTED, f"no such method: {head.path[:PATH_SHOWN_MAX]}")

    def lane_data(self, stream_id: int, payload: bytes) -> None:
        """A DATA frame that the codec never sees: of an open call, or of a stream that we ended already."""
        size = len(payload)
        self._ungranted_bytes += size
        # A quarter: the codec's share of the traffic is returned at half, and together they must leave a window.
        if self._ungranted_bytes * 4 >= self._hub.limits.h2_connection_window_bytes:
            self._grant_stream(0, self._ungranted_bytes)
            self._ungranted_bytes = 0
        if stream_id in self._by_id:
            self._content(stream_id, payload, size)

    def codec_data(self, stream_id: int, payload: bytes, flow_controlled_bytes: int) -> None:
        """A DATA frame that came through the codec, which has to believe in the window that we grant by ourselves."""
        self._owner.collect()
        self._widen(stream_id, flow_controlled_bytes)
        self._codec.clear_outbound_data_buffer()
        self._content(stream_id, payload, flow_controlled_bytes)

    def _widen(self, stream_id: int, count: int) -> None:
        """Open a window as the codec sees it; its frame for that waits in its buffer."""
        if count <= 0:
            return
        try:
            self._codec.increment_flow_control_window(count, stream_id)
        except (h2.exceptions.ProtocolError, KeyError) as error:
            # It has just reset the stream itself, and its event is yet to come.
            log.debug("stream %d can not be granted more: %s", stream_id, error)

    def _content(self, stream_id: int, payload: bytes, flow_controlled_bytes: int) -> None:
        call = self._by_id[stream_id]
        call.ungranted_bytes += flow_controlled_bytes
        if call.ungranted_bytes > max(WINDOW_BYTES, DEFAULT_WINDOW_BYTES):
            self._owner.reset_stream(stream_id, frames.FLOW_CONTROL_ERROR)
            return
        reader, session = call.reader, call.session
        if call.state != OPEN or reader is None or session is None:
            return
        before = reader.held_bytes
        messages = reader.feed(payload)
        held = reader.held_bytes
        if held != before:
            self._held(held - before)
        if messages:
            call.partial_since = 0.0
            self._guarded(call, session.receive, messages)
            if reader.first:
                self._proceed(call, reader, session)
            held = reader.held_bytes
        if reader.error is not None:
            self._fail(call, reader.error.status, reader.error.message)
        elif held and self._hub.memory.exhausted:
            self._hub.observer.refused("memory")
            self._fail(call, grpc_framing.RESOURCE_EXHAUSTED, "the node's buffers are full")
        else:
            self.grant(call)

    def _proceed(self, call: GrpcCall, reader: MessageReader, session: Session) -> None:
        """The session has judged the first message: what came behind it is looked at, if the call goes on."""
        if call.state != OPEN:
            return
        before = reader.held_bytes
        messages = reader.proceed(session.message_bytes_max)
        self._held(reader.held_bytes - before)
        if messages:
            self._guarded(call, session.receive, messages)

    def half_closed(self, stream_id: int) -> None:
        """END_STREAM: the peer sends no more."""
        call = self._by_id[stream_id]
        call.half_closed = True
        self.lane.discard(stream_id)
        if call.state != OPEN or call.session is None:
            return
        if call.reader is not None and call.reader.held_bytes:
            self._fail(call, grpc_framing.INTERNAL, "the stream ended within a message")
        else:
            self._guarded(call, call.session.half_closed)

    def gone(self, stream_id: int) -> None:
        """The stream was reset, or the connection is lost."""
        call = self._by_id.get(stream_id)
        if call is not None:
            session = call.session if call.state == OPEN else None
            call.settle_unsent(self._send_side.waiting_bytes(stream_id))
            self._forget(call)
            if session is not None:
                self._guarded(call, session.gone)

    def all_gone(self) -> None:
        """The connection is lost."""
        for stream_id in list(self._by_id):
            self.gone(stream_id)

    def was_half_closed(self, stream_id: int) -> bool:
        """Whether a reset of this stream throws no work away."""
        call = self._by_id[stream_id]
        return call.half_closed or call.state != OPEN

    # To the peer.

    def send_headers(self, stream_id: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head of an answer."""
        self._codec.send_headers(stream_id, headers)
        self._owner.collect()

    def sending(self, call: GrpcCall) -> None:
        """This call has something to send at the end of the turn."""
        is_first = not self._sending
        self._sending[call] = None
        if is_first:
            self._owner.wake()

    def flush(self, now: float) -> None:
        """Hand everything queued to the send side: the messages of a turn as one run of full DATA frames."""
        while self._sending:
            sending, self._sending = self._sending, {}
            for call in sending:
                if call.state == CLOSED:
                    continue
                data = call.take_parts()
                if data:
                    self._send_side.append(call.id, data, now)
                elif not self._send_side.waits(call.id):
                    self.drained(call.id)
            if self._send_side.queued_bytes > self._hub.limits.h2_queue_calls_bytes and not self._crowded:
                self._crowd()

    def waiting_bytes(self, call: GrpcCall) -> int:
        """Bytes that a call has handed over and that have not left."""
        return self._send_side.waiting_bytes(call.id)

    def hold(self) -> None:
        """Read nothing at all from the peer, until as many `release` calls."""
        self._owner.hold()

    def release(self) -> None:
        """Undo one `hold`."""
        self._owner.release()

    def _crowd(self) -> None:
        """All calls together have more to send than the peer takes: every one of them is full."""
        self._crowded = True
        for call in list(self._by_id.values()):
            if call.state == OPEN and not call.full and call.session is not None:
                call.full = True
                self._guarded(call, call.session.crowded)

    def _look_for_room(self) -> None:
        if self._crowded and self._send_side.queued_bytes * 2 <= self._hub.limits.h2_queue_calls_bytes:
            self._crowded = False
            for call in list(self._by_id.values()):
                if call.full and not self._send_side.waits(call.id):
                    self._room(call)

    def _room(self, call: GrpcCall) -> None:
        if call.full and call.state == OPEN and not self._crowded:
            call.full = False
            self.grant(call)
            if call.session is not None:
                self._guarded(call, call.session.room)

    def drained(self, stream_id: int) -> None:
        """All that a call had handed to the send side has left."""
        call = self._by_id.get(stream_id)
        if call is None:
            return
        call.all_sent()
        ending = call.take_ending()
        if ending is not None:
            self._finish(call, ending)
        elif call.state == OPEN:
            self.grant(call)
            self._room(call)
        self._look_for_room()

    def grant(self, call: GrpcCall) -> None:
        """Open the peer's window again when half of it is used, unless this call is to wait."""
        if call.ungranted_bytes * 2 >= WINDOW_BYTES and call.state == OPEN and self._may_be_granted(call):
            self._grant_stream(call.id, call.ungranted_bytes)
            call.ungranted_bytes = 0

    def _may_be_granted(self, call: GrpcCall) -> bool:
        """While incomplete messages take too much, only the oldest of them may go on, so that one can always end."""
        if not call.may_be_granted:
            return False
        if self.held_bytes <= self._hub.limits.h2_upload_bytes or not call.held_bytes:
            return True
        return call is next(each for each in self._by_id.values() if each.held_bytes)

    def _grant_stream(self, stream_id: int, count: int) -> None:
        self._owner.emit(frames.frame_header(frames.WINDOW_UPDATE, 0, stream_id, 4) + count.to_bytes(4))
        self._owner.wake()

    def _finish(self, call: GrpcCall, ending: list[tuple[bytes, bytes]]) -> None:
        self._codec.send_headers(call.id, ending, end_stream=True)
        if not call.half_closed:
            self._owner.end_early(call.id)
        self._owner.collect()
        self._forget(call)

    # Time.

    def check(self, now: float) -> None:
        """End the calls whose deadline has passed, whose message does not come to its end, or who never say a word."""
        self._look_for_room()
        for call in list(self._by_id.values()):
            if call.state != OPEN:
                continue
            if call.deadline and now >= call.deadline:
                self._fail(call, grpc_framing.DEADLINE_EXCEEDED, "the deadline has passed")
            elif call.held_bytes:
                self._check_partial(call, now)
            elif call.reader is not None and call.reader.first:
                self._check_silent(call, now)

    def _check_partial(self, call: GrpcCall, now: float) -> None:
        if not call.partial_since or not self._may_be_granted(call):
            call.partial_since = now  # it has only begun, or waits for a window that we keep shut
        limits = self._hub.limits
        if now - call.partial_since > limits.body_seconds + call.held_bytes / limits.body_bytes_per_second:
            self._hub.observer.refused("body-timeout")
            self._fail(call, grpc_framing.RESOURCE_EXHAUSTED, "the message came too slowly")

    def _check_silent(self, call: GrpcCall, now: float) -> None:
        if now - call.opened_at > self._hub.limits.first_message_seconds:
            self._hub.observer.refused("first-message-timeout")
            self._fail(call, grpc_framing.DEADLINE_EXCEEDED, "the first message did not come in time")

    def restart_clock(self, now: float) -> None:
        """The peer was kept from sending by no fault of its own."""
        for call in self._by_id.values():
            call.partial_since = 0.0
            call.opened_at = now

    def drain(self) -> None:
        """The node is about to go: every session hears of it once, also those that are opened until then."""
        if self._draining:
            return
        self._draining = True
        for call in list(self._by_id.values()):
            if call.state == OPEN and call.session is not None:
                self._guarded(call, call.session.drain)

    # Inside.

    def _forget(self, call: GrpcCall) -> None:
        call.state = CLOSED
        del self._by_id[call.id]
        self.lane.discard(call.id)
        self._sending.pop(call, None)
        self._send_side.close(call.id)
        self._drop_reader(call)
        call.session = None
        self._hub.memory.give(call.cost_bytes)
        self._hub.observer.call_ended(call.status)

    def _drop_reader(self, call: GrpcCall) -> None:
        held = call.held_bytes
        call.reader = None
        if held:
            self._held(-held)

    def _held(self, change: int) -> None:
        was_above = self.held_bytes > self._hub.limits.h2_upload_bytes
        self.held_bytes += change
        if change > 0:
            self._hub.memory.take(change)
            return
        self._hub.memory.give(-change)
        if was_above:
            for call in self._by_id.values():
                self.grant(call)

    def _guarded(self, call: GrpcCall, act: Callable[..., None], *args: object) -> None:
        """One call's bug must not end the others."""
        try:
            act(*args)
        except GrpcError as error:
            self._fail(call, error.status, error.message)
        except Exception:
            log.exception("call %s: %s failed", call.request_id, call.path)
            self._fail(call, grpc_framing.INTERNAL, "internal error")

    def _fail(self, call: GrpcCall, status: int, message: str) -> None:
        """End a call in its session's stead; the session hears that it is gone."""
        if call.state != OPEN:
            return
        call.end(status, message)
        self._drop_reader(call)
        if call.session is not None:
            self._guarded(call, call.session.gone)
