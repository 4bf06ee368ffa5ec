"""How many items an event holds, found on its bytes before they become objects. Pure functions.

A repeated field of empty messages takes two bytes for each on the wire and more than a hundred in memory. Events that
could hold too many are walked once; all others cost one look at their length.
"""

from typing import Final

from appliance.api.streams.settings import EVENT_ITEMS_MAX
from appliance.mux.grpc_framing import INTERNAL, RESOURCE_EXHAUSTED, GrpcError

_VARINT, _FIXED64, _LEN, _FIXED32 = 0, 1, 2, 5
_MALFORMED: Final = "an event cannot be decoded"
_VARINT_BYTES_MAX: Final = 10


def check_items(message: bytes) -> None:
    """Raises GrpcError for an event with more than `EVENT_ITEMS_MAX` fields below its own."""
    if len(message) <= 2 * EVENT_ITEMS_MAX:
        return
    fields, at = 0, 0
    while at < len(message):
        tag, start, at = _field(message, at)
        fields += 1
        if tag & 7 == _LEN:
            # Only what the event holds is counted: the fields of a task are few, and a payload is none of our fields.
            fields += _count(message, start, at, EVENT_ITEMS_MAX - fields)
        if fields > EVENT_ITEMS_MAX:
            raise GrpcError(RESOURCE_EXHAUSTED, f"an event has more than {EVENT_ITEMS_MAX} items")


def _count(message: bytes, at: int, end: int, enough: int) -> int:
    """Fields from `at` to `end`, up to one more than `enough`."""
    fields = 0
    while at < end and fields <= enough:
        _, _, at = _field(message, at)
        fields += 1
    return fields


def _field(message: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start of the content and end of the field that begins at `at`."""
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
        raise GrpcError(INTERNAL, _MALFORMED)
    if end > len(message):
        raise GrpcError(INTERNAL, _MALFORMED)
    return tag, at, end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[at : at + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise GrpcError(INTERNAL, _MALFORMED)
