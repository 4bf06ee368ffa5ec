"""Tasks as a worker stream delivers them: the bytes of workerpb.Task. Runs on the event loop's thread."""

from collections.abc import Sequence
from typing import Final

from appliance.api.streams.encode import field, joined, number_field, text_field, timestamp_field, varint
from appliance.api.streams.leases import Delivered
from appliance.api.times import time_text
from appliance.tasks.ids import ids_ascii
from appliance.tasks.model import Task

_TASK: Final = 2
_TASK_BATCH: Final = 8
"""Fields of workerpb.ServerEvent."""

_COMMANDS_MAX: Final = 1_024
"""Encoded commands that a stream remembers, at about 200 bytes each."""

_ID: Final = b"\x0a\x24"
"""Tag and size of an `id`."""

_PAYLOAD: Final = b"\x1a"
_LEASE_ID: Final = b"\x82\x01"


class Deliveries:
    """Makes the messages of one stream. What tasks of one answer share is encoded once.

    Tasks of one answer were claimed by one decision, so the end of the lease and the time of the change are the same
    for all; many were created together.
    """

    __slots__ = ("_commands", "_tenant", "_worker")

    def __init__(self, tenant: str, worker: str) -> None:
        self._tenant = text_field(11, tenant)
        self._worker = text_field(7, "CLAIMED") + text_field(8, worker)
        self._commands: dict[str, bytes] = {}

    def one_by_one(self, tasks: Sequence[Task], delivered: Delivered) -> list[bytes]:
        """A message for each task; their leases are added to `delivered`."""
        return [field(_TASK, field(1, task)) for task in self._encoded(tasks, delivered)]

    def batches(self, tasks: Sequence[Task], count: int, delivered: Delivered) -> list[bytes]:
        """A message for each `count` tasks; their leases are added to `delivered`."""
        encoded = self._encoded(tasks, delivered)
        return [
            field(_TASK_BATCH, joined(1, encoded[start : start + count])) for start in range(0, len(encoded), count)
        ]

    def _encoded(self, tasks: Sequence[Task], delivered: Delivered) -> list[bytes]:
        """Every task as workerpb.Task, its fields in the order of their numbers."""
        first = tasks[0].state
        leased = self._worker + text_field(9, time_text(first.lease_until))
        updated = timestamp_field(13, first.updated)
        commands = self._commands
        like: object = None
        terms = (0, 0, 0, 0)
        shared: tuple[tuple[int, int, int, int], str, str, str] | None = None
        command, size, created = "", -1, -1
        head = before = time = after = lease_tail = b""
        encoded = []
        for task, raw_id in zip(tasks, ids_ascii([task.id for task in tasks]), strict=True):
            body, state = task.body, task.state
            payload = body.payload
            if state is not like:
                like, terms = state, (state.priority, state.max_attempts, state.attempts, state.lease_number)
            these = (terms, body.webhook, body.trace_parent, body.trace_state)
            if these != shared:
                shared = these
                lease_tail = b":%d" % state.lease_number
                before = self._before_created(task, leased)
                after = self._after_created(task, updated) + varint(len(raw_id) + len(lease_tail))
            if body.created != created:
                created = body.created
                time = timestamp_field(12, created)
            if len(payload) != size or body.command != command:
                size, command = len(payload), body.command
                head = (commands.get(command) or self._command(command)) + _PAYLOAD + varint(size)
            delivered.append((raw_id.decode(), (task.id, state.lease_number)))
            encoded.append(b"".join((_ID, raw_id, head, payload, before, time, after, raw_id, lease_tail)))
        return encoded

    def _before_created(self, task: Task, leased: bytes) -> bytes:
        """What follows the payload, up to the time of creation: the same for most tasks of an answer."""
        state = task.state
        return b"".join(
            (
                number_field(4, state.priority),
                text_field(5, task.body.webhook),
                number_field(6, state.max_attempts),
                leased,
                number_field(10, state.attempts),
                self._tenant,
            )
        )

    def _after_created(self, task: Task, updated: bytes) -> bytes:
        """What follows the time of creation, up to the size of the lease's id: likewise."""
        body = task.body
        return updated + text_field(14, body.trace_parent) + text_field(15, body.trace_state) + _LEASE_ID

    def _command(self, command: str) -> bytes:
        if len(self._commands) >= _COMMANDS_MAX:
            self._commands.clear()
        encoded = self._commands[command] = text_field(2, command)
        return encoded
