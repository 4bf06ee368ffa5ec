"""The overlay: what has been decided but is not yet durable, over what is in the store.

Owns the numbering of groups and the merged view that decisions read through, newest group first. Must not know what a
row means.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from appliance.engine.group import Group
from appliance.engine.rows import SEAL_BYTES, DamagedRow


class Reader(Protocol):
    """What the state machine reads through. Contents come without their seal; a damaged row raises DamagedRow."""

    def get(self, table: int, key: bytes) -> bytes | None:
        """The content of one row, or None."""
        ...

    def get_all(self, table: int, keys: Sequence[bytes], on_damage: Callable[[DamagedRow], None]) -> dict[bytes, bytes]:
        """The contents of the rows that there are, by key; `on_damage` hears of each damaged one, which is left out."""
        ...

    def scan(self, table: int, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to `limit` rows with low <= key < high, in key order."""
        ...

    def release(self) -> None:
        """End the snapshot that reads share; the next read begins a new one."""
        ...


_ABSENT: Any = object()


class Overlay:
    """Groups that are not yet durable, over a store. It is a Reader itself."""

    def __init__(self, store: Reader, first_number: int = 1) -> None:
        self.store = store
        self.open = Group(first_number)
        self._waiting: deque[Group] = deque()
        self._newest_first: tuple[Group, ...] = (self.open,)

    @property
    def undurable(self) -> int:
        """How many closed groups wait to become durable."""
        return len(self._waiting)

    @property
    def oldest_transitions(self) -> int:
        """Transitions in the group that becomes durable next."""
        return self._waiting[0].transitions if self._waiting else 0

    def newest_written(self) -> Group | None:
        """The newest group that holds any write and is not durable: what an answer derived from reads waits for."""
        if self.open.has_writes:
            return self.open
        return self._waiting[-1] if self._waiting else None

    def close(self) -> Group:
        """Close the open group and begin the next; the closed one stays visible until `durable`."""
        closed = self.open
        self._waiting.append(closed)
        self.open = Group(closed.number + 1)
        self._newest_first = (self.open, *reversed(self._waiting))
        return closed

    def durable(self, number: int) -> Group:
        """Drop the oldest waiting group, which must be `number`: the store holds it from now on."""
        group = self._waiting.popleft()
        assert group.number == number, f"group {number} became durable before group {group.number}"
        self._newest_first = (self.open, *reversed(self._waiting))
        self.store.release()
        return group

    def all_groups(self) -> list[Group]:
        """Every group that is not durable, oldest first, the open one last."""
        return [*self._waiting, self.open]

    def get(self, table: int, key: bytes) -> bytes | None:
        for group in self._newest_first:
            row: bytes | None = group.tables[table].get(key, _ABSENT)
            if row is not _ABSENT:
                return row[:-SEAL_BYTES] if row else row
        return self.store.get(table, key)

    def get_all(self, table: int, keys: Sequence[bytes], on_damage: Callable[[DamagedRow], None]) -> dict[bytes, bytes]:
        decided: dict[bytes, bytes] = {}
        for group in self._newest_first:
            rows = group.tables[table]
            if rows.keys().isdisjoint(keys):
                continue
            for key in keys:
                row = rows.get(key)
                if row is not None:
                    decided[key] = row[:-SEAL_BYTES] if row else row
            keys = [key for key in keys if key not in rows]
        contents = self.store.get_all(table, keys, on_damage)
        contents.update(decided)
        return contents

    def scan(self, table: int, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        stored = self.store.scan(table, low, high, limit)
        # What lies behind the last of enough rows does not matter: in an index by time or id, most of what is new.
        end = stored[-1][0] + b"\0" if stored and len(stored) == limit else high
        changed = self._changed(table, low, end)
        if not changed:
            return stored
        if end is not high and None in changed.values():
            # Every delete may hide one stored row, so this many are enough to fill the limit.
            changed = self._changed(table, low, high)
            hidden = sum(content is None for content in changed.values())
            stored = self.store.scan(table, low, high, limit + hidden)
        rows = dict(stored)
        for key, content in changed.items():
            if content is None:
                rows.pop(key, None)
            else:
                rows[key] = content
        return sorted(rows.items())[:limit]

    def _changed(self, table: int, low: bytes, high: bytes) -> dict[bytes, bytes | None]:
        """What is decided of low <= key < high and not yet durable: contents, and None for deletes."""
        changed: dict[bytes, bytes | None] = {}
        for group in self.all_groups():
            changed.update(group.within(table, low, high))
        return changed

    def release(self) -> None:
        self.store.release()
