"""Watches: those who wait for a task to end.

Owns who watches which id until when. A watch is told once: when the end is durable, or when its time is over; it then
reads for itself. Lives longer than one epoch of the state machine.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

_COMPACT_ABOVE: Final = 16


class Watch:
    """One watch."""

    __slots__ = ("tell", "tenant")

    def __init__(self, tenant: str, tell: Callable[[], None]) -> None:
        self.tenant = tenant
        self.tell = tell


class Watches:
    """All watches of a shard, by task and by deadline."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, dict[int, Watch]] = {}
        self._deadlines: list[tuple[int, int, bytes]] = []
        self._numbers = count(1)
        self._live = 0
        self._per_tenant: dict[str, int] = {}

    def __len__(self) -> int:
        return self._live

    def watching(self, tenant: str) -> int:
        """How many watches this tenant has."""
        return self._per_tenant.get(tenant, 0)

    def add(self, task_id: bytes, watch: Watch, deadline_ms: int) -> Callable[[], None]:
        """Tell `watch` when the task has ended or at the deadline. The returned function ends it untold."""
        number = next(self._numbers)
        self._by_id.setdefault(task_id, {})[number] = watch
        self._live += 1
        self._per_tenant[watch.tenant] = self.watching(watch.tenant) + 1
        heappush(self._deadlines, (deadline_ms, number, task_id))

        def stop() -> None:
            self._remove(task_id, number)

        return stop

    def ended(self, task_ids: list[bytes]) -> None:
        """The ends of these tasks are durable."""
        if self._by_id:
            for task_id in task_ids:
                for number in list(self._by_id.get(task_id, ())):
                    self._tell(task_id, number)

    def next_deadline(self) -> int | None:
        """When the next watch runs out (ms)."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self._by_id.get(deadlines[0][2], ()):
            heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def run_out(self, now_ms: int) -> None:
        """Tell those whose time is over."""
        while (deadline := self.next_deadline()) is not None and deadline <= now_ms:
            _, number, task_id = heappop(self._deadlines)
            self._tell(task_id, number)

    def _tell(self, task_id: bytes, number: int) -> None:
        watch = self._remove(task_id, number)
        if watch is not None:
            watch.tell()

    def _remove(self, task_id: bytes, number: int) -> Watch | None:
        watches = self._by_id.get(task_id)
        watch = watches.pop(number, None) if watches is not None else None
        if watch is None:
            return None
        if not watches:
            del self._by_id[task_id]
        self._live -= 1
        remaining = self._per_tenant[watch.tenant] - 1
        if remaining:
            self._per_tenant[watch.tenant] = remaining
        else:
            del self._per_tenant[watch.tenant]
        if len(self._deadlines) > 2 * self._live + _COMPACT_ABOVE:
            self._deadlines = sorted(entry for entry in self._deadlines if entry[1] in self._by_id.get(entry[2], ()))
        return watch
