"""Lines of claims that wait for work.

Owns who waits, in which order, and until when. A waiting claim has one arrival number and stands in the line of each
queue it named (or in its tenant's line for any queue); it leaves all of them lazily. Knows nothing of tasks.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Final

from appliance.tasks.model import FOREVER_MS, Claim

_COMPACT_ABOVE: Final = 16


class Waiter:
    """A claim in one or more lines. `done` once it was answered, timed out or its caller left; then it may stand there
    for long, and has no `claim` any more: that holds on to a whole connection."""

    __slots__ = ("claim", "done", "lines", "number", "tenant")

    def __init__(self, claim: Claim, number: int, tenant: str) -> None:
        self.claim = claim
        self.number = number
        self.tenant = tenant
        self.done = False
        self.lines: list[Line] = []


class Line:
    """Waiters in order of arrival. Those that are done are skipped, and thrown out when they are the majority."""

    __slots__ = ("_gone", "_waiters")

    def __init__(self) -> None:
        self._waiters: deque[Waiter] = deque()
        self._gone = 0

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def join(self, waiter: Waiter) -> None:
        """Stand at the end."""
        self._waiters.append(waiter)
        waiter.lines.append(self)

    def first(self) -> Waiter | None:
        """The one who has waited longest."""
        waiters = self._waiters
        while waiters:
            if not waiters[0].done:
                return waiters[0]
            waiters.popleft()
            self._gone -= 1
        return None

    def left(self) -> None:
        """One of the waiters here is done."""
        self._gone += 1
        if self._gone > _COMPACT_ABOVE and self._gone * 2 > len(self._waiters):
            self._waiters = deque(waiter for waiter in self._waiters if not waiter.done)
            self._gone = 0


class Waits:
    """All waiters of a shard, by arrival and by deadline."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._deadlines: list[tuple[int, int, Waiter]] = []
        self._live: dict[int, Waiter] = {}
        self._per_tenant: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._live)

    def waiting(self, tenant: str) -> int:
        """How many claims of this tenant wait for a time; those that wait for ever are bounded where they come from."""
        return self._per_tenant.get(tenant, 0)

    def add(self, claim: Claim, deadline: int) -> Waiter:
        """A new waiter until `deadline` (ms), not yet in any line."""
        waiter = Waiter(claim, next(self._numbers), claim.tenant)
        claim.deadline = deadline
        claim.number = waiter.number
        self._live[waiter.number] = waiter
        if deadline < FOREVER_MS:
            self._per_tenant[claim.tenant] = self._per_tenant.get(claim.tenant, 0) + 1
            heappush(self._deadlines, (deadline, waiter.number, waiter))
        return waiter

    def finish(self, waiter: Waiter) -> None:
        """The waiter is done: it leaves every line it stands in."""
        assert not waiter.done
        waiter.done = True
        del self._live[waiter.number]
        deadline = waiter.claim.deadline
        del waiter.claim
        if deadline < FOREVER_MS:
            remaining = self._per_tenant[waiter.tenant] - 1
            if remaining:
                self._per_tenant[waiter.tenant] = remaining
            else:
                del self._per_tenant[waiter.tenant]
        for line in waiter.lines:
            line.left()
        waiter.lines.clear()
        if len(self._deadlines) > 2 * len(self._live) + _COMPACT_ABOVE:
            self._deadlines = sorted(entry for entry in self._deadlines if not entry[2].done)

    def leave(self, claim: Claim) -> None:
        """The claim waits no longer, if it does."""
        waiter = self._live.get(claim.number)
        if waiter is not None and waiter.claim is claim:
            self.finish(waiter)

    def next_deadline(self) -> int | None:
        """When the next wait ends (ms)."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].done:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def take_ended(self, now_ms: int) -> Iterator[Waiter]:
        """Waiters whose time is over, in order; the caller finishes each."""
        while (deadline := self.next_deadline()) is not None and deadline <= now_ms:
            yield heappop(self._deadlines)[2]

    def live_claims(self) -> list[Claim]:
        """The claims that wait, in order of arrival: they survive a change of epoch."""
        return [waiter.claim for waiter in self._live.values()]
