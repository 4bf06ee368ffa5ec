"""One delivery that a worker holds: the task, the times of its lease, and its outcome once it has one.

Must not know what is done with it. Times are seconds of the caller's monotonic clock.
"""

import datetime

from codeq._core.outcomes import Outcome
from codeq._wire import worker_pb2
from codeq.tasks import Task


class Lease:
    """Held from the delivery until its outcome is acknowledged or it is lost."""

    __slots__ = ("beat_sent_at", "lost_reason", "next_beat", "outcome", "refusals", "task", "until")

    def __init__(self, task: Task, now: float, lease_seconds: float, heartbeats: int) -> None:
        self.task = task
        self.until = now + lease_seconds
        """When it ends at the latest as far as this side knows; the server's fence decides."""
        self.next_beat = now + lease_seconds / heartbeats
        self.beat_sent_at: float | None = None
        """When the heartbeat without an answer was sent."""
        self.outcome: Outcome | None = None
        self.refusals = 0
        self.lost_reason = ""


def make_task(message: worker_pb2.Task) -> Task:
    """The task of a delivery."""
    return Task(
        id=message.id,
        command=message.command,
        payload_json=message.payload or b"null",
        priority=message.priority,
        attempts=message.attempts,
        max_attempts=message.max_attempts,
        tenant_id=message.tenant_id,
        worker_id=message.worker_id,
        lease_id=message.lease_id,
        webhook=message.webhook,
        trace_parent=message.trace_parent,
        trace_state=message.trace_state,
        created_at=message.created_at.ToDatetime(datetime.UTC),
    )
