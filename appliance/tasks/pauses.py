"""Ends of pauses: which queue's pause ends next.

Owns a heap of moments with at most one live entry per queue. Knows prefixes and times, not what a pause does.
"""

from heapq import heapify, heappop, heappush
from typing import Final

_SLACK: Final = 64


class Pauses:
    """Queues with a pause that ends by itself."""

    def __init__(self) -> None:
        self._ends: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []

    def set(self, prefix: bytes, *ends_ms: int) -> None:
        """The moments (ms) at which something of this queue is resumed; 0 is never."""
        first = min((end for end in ends_ms if end), default=0)
        if not first:
            self._ends.pop(prefix, None)
        elif self._ends.get(prefix) != first:
            self._ends[prefix] = first
            heappush(self._heap, (first, prefix))
        if len(self._heap) > 2 * len(self._ends) + _SLACK:
            self._heap = [(end, queue) for queue, end in self._ends.items()]
            heapify(self._heap)

    def next_time(self) -> int | None:
        """When the next pause ends (ms)."""
        heap = self._heap
        while heap and self._ends.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def take(self, now_ms: int) -> bytes | None:
        """A queue of which a pause is over, or None; the caller sets it anew."""
        end = self.next_time()
        if end is None or end > now_ms:
            return None
        prefix = heappop(self._heap)[1]
        del self._ends[prefix]
        return prefix
