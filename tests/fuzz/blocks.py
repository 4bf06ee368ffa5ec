"""Header blocks for seeds, each complete in itself: no table is needed to read them."""

from hpack import Encoder

from tests.e2e.frames import Fields


def block(fields: Fields) -> bytes:
    """These fields, encoded by an encoder that has seen nothing before."""
    encoded: bytes = Encoder().encode(fields)
    return encoded
