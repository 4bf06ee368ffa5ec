"""Shares: how much of the groups each tenant used lately, and who is quiet beside a noisy one.

Owns the rule by which throughput gives way to latency: groups stay large while all tenants with something to do want
about as much of them, and become small while one fills them and another wants little, since whoever wants little waits
for the whole group that its operation shares. Sans-IO and deterministic; must not know what an operation is, nor how a
group is filled.

A share is counted in units: one for each transition, and one for each kilobyte written, which is how the limits of a
group relate to each other too.
"""

from typing import Final

PERIOD_MS: Final = 1_000
"""Shares are counted for so long, and hold for as long after that: the rule is late by this at most."""

QUIET_DIVISOR: Final = 8
"""A tenant is quiet whose share is at most this part of the largest one. Equals under load differ by far less."""

UNIT_BYTES_SHIFT: Final = 10

SMALL_TRANSITIONS: Final = 200
"""What a group has at most beside a quiet tenant: about 5 ms of decisions and a commit of 5 ms. Who uses so much of one
group is noisy."""

KEPT_DIVISOR: Final = 4
"""So large a part of a group's limits is kept on top for quiet tenants, however full it is: what comes after others
have filled it need not wait for the next."""


class Shares:
    """What tenants used in this period, and what follows from the one before."""

    def __init__(self) -> None:
        self.uneven = False
        """Whether a noisy tenant and a quiet one were there in the last whole period."""
        self._began_ms = 0
        self._crowded = False
        self._now: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._quiet_max = 0

    def took(self, tenant: str, transitions: int, size_bytes: int) -> None:
        """A turn of this tenant is over."""
        self._now[tenant] = self._now.get(tenant, 0) + transitions + (size_bytes >> UNIT_BYTES_SHIFT)

    def closed(self, now: int, transitions: int, size_bytes: int) -> None:
        """A group of this size is closed, at this time (ms)."""
        if transitions + (size_bytes >> UNIT_BYTES_SHIFT) >= SMALL_TRANSITIONS:
            self._crowded = True
        if not 0 <= now - self._began_ms < PERIOD_MS:
            self._end_period(now)

    def limit(self, transitions_max: int) -> int:
        """How many transitions a group may have that may have so many."""
        return min(transitions_max, SMALL_TRANSITIONS) if self.uneven else transitions_max

    def is_quiet(self, tenant: str) -> bool:
        """Whether this tenant used little in the last period. Means something only where that was `uneven`."""
        return self._before.get(tenant, 0) <= self._quiet_max

    def _end_period(self, now: int) -> None:
        self._before, self._now = self._now, {}
        used = self._before.values()
        self._quiet_max = max(used, default=0) // QUIET_DIVISOR
        self.uneven = self._crowded and min(used, default=0) <= self._quiet_max
        self._crowded = False
        self._began_ms = now
