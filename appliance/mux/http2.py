"""HTTP/2, server side, as bytes in and bytes out.

Owns one connection's streams and their order of events. Four parts share the work: the frame walker counts abuse and
keeps from the codec what the connection handles itself; the codec (h2) keeps headers, settings and the states of the
streams; the uploads own what arrives and when more may; the send side owns every send window and all outbound DATA. The
codec learns of each end of a stream, or it would believe a hundred of them open. Sans-IO: no socket, no clock.
"""

import logging
from collections import deque
from typing import Any, Final

import h2.events
import h2.exceptions
from h2.settings import SettingCodes
from hpack.exceptions import HPACKError

from appliance.mux import frames
from appliance.mux.exchange import Channel, Request, Response, problem_response
from appliance.mux.frames import FrameWalker, Http2Error
from appliance.mux.h2_abuse import Abuse, CalmDownError
from appliance.mux.h2_calls import Calls, is_grpc
from appliance.mux.h2_codec import make_codec
from appliance.mux.h2_request import head_bytes, parse_fields
from appliance.mux.h2_send import Outgoing, SendSide, WindowOverflowError
from appliance.mux.h2_uploads import Stream, Uploads
from appliance.mux.http1_response import has_body
from appliance.mux.hub import Hub
from appliance.mux.refusal import RefusedError, body_too_large, memory_exhausted, refused

log = logging.getLogger("codeq.mux")

SEND_BUDGET_BYTES: Final = 256 * 1024
"""DATA per turn: enough to keep a fast peer busy, little enough that a large answer is copied piece by piece."""
DEBUG_LIMIT_BYTES: Final = 200
"""Of the reason sent with GOAWAY."""
HIGHEST_STREAM_ID: Final = 2**31 - 1
OVER_MAX: Final = 1_000
"""Streams that we ended before their peer did, the latest of them: what is still on its way to them is no abuse."""
KEEPALIVE_PAYLOAD: Final = b"keepaliv"
"""Recognisable in a capture; its answer is not told from any other byte received."""


