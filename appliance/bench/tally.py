"""What a load process counts, and the percentiles of what many of them counted.

Owns counters and latencies. Must not know where they come from. Latencies are whole microseconds.
"""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

LATENCY_US_MAX: Final = (1 << 32) - 1
REFUSALS_MAX: Final = 20
"""Different words of refusal that are kept; one would do to see what is wrong."""
_EXACT_BITS: Final = 11
"""Values in a distribution keep so many leading bits: wrong by less than 0.1 %, and 25,000 different ones at most."""


def _latencies() -> "array[int]":
    return array("I")


@dataclass(slots=True)
class Tally:
    """One process, one second."""

    created: int = 0
    """Creates acknowledged as durable."""
    delivered: int = 0
    finished: int = 0
    """Results acknowledged as durable."""
    refused: int = 0
    refusals: list[str] = field(default_factory=list)
    acks: "array[int]" = field(default_factory=_latencies)
    """From sending a create, or from when it should have been sent, to its acknowledgement."""
    deliveries: "array[int]" = field(default_factory=_latencies)
    """From there to its delivery, for a sample of tasks."""
    finishes: "array[int]" = field(default_factory=_latencies)
    """From there to the acknowledgement of its result, for the same sample."""
    cpu_seconds: float = 0.0

    def refuse(self, reasons: Iterable[str]) -> None:
        """Note acknowledgements that said no."""
        for reason in reasons:
            self.refused += 1
            if len(self.refusals) < REFUSALS_MAX and reason not in self.refusals:
                self.refusals.append(reason)

    def add(self, other: "Tally") -> None:
        """Take in what another process counted."""
        self.created += other.created
        self.delivered += other.delivered
        self.finished += other.finished
        self.refused += other.refused
        self.refusals = list(dict.fromkeys(self.refusals + other.refusals))[:REFUSALS_MAX]
        self.acks += other.acks
        self.deliveries += other.deliveries
        self.finishes += other.finishes
        self.cpu_seconds += other.cpu_seconds


def microseconds(seconds: float) -> int:
    """A latency as it is counted."""
    return min(max(round(seconds * 1e6), 0), LATENCY_US_MAX)


class Distribution:
    """Latencies of a whole run, bounded in memory however long it takes."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0

    def add(self, latencies: "array[int]") -> None:
        """Count these."""
        self._counts.update(map(_rounded, latencies))
        self.count += len(latencies)

    def percentile_ms(self, percent: float) -> float:
        """The smallest value that at least `percent` of all do not exceed, in ms; 0 of none."""
        return percentile(sorted(self._counts.items()), self.count, percent) / 1_000

    def summary(self) -> dict[str, float]:
        """The usual percentiles, in ms."""
        names = {"p50": 50.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}
        return {f"{name}_ms": self.percentile_ms(percent) for name, percent in names.items()}


def percentile(counts: Iterable[tuple[int, int]], total: int, percent: float) -> int:
    """The same of values with their counts, in order of values."""
    rank = max(1, -(-total * percent // 100))
    seen = 0
    for value, count in counts:
        seen += count
        if seen >= rank:
            return value
    return 0


def _rounded(value: int) -> int:
    shift = value.bit_length() - _EXACT_BITS
    return value >> shift << shift if shift > 0 else value
