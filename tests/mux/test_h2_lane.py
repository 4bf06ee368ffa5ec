"""The lane for plain DATA beside the codec: whichever way the bytes of a connection go, the same comes of them."""

import itertools
from typing import Any, NamedTuple

import h2.settings
import hpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.mux import frames
from appliance.mux.exchange import Request, Response
from appliance.mux.frames import FrameWalker, Http2Error, frame_header
from appliance.mux.grpc_framing import frame
from appliance.mux.h2_abuse import Abuse
from appliance.mux.limits import Limits
from appliance.mux.sniffer import HTTP2_PREFACE
from tests.mux.calls import Caller, Echo, Recorder
from tests.mux.test_http2 import walk

INITIAL_WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
STREAM_BYTES_MAX = 60_000
"""Of one stream, padding too: below its first window, so that no byte waits for an answer."""


class First(Recorder):
    """Ends with its first message, while its peer may still be sending."""

    def receive(self, messages: list[bytes]) -> None:
        super().receive(messages[:1])  # what came together with it depends on the way
        self.call.send(messages[:1])
        self.call.end(9, "one is enough")


def lane_off(peer: Caller) -> None:
    """From now on all DATA of calls goes through the codec."""
    core = peer.core
    core._walker = FrameWalker(core._abuse, 16_384, (), core._over)
    core._walker._preface_read = True


def plain(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    return frame_header(frames.DATA, flags, stream_id, len(payload)) + payload


def sorted_out(data: bytes) -> list[tuple[int, int, bytes]]:
    """Kind, stream and payload of what a walker with stream 1 in its lane and 3 over hands out."""
    walker = FrameWalker(Abuse(Limits()), 16_384, {1}, {3})
    return [(each.kind, each.stream_id, each.payload) for each in walker.receive(HTTP2_PREFACE + data, 0.0)]


def test_neighbouring_frames_of_one_stream_are_handed_over_as_one() -> None:
    last, other = plain(1, b"e", frames.END_STREAM), plain(5, b"f")
    found = sorted_out(plain(1, b"a") + plain(1, b"bc") + other + plain(1, b"d") + last + plain(1, b"cut off")[:-1])
    assert found == [
        (frames.DATA, 1, b"abc"),
        (frames.CODEC, 0, other),
        (frames.DATA, 1, b"d"),
        (frames.CODEC, 0, last),
    ]


def test_what_is_handed_over_as_one_is_bounded() -> None:
    sizes = [len(payload) for _, _, payload in sorted_out(plain(1, bytes(1_000)) * 200)]
    assert sum(sizes) == 200_000 and max(sizes) < frames.RUN_BYTES + 1_000


def test_empty_and_padded_frames_and_those_within_a_header_block_go_to_the_codec() -> None:
    codec = plain(1, b"") + plain(1, b"\0a", frames.PADDED) + plain(1, b"a", 2) + frame_header(frames.HEADERS, 0, 5, 0)
    assert sorted_out(codec + plain(1, b"a")) == [(frames.CODEC, 0, codec + plain(1, b"a"))]


def test_all_data_of_a_stream_that_is_over_is_kept_from_the_codec() -> None:
    data = [plain(3, b"a"), plain(3, b"\0a", frames.PADDED), plain(3, b""), plain(3, b"a", frames.END_STREAM)]
    assert [each[:2] for each in sorted_out(b"".join(data))] == [(frames.DATA, 3)] * 4


def test_an_oversized_frame_in_the_lane_is_refused_behind_good_ones() -> None:
    with pytest.raises(Http2Error):
        sorted_out(plain(1, b"a") + frame_header(frames.DATA, 0, 1, 16_385) + bytes(16_385))


# The same bytes both ways.


class Open(NamedTuple):
    path: str
    content: bytes
    end: bool = False


class Data(NamedTuple):
    stream: int
    size: int
    pad: int = -1
    end: bool = False


class End(NamedTuple):
    """An end that is not on DATA: by trailers, a reset, or an empty frame."""

    stream: int
    how: str


class Other(NamedTuple):
    data: bytes


Step = Open | Data | End | Other

_content = st.one_of(
    st.lists(st.binary(max_size=80), max_size=6).map(lambda messages: b"".join(map(frame, messages))),
    st.tuples(st.lists(st.binary(max_size=20), max_size=3), st.binary(max_size=8)).map(
        lambda both: b"".join(map(frame, both[0])) + both[1]
    ),
    st.integers(0, 40_000).map(lambda size: frame(bytes(size))),
)
_steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        Open,
        st.sampled_from(["/echo", "/echo", "/keep", "/first", "/none", "rest", "rest"]),
        _content,
        st.sampled_from([False] * 9 + [True]),
    ),
    st.builds(
        Data,
        st.integers(0, 5),
        st.one_of(st.integers(0, 30), st.integers(0, 16_000)),
        st.sampled_from([-1, -1, -1, 0, 3, 200]),
        st.booleans(),
    ),
    st.builds(Data, st.integers(0, 5), st.integers(1, 200), st.just(-1), st.just(False)),
    st.builds(End, st.integers(0, 5), st.sampled_from(["trailers", "reset", "empty"])),
    st.sampled_from(
        [
            Other(frames.ping(b"12345678", ack=False)),
            Other(frame_header(frames.WINDOW_UPDATE, 0, 0, 4) + (5_000).to_bytes(4)),
            Other(frame_header(0x42, 0, 0, 3) + b"abc"),
        ]
    ),
)


