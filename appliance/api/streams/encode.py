"""The server messages that every task costs, put together by hand.

Owns the bytes of task deliveries and of acknowledgements that go well, as protobuf's canonical encoding has them: a
general encoder takes three times as long for the same bytes. All other messages are made with the generated classes,
and tests hold both equal. Pure functions; the encoding is that of protobuf.dev's "Encoding" guide.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_ONE_BYTE: Final = tuple(bytes([value]) for value in range(128))


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits to a byte, the lowest first."""
    if value < 1 << 7:
        return _ONE_BYTE[value]
    if value < 1 << 14:
        return bytes((value & 127 | 128, value >> 7))
    if value < 1 << 21:
        return bytes((value & 127 | 128, value >> 7 & 127 | 128, value >> 14))
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field(number: int, content: bytes) -> bytes:
    """A field that is a string, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def text_field(number: int, text: str) -> bytes:
    """A string field; nothing where it is empty, which is its default."""
    return field(number, text.encode()) if text else b""


def number_field(number: int, value: int) -> bytes:
    """A number field; nothing where it is zero, which is its default."""
    return varint(number << 3) + varint(value) if value else b""


_NANOS: Final = tuple(number_field(2, ms * 1_000_000) for ms in range(1_000))
"""The second field of a google.protobuf.Timestamp, for each millisecond of a second."""


def timestamp_field(number: int, time_ms: int) -> bytes:
    """A google.protobuf.Timestamp."""
    seconds, ms = divmod(time_ms, 1_000)
    return field(number, _seconds(seconds) + _NANOS[ms])


@lru_cache(maxsize=64)
def _seconds(seconds: int) -> bytes:
    return number_field(1, seconds)


def joined(number: int, messages: Iterable[bytes]) -> bytes:
    """A repeated message field."""
    tag = varint(number << 3 | 2)
    parts: list[bytes] = []
    last, head = -1, b""
    for message in messages:
        if len(message) != last:
            last = len(message)
            head = tag + varint(last)
        parts += (head, message)
    return b"".join(parts)


_ID_BYTES: Final = 36
_CREATED: Final = b"\x10\x01\x1a\x24"
"""`ok`, and the tag and size of a `task_id`."""
_CREATED_HEADS: Final = tuple(bytes([1 + seq_bytes + len(_CREATED) + _ID_BYTES]) + b"\x08" for seq_bytes in range(11))
"""The size of a CreateAck and the tag of its `seq`, by the bytes of that."""
_CREATED_WITHOUT_SEQ: Final = bytes([len(_CREATED) + _ID_BYTES])
_RECORDED_ID: Final = b"\x0a\x24"
"""Tag and size of a `task_id`."""
_RECORDED: Final = b"\x10\x01"
"""`ok`."""
_RECORDED_TAIL: Final = _RECORDED.decode()
_RECORDED_HEAD: Final = chr(len(_RECORDED_ID) + _ID_BYTES + len(_RECORDED)) + _RECORDED_ID.decode()


def create_ack(seq: int, id_ascii: bytes) -> bytes:
    """A producerpb.CreateAck of a create that went well; `id_ascii` has 36 bytes."""
    if seq:
        return b"\x08" + varint(seq) + _CREATED + id_ascii
    return _CREATED + id_ascii


def create_acks(number: int, seqs: Iterable[int], ids_ascii: Iterable[bytes]) -> bytes:
    """A repeated field of producerpb.CreateAck, all of creates that went well; each id has 36 bytes."""
    tag = varint(number << 3 | 2)
    parts: list[bytes] = []
    for seq, id_ascii in zip(seqs, ids_ascii, strict=True):
        if seq:
            encoded = varint(seq)
            parts += (tag, _CREATED_HEADS[len(encoded)], encoded, _CREATED, id_ascii)
        else:
            parts += (tag, _CREATED_WITHOUT_SEQ, _CREATED, id_ascii)
    return b"".join(parts)


def result_acks(number: int, id_texts: list[str]) -> bytes:
    """A repeated field of workerpb.ResultAck, all of results that were recorded; each id has 36 characters."""
    # All of it is ASCII, so that it can be put together as text.
    start = f"{chr(number << 3 | 2)}{_RECORDED_HEAD}"
    return (start + f"{_RECORDED_TAIL}{start}".join(id_texts) + _RECORDED_TAIL).encode() if id_texts else b""


def result_ack(id_ascii: bytes) -> bytes:
    """A workerpb.ResultAck of a result that was recorded; `id_ascii` has 36 bytes."""
    return _RECORDED_ID + id_ascii + _RECORDED
