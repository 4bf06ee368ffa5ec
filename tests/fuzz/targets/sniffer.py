"""The sniffer: any prefix has one verdict, which a longer prefix does not change."""

from typing import Final

from appliance.mux.sniffer import HTTP2_PREFACE, SNIFF_LIMIT_BYTES, Kind, sniff

SEEDS: Final = (
    HTTP2_PREFACE,
    b"GET / HTTP/1.1\r\n",
    b"CQRF\0\0\0\1",
    b"\x16\x03\x01\x02\x00\x01",
    b"PRI * HTTP/1.1\r\n",
)


def run(data: bytes) -> None:
    """Every prefix."""
    known = Kind.NEED_MORE
    for end in range(min(len(data), SNIFF_LIMIT_BYTES) + 1):
        kind = sniff(data[:end])
        assert known in (Kind.NEED_MORE, kind), (end, known, kind)
        known = kind
    assert len(data) < SNIFF_LIMIT_BYTES or known is not Kind.NEED_MORE
