"""Rows that are likely to be needed soon, kept decoded within a budget of bytes.

A cache in front of the reader: what is not here is read. Nothing is thrown out to make room: in a queue the oldest
task is needed first, so a full budget keeps the tasks it has and lets the newest go. New tasks leave a part of it to
those that are delivered, whose results come soon. Whoever changes a task tells it.
"""

from typing import Final

from appliance.engine.rows import Body, State

_OVERHEAD_BYTES: Final = 700
"""About what a decoded body and state take beside their payload."""
_NEW_SHARE: Final = 0.75
"""What new tasks may take of the budget: behind a backlog that fills it they wait longest of all."""


class Hot:
    """States, and bodies of tasks that were not delivered yet, by task id."""

    __slots__ = ("_bytes_max", "_entries", "_new_bytes_max", "bytes_count", "get")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._new_bytes_max = int(bytes_max * _NEW_SHARE)
        self._entries: dict[bytes, tuple[State, Body | None]] = {}
        self.bytes_count = 0
        self.get = self._entries.get
        """The newest state, and the body where it is kept too; None for a task that is not here."""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, task_id: bytes, state: State, body: Body) -> None:
        """Keep the rows of a new task, if there is room."""
        size = self.bytes_count + _OVERHEAD_BYTES + len(body.payload)
        if size <= self._new_bytes_max:
            self._entries[task_id] = (state, body)
            self.bytes_count = size

    def claimed(self, task_id: bytes, state: State) -> None:
        """A task was delivered: its body is not needed soon, its state is."""
        entry = self._entries.get(task_id)
        if entry is not None:
            if entry[1] is not None:
                self.bytes_count -= len(entry[1].payload)
        elif self.bytes_count + _OVERHEAD_BYTES <= self._bytes_max:
            self.bytes_count += _OVERHEAD_BYTES
        else:
            return
        self._entries[task_id] = (state, None)

    def update(self, task_id: bytes, state: State) -> None:
        """A new state of a task, if the task is here."""
        entry = self._entries.get(task_id)
        if entry is not None:
            self._entries[task_id] = (state, entry[1])

    def drop(self, task_id: bytes) -> None:
        """The task is not needed soon any more."""
        entry = self._entries.pop(task_id, None)
        if entry is not None:
            body = entry[1]
            self.bytes_count -= _OVERHEAD_BYTES if body is None else _OVERHEAD_BYTES + len(body.payload)
