"""Tasks as a worker stream delivers them. Owns workerpb.Task; runs on the event loop's thread."""

from collections.abc import Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from appliance.api.streams.leases import Lease
from appliance.api.streams.wire.worker_pb2 import ServerEvent
from appliance.api.streams.wire.worker_pb2 import Task as TaskMessage
from appliance.api.times import time_text
from appliance.tasks.ids import id_text
from appliance.tasks.model import Task

_NANOS_PER_MS: Final = 1_000_000

Delivered = list[tuple[str, Lease]]
"""Task ids as text, each with its lease."""

_single: Final = ServerEvent()
_single_task: Final = _single.task.task
"""Filled anew for each task that goes alone."""


class Deliveries:
    """Makes the messages of one stream. What tasks of one answer share is set once and copied."""

    __slots__ = ("_common", "_created")

    def __init__(self, tenant: str, worker: str) -> None:
        self._common = TaskMessage(status="CLAIMED", tenant_id=tenant, worker_id=worker)
        self._created = -1

    def one_by_one(self, tasks: Sequence[Task], delivered: Delivered) -> list[bytes]:
        """A message for each task; their leases are added to `delivered`."""
        self._set_times(tasks[0])
        messages = []
        for task in tasks:
            delivered.append(self._fill(_single_task, task))
            messages.append(_single.SerializeToString())
        return messages

    def batches(self, tasks: Sequence[Task], count: int, delivered: Delivered) -> list[bytes]:
        """A message for each `count` tasks; their leases are added to `delivered`."""
        self._set_times(tasks[0])
        messages = []
        for start in range(0, len(tasks), count):
            event = ServerEvent()
            add = event.task_batch.tasks.add
            delivered += [self._fill(add(), task) for task in tasks[start : start + count]]
            messages.append(event.SerializeToString())
        return messages

    def _set_times(self, first: Task) -> None:
        # Tasks of one answer were claimed by one decision, so these are the same for all.
        state, common = first.state, self._common
        common.lease_until = time_text(state.lease_until)
        _set_time(common.updated_at, state.updated)

    def _fill(self, message: TaskMessage, task: Task) -> tuple[str, Lease]:
        body, state = task.body, task.state
        text = id_text(task.id)
        number = state.lease_number
        if body.created != self._created:
            self._created = body.created
            _set_time(self._common.created_at, body.created)
        message.CopyFrom(self._common)
        message.id = text
        message.command = body.command
        message.payload = body.payload
        message.max_attempts = state.max_attempts
        message.attempts = state.attempts
        message.lease_id = f"{text}:{number}"
        if state.priority:
            message.priority = state.priority
        if body.webhook:
            message.webhook = body.webhook
        if body.trace_parent:
            message.trace_parent = body.trace_parent
        if body.trace_state:
            message.trace_state = body.trace_state
        return text, (task.id, number)


def _set_time(timestamp: Timestamp, time_ms: int) -> None:
    seconds, ms = divmod(time_ms, 1000)
    timestamp.seconds = seconds
    timestamp.nanos = ms * _NANOS_PER_MS
