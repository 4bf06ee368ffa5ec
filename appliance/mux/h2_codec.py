"""The h2 codec as this server sets it up.

Owns the settings that are advertised, the few in which the codec is told something else, and what it keeps of the
peer's. Pure.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import h2.config
import h2.connection
import h2.settings
from h2.settings import ChangedSetting, SettingCodes
from hyperframe.frame import SettingsFrame

from appliance.mux.h2_send import DEFAULT_WINDOW_BYTES
from appliance.mux.limits import Limits
from appliance.mux.sniffer import HTTP2_PREFACE

_PEERS: Final = dict(h2.settings.Settings(client=True))
"""What a client's settings are until it says otherwise."""
_OURS: Final = dict(h2.settings.Settings(client=False))
_KNOWN: Final = frozenset(SettingCodes)


class Settings(h2.settings.Settings):
    """The settings of one side, at first `values`, which connections may share.

    h2's own keep a queue of 760 bytes for each, and one for every number that a peer makes up. Ours never change, and
    the peer's are in force as soon as they are read; unknown ones are ignored (RFC 9113 6.5.2).
    """

    def __init__(self, client: bool, values: Mapping[int, int]) -> None:
        self._client = client
        self._settings: Any = values
        self._proposed: dict[SettingCodes, int] = {}

    def acknowledge(self) -> dict[SettingCodes | int, ChangedSetting]:
        """What is proposed is in force; returns it."""
        proposed, self._proposed = self._proposed, {}
        if not proposed:
            return {}
        before = self._settings
        self._settings = {**before, **proposed}
        return {code: ChangedSetting(code, before.get(code), value) for code, value in proposed.items()}

    def __getitem__(self, key: int) -> int:
        value: int = self._settings[key]
        return value

    def __setitem__(self, key: int, value: int) -> None:
        self.validate_received_setting(key, value)
        if key in _KNOWN:
            self._proposed[SettingCodes(key)] = value


class Codec(h2.connection.H2Connection):
    """h2 that remembers 1,000 closed streams instead of 65,536: enough to tell a late frame from a wrong one, and
    little enough for ten thousand connections."""

    MAX_CLOSED_STREAMS = 1_000

    def __init__(self, terms: "_Terms") -> None:
        super().__init__(terms.config)
        self.local_settings = Settings(client=False, values=terms.own)
        self.remote_settings = Settings(client=True, values=_PEERS)


class _Terms(NamedTuple):
    """What the codecs of all connections under the same limits share; `preamble` is the SETTINGS frame."""

    config: h2.config.H2Configuration
    own: Mapping[int, int]
    preamble: bytes


@lru_cache(maxsize=16)
def _terms(limits: Limits) -> _Terms:
    config = h2.config.H2Configuration(
        client_side=False,
        header_encoding=None,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        normalize_inbound_headers=False,
    )
    advertised: dict[int, int] = {
        SettingCodes.HEADER_TABLE_SIZE: limits.h2_table_bytes,
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.h2_streams,
        SettingCodes.INITIAL_WINDOW_SIZE: limits.h2_stream_window_bytes,
        SettingCodes.MAX_FRAME_SIZE: limits.h2_frame_bytes,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.head_bytes,
    }
    own = {
        **_OURS,
        **advertised,
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.h2_streams + limits.h2_streams_slack,
    }
    preamble = SettingsFrame(0, {int(code): value for code, value in advertised.items()}).serialize()
    return _Terms(config, own, preamble)


def make_codec(limits: Limits) -> tuple[Codec, bytes]:
    """A codec that has read the client's preface, and the bytes with which the server begins.

    The codec is told more streams than the peer: an honest client may open some before it has read our SETTINGS, and
    the codec would end the connection instead of refusing one stream.
    """
    terms = _terms(limits)
    codec = Codec(terms)
    codec.max_inbound_frame_size = limits.h2_frame_bytes
    codec.decoder.max_header_list_size = limits.head_bytes
    codec.decoder.max_allowed_table_size = limits.h2_table_bytes
    codec.initiate_connection()
    codec.clear_outbound_data_buffer()
    codec.increment_flow_control_window(limits.h2_connection_window_bytes - DEFAULT_WINDOW_BYTES)
    preamble = terms.preamble + codec.data_to_send()
    codec.receive_data(HTTP2_PREFACE)
    return codec, preamble
