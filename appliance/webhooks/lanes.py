"""Whose turn it is to be called: parcels in lanes, one for each host of each tenant.

Owns the bounds: calls at once in total, per tenant and per host, and what may wait in memory, in total and per tenant.
Lanes take turns, so a host with a thousand parcels delays no other host, and a tenant with a thousand hosts no other
tenant. A lane that may not go stands aside at what stops it and is called up when that has room again; nothing is
looked through. Pure: no clock and no loop.
"""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Final, Generic, Protocol, TypeVar

PARKED_MAX: Final = 8_192
"""About 500 bytes each. What is due beyond that waits in the store."""
PARKED_PER_TENANT_MAX: Final = 1_024


class Addressed(Protocol):
    """What a parcel must say of itself."""

    @property
    def tenant(self) -> str: ...

    @property
    def host(self) -> str: ...


P = TypeVar("P", bound=Addressed)
Lane = tuple[str, str]
"""Tenant and host."""


class Lanes(Generic[P]):
    """Parcels that wait and those under way."""

    def __init__(
        self,
        total_max: int,
        host_max: int,
        *,
        parked_max: int = PARKED_MAX,
        parked_per_tenant_max: int = PARKED_PER_TENANT_MAX,
    ) -> None:
        """`total_max` and `host_max` bound the calls at once; one tenant has at most half of them."""
        self.under_way = 0
        self.parked = 0
        self._total_max = total_max
        self._tenant_max = max(1, total_max // 2)
        self._host_max = host_max
        self._parked_max = parked_max
        self._parked_per_tenant_max = parked_per_tenant_max
        self._lanes: dict[Lane, deque[P]] = {}
        self._runnable: deque[Lane] = deque()
        self._stopped_by_tenant: dict[str, deque[Lane]] = {}
        self._stopped_by_host: dict[str, deque[Lane]] = {}
        self._tenants: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._parked_of: Counter[str] = Counter()

    def room(self) -> int:
        """How many more parcels may wait."""
        return max(0, self._parked_max - self.parked)

    def has_room_for(self, tenant: str) -> bool:
        """Whether one more of this tenant may wait."""
        return self._parked_of[tenant] < self._parked_per_tenant_max

    def is_half_empty_for(self, tenant: str) -> bool:
        """Whether a tenant that was told to wait should go on."""
        return self._parked_of[tenant] * 2 <= self._parked_per_tenant_max

    def add(self, parcel: P) -> None:
        """Let a parcel wait for its turn."""
        lane = parcel.tenant, parcel.host
        waiting = self._lanes.get(lane)
        if waiting is None:
            waiting = self._lanes[lane] = deque()
            self._runnable.append(lane)
        waiting.append(parcel)
        self.parked += 1
        self._parked_of[parcel.tenant] += 1

    def next(self) -> P | None:
        """The parcel whose turn it is; it is under way from now on. None where nothing may go."""
        while self._runnable and self.under_way < self._total_max:
            lane = self._runnable.popleft()
            tenant, host = lane
            if self._tenants[tenant] >= self._tenant_max:
                self._stopped_by_tenant.setdefault(tenant, deque()).append(lane)
                self._call_up_host(host)
            elif self._hosts[host] >= self._host_max:
                self._stopped_by_host.setdefault(host, deque()).append(lane)
                self._call_up_tenant(tenant)
            else:
                return self._start(lane)
        return None

    def done(self, parcel: P) -> None:
        """A parcel is not under way any more."""
        self.under_way -= 1
        _less(self._tenants, parcel.tenant)
        _less(self._hosts, parcel.host)
        self._call_up_tenant(parcel.tenant)
        self._call_up_host(parcel.host)

    def heads(self) -> Iterable[P]:
        """The parcel of each lane that has waited longest."""
        return (waiting[0] for waiting in self._lanes.values())

    def _start(self, lane: Lane) -> P:
        tenant, host = lane
        waiting = self._lanes[lane]
        parcel = waiting.popleft()
        if waiting:
            self._runnable.append(lane)
        else:
            del self._lanes[lane]
        self.parked -= 1
        _less(self._parked_of, tenant)
        self.under_way += 1
        self._tenants[tenant] += 1
        self._hosts[host] += 1
        return parcel

    def _call_up_tenant(self, tenant: str) -> None:
        if self._tenants[tenant] < self._tenant_max:
            self._call_up(self._stopped_by_tenant, tenant)

    def _call_up_host(self, host: str) -> None:
        if self._hosts[host] < self._host_max:
            self._call_up(self._stopped_by_host, host)

    def _call_up(self, stopped: dict[str, deque[Lane]], name: str) -> None:
        lanes = stopped.get(name)
        if lanes:
            self._runnable.append(lanes.popleft())
            if not lanes:
                del stopped[name]


def _less(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
