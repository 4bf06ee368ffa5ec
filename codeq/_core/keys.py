"""Idempotency keys that grow with time, for creates that bring none.

Owns the shape of a key only: a UUID of version 7 (RFC 9562, section 5.7). Keys in the order of creation keep the
server's index of keys dense, and they are what makes a repeat after a lost connection harmless. The clock and the
randomness are the caller's.
"""

import uuid
from collections.abc import Callable

_RANDOM_BYTES = 10


class Keys:
    """Makes keys, each greater than the one before. Not thread-safe."""

    __slots__ = ("_last", "_now_ms", "_random")

    def __init__(self, now_ms: Callable[[], int], random_bytes: Callable[[int], bytes]) -> None:
        self._now_ms = now_ms
        self._random = random_bytes
        self._last = 0

    def next(self) -> str:
        """A new key. Within one millisecond, or after the clock went back, the last one is counted up."""
        random = int.from_bytes(self._random(_RANDOM_BYTES), "big")
        value = (self._now_ms() & (1 << 48) - 1) << 74 | random & (1 << 74) - 1
        if value >> 74 <= self._last >> 74:
            # A random step keeps two processes that drew nearly the same start apart.
            value = self._last + 1 + (random & 0xFFFF_FFFF)
        self._last = value
        time_ms, high, low = value >> 74, value >> 62 & 0xFFF, value & (1 << 62) - 1
        return str(uuid.UUID(int=time_ms << 80 | 7 << 76 | high << 64 | 2 << 62 | low))
