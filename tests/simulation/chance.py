"""The generator behind every choice of a run: draws what `Random` draws from the same seed, at less cost.

Owns no rule of the simulation. A test holds it against `Random`.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Chance(Random):
    """`Random` with the methods that a run calls for nearly everything, without their ways around."""

    def randint(self, a: int, b: int) -> int:
        """A whole number from `a` up to `b`, both included."""
        size = b - a + 1
        bits = size.bit_length()
        drawn = self.getrandbits(bits)
        while drawn >= size:
            drawn = self.getrandbits(bits)
        return a + drawn

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        """One of a sequence that is not empty."""
        size = len(seq)
        bits = size.bit_length()
        drawn = self.getrandbits(bits)
        while drawn >= size:
            drawn = self.getrandbits(bits)
        return seq[drawn]
