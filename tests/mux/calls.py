"""A gRPC client without gRPC on top of the test client, and sessions that remember what they were told."""

# mypy: disable-error-code="comparison-overlap, index"
# (the client decodes header names, which its types do not know)

from collections.abc import Callable
from typing import Any

import h2.events

from appliance.mux.exchange import Handler
from appliance.mux.grpc_call import MESSAGE_BYTES_MAX, Call, Session
from appliance.mux.grpc_framing import MessageReader, frame
from appliance.mux.limits import Limits
from tests.mux.support import echo
from tests.mux.test_http2 import Fields, Peer

FRAME_BYTES = 16_384


class Recorder:
    """A session that remembers everything; `on` maps the name of a callback to what it does besides."""

    message_bytes_max = MESSAGE_BYTES_MAX

    def __init__(self, call: Call) -> None:
        self.call = call
        self.messages: list[bytes] = []
        self.heard: list[str] = []
        self.on: dict[str, Callable[[], None]] = {}

    def _hear(self, name: str) -> None:
        self.heard.append(name)
        act = self.on.get(name)
        if act is not None:
            act()

    def receive(self, messages: list[bytes]) -> None:
        assert messages
        self.messages += messages
        self._hear("receive")

    def half_closed(self) -> None:
        self._hear("half_closed")

    def gone(self) -> None:
        self._hear("gone")

    def crowded(self) -> None:
        self._hear("crowded")

    def room(self) -> None:
        self._hear("room")

    def drain(self) -> None:
        self._hear("drain")


class Echo(Recorder):
    """Answers with what it gets, and ends when its peer does."""

    def receive(self, messages: list[bytes]) -> None:
        super().receive(messages)
        self.call.send(messages)

    def half_closed(self) -> None:
        super().half_closed()
        self.call.end(0)

    def drain(self) -> None:
        super().drain()
        self.call.end(14, "going")


class Caller(Peer):
    """A client of calls. `/echo` and `/keep` exist; `sessions` has them in the order of their opening."""

    def __init__(
        self,
        handler: Handler = echo,
        limits: Limits | None = None,
        window: int | None = None,
        open_call: Callable[[Call], Session | None] | None = None,
    ) -> None:
        super().__init__(handler, limits, window)
        self.events.clear()
        self.sessions: list[Recorder] = []
        self._pumped = 0
        self.wire.hub.open_call = open_call or self._open

    def _open(self, call: Call) -> Recorder | None:
        kind = {"/echo": Echo, "/keep": Recorder}.get(call.path)
        if kind is None:
            return None
        self.sessions.append(kind(call))
        return self.sessions[-1]

    def call(self, path: str = "/echo", extra: Fields | None = None, end: bool = False, method: str = "POST") -> int:
        """Opens a call; returns its id."""
        stream_id: int = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
        fields += [("content-type", "application/grpc"), ("te", "trailers"), *(extra or [])]
        self.h2.send_headers(stream_id, fields, end_stream=end)
        return stream_id

    def opened(self, path: str = "/echo", extra: Fields | None = None) -> tuple[int, Recorder]:
        """Opens a call that the server has seen; returns its id and its session."""
        stream_id = self.call(path, extra)
        self.exchange()
        return stream_id, self.sessions[-1]

    def say(self, stream_id: int, *messages: bytes, end: bool = False) -> None:
        """Sends messages, as few frames as they need, and takes what comes back."""
        self.say_bytes(stream_id, b"".join(map(frame, messages)), end)

    def say_bytes(self, stream_id: int, data: bytes, end: bool = False, pad: int | None = None) -> None:
        """Sends bytes as DATA when the windows allow it, and takes what comes back. Stops where they do not."""
        while data:
            size = min(len(data), FRAME_BYTES - 300, self.h2.local_flow_control_window(stream_id) - (pad or 0) - 1)
            if size <= 0:
                self.exchange()
                if self.h2.local_flow_control_window(stream_id) - (pad or 0) - 1 <= 0:
                    return
                continue
            piece, data = data[:size], data[size:]
            self.h2.send_data(stream_id, piece, end_stream=end and not data, pad_length=pad)
            end = end and bool(data)
        if end:
            self.h2.end_stream(stream_id)
        self.exchange()

    def exchange(self) -> list[h2.events.Event]:
        """As the test client's, after what the sessions want to send of their own accord."""
        self.wire.loop.run()
        return super().exchange()

    def after(self, seconds: float) -> None:
        """Moves the clock, lets the deadlines be checked, and takes what comes of it."""
        self.wire.clock.now += seconds
        self.wire.connection.check(self.wire.clock.now)
        self.exchange()

    def pump(self) -> None:
        """Grants everything that came, until nothing more comes."""
        self.exchange()
        while self._pumped < len(self.events):
            new = self.events[self._pumped :]
            self._pumped = len(self.events)
            for event in new:
                if isinstance(event, h2.events.DataReceived):
                    self.grant(event.stream_id, event.flow_controlled_length)
            self.exchange()

    def grant(self, stream_id: int, count: int) -> None:
        """Opens the connection's window and, while it lasts, the stream's."""
        if count:
            self.h2.increment_flow_control_window(count)
            if not self.ended(stream_id):
                self.h2.increment_flow_control_window(count, stream_id)

    def said(self, stream_id: int) -> list[bytes]:
        """The messages of the answer so far."""
        return MessageReader(b"", 1 << 30).feed(self.body(stream_id))

    def trailers(self, stream_id: int) -> dict[str, str]:
        """The fields that ended the answer, empty where it has not ended."""
        found: dict[str, str] = {}
        for event in self.events:
            if getattr(event, "stream_id", 0) == stream_id and isinstance(
                event, h2.events.TrailersReceived | h2.events.ResponseReceived
            ):
                fields: Any = dict(event.headers)
                if "grpc-status" in fields:
                    assert not found
                    found = fields
        return found

    def grpc_status(self, stream_id: int) -> int:
        """-1 where the call has not ended."""
        return int(self.trailers(stream_id).get("grpc-status", -1))
