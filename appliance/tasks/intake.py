"""Whether a queue takes a new task, where operators have set something that may speak against it.

Pure functions, asked only for queues and tenants that are restricted at all. Must not know how a task is made.
"""

from typing import Final

from appliance.errors import QUEUE_PAUSED, RATE_LIMITED, Problem
from appliance.tasks import table
from appliance.tasks.model import NewTask
from appliance.tasks.queues import Queue, Tenant

PAUSED_RETRY_SECONDS: Final = 10
"""For a pause without an end, and at most: it may be resumed earlier."""

FULL_RETRY_SECONDS: Final = 1


def refusal_by_queue(now: int, queue: Queue, new: NewTask) -> Problem | None:
    """Why this queue does not take the task now (ms), or None."""
    control = queue.control
    if control is not None:
        if control.intake_paused:
            seconds = PAUSED_RETRY_SECONDS
            if control.intake_until:
                seconds = min(seconds, max(1, -(-(control.intake_until - now) // 1000)))
            message = f"the queue {queue.command} takes no new tasks while it is paused"
            return Problem(QUEUE_PAUSED, message, retry_after_seconds=seconds)
        depth_max = control.depth_max
        if depth_max is not None and queue.counts[table.READY] + queue.counts[table.DELAYED] >= depth_max:
            message = f"the queue {queue.command} holds its limit of {depth_max} waiting tasks"
            return Problem(RATE_LIMITED, message, retry_after_seconds=FULL_RETRY_SECONDS)
    return refusal_by_tenant(queue.tenant, new)


def refusal_by_tenant(tenant: Tenant, new: NewTask) -> Problem | None:
    """Why this tenant may not store the task, or None."""
    bytes_max = tenant.control.stored_bytes_max
    if bytes_max is not None and tenant.stored_bytes + len(new.payload) > bytes_max:
        message = f"this tenant stores {tenant.stored_bytes} of {bytes_max} bytes"
        return Problem(RATE_LIMITED, message, retry_after_seconds=FULL_RETRY_SECONDS)
    return None


def attempts_of(queue: Queue, new: NewTask) -> int:
    """The `max_attempts` of the task: what is set for the queue counts where the client named none."""
    own = queue.control.max_attempts if queue.control is not None and new.queue_attempts else None
    return own or new.max_attempts
