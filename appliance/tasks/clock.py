"""The clock rule: stored times are wall-clock milliseconds, but they advance with the monotonic clock.

A wall clock that jumps does not move leases, delays or ids with it. The difference is noticed, counted, and worked
off slowly: at most one part in twenty, so a lease may end early or late by 5 % of its length at the most. Pure: the
readings come in as arguments.
"""

from typing import Final

JUMP_MS: Final = 1_000
"""A wall clock that differs from ours by more than this has jumped; below it is ordinary correction."""

SLEW_DIVISOR: Final = 20
"""At most 1/20 of the time that passed is added or taken away to follow the wall clock."""


class Clock:
    """One process's clock. Invariant: `now` never decreases while the process lives."""

    __slots__ = ("_ahead", "_monotonic_ms", "_unused_ms", "jumps", "now")

    def __init__(self, wall_ms: int, monotonic_ms: int) -> None:
        self.now = wall_ms
        self.jumps = 0
        self._monotonic_ms = monotonic_ms
        self._ahead = 0
        self._unused_ms = 0

    def read(self, wall_ms: int, monotonic_ms: int) -> int:
        """Milliseconds since the epoch by our clock, given both readings of this moment."""
        passed = monotonic_ms - self._monotonic_ms
        if passed <= 0:
            return self.now
        self._monotonic_ms = monotonic_ms
        ahead = self.now + passed - wall_ms
        if abs(ahead - self._ahead) > JUMP_MS:
            self.jumps += 1
        # What a short step leaves over is kept: a clock that is read every millisecond must follow the wall too.
        limit, self._unused_ms = divmod(passed + self._unused_ms, SLEW_DIVISOR)
        slew = max(-limit, min(limit, ahead))
        self._ahead = ahead - slew
        self.now += passed - slew
        return self.now
