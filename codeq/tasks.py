"""What a handler gets and what it may answer with.

Owns the task as a worker sees it and the exceptions by which a handler decides its fate. Must not know how either
travels. `Task.lost` may be waited for in any thread.
"""

import dataclasses
import datetime
import json
import threading
from functools import cached_property
from typing import Any, Final

DELAY_SECONDS_MAX: Final = 366 * 86_400
"""The server takes a year, and judges it exactly."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One delivery of a task to this worker.

    `attempts` counts deliveries, this one included. `lost` is set the moment the task stops being this worker's: its
    lease ended, it was cancelled, or the worker stops and has given it back. What the handler returns then is dropped.
    """

    id: str
    command: str
    payload_json: bytes
    priority: int
    attempts: int
    max_attempts: int
    tenant_id: str
    worker_id: str
    lease_id: str
    webhook: str
    trace_parent: str
    trace_state: str
    created_at: datetime.datetime
    lost: threading.Event = dataclasses.field(default_factory=threading.Event, repr=False, compare=False)

    @cached_property
    def payload(self) -> Any:
        """The payload as a Python value."""
        return json.loads(self.payload_json)

    @property
    def last_attempt(self) -> bool:
        """Whether a nack would make it a dead letter."""
        return self.attempts >= self.max_attempts


class Outcome(Exception):
    """Raised by a handler to end its task another way than with a result."""


class Fail(Outcome):
    """The task is FAILED for good, with `error`."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class Nack(Outcome):
    """The attempt failed: again after `delay_seconds` (at most a year), or after the server's backoff when it is 0."""

    def __init__(self, delay_seconds: int = 0, reason: str = "") -> None:
        if not 0 <= delay_seconds <= DELAY_SECONDS_MAX:
            raise ValueError(f"delay_seconds is 0 to {DELAY_SECONDS_MAX}, not {delay_seconds}")
        super().__init__(reason or "nack")
        self.delay_seconds = delay_seconds
        self.reason = reason


class Abandon(Outcome):
    """Give the task back as if it had not been delivered: it costs no attempt."""