class Script:
    """A client's bytes, made without looking at any answer. It keeps the rules of HTTP/2, the messages need not."""

    def __init__(self, steps: list[Step], window: int) -> None:
        self._encoder = hpack.Encoder()
        self._left: dict[int, bytes] = {}
        self._sent: dict[int, int] = {}
        self.ids: list[int] = []
        self._out = [frame_header(frames.SETTINGS, 0, 0, 6) + (4).to_bytes(2) + window.to_bytes(4)]
        for step in steps:
            if isinstance(step, Open):
                self._open(step)
            elif isinstance(step, Data):
                self._data(step)
            elif isinstance(step, End):
                self._end(step)
            else:
                self._out.append(step.data)
        self.data = b"".join(self._out)

    def _headers(self, stream_id: int, fields: list[tuple[str, str]], end: bool) -> None:
        block = self._encoder.encode(fields)
        flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
        self._out.append(frame_header(frames.HEADERS, flags, stream_id, len(block)) + block)

    def _open(self, step: Open) -> None:
        stream_id = 2 * len(self.ids) + 1
        self.ids.append(stream_id)
        rest = step.path == "rest"
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a")]
        fields.append((":path", f"/rest/{stream_id}" if rest else step.path))
        fields.append(("content-type", "application/json" if rest else "application/grpc"))
        self._headers(stream_id, fields, step.end)
        if not step.end:
            self._left[stream_id] = step.content
            self._sent[stream_id] = 0

    def _stream(self, number: int) -> int:
        """One of the open streams, 0 where there is none."""
        return sorted(self._left)[number % len(self._left)] if self._left else 0

    def _data(self, step: Data) -> None:
        stream_id = self._stream(step.stream)
        if not stream_id:
            return
        piece = self._left[stream_id][: step.size]
        padding = step.pad + 1
        if (not piece and not step.end) or self._sent[stream_id] + len(piece) + padding > STREAM_BYTES_MAX:
            return
        self._left[stream_id] = self._left[stream_id][step.size :]
        self._sent[stream_id] += len(piece) + padding
        flags = (frames.END_STREAM if step.end else 0) | (frames.PADDED if padding else 0)
        payload = bytes([step.pad]) + piece + bytes(step.pad) if padding else piece
        self._out.append(frame_header(frames.DATA, flags, stream_id, len(payload)) + payload)
        if step.end:
            del self._left[stream_id]

    def _end(self, step: End) -> None:
        stream_id = self._stream(step.stream)
        if not stream_id:
            return
        del self._left[stream_id]
        if step.how == "trailers":
            self._headers(stream_id, [("x-checksum", "1")], end=True)
        elif step.how == "reset":
            self._out.append(frame_header(frames.RST_STREAM, 0, stream_id, 4) + frames.CANCEL.to_bytes(4))
        else:
            self._out.append(frame_header(frames.DATA, frames.END_STREAM, stream_id, 0))


class Result(NamedTuple):
    """What the node understood, and what it answered on each stream."""

    calls: list[tuple[list[bytes], list[str]]]
    requests: list[tuple[str, bytes]]
    answers: dict[int, list[Any]]


def play(script: Script, cuts: list[int], lane: bool) -> Result:
    """Sends a script, then opens every window."""
    requests: list[tuple[str, bytes]] = []

    def handler(request: Request) -> None:
        requests.append((request.path, request.body))
        request.respond(Response(200, request.body))

    peer = Caller(handler)
    sessions: list[Recorder] = []

    def open_call(call: Any) -> Recorder | None:
        kind = {"/echo": Echo, "/keep": Recorder, "/first": First}.get(call.path)
        if kind is not None:
            sessions.append(kind(call))
        return None if kind is None else sessions[-1]

    peer.wire.hub.open_call = open_call
    if not lane:
        lane_off(peer)
    edges = [0, *sorted(min(cut, len(script.data)) for cut in cuts), len(script.data)]
    answer = b"".join(peer.raw_send(script.data[start:end]) for start, end in itertools.pairwise(edges))
    opened = [frame_header(frames.WINDOW_UPDATE, 0, number, 4) + (1_000_000).to_bytes(4) for number in [0, *script.ids]]
    answer += peer.raw_send(b"".join(opened))
    peer.wire.connection.connection_lost(None)
    assert peer.wire.hub.memory.used_bytes == 0 and peer.core._calls.held_bytes == 0
    assert set(peer.wire.watcher.reasons) <= {"h2-empty-frames"}
    heard = [(each.messages, [name for name, _ in itertools.groupby(each.heard)]) for each in sessions]
    return Result(heard, requests, _by_stream(answer))


