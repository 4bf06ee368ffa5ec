"""How many items an event holds, found on its bytes before they become objects. Pure functions.

A repeated field of empty messages takes two bytes for each on the wire and more than a hundred in memory. Events that
could hold too many are walked once; all others cost one look at their length.
"""

from typing import Final

from appliance.api.streams.settings import EVENT_ITEMS_MAX
from appliance.mux.grpc_framing import RESOURCE_EXHAUSTED, GrpcError

_VARINT, _FIXED64, _LEN, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX: Final = 10


class _Malformed(Exception):
    """Not what the wire format allows; to say so is the decoder's affair."""


def check_items(message: bytes) -> None:
    """Raises GrpcError for an event with more than `EVENT_ITEMS_MAX` fields, its own and those right below them."""
    if len(message) <= 2 * EVENT_ITEMS_MAX:
        return
    fields, at = 0, 0
    try:
        while at < len(message) and fields <= EVENT_ITEMS_MAX:
            is_message, start, at = _field(message, at)
            fields += 1
            if is_message:
                fields += _count(message, start, at, EVENT_ITEMS_MAX - fields)
    except _Malformed:
        return
    if fields > EVENT_ITEMS_MAX:
        raise GrpcError(RESOURCE_EXHAUSTED, f"an event has more than {EVENT_ITEMS_MAX} items")


def _count(message: bytes, at: int, end: int, enough: int) -> int:
    """Fields from `at` to `end`, up to one more than `enough`; those before the first that cannot be read."""
    fields = 0
    try:
        while at < end and fields <= enough:
            _, _, at = _field(message, at)
            fields += 1
    except _Malformed:
        pass
    return fields


def _field(message: bytes, at: int) -> tuple[bool, int, int]:
    """Whether the field that begins at `at` may be a message, where its content begins, and where it ends."""
    tag, at = _varint(message, at)
    kind = tag & 7
    if kind == _LEN:
        size, at = _varint(message, at)
        end = at + size
    elif kind == _VARINT:
        _, end = _varint(message, at)
    elif kind == _FIXED64:
        end = at + 8
    elif kind == _FIXED32:
        end = at + 4
    else:
        raise _Malformed
    if end > len(message):
        raise _Malformed
    return kind == _LEN, at, end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[at : at + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise _Malformed
