"""Shares: how much of the groups each tenant used lately, and who is quiet beside a noisy one.

Owns the rule by which throughput gives way to latency: groups and turns of the loop stay large while all tenants with
something to do want about as much of them. They become small while one fills them and another wants little, since
whoever wants little waits for the turn under way, for the group under way, and for the whole group that its operation
shares. Sans-IO and deterministic; must not know what an operation is, nor how a group is filled.

A share is counted in units: one for each transition, and one for each kilobyte written, which is how the limits of a
group relate to each other too.
"""

from typing import Final

PERIOD_MS: Final = 250
"""Shares are counted for so long: the rule is late by this at most."""

HOLDS_MS: Final = 1_000
"""It goes on for so long after the last period with a noisy and a quiet tenant in it: who is quiet is not always there.
"""

QUIET_DIVISOR: Final = 8
"""A tenant is quiet whose share is at most this part of the largest one. Equals under load differ by far less."""

UNIT_BYTES_SHIFT: Final = 10

SMALL_TRANSITIONS: Final = 200
"""What a group has at most beside a quiet tenant: about 5 ms of decisions and a commit of 5 ms. Who uses so much of one
group is noisy."""

SMALL_BYTES: Final = 128 << 10
"""Likewise. An operation with more gets a group for itself."""

GROUPS_PASSED: Final = 2
"""An operation that needs a group for itself, or did not fit into the one before, lets quiet tenants have so many."""

NOISY_GROUPS: Final = 4
"""Small groups are not filled any more. Then a tenant is noisy that uses as much as so many of them in a period."""

SLICE_TRANSITIONS: Final = 16
SLICE_TURNS: Final = 8
SLICE_ANSWERS: Final = 16
"""What one turn of the loop has at most beside a quiet tenant: about half a millisecond."""

FILLING_MS: Final = 3
"""A group that is not full waits for so long at most, as long as a noisy tenant has more and nobody else is in it."""

INBOX_OPERATIONS: Final = 4
"""What a noisy tenant may have undecided beside a quiet one: enough for a turn. The rest waits unread."""

RESUMED: Final = 1
"""So many of those who wait for room in an inbox are read again in one turn of the loop beside a quiet tenant."""

RESUMED_LOOKS: Final = 64
"""So many are looked at for that: some have gone, others' inboxes are full."""

WOKEN_LOOKS: Final = 64
"""Among so many queues with work and somebody who waits for it, one of a quiet tenant is looked for."""

KEPT_DIVISOR: Final = 4
"""So large a part of a group's limits is kept on top for quiet tenants, however full it is: what comes after others
have filled it need not wait for the next."""


class Shares:
    """What tenants used in this period, and what follows from those before."""

    def __init__(self) -> None:
        self.uneven = False
        """Whether a noisy tenant and a quiet one were there lately."""
        self._began_ms = 0
        self._until_ms = 0
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

    def bytes_limit(self, bytes_max: int) -> int:
        """How many bytes a group may have that may have so many."""
        return min(bytes_max, SMALL_BYTES) if self.uneven else bytes_max

    def comes_alone(self, size_bytes: int) -> bool:
        """Whether an operation of this size is to have a group for itself, if a quiet tenant is there."""
        return self.uneven and size_bytes > SMALL_BYTES

    def is_quiet(self, tenant: str) -> bool:
        """Whether this tenant used little in the last period that counts. Means something only while `uneven`."""
        return self._before.get(tenant, 0) <= self._quiet_max

    def _end_period(self, now: int) -> None:
        used, self._now = self._now, {}
        most = max(used.values(), default=0)
        quiet_max = most // QUIET_DIVISOR
        is_noisy = self._crowded or (self.uneven and most >= NOISY_GROUPS * SMALL_TRANSITIONS)
        if is_noisy and len(used) > 1 and min(used.values()) <= quiet_max:
            self._before, self._quiet_max, self._until_ms = used, quiet_max, now + HOLDS_MS
        # A clock that went back must not make it hold for long.
        self.uneven = 0 < self._until_ms - now <= HOLDS_MS
        self._crowded = False
        self._began_ms = now
