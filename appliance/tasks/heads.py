"""The heads of several queues, merged: from which of them a claim takes next.

Owns the order over queues: the highest priority first, then the oldest. Must not know what a key stands for.
"""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heapreplace

from appliance.engine.overlay import Reader
from appliance.engine.rows import DamagedRow
from appliance.engine.tables import QUEUE_BYTES
from appliance.tasks.queues import Queue


class Heads:
    """For one decision: nothing else changes in the windows meanwhile.

    A queue whose next key cannot be read is reported to `on_damage` and left out.
    """

    __slots__ = ("_heads", "_on_damage", "_reader")

    def __init__(self, queues: Iterable[Queue], reader: Reader, on_damage: Callable[[DamagedRow], None]) -> None:
        self._reader = reader
        self._on_damage = on_damage
        self._heads = [
            (head[QUEUE_BYTES:], number, queue)
            for number, queue in enumerate(queues)
            if (head := self._head(queue)) is not None
        ]
        heapify(self._heads)

    @property
    def first(self) -> Queue | None:
        """The queue whose head comes first, None where all are empty."""
        return self._heads[0][2] if self._heads else None

    def take(self, most: int) -> list[bytes]:
        """Take up to `most` keys, the first ones first."""
        heads = self._heads
        taken: list[bytes] = []
        while heads and len(taken) < most:
            _, number, queue = heads[0]
            heap = queue.window.heap
            taken.append(heappop(heap))
            head = heap[0] if heap else self._head(queue)
            if head is None:
                heappop(heads)
            else:
                heapreplace(heads, (head[QUEUE_BYTES:], number, queue))
        return taken

    def _head(self, queue: Queue) -> bytes | None:
        try:
            return queue.window.head(self._reader)
        except DamagedRow as damage:
            self._on_damage(damage)
            return None
