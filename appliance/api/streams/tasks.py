"""Tasks as a worker stream delivers them. Owns workerpb.Task; runs on the event loop's thread."""

from collections.abc import Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from appliance.api.streams.leases import Delivered, Lease
from appliance.api.streams.wire.worker_pb2 import ServerEvent
from appliance.api.streams.wire.worker_pb2 import Task as TaskMessage
from appliance.api.times import time_text
from appliance.tasks.ids import id_text
from appliance.tasks.model import Task

_NANOS_PER_MS: Final = 1_000_000


class Deliveries:
    """Makes the messages of one stream. What tasks of one answer share is set once and copied.

    A message frees nothing of what it once held while it lives, so those that are filled anew live for one answer.
    """

    __slots__ = ("_base",)

    def __init__(self, tenant: str, worker: str) -> None:
        self._base = TaskMessage(status="CLAIMED", tenant_id=tenant, worker_id=worker)

    def one_by_one(self, tasks: Sequence[Task], delivered: Delivered) -> list[bytes]:
        """A message for each task; their leases are added to `delivered`."""
        common, created = self._common(tasks[0]), tasks[0].body.created
        event = ServerEvent()
        message, serialize = event.task.task, event.SerializeToString
        messages = []
        for task in tasks:
            delivered.append(_fill(message, common, created, task))
            messages.append(serialize())
        return messages

    def batches(self, tasks: Sequence[Task], count: int, delivered: Delivered) -> list[bytes]:
        """A message for each `count` tasks; their leases are added to `delivered`."""
        common, created = self._common(tasks[0]), tasks[0].body.created
        messages = []
        for start in range(0, len(tasks), count):
            event = ServerEvent()
            add = event.task_batch.tasks.add
            delivered += [_fill(add(), common, created, task) for task in tasks[start : start + count]]
            messages.append(event.SerializeToString())
        return messages

    def _common(self, first: Task) -> TaskMessage:
        # Tasks of one answer were claimed by one decision, so these are the same for all. Many were created together.
        common = TaskMessage()
        common.CopyFrom(self._base)
        common.lease_until = time_text(first.state.lease_until)
        _set_time(common.updated_at, first.state.updated)
        _set_time(common.created_at, first.body.created)
        return common


def _fill(message: TaskMessage, common: TaskMessage, created: int, task: Task) -> tuple[str, Lease]:
    body, state = task.body, task.state
    text = id_text(task.id)
    number = state.lease_number
    message.CopyFrom(common)
    message.id = text
    message.command = body.command
    message.payload = body.payload
    message.max_attempts = state.max_attempts
    message.attempts = state.attempts
    message.lease_id = f"{text}:{number}"
    if body.created != created:
        _set_time(message.created_at, body.created)
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
