"""Rates: how often a caller may ask, as token buckets.

Owns the buckets, their arithmetic and their number. Sans-IO: the time is an argument, so a test can pass ten seconds at
once. Must not know HTTP, streams or tasks; a refusal is a `Problem` that says when to come again.

A bucket is one number: the moment at which it would be full again (the generic cell rate algorithm), counted in
1/rate of a millisecond so that whole numbers are exact. A full bucket is the same as none, so it can be forgotten.
"""

from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from appliance.auth.caller import Caller
from appliance.engine.rows import TenantControl
from appliance.errors import RATE_LIMITED, Problem

BUCKETS_MAX: Final = 100_000
"""Of one kind, at about 200 bytes each: one for each subject that has asked lately."""

_MS: Final = 1_000

PRODUCER_RATE: Final = "producer"
WORKER_RATE: Final = "worker"
ADMIN_RATE: Final = "admin"


class Rate(NamedTuple):
    """So many requests per second for long, and so many at once."""

    per_second: int
    burst: int


class Buckets:
    """Buckets of one kind, by key. A bucket whose rate changes begins anew, full."""

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._max = buckets_max
        self._full_at: dict[Hashable, tuple[Rate, int]] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, rate: Rate, now_ms: int) -> int:
        """Take one token. 0, or the milliseconds until there is one; then none was taken."""
        now = now_ms * rate.per_second
        known = self._full_at.get(key)
        full_at = known[1] if known is not None and known[0] == rate else now
        empty_for = max(full_at, now) - now - (rate.burst - 1) * _MS
        if empty_for > 0:
            return -(-empty_for // rate.per_second)
        if known is None and len(self._full_at) >= self._max:
            self._make_room(now_ms)
        self._full_at[key] = (rate, max(full_at, now) + _MS)
        return 0

    def _make_room(self, now_ms: int) -> None:
        """Forget the buckets that are full, and where too few are, a quarter: those that are nearest to it."""
        left = [
            (full_at // rate.per_second - now_ms, key)
            for key, (rate, full_at) in self._full_at.items()
            if full_at > now_ms * rate.per_second
        ]
        if len(left) > self._max * 3 // 4:
            left.sort(key=_missing, reverse=True)
            del left[self._max * 3 // 4 :]
        self._full_at = {key: self._full_at[key] for _, key in left}


class Rates:
    """What is configured for the node, and what operators have set for tenants.

    `of_node` has a rate for each of the kinds that is limited; each subject of a tenant has its own bucket.
    """

    def __init__(
        self, of_node: dict[str, Rate], control_of: Callable[[str], TenantControl | None], clock: Callable[[], int]
    ) -> None:
        """`control_of` gives what is set for a tenant, `clock` the time in milliseconds, which never decreases."""
        self._of_node = of_node
        self._control_of = control_of
        self._clock = clock
        self._of_subjects = {kind: Buckets() for kind in of_node}
        self._requests = Buckets()
        self._hellos = Buckets()

    def request(self, kind: str, caller: Caller) -> None:
        """A request over REST. `kind` is empty where only its tenant's rate counts; raises `rate-limited`.

        Administration is not held against the tenant's rate, so that who is over it can still be looked at.
        """
        control = self._control_of(caller.tenant)
        if control is not None and control.rest_per_second is not None and kind != ADMIN_RATE:
            self._take(self._requests, caller.tenant, _rate(control.rest_per_second), "requests of this tenant")
        self._of_subject(kind, caller)

    def hello(self, kind: str, caller: Caller) -> None:
        """A stream begins; raises `rate-limited`."""
        control = self._control_of(caller.tenant)
        if control is not None and control.hellos_per_second is not None:
            self._take(self._hellos, caller.tenant, _rate(control.hellos_per_second), "streams of this tenant")
        self._of_subject(kind, caller)

    def _of_subject(self, kind: str, caller: Caller) -> None:
        rate = self._of_node.get(kind)
        if rate is not None:
            key = (caller.tenant, caller.subject)
            self._take(self._of_subjects[kind], key, rate, f"{kind} requests of this subject")

    def _take(self, buckets: Buckets, key: Hashable, rate: Rate, what: str) -> None:
        wait_ms = buckets.take(key, rate, self._clock())
        if wait_ms:
            seconds = -(-wait_ms // _MS)
            message = f"too many {what}: {rate.per_second} per second; come again in {seconds} s"
            raise Problem(RATE_LIMITED, message, retry_after_seconds=seconds)


def _rate(per_second: int) -> Rate:
    """A tenant's rate: a second's worth may come at once."""
    return Rate(per_second, per_second)


def _missing(entry: tuple[int, Hashable]) -> int:
    return entry[0]