class Http2:
    """One connection; see `connection.Core` for what each method is to its shell."""

    __slots__ = (
        "_abuse",
        "_calls",
        "_channel",
        "_codec",
        "_drain_at",
        "_ghosts",
        "_highest_stream_id",
        "_hub",
        "_last_active",
        "_limits",
        "_memory",
        "_out",
        "_over",
        "_partial_since",
        "_peer",
        "_pinged",
        "_ready",
        "_refuse_above",
        "_secure",
        "_send_side",
        "_streams",
        "_time",
        "_unanswered",
        "_uploads",
        "_walker",
        "closing",
        "unread",
    )

    def __init__(self, hub: Hub, channel: Channel, peer: str, secure: bool, now: float) -> None:
        self.closing = False
        self.unread = False
        self._hub = hub
        self._limits = hub.limits
        self._memory = hub.memory
        self._channel = channel
        self._peer = peer
        self._secure = secure
        self._time = now
        self._last_active = now
        self._partial_since = 0.0
        self._pinged = False
        self._streams: dict[int, Stream] = {}
        self._ready: deque[Request] = deque()
        self._ghosts = 0
        self._unanswered = 0
        self._highest_stream_id = 0
        self._refuse_above = HIGHEST_STREAM_ID
        self._drain_at = 0.0
        self._abuse = Abuse(hub.limits)
        self._send_side = SendSide(self._abuse, hub.memory)
        self._out: list[bytes] = []
        self._codec, preamble = make_codec(hub.limits)
        self._out.append(preamble)
        self._uploads = Uploads(self._codec, hub.limits, self._streams)
        self._calls = Calls(hub, self, self._codec, self._send_side)
        self._over: dict[int, None] = {}
        self._walker = FrameWalker(self._abuse, hub.limits.h2_frame_bytes, self._calls.lane, self._over)

    # What the shell asks.

    @property
    def busy(self) -> bool:
        """Requests are waiting for their answers, so more answers may come in this turn."""
        return self._unanswered > 0

    @property
    def idle_since(self) -> float | None:
        """Since when no stream is open, or None."""
        return None if self._streams or self._calls else self._last_active

    @property
    def mid_request(self) -> bool:
        """Reading on is what frees memory: a body wants to end, or an answer waits for a window update."""
        return self._uploads.buffered_bytes > 0 or self._calls.held_bytes > 0 or self._send_side.queued_bytes > 0

    @property
    def full(self) -> bool:
        """Never: window updates must be read. Requests are held back by `next_request`."""
        return False

    @property
    def has_input(self) -> bool:
        """Requests are complete and may be handed over."""
        return bool(self._ready) and self._send_side.queued_bytes <= self._limits.h2_queue_connection_bytes

    @property
    def has_output(self) -> bool:
        """There may be something to send."""
        return True

    @property
    def streaming(self) -> bool:
        """There is more DATA that the windows allow."""
        return self._send_side.sendable and not self.closing

    # Receiving.

    def receive_data(self, data: bytes, now: float) -> None:
        """Takes bytes from the peer. Afterwards the caller takes requests until there is none."""
        self._time = self._last_active = now
        self._pinged = False
        if not self.closing:
            self._walk(data, now)

    def _walk(self, data: bytes, now: float) -> None:
        try:
            for frame in self._walker.receive(data, now):
                self._handle(frame)
                if self.closing:
                    return
        except CalmDownError as abuse:
            self._fail(frames.ENHANCE_YOUR_CALM, abuse.reason, abuse.reason)
        except Http2Error as error:
            self._fail(error.code, str(error), "h2-protocol")
        if not self._walker.partial:
            self._partial_since = 0.0
        elif not self._partial_since:
            self._partial_since = now

    def _handle(self, frame: frames.Frame) -> None:
        kind = frame.kind
        if kind == frames.DATA:
            self._calls.lane_data(frame.stream_id, frame.payload)
        elif kind == frames.CODEC:
            self._feed(frame.payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(frame.stream_id, int.from_bytes(frame.payload) & 0x7FFFFFFF)
        elif kind == frames.RST_STREAM:
            self._client_reset(frame)
        elif kind == frames.PING:
            if not frame.flags & frames.ACK:
                self._out.append(frames.ping(frame.payload, ack=True))
        elif kind == frames.GOAWAY:
            # The codec would refuse to answer what is open; the peer only says that it opens no more.
            self._refuse_above = min(self._refuse_above, self._highest_stream_id)
            self._begin_drain(self._time)

    def _feed(self, data: bytes) -> None:
        """Gives whole frames to the codec and acts on what they mean."""
        codec = self._codec
        try:
            events = codec.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._codec_failed(error)
            return
        answer = codec.data_to_send()
        if answer:
            self._out.append(answer)
            self._count_codec_resets(answer)
        for event in events:
            self._event(event)
            if self.closing:
                return
        self.collect()

    def _codec_failed(self, error: h2.exceptions.ProtocolError) -> None:
        flood = isinstance(error, h2.exceptions.DenialOfServiceError)
        reason = "h2-header-block" if flood else "h2-protocol"
        if flood:
            code = frames.ENHANCE_YOUR_CALM
        elif isinstance(error.__cause__, HPACKError):
            # The codec calls it a protocol error; RFC 9113 4.3 has a code of its own.
            code = frames.COMPRESSION_ERROR
        else:
            code = int(error.error_code)
        self._fail(code, reason if flood else str(error), reason)

    def _count_codec_resets(self, data: bytes) -> None:
        """The codec resets streams on its own when the peer uses them wrongly; those count like the peer's resets."""
        at = 0
        while at < len(data):
            if data[at + 3] == frames.RST_STREAM:
                self._abuse.reset(self._time)
            at += frames.HEADER_BYTES + int.from_bytes(data[at : at + 3])

    def _event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._request_received(event.stream_id, event.headers, event.stream_ended is not None)
        elif isinstance(event, h2.events.DataReceived):
            ended = event.stream_ended is not None
            self._data_received(event.stream_id, event.data, event.flow_controlled_length, ended)
        elif isinstance(event, h2.events.StreamEnded):
            self._stream_ended(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._drop(event.stream_id)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self._settings_changed(event)

    def _request_received(self, stream_id: int, fields: Any, ended: bool) -> None:
        self._highest_stream_id = stream_id
        if len(fields) > self._limits.head_fields + len((b":method", b":scheme", b":path", b":authority")):
            raise CalmDownError("h2-header-fields")
        if stream_id > self._refuse_above:
            self._reset(stream_id, frames.REFUSED_STREAM)
            return
        if len(self._streams) + len(self._calls) + self._ghosts >= self._limits.h2_streams:
            self._hub.observer.refused("h2-streams")
            self._reset(stream_id, frames.REFUSED_STREAM)
            self._abuse.reset(self._time)
            return
        cost_bytes = head_bytes(fields)
        self._memory.take(cost_bytes)
        if self._hub.open_call is not None and _is_grpc(fields):
            self._open_call(stream_id, fields, cost_bytes)
            return
        stream = Stream(stream_id, cost_bytes, self._time)
        self._streams[stream_id] = stream
        self._send_side.open(stream_id)
        try:
            stream.head = parse_fields(fields, self._limits)
        except RefusedError as refusal:
            stream.ended = ended
            self._refuse(stream, refusal)
        if stream_id >= self._limits.h2_last_stream_id:
            self.drain(self._time)

    def _open_call(self, stream_id: int, fields: Any, cost_bytes: int) -> None:
        try:
            head = parse_fields(fields, self._limits)
        except RefusedError as refusal:
            self._hub.observer.refused(refusal.reason)
            self._memory.give(cost_bytes)
            self._reset(stream_id, frames.PROTOCOL_ERROR)
            self._abuse.reset(self._time)
            return
        self._calls.open(stream_id, head, self._peer, cost_bytes, self._time)
        if stream_id >= self._limits.h2_last_stream_id:
            self.drain(self._time)

    def _data_received(self, stream_id: int, data: bytes, flow_controlled_bytes: int, ended: bool) -> None:
        self._uploads.connection_received(flow_controlled_bytes)
        if stream_id in self._calls:
            self._calls.codec_data(stream_id, data, flow_controlled_bytes)
            return
        stream = self._streams.get(stream_id)
        if stream is None or stream.responded or stream.ended:
            return
        stream.cost_bytes += len(data)
        self._memory.take(len(data))
        self._uploads.received(stream, data, flow_controlled_bytes)
        if len(stream.body) > self._limits.body_bytes:
            stream.ended = ended
            self._refuse(stream, body_too_large(self._limits.body_bytes))
        elif self._memory.exhausted:
            stream.ended = ended
            self._refuse(stream, memory_exhausted())
        elif not ended:
            self._uploads.grant(stream)

    def _stream_ended(self, stream_id: int) -> None:
        if stream_id in self._calls:
            self._calls.half_closed(stream_id)
            return
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended:
            return
        stream.ended = True
        if stream.responded:
            return
        body = bytes(stream.body)
        self._end_upload(stream)
        head = stream.head
        if head is None:
            raise AssertionError("a stream without a head is answered at once")
        stream.request = Request(
            self._channel,
            head.method,
            head.path,
            head.query,
            head.headers,
            body,
            self._peer,
            self._secure,
            self._hub.request_id(head.headers.get(b"x-request-id")),
            self._time,
            stream.cost_bytes,
            stream_id,
        )
        self._unanswered += 1
        self._ready.append(stream.request)

    def _end_upload(self, stream: Stream) -> None:
        self._uploads.done(stream, grant_others=not self.closing)

    def next_request(self, now: float) -> Request | None:
        """The next complete request, while the answers of this connection do not pile up."""
        while self._ready and self.has_input:
            request = self._ready.popleft()
            if not request.closed:
                return request
            self._ghosts -= 1
        return None

    def _settings_changed(self, event: h2.events.RemoteSettingsChanged) -> None:
        window = event.changed_settings.get(SettingCodes.INITIAL_WINDOW_SIZE)
        if window is not None:
            self._send_side.initial_window_changed(window.new_value)
        table = event.changed_settings.get(SettingCodes.HEADER_TABLE_SIZE)
        if table is not None:
            # A peer may allow a table of gigabytes; we would be the ones to fill it.
            self._codec.encoder.header_table_size = min(table.new_value, self._limits.h2_table_bytes)

    def _window_update(self, stream_id: int, increment: int) -> None:
        if stream_id == 0:
            if not increment:
                raise Http2Error(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE of zero")
            self._send_side.connection_window_update(increment)
            return
        if stream_id > self._highest_stream_id:
            raise Http2Error(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE for a stream that was never opened")
        if stream_id not in self._streams and stream_id not in self._calls:
            return
        if not increment:
            self._reset_for_peer(stream_id, frames.PROTOCOL_ERROR)
            return
        try:
            self._send_side.stream_window_update(stream_id, increment)
        except WindowOverflowError:
            self._reset_for_peer(stream_id, frames.FLOW_CONTROL_ERROR)

    def _client_reset(self, frame: frames.Frame) -> None:
        """A reset of a stream that was answered, wholly or in part, after its request had ended is how some clients
        end every stream; anything else is work thrown away."""
        stream = self._streams.get(frame.stream_id)
        if stream is not None:
            harmless = stream.responded and stream.ended
        elif frame.stream_id in self._calls:
            harmless = self._calls.was_half_closed(frame.stream_id)
        elif frame.stream_id > self._highest_stream_id:
            raise Http2Error(frames.PROTOCOL_ERROR, "a RST_STREAM for a stream that was never opened")
        else:
            return
        if not harmless:
            self._abuse.reset(self._time)
        self._feed(frames.frame_header(frame.kind, frame.flags, frame.stream_id, len(frame.payload)) + frame.payload)

    # Answering.

    def answer(self, request: Request, response: Response) -> None:
        """Queues the response of an outstanding request."""
        stream = self._streams[request.mark]
        self._unanswered -= 1
        self._respond(stream, response, request.request_id, request.method == "HEAD")

    def _respond(self, stream: Stream, response: Response, request_id: str, head_only: bool) -> None:
        stream.responded = True
        bodiless = head_only or not has_body(response.status) or not (response.body or response.chunks is not None)
        headers = self._response_headers(response, request_id)
        self._codec.send_headers(stream.id, headers, end_stream=bodiless)
        self.collect()
        if bodiless:
            self._finished(stream)
            return
        if self._send_side.queue(stream.id, response.body, response.chunks, self._time) is not None:
            self._out.append(frames.frame_header(frames.DATA, frames.END_STREAM, stream.id, 0))
            self._ended(stream.id)

    def _response_headers(self, response: Response, request_id: str) -> list[tuple[bytes, bytes]]:
        headers = [(b":status", b"%d" % response.status)]
        if has_body(response.status):
            if response.body or response.chunks is not None:
                headers.append((b"content-type", response.content_type))
            if response.chunks is None:
                headers.append((b"content-length", b"%d" % len(response.body)))
        headers.append((b"date", self._hub.date))
        headers.append((b"x-request-id", request_id.encode()))
        for name, value in response.headers:
            headers.append((name.lower(), value))
        return headers

    def _ended(self, stream_id: int) -> None:
        """All DATA of an answer has been queued, the last frame with END_STREAM: the codec must know, but its own
        frame for it is thrown away."""
        self.collect()
        self._codec.end_stream(stream_id)
        self._codec.clear_outbound_data_buffer()
        self._finished(self._streams[stream_id])

    def _finished(self, stream: Stream) -> None:
        if not stream.ended:
            self.end_early(stream.id)
        self._forget(stream)

    def _refuse(self, stream: Stream, refusal: RefusedError) -> None:
        """Answers a stream whose request will not be handed over."""
        self._hub.observer.refused(refusal.reason)
        stream.responded = True
        self._end_upload(stream)
        response = problem_response(refusal.problem)
        try:
            self._respond(stream, response, self._hub.request_id(None), head_only=False)
        except h2.exceptions.ProtocolError as error:
            # A later frame of the same run made the codec reset the stream itself, and its event is yet to come.
            log.debug("stream %d was gone before its refusal: %s", stream.id, error)
        else:
            self._hub.observer.responded(response.status, 0.0)

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._send_side.close(stream.id)
        self._memory.give(stream.cost_bytes)

    def _drop(self, stream_id: int) -> None:
        """A stream ended before its answer did."""
        self._calls.gone(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self._forget(stream)
        self._end_upload(stream)
        if stream.request is not None and not stream.responded:
            self._unanswered -= 1
            if not self._hub.client_left(stream.request):
                self._ghosts += 1

    def abandoned(self, request: Request) -> None:
        """The work of a request whose client had left is done; until now it counted as an open stream."""
        self._ghosts -= 1

    def _reset(self, stream_id: int, code: int) -> None:
        """Resets a stream that the codec knows, and forgets it."""
        self._reset_codec(stream_id, code)
        self._drop(stream_id)

    def _reset_codec(self, stream_id: int, code: int) -> None:
        try:
            self._codec.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError as error:
            log.debug("stream %d was gone before its reset: %s", stream_id, error)
        self.collect()
        self._over[stream_id] = None
        if len(self._over) > OVER_MAX:
            del self._over[next(iter(self._over))]

    def _reset_for_peer(self, stream_id: int, code: int) -> None:
        self._hub.observer.refused("h2-malformed")
        self._reset(stream_id, code)
        self._abuse.reset(self._time)

    # Sending.

    def emit(self, data: bytes) -> None:
        """For the calls: queue whole frames."""
        self._out.append(data)

    def wake(self) -> None:
        """For the calls: write what is queued at the end of this turn."""
        self._channel.wake()

    def hold(self) -> None:
        """For the calls: stop reading from the peer."""
        self._channel.hold()

    def release(self) -> None:
        """For the calls: undo one `hold`."""
        self._channel.release()

    def reset_stream(self, stream_id: int, code: int) -> None:
        """For the calls: reset one because of its peer."""
        self._reset_for_peer(stream_id, code)

    def end_early(self, stream_id: int) -> None:
        """The answer came before the end of the request: the rest is not wanted (RFC 9113 8.1)."""
        self._reset_codec(stream_id, frames.NO_ERROR)

    def collect(self) -> None:
        """Queue what the codec has to send."""
        data = self._codec.data_to_send()
        if data:
            self._out.append(data)

    def send_piece(self) -> None:
        """Queues a turn's worth of DATA."""
        for outgoing in self._send_side.take(self._out, SEND_BUDGET_BYTES, self._time):
            self._data_done(outgoing)
        self._close_if_drained()

    def _data_done(self, outgoing: Outgoing) -> None:
        if outgoing.lasting:
            self._calls.drained(outgoing.stream_id)
        elif outgoing.failed:
            self._reset(outgoing.stream_id, frames.INTERNAL_ERROR)
        else:
            self._ended(outgoing.stream_id)

    def data_to_send(self) -> bytes:
        """The bytes to send now."""
        self._calls.flush(self._time)
        if self._send_side.sendable and not self.closing:
            self.send_piece()
        self._close_if_drained()
        out = self._out
        if not out:
            return b""
        self._out = []
        return b"".join(out)

    # Time and ends.

    def restart_clock(self, now: float) -> None:
        """The peer was kept from sending, or we from writing, by no fault of its own."""
        self._last_active = self._time = now
        self._send_side.restart_clock(now)
        if self._partial_since:
            self._partial_since = now
        self._calls.restart_clock(now)
        for stream in self._streams.values():
            stream.began_at = max(stream.began_at, now)

    def check(self, now: float) -> bool:
        """Enforces the deadlines. Returns True when something may have changed: of thousands of connections that wait
        hardly any has."""
        self._time = now
        if self.closing:
            return False
        if self._drain_at:
            self._go_on_draining(now)
        if self._partial_since:
            self._check_partial(now)
        if self._streams or self._send_side.waiting:
            self._check_streams(now)
        self._calls.check(now)
        self._check_silence(now)
        return bool(self._out or self.closing or self._drain_at or self._send_side.waiting)

    def _check_partial(self, now: float) -> None:
        limits = self._limits
        allowed = limits.body_seconds if self._walker.partial_data else limits.head_seconds
        if now - self._partial_since > allowed:
            self._fail(frames.ENHANCE_YOUR_CALM, "head-timeout", "head-timeout")

    def _check_streams(self, now: float) -> None:
        limits = self._limits
        patience = limits.h2_stalled_seconds if self._memory.busy else limits.call_stalled_seconds
        try:
            for stream_id in self._send_side.stalled(limits.h2_stalled_seconds, patience, now):
                self._hub.observer.refused("h2-stalled")
                self._reset(stream_id, frames.CANCEL)
                self._abuse.reset(now)
        except CalmDownError as abuse:
            self._fail(frames.ENHANCE_YOUR_CALM, abuse.reason, abuse.reason)
        for stream in list(self._streams.values()):
            if stream.ended or stream.responded:
                continue
            if self._uploads.withheld(stream):
                stream.began_at = now  # it waits for a window that we keep shut
            allowed = limits.body_seconds + len(stream.body) / limits.body_bytes_per_second
            if now - stream.began_at > allowed:
                self._refuse(stream, refused("body-timeout", 408, "the request body came too slowly"))

    def _check_silence(self, now: float) -> None:
        limits = self._limits
        silence = now - self._last_active
        if not self._streams and not self._calls:
            if silence > limits.idle_seconds:
                self._fail(frames.NO_ERROR, "idle", "idle")
        elif silence > limits.h2_keepalive_seconds + limits.h2_keepalive_answer_seconds:
            self._fail(frames.NO_ERROR, "h2-keepalive", "h2-keepalive")
        elif silence > limits.h2_keepalive_seconds and not self._pinged:
            self._pinged = True
            self._out.append(frames.ping(KEEPALIVE_PAYLOAD, ack=False))

    def drain(self, now: float) -> None:
        """Announces the end: first with the highest id, so that no request under way is lost, then, after the notice,
        with the last stream that will be served."""
        if not self.closing:
            self._calls.drain()
            self._begin_drain(now)

    def _begin_drain(self, now: float) -> None:
        if self._drain_at:
            return
        self._drain_at = now
        if self._streams or self._calls:
            self._out.append(frames.goaway(HIGHEST_STREAM_ID, frames.NO_ERROR))
        else:
            self._announce_last_stream()

    def _announce_last_stream(self) -> None:
        self._refuse_above = self._highest_stream_id
        self._out.append(frames.goaway(self._highest_stream_id, frames.NO_ERROR))
        self._close_if_drained()

    def _go_on_draining(self, now: float) -> None:
        if self._refuse_above == HIGHEST_STREAM_ID and now - self._drain_at >= self._limits.drain_notice_seconds:
            self._announce_last_stream()

    def _close_if_drained(self) -> None:
        if self._drain_at and not self._streams and not self._calls and not self.closing:
            if self._refuse_above == HIGHEST_STREAM_ID:
                self._refuse_above = self._highest_stream_id
                self._out.append(frames.goaway(self._highest_stream_id, frames.NO_ERROR))
            self.closing = True
            self.unread = True

    def _fail(self, code: int, message: str, reason: str) -> None:
        """Ends the connection with GOAWAY; every request on it learns that its client has gone."""
        if self.closing:
            return
        self._hub.observer.refused(reason)
        self._codec.clear_outbound_data_buffer()
        self._out.append(frames.goaway(self._highest_stream_id, code, message.encode()[:DEBUG_LIMIT_BYTES]))
        self.closing = True
        self.unread = True
        self.client_left()

    def client_left(self) -> None:
        """The connection is gone: tells the handlers and returns the memory."""
        self._ready.clear()
        self._calls.all_gone()
        for stream_id in list(self._streams):
            self._drop(stream_id)


def _is_grpc(fields: Any) -> bool:
    return any(name == b"content-type" and is_grpc(value) for name, value in fields)
