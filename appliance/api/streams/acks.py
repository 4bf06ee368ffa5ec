"""Acknowledgements of the worker stream, as bytes. Pure functions."""

from collections.abc import Sequence

from appliance.api.streams.settings import ECHO_CHARS_MAX
from appliance.api.streams.stream import error_text
from appliance.api.streams.wire.worker_pb2 import ServerEvent
from appliance.errors import Problem
from appliance.tasks.model import Extended, Record, Returned

Meant = list[tuple[str, int | None]]
"""For each result the task that it names, as text, and the number of the lease that it means where that is known."""


def result_acks(meant: Meant, outcomes: Sequence[Record | Problem]) -> list[bytes]:
    """A message for each result."""
    # Filled anew for each, which is half the cost of a new one. A message frees nothing while it lives, so it must not
    # live for longer.
    event = ServerEvent()
    ack, serialize = event.result_ack, event.SerializeToString
    messages = []
    for (text, _), finished in zip(meant, outcomes, strict=True):
        ack.Clear()
        ack.task_id = text[:ECHO_CHARS_MAX]
        if isinstance(finished, Problem):
            ack.error_message = error_text(finished)
        else:
            ack.ok = True
        messages.append(serialize())
    return messages


def result_ack_batch(meant: Meant, outcomes: Sequence[Record | Problem]) -> bytes:
    """One message for a batch of results, in input order."""
    event = ServerEvent()
    event.result_ack_batch.SetInParent()
    add = event.result_ack_batch.acks.add
    for (text, _), finished in zip(meant, outcomes, strict=True):
        if isinstance(finished, Problem):
            add(task_id=text[:ECHO_CHARS_MAX], error_message=error_text(finished))
        else:
            add(task_id=text[:ECHO_CHARS_MAX], ok=True)
    return event.SerializeToString()


def acknowledgement(name: str, text: str, outcome: Extended | Returned | Problem) -> bytes:
    """A message for a heartbeat, nack or abandon; `name` is that of its field."""
    event = ServerEvent()
    ack = getattr(event, name)
    ack.task_id = text[:ECHO_CHARS_MAX]
    if isinstance(outcome, Problem):
        ack.error_message = error_text(outcome)
    else:
        ack.ok = True
        if name == "nack_ack" and isinstance(outcome, Returned):
            # In whole seconds, rounded up: the delay is over then.
            ack.applied_delay_seconds = -(-outcome.delay_ms // 1000)
            ack.dlq = outcome.dead
    return event.SerializeToString()
