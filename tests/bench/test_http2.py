"""The hand-made connection, against the h2 library as the server."""

from collections import defaultdict

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bench.http2 import FRAME_BYTES_MAX, Connection, PeerError, Stream, data_frames, frame

PATH = "/workerpb.WorkerStream/Stream"


class Sink:
    def __init__(self) -> None:
        self.received: list[tuple[bytes, float]] = []

    def messages(self, messages: list[bytes], now: float) -> None:
        self.received += [(message, now) for message in messages]


class Peer:
    """A server of h2 and a connection of ours, one call open."""

    def __init__(self, window: int = 65_535) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.server = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        self.server.local_settings = h2.settings.Settings(
            client=False, initial_values={codes.INITIAL_WINDOW_SIZE: window}
        )
        self.server.initiate_connection()
        self.client = Connection("localhost", "http")
        self.stream: Stream = self.client.open(PATH)
        self.sink = Sink()
        self.stream.receiver = self.sink
        self.taken: dict[int, bytes] = defaultdict(bytes)
        self.headers: dict[str, str] = {}
        self.to_client(self.server.data_to_send())
        self.to_server()
        self.server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        self.to_client()

    def to_server(self, grant: bool = True) -> None:
        for event in self.server.receive_data(self.client.take()):
            if isinstance(event, h2.events.RequestReceived):
                self.headers = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                self.taken[event.stream_id] += event.data
                if grant:
                    self.server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def to_client(self, data: bytes | None = None) -> None:
        self.client.receive(self.server.data_to_send() if data is None else data, 1.5)


def message(content: bytes) -> bytes:
    return b"\0" + len(content).to_bytes(4) + content


def test_a_call_is_a_grpc_request() -> None:
    headers = Peer().headers
    assert (headers[":method"], headers[":path"], headers[":scheme"]) == ("POST", PATH, "http")
    assert (headers["te"], headers["content-type"]) == ("trailers", "application/grpc")


@given(st.lists(st.binary(max_size=3_000), max_size=10), st.lists(st.integers(1, 500), max_size=40))
def test_messages_are_whole_however_their_bytes_are_cut(contents: list[bytes], cuts: list[int]) -> None:
    peer = Peer()
    for content in contents:
        peer.server.send_data(1, message(content))
    data, at = peer.server.data_to_send(), 0
    for cut in cuts:
        peer.to_client(data[at : at + cut])
        at += cut
    peer.to_client(data[at:])
    assert peer.sink.received == [(content, 1.5) for content in contents]


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=12), st.integers(20_000, 100_000))
def test_no_window_is_overdrawn_and_everything_arrives_in_order(sizes: list[int], window: int) -> None:
    peer = Peer(window)
    sent = b""
    for number, size in enumerate(sizes):
        content = bytes([number]) * size
        sent += content
        peer.stream.send(data_frames(1, content), size)
    for _ in range(100):
        # h2 raises where a window is overdrawn.
        peer.to_server()
        peer.to_client()
    assert peer.taken[1] == sent
    assert not peer.stream.blocked


def test_a_window_that_shrinks_while_a_call_is_open_holds_back_what_does_not_fit() -> None:
    peer = Peer()
    peer.server.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10})
    peer.to_client()
    peer.stream.send(data_frames(1, b"x" * 20), 20)
    peer.to_server(grant=False)
    assert peer.taken[1] == b"x" * 10
    peer.server.increment_flow_control_window(10, 1)
    peer.to_client()
    peer.to_server()
    assert peer.taken[1] == b"x" * 20


def test_received_bytes_are_granted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.bench.http2._GRANT_BYTES", 20_000)
    peer = Peer()
    before = peer.server.outbound_flow_control_window, peer.server.remote_flow_control_window(1)
    for _ in range(3):
        peer.server.send_data(1, message(b"x" * 10_000))
    peer.to_client()
    peer.to_server()
    assert (peer.server.outbound_flow_control_window, peer.server.remote_flow_control_window(1)) == before


def test_a_ping_is_answered() -> None:
    peer = Peer()
    peer.server.ping(b"12345678")
    peer.to_client()
    events = peer.server.receive_data(peer.client.take())
    assert [type(event) for event in events] == [h2.events.PingAckReceived]


def test_the_end_of_a_call_with_status_0_is_no_error() -> None:
    peer = Peer()
    peer.stream.finish()
    peer.to_server()
    peer.server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    peer.to_client()
    assert peer.stream.ended


def test_any_other_end_is_an_error_with_its_words() -> None:
    peer = Peer()
    peer.server.send_headers(1, [("grpc-status", "16"), ("grpc-message", "bad%20token")], end_stream=True)
    with pytest.raises(PeerError, match="gRPC status 16 bad token"):
        peer.to_client()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frame(3, 0, 1, (8).to_bytes(4)), "reset a stream with error 8"),
        (frame(7, 0, 0, bytes(4) + (11).to_bytes(4) + b"calm"), "going away, error 11: calm"),
        (frame(0, 1, 1, b""), "ended a stream without a status"),
        (frame(0, 8, 1, b"\x05abc"), "padding exceeds"),
        (frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"), "cannot be decoded"),
        (frame(9, 4, 1, b""), "header block"),
        ((FRAME_BYTES_MAX + 1).to_bytes(3) + bytes(6), "above 16 KiB"),
        (frame(0, 0, 1, b"\x01\x00\x00\x00\x01x"), "compressed"),
        (frame(0, 0, 1, b"\x00\xff\x00\x00\x00"), "above 4 MiB"),
    ],
)
def test_what_a_server_must_not_do_is_an_error(data: bytes, words: str) -> None:
    with pytest.raises(PeerError, match=words):
        Peer().to_client(data)


def test_a_status_other_than_200_is_an_error() -> None:
    client = Connection("localhost", "http")
    client.open(PATH)
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    server.receive_data(client.take())
    server.send_headers(1, [(":status", "415")], end_stream=True)
    with pytest.raises(PeerError, match="HTTP status 415"):
        client.receive(server.data_to_send(), 0.0)
