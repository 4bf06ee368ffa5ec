"""Task ids: UUIDv7 (RFC 9562, section 5.7) that only ever grow, so that the order of ids is the order of creation.

An id holds milliseconds, a 32-bit counter within them, the shard, and a tag drawn at each start. The milliseconds are
those of max(now, the last id): a clock that goes back makes ids denser, never smaller.

    48 bits milliseconds | 0111 | 12 counter, high | 10 | 20 counter, low | 10 shard | 32 tag
"""

from binascii import hexlify
from collections.abc import Iterable
from struct import Struct
from typing import Final

SHARD_BITS: Final = 10
_COUNTER_LOW_BITS: Final = 20
_COUNTER_LOW_MASK: Final = (1 << _COUNTER_LOW_BITS) - 1
_COUNTER_STEP: Final = 1 << 42
_VERSION_AND_VARIANT: Final = (7 << 76) | (2 << 62)
_GROUPS: Final = Struct("8s4s4s4s12s")
_dashed: Final = b"-".join


class Ids:
    """Makes ids for one shard. `last` is the newest id ever made on it; `tag` tells this start from others."""

    __slots__ = ("_base", "_counter", "_ms", "_suffix", "last")

    def __init__(self, last: bytes, shard: int, tag: int) -> None:
        assert 0 <= shard < 1 << SHARD_BITS
        self.last = last
        self._suffix = _VERSION_AND_VARIANT | shard << 32 | tag & 0xFFFFFFFF
        self._ms = int.from_bytes(last[:6], "big")
        self._counter = _counter_of(last)
        self._base = self._ms << 80 | self._suffix

    def take(self, now_ms: int, count: int) -> list[bytes]:
        """So many new ids, in order, each greater than every one before it."""
        if now_ms > self._ms:
            self._ms, self._counter = now_ms, -1
            self._base = now_ms << 80 | self._suffix
        first = self._counter + 1
        last = self._counter = self._counter + count
        if last >> _COUNTER_LOW_BITS:
            values = [self._value(counter) for counter in range(first, last + 1)]
        else:
            low, high = self._base + first * _COUNTER_STEP, self._base + last * _COUNTER_STEP
            values = list(range(low, high + 1, _COUNTER_STEP))
        ids = [value.to_bytes(16, "big") for value in values]
        self.last = ids[-1]
        return ids

    def _value(self, counter: int) -> int:
        high = counter >> _COUNTER_LOW_BITS
        return self._base + (counter & _COUNTER_LOW_MASK) * _COUNTER_STEP + (high << 64)

    def next(self, now_ms: int) -> bytes:
        """A new id, greater than every one before it."""
        return self.take(now_ms, 1)[0]


def _counter_of(task_id: bytes) -> int:
    value = int.from_bytes(task_id, "big")
    return (value >> 64 & 0xFFF) << _COUNTER_LOW_BITS | value >> 42 & _COUNTER_LOW_MASK


def id_time_ms(task_id: bytes) -> int:
    """The milliseconds in an id."""
    return int.from_bytes(task_id[:6], "big")


def shard_of(task_id: bytes) -> int:
    """The shard in an id."""
    return int.from_bytes(task_id[8:12], "big") & 0x3FF


def id_text(task_id: bytes) -> str:
    """The id as clients see it: a lower-case UUID."""
    return id_ascii(task_id).decode()


def id_ascii(task_id: bytes) -> bytes:
    """`id_text` as bytes."""
    return _dashed(_GROUPS.unpack(hexlify(task_id)))


def ids_ascii(task_ids: Iterable[bytes]) -> list[bytes]:
    """`id_ascii` of each."""
    return list(map(_dashed, _GROUPS.iter_unpack(hexlify(b"".join(task_ids)))))


def parse_id(text: str) -> bytes | None:
    """The bytes of an id as clients send it, or None where it cannot be one (and so names no task)."""
    if len(text) != 36 or text[8] != "-" or text[13] != "-" or text[18] != "-" or text[23] != "-":
        return None
    digits = text.replace("-", "")
    if len(digits) != 32 or not digits.isascii() or not digits.isalnum():
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None
