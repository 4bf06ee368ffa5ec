"""The heads of several queues, merged: from which of them a claim takes next.

Owns the order over queues: the highest priority first, then the oldest. Must not know what a key stands for.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from appliance.engine.overlay import Reader
from appliance.engine.tables import QUEUE_BYTES
from appliance.tasks.queues import Queue


class Heads:
    """For one decision: between calls of `first` nothing changes in the windows but that its head is taken."""

    __slots__ = ("_heads", "_reader")

    def __init__(self, queues: Iterable[Queue], reader: Reader) -> None:
        """Raises DamagedRow."""
        self._reader = reader
        self._heads = [
            (head[QUEUE_BYTES:], number, queue)
            for number, queue in enumerate(queues)
            if (head := queue.window.head(reader)) is not None
        ]
        heapify(self._heads)

    def first(self) -> Queue | None:
        """The queue whose head comes first, None where all are empty. Raises DamagedRow."""
        heads = self._heads
        while heads:
            suffix, number, queue = heads[0]
            head = queue.window.head(self._reader)
            if head is None:
                heappop(heads)
            elif head[QUEUE_BYTES:] != suffix:
                heapreplace(heads, (head[QUEUE_BYTES:], number, queue))
            else:
                return queue
        return None