def _by_stream(answer: bytes) -> dict[int, list[Any]]:
    """Headers, joined DATA, ends and resets of each stream, in order; windows left out."""
    decoder = hpack.Decoder()
    found: dict[int, list[Any]] = {}
    for kind, flags, stream_id, payload in walk(answer):
        if not stream_id or kind == frames.WINDOW_UPDATE:
            continue
        events = found.setdefault(stream_id, [])
        if kind == frames.HEADERS:
            fields = dict(decoder.decode(payload, raw=True))
            fields.pop(b"x-request-id", None)
            events.append(fields)
        elif kind == frames.DATA and events and isinstance(events[-1], bytes):
            events[-1] += payload
        else:
            events.append(payload if kind == frames.DATA else (kind, payload))
        if flags & frames.END_STREAM:
            events.append("end")
    return found


_pad_all = [Open("/echo", frame(bytes(30_000))), *[Data(0, 5_000, 9)] * 5, Data(0, 9_000, end=True)]


@settings(max_examples=150, deadline=None)
@given(st.lists(_steps, max_size=25), st.lists(st.integers(0, 20_000), max_size=8), st.integers(0, 70_000))
@example(_pad_all, [], 0)
@example([Open("/keep", frame(b"x")), Data(0, 6), Data(0, 0, end=True)], [60, 61, 90], 0)
@example([Open("/first", frame(b"x") * 9), *[Data(0, 6)] * 5, Data(0, 6, 3), Data(0, 6, end=True)], [75], 100)
def test_the_lane_and_the_codec_make_the_same_of_the_same_bytes(
    steps: list[Step], cuts: list[int], window: int
) -> None:
    script = Script(steps, window)
    by_lane, by_codec = play(script, cuts, True), play(script, cuts, False)
    assert by_lane == by_codec
    whole = play(script, [], True)
    assert by_lane.requests == whole.requests
    assert [messages for messages, _ in by_lane.calls] == [messages for messages, _ in whole.calls]


# Windows as they come.


@settings(max_examples=40, deadline=None)
@given(st.data(), st.booleans())
def test_everything_arrives_whole_both_ways_whatever_the_windows_do(data: st.DataObject, lane: bool) -> None:
    peer = Caller(window=data.draw(st.integers(0, 70_000)))
    if not lane:
        lane_off(peer)
    sizes = st.lists(st.one_of(st.integers(0, 300), st.integers(0, 200_000)), min_size=1, max_size=5)
    sent = [[bytes([number]) * size for size in data.draw(sizes)] for number in range(data.draw(st.integers(1, 4)))]
    ids = [peer.call() for _ in sent]
    left = dict(zip(ids, (b"".join(map(frame, messages)) for messages in sent), strict=True))
    requests = {peer.request(bytes(size)): size for size in data.draw(st.lists(st.integers(0, 16_000), max_size=2))}
    peer.exchange()
    seen = 0
    for turn in range(5_000):
        if all(peer.ended(stream_id) for stream_id in [*ids, *requests]):
            break
        if left:
            stream_id = data.draw(st.sampled_from(sorted(left))) if turn < 60 else min(left)
            pad = data.draw(st.sampled_from([None, None, 0, 50])) if turn < 60 else None
            size = min(len(left[stream_id]), peer.h2.local_flow_control_window(stream_id) - 60, 16_000)
            if size > 0 or not left[stream_id]:
                peer.h2.send_data(
                    stream_id, left[stream_id][:size], end_stream=size == len(left[stream_id]), pad_length=pad
                )
                left[stream_id] = left[stream_id][size:]
                if not left[stream_id]:
                    del left[stream_id]
        if turn < 60 and data.draw(st.integers(0, 9)) == 0:
            peer.wire.clock.now += 10.0  # SETTINGS are limited per span
            peer.h2.update_settings({INITIAL_WINDOW: data.draw(st.integers(0, 100_000))})
        peer.exchange()
        received = sum(len(peer.body(stream_id)) for stream_id in [*ids, *requests])
        if received > seen:
            peer.h2.increment_flow_control_window(received - seen)
            seen = received
        for stream_id in [*ids, *requests]:
            if not peer.ended(stream_id):
                peer.h2.increment_flow_control_window(
                    20_000 if turn >= 60 else data.draw(st.integers(1, 30_000)), stream_id
                )
        peer.exchange()
    assert [peer.said(stream_id) for stream_id in ids] == sent
    assert {stream_id: len(peer.body(stream_id)) for stream_id in requests} == requests
    assert [session.messages for session in peer.sessions] == sent
    assert all(peer.grpc_status(stream_id) == 0 for stream_id in ids)
    assert peer.wire.hub.memory.used_bytes == 0 and peer.wire.watcher.reasons == []
