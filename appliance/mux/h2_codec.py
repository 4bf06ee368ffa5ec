"""The h2 codec as this server sets it up.

Owns the settings that are advertised and the few in which the codec is told something else. Pure.
"""

import h2.config
import h2.connection
import h2.settings
from h2.settings import SettingCodes
from hyperframe.frame import SettingsFrame

from appliance.mux.h2_send import DEFAULT_WINDOW_BYTES
from appliance.mux.limits import Limits
from appliance.mux.sniffer import HTTP2_PREFACE


class Codec(h2.connection.H2Connection):
    """h2 that remembers 1,000 closed streams instead of 65,536: enough to tell a late frame from a wrong one, and
    little enough for ten thousand connections."""

    MAX_CLOSED_STREAMS = 1_000


def make_codec(limits: Limits) -> tuple[Codec, bytes]:
    """A codec that has read the client's preface, and the bytes with which the server begins.

    The codec is told more streams than the peer: an honest client may open some before it has read our SETTINGS, and
    the codec would end the connection instead of refusing one stream.
    """
    config = h2.config.H2Configuration(
        client_side=False,
        header_encoding=None,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        normalize_inbound_headers=False,
    )
    advertised = {
        SettingCodes.HEADER_TABLE_SIZE: limits.h2_table_bytes,
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.h2_streams,
        SettingCodes.INITIAL_WINDOW_SIZE: limits.h2_stream_window_bytes,
        SettingCodes.MAX_FRAME_SIZE: limits.h2_frame_bytes,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.head_bytes,
    }
    own = {**advertised, SettingCodes.MAX_CONCURRENT_STREAMS: limits.h2_streams + limits.h2_streams_slack}
    codec = Codec(config)
    codec.local_settings = h2.settings.Settings(client=False, initial_values=own)
    codec.max_inbound_frame_size = limits.h2_frame_bytes
    codec.decoder.max_header_list_size = limits.head_bytes
    codec.decoder.max_allowed_table_size = limits.h2_table_bytes
    codec.initiate_connection()
    codec.clear_outbound_data_buffer()
    preamble = SettingsFrame(0, {int(code): value for code, value in advertised.items()}).serialize()
    codec.increment_flow_control_window(limits.h2_connection_window_bytes - DEFAULT_WINDOW_BYTES)
    preamble += codec.data_to_send()
    codec.receive_data(HTTP2_PREFACE)
    return codec, preamble
