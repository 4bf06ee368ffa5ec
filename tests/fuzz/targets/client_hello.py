"""The ClientHello: read, wanted longer, or malformed."""

from typing import Final

from appliance.mux.client_hello import ClientHello, MalformedHello, NeedMore, parse
from tests.campaigns.abuse.tls import client_hello

LIMIT_BYTES: Final = 16_384
SEEDS: Final = (client_hello(), b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")


def run(data: bytes) -> None:
    """Parse it; what is wanted longer is longer than what is there, and within the limit."""
    try:
        found = parse(data, LIMIT_BYTES)
    except MalformedHello:
        return
    if isinstance(found, NeedMore):
        assert len(data) < found.total_bytes <= LIMIT_BYTES
    else:
        assert isinstance(found, ClientHello)
