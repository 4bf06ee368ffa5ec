"""Rows of the store: bytes that were not sealed are damage; sealed ones decode, or are refused by their form."""

from typing import Final

import msgspec

from appliance.engine import rows
from appliance.engine.rows import DamagedRow, seal, unseal

TABLE: Final = 1
KEY: Final = b"key"
DECODERS: Final = tuple(value for name, value in sorted(vars(rows).items()) if name.startswith("decode_"))
SEEDS: Final = (
    b"\0" + seal(TABLE, KEY, b"content"),
    b"\1" + rows.encode_row([b"\0" * 16, 1, "worker", 2, b"{}", None]),
    b"\1" + rows.encode_row([1, 2]),
    b"\1" + rows.encode_row(7),
    b"\1" + rows.encode_row([[], {}, -1, 2**63, 1.5, True]),
)


def run(data: bytes) -> None:
    """The first byte says whether the rest is a row as it lies in the store, or the content of one."""
    content = data[1:]
    if data[:1] and data[0] & 1:
        assert unseal(TABLE, KEY, seal(TABLE, KEY, content)) == content
        for decode in DECODERS:
            try:
                decode(content)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
        return
    try:
        found = unseal(TABLE, KEY, content)
    except DamagedRow:
        return
    assert seal(TABLE, KEY, found) == content
