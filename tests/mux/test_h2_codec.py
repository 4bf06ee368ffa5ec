"""The codec as it is set up: what it keeps of a peer's settings, and how little a connection holds."""

import gc
import struct
import tracemalloc
from typing import cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from h2.settings import SettingCodes

from appliance.mux import frames
from appliance.mux.connection import Connection
from appliance.mux.h2_codec import make_codec
from appliance.mux.http2 import Http2
from appliance.mux.hub import Hub
from appliance.mux.limits import Limits
from tests.mux.support import Watcher, echo

CONNECTION_BYTES = 10_000
"""About 8,500 of Python's memory with what this is built on; h2 alone took 16,000 in queues and tables."""


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame with whatever codes."""
    payload = b"".join(struct.pack(">HL", code, value) for code, value in values.items())
    return frames.frame_header(frames.SETTINGS, 0, 0, len(payload)) + payload


def greeting() -> bytes:
    """What a client begins with."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    return client.data_to_send()


def test_settings_of_the_peer_are_in_force_at_once_and_are_not_shared() -> None:
    (codec, _), (other, _) = make_codec(Limits()), make_codec(Limits())
    (event,) = codec.receive_data(settings({SettingCodes.MAX_FRAME_SIZE: 20_000, SettingCodes.ENABLE_PUSH: 0}))
    assert isinstance(event, h2.events.RemoteSettingsChanged)
    changed = event.changed_settings[SettingCodes.MAX_FRAME_SIZE]
    assert (changed.original_value, changed.new_value) == (16_384, 20_000)
    assert codec.remote_settings.max_frame_size == codec.max_outbound_frame_size == 20_000
    assert codec.remote_settings.enable_push == 0
    assert other.remote_settings.max_frame_size == 16_384 and other.remote_settings.enable_push == 1


def test_a_new_initial_window_moves_the_windows_of_open_streams() -> None:
    codec, _ = make_codec(Limits())
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "a")])
    codec.receive_data(client.data_to_send()[len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") :])
    codec.receive_data(settings({SettingCodes.INITIAL_WINDOW_SIZE: 70_000}))
    assert codec.streams[1].outbound_flow_control_window == 70_000


def test_unknown_settings_are_ignored_and_not_kept() -> None:
    codec, _ = make_codec(Limits())
    known = len(codec.remote_settings)
    for start in range(1_000, 60_000, 2_000):
        codec.receive_data(settings(dict.fromkeys(range(start, start + 2_000), 1)))
    assert len(codec.remote_settings) == known
    codec.receive_data(settings({SettingCodes.MAX_CONCURRENT_STREAMS: 5}))
    assert codec.remote_settings.max_concurrent_streams == 5


@pytest.mark.parametrize(
    ("code", "value"),
    [(SettingCodes.ENABLE_PUSH, 2), (SettingCodes.MAX_FRAME_SIZE, 1), (SettingCodes.INITIAL_WINDOW_SIZE, 2**31)],
)
def test_settings_that_are_not_allowed_are_refused(code: int, value: int) -> None:
    codec, _ = make_codec(Limits())
    with pytest.raises(h2.exceptions.ProtocolError):
        codec.receive_data(settings({code: value}))


def test_a_connection_that_has_greeted_holds_little() -> None:
    hub, channel = Hub(echo, Limits(), Watcher()), cast(Connection, None)

    def greeted() -> Http2:
        core = Http2(hub, channel, "192.0.2.1", True, 0.0)
        core.receive_data(greeting(), 0.0)
        core.data_to_send()
        return core

    kept = [greeted()]
    count = 100
    gc.collect()
    tracemalloc.start()
    try:
        kept += [greeted() for _ in range(count)]
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / count < CONNECTION_BYTES
