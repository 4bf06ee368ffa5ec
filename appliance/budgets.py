"""How much of something one network address may cause: so many at once, then so many per second.

Owns one bucket per address that has spent anything lately, and a bound on how many addresses are remembered. Knows
neither what is counted nor a clock: the time comes as an argument, in seconds, and may be any clock's.
"""

from ipaddress import IPv6Address
from typing import Final

ADDRESSES_MAX: Final = 10_000
"""Remembered at once, at about 200 bytes each. Past that the one that began first is forgotten: whoever has so many
addresses gains little by that, and nobody else loses."""

_NETWORK_BYTES: Final = 8
"""Of an IPv6 address: a single machine is given 2^64 of them."""


class AddressBudgets:
    """Buckets of `burst` that fill by `per_second`."""

    __slots__ = ("_buckets", "_burst", "_per_second")

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: dict[str | bytes, tuple[float, float]] = {}

    def left(self, address: str, now: float) -> float:
        """How many this address may cause now."""
        bucket = self._buckets.get(_network(address))
        return self._burst if bucket is None else self._filled(bucket, now)

    def spend(self, address: str, now: float) -> bool:
        """Count one; False, and nothing is counted, when the address has none left."""
        network = _network(address)
        bucket = self._buckets.get(network)
        left = self._burst if bucket is None else self._filled(bucket, now)
        if left < 1:
            return False
        if bucket is None and len(self._buckets) >= ADDRESSES_MAX:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[network] = left - 1, now
        return True

    def _filled(self, bucket: tuple[float, float], now: float) -> float:
        left, at = bucket
        return min(self._burst, left + max(now - at, 0.0) * self._per_second)


def _network(address: str) -> str | bytes:
    if ":" not in address:
        return address
    try:
        return IPv6Address(address.partition("%")[0]).packed[:_NETWORK_BYTES]
    except ValueError:
        return address
