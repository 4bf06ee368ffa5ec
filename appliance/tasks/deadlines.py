"""Timers of a shard: ends of leases, of delays and of retention, each a bounded window per tenant.

Owns which tenant has something due and whose turn it is: tenants with due keys are served in rotation, so one with ten
million tasks due at midnight delays nobody else. Knows the keys, not what they mean.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from appliance.engine.overlay import Reader
from appliance.engine.tables import time_of
from appliance.tasks.queues import Tenant
from appliance.tasks.window import Window

_ORDER_SLACK: Final = 64


class Deadlines:
    """The keys of one time-ordered table (`lease`, `due` or `expire`)."""

    def __init__(self, table: int, window_keys: int) -> None:
        self._table = table
        self._window_keys = window_keys
        self._windows: dict[bytes, Window] = {}
        self._order: list[tuple[int, bytes]] = []
        self._turns: deque[bytes] = deque()
        self._in_turn: set[bytes] = set()
        self._held: set[bytes] = set()

    def load(self, reader: Reader, tenant: Tenant) -> None:
        """Take up what the store holds for a tenant."""
        window = Window(self._table, tenant.prefix, self._window_keys, empty=False)
        head = window.head(reader)
        if head is not None:
            self._windows[tenant.prefix] = window
            heappush(self._order, (time_of(head), tenant.prefix))

    def push(self, key: bytes) -> None:
        """Note a new key."""
        self.push_all((key,))

    def push_all(self, keys: Sequence[bytes]) -> None:
        """Note new keys of one tenant."""
        prefix = keys[0][:4]
        window = self._windows.get(prefix)
        if window is None:
            window = self._windows[prefix] = Window(self._table, prefix, self._window_keys, empty=True)
        if window.push_all(keys) and prefix not in self._in_turn:
            heappush(self._order, (time_of(window.heap[0]), prefix))
            if len(self._order) > 2 * len(self._windows) + _ORDER_SLACK:
                self._tidy()

    def next_time(self) -> int | None:
        """A time (ms) before which nothing here is due: now (0) while tenants wait for their turn."""
        if self._turns:
            return 0
        return self._order[0][0] if self._order else None

    def is_due(self, now_ms: int) -> bool:
        """Whether `take` may find something."""
        return bool(self._turns) or (bool(self._order) and self._order[0][0] <= now_ms)

    def oldest_due(self, now_ms: int) -> int | None:
        """The time (ms) of the oldest key that is due in memory, or None: now minus this is the lag."""
        times = [time_of(window.heap[0]) for prefix in self._turns if (window := self._windows[prefix]).heap]
        if self._order:
            times.append(self._order[0][0])
        oldest = min(times, default=None)
        return oldest if oldest is not None and oldest <= now_ms else None

    def take(self, reader: Reader, now_ms: int, quantum: int) -> list[bytes]:
        """Up to `quantum` due keys of the tenant whose turn it is; empty when nothing is due."""
        self._call_up(now_ms)
        while self._turns:
            prefix = self._turns.popleft()
            window = self._windows[prefix]
            end = prefix + (now_ms + 1).to_bytes(8, "big")
            taken = window.take(reader, quantum, end)
            head = window.head(reader)
            if head is not None and head < end:
                self._turns.append(prefix)
                return taken
            self._in_turn.discard(prefix)
            if head is not None:
                heappush(self._order, (time_of(head), prefix))
            else:
                del self._windows[prefix]
            if taken:
                return taken
        return []

    def put_back(self, keys: list[bytes]) -> None:
        """Return keys that were taken but not dealt with."""
        for key in keys:
            self.push(key)

    def hold(self, prefix: bytes) -> None:
        """Take a tenant out of the rotation until `let_go`."""
        self._held.add(prefix)
        if prefix in self._in_turn:
            self._in_turn.discard(prefix)
            self._turns.remove(prefix)

    def let_go(self, reader: Reader, prefix: bytes) -> None:
        """A tenant that was held takes part again."""
        self._held.discard(prefix)
        window = self._windows.get(prefix)
        if window is None or prefix in self._in_turn:
            return
        head = window.head(reader)
        if head is not None:
            heappush(self._order, (time_of(head), prefix))

    def _tidy(self) -> None:
        """Leave one entry per window: keys that come in falling order of time put one each."""
        self._order = [
            (time_of(window.heap[0]), prefix) for prefix, window in self._windows.items() if prefix not in self._in_turn
        ]
        heapify(self._order)

    def _call_up(self, now_ms: int) -> None:
        order = self._order
        while order and order[0][0] <= now_ms:
            prefix = heappop(order)[1]
            if prefix not in self._in_turn and prefix in self._windows and prefix not in self._held:
                self._in_turn.add(prefix)
                self._turns.append(prefix)
