"""A window: the smallest keys of one range of an index table, in memory, over a store that may hold millions.

Owns the heap and its horizon: every key of the range up to the horizon is in the heap; later ones live only in the
store (no horizon: all are in the heap). So memory does not grow with the backlog, and the order is exact. Keys are
removed lazily: whoever pops one checks that it still means something. Used for ready tasks per queue and for leases,
delays and retention per tenant.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final

from appliance.engine.overlay import Reader
from appliance.engine.rows import DamagedRow
from appliance.engine.tables import prefix_end

FIRST_REFILL_KEYS: Final = 64
"""A refill that a caller waits for is short: a cold page of index keys takes 0.15 ms and holds about 90 of them."""


class Window:
    """The head of the keys that begin with `prefix` in `table`."""

    __slots__ = ("_end", "_table", "heap", "horizon", "limit")

    def __init__(self, table: int, prefix: bytes, limit: int, *, empty: bool) -> None:
        """`empty` says that the store holds no key of the range, so nothing has to be read."""
        self._table = table
        self._end = prefix_end(prefix)
        self.limit = limit
        self.heap: list[bytes] = []
        self.horizon: bytes | None = None if empty else prefix

    def push(self, key: bytes) -> bool:
        """Note a new key of the range. Returns True when it is the new head."""
        return self.push_all((key,))

    def push_all(self, keys: Sequence[bytes]) -> bool:
        """Note new keys of the range. Returns True when one of them is the new head."""
        heap, horizon = self.heap, self.horizon
        before = heap[0] if heap else None
        for key in keys:
            if horizon is None or key <= horizon:
                heappush(heap, key)
                if len(heap) > self.limit:
                    # Cut to three quarters, so that the next cut is a quarter of the window away.
                    heap.sort()
                    del heap[self.limit * 3 // 4 :]
                    self.horizon = horizon = heap[-1]
        return bool(heap) and heap[0] is not before

    def head(self, reader: Reader) -> bytes | None:
        """The smallest key, or None where the range is empty; reads the store where the heap is used up."""
        if not self.heap and self.horizon is not None:
            self.refill(reader, FIRST_REFILL_KEYS)
        return self.heap[0] if self.heap else None

    def take(self, reader: Reader, most: int, end: bytes | None = None) -> list[bytes]:
        """Take up to `most` of the keys before `end`, or of all, smallest first.

        What has to be read for it is read for the next call too. Afterwards `head` reads nothing. Raises DamagedRow
        where it comes before all of them; where it comes later, the next call meets it.
        """
        heap = self.heap
        taken: list[bytes] = []
        while True:
            if end is None:
                taken += [heappop(heap) for _ in range(min(most - len(taken), len(heap)))]
            else:
                while heap and len(taken) < most and heap[0] < end:
                    taken.append(heappop(heap))
            if heap or self.horizon is None:
                return taken
            try:
                self.refill(reader, max(FIRST_REFILL_KEYS, 2 * most))
            except DamagedRow:
                if taken:
                    return taken
                raise

    @property
    def wants_refill(self) -> bool:
        """Whether the heap is at most half full while the store holds more."""
        return self.horizon is not None and len(self.heap) <= self.limit // 2

    def refill(self, reader: Reader, keys: int) -> list[bytes]:
        """Read up to `keys` further keys and move the horizon; returns the keys that were added."""
        if self.horizon is None:
            return []
        rows = reader.scan(self._table, self.horizon + b"\0", self._end, keys)
        added = [key for key, _ in rows]
        # All of them are greater than any key in the heap, so appending keeps the heap's order.
        self.heap.extend(added)
        self.horizon = added[-1] if len(added) == keys else None
        return added
