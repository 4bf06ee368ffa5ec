"""The notifier: at what pace subscribers are called about queues that turned non-empty.

Owns, for each subscriber, when it may be called again and what it has not heard of yet. A subscriber has one call under
way at a time and none within its interval; what turns non-empty meanwhile is told afterwards, if it is still non-empty,
so a queue is never forgotten. A call that failed is made again, at a pace that halves with each failure. Sans-IO, and
outlives the state machine. Calls are hints: nothing of this is stored, and after a start every queue with ready tasks
counts as one that turned non-empty.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

import msgspec

from appliance.engine.rows import Subscription

FAILURES_COUNTED_MAX: Final = 6
"""The interval after failures is at most 64 times the configured one."""

INTERVAL_MS_MIN: Final = 1_000
"""Between calls that fail, for those who configured none."""

Key = tuple[bytes, bytes]
"""Tenant and subscription."""


class Notification(msgspec.Struct, gc=False):
    """One call to be made about one queue."""

    tenant: bytes
    subscription: bytes
    command: str
    url: str
    at: int


class _Pace:
    """One subscriber: `pending` are commands it has yet to hear of."""

    __slots__ = ("busy", "failures", "next_at", "pending", "timer_at")

    def __init__(self) -> None:
        self.busy = False
        self.failures = 0
        self.next_at = 0
        self.pending: dict[str, None] = {}
        self.timer_at = 0


class Notifier:
    """Everybody who is to be called. `find` gives a live subscription, `depth` the ready tasks of a command."""

    def __init__(
        self,
        send: Callable[[Notification], None],
        find: Callable[[bytes, bytes], Subscription | None],
        depth: Callable[[bytes, str], int],
    ) -> None:
        self._send = send
        self._find = find
        self._depth = depth
        self._paces: dict[Key, _Pace] = {}
        self._times: list[tuple[int, Key]] = []

    def rose(self, now: int, tenant: bytes, subscription_id: bytes, command: str) -> None:
        """A subscriber is to hear of a queue."""
        key = tenant, subscription_id
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = _Pace()
        pace.pending[command] = None
        self._go_on(now, key, pace)

    def ended(self, now: int, notification: Notification, *, heard: bool) -> None:
        """A call has ended. What was not heard is said again, if it still holds."""
        key = notification.tenant, notification.subscription
        pace = self._paces.get(key)
        if pace is None:
            return
        pace.busy = False
        if heard:
            pace.failures = 0
        else:
            pace.failures = min(pace.failures + 1, FAILURES_COUNTED_MAX)
            pace.pending[notification.command] = None
            subscription = self._find(*key)
            interval = subscription.min_interval_ms if subscription is not None else 0
            pace.next_at = max(pace.next_at, now + (max(interval, INTERVAL_MS_MIN) << pace.failures))
        self._go_on(now, key, pace)

    def next_time(self) -> int | None:
        """The next moment (ms) at which somebody may be called."""
        return self._times[0][0] if self._times else None

    def run(self, now: int) -> None:
        """Call those whose interval is over."""
        while self._times and self._times[0][0] <= now:
            _, key = heappop(self._times)
            pace = self._paces.get(key)
            if pace is not None:
                self._go_on(now, key, pace)

    def _go_on(self, now: int, key: Key, pace: _Pace) -> None:
        if pace.busy:
            return
        subscription = self._find(*key)
        if subscription is None:
            del self._paces[key]
            return
        if now < pace.next_at:
            if pace.timer_at != pace.next_at:
                pace.timer_at = pace.next_at
                heappush(self._times, (pace.next_at, key))
            return
        while pace.pending:
            command = next(iter(pace.pending))
            del pace.pending[command]
            if self._depth(key[0], command):
                pace.busy = True
                pace.next_at = now + subscription.min_interval_ms
                self._send(Notification(*key, command, subscription.callback, now))
                return
        # Within its interval it must not be called again, after it there is nothing to remember.
        del self._paces[key]
