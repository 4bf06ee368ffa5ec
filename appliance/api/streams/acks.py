"""Acknowledgements of the worker stream, as bytes. Pure functions."""

from collections.abc import Sequence
from typing import Final

from appliance.api.streams import encode
from appliance.api.streams.settings import ECHO_CHARS_MAX
from appliance.api.streams.stream import error_text
from appliance.api.streams.wire.worker_pb2 import ResultAck, ServerEvent
from appliance.errors import CANCELLED, LEASE_LOST, NOT_CLAIMED, NOT_FOUND, Problem
from appliance.tasks.model import Extended, Record, Returned

Meant = list[tuple[str, int | None]]
"""For each result the task that it names, as text, and the number of the lease that it means where that is known."""

Finished = tuple[list[bytes], Meant]
"""What became of some results: the messages that say so, and the leases that are over."""

_RESULT_ACK: Final = 3
_RESULT_ACK_BATCH: Final = 9
"""Fields of workerpb.ServerEvent."""

_ALL_RECORDED: Final = {Record}

_LEASE_OVER: Final = frozenset({CANCELLED, LEASE_LOST, NOT_CLAIMED, NOT_FOUND})
"""Refusals that say that the lease which the event meant is no more."""


def lease_is_over(outcome: object) -> bool:
    """Whether a result, nack or abandon with this outcome leaves no lease, of those it meant."""
    return not isinstance(outcome, Problem) or outcome.code in _LEASE_OVER


def each_finished(meant: Meant, outcomes: Sequence[Record | Problem]) -> Finished:
    """A message for each result."""
    return [encode.field(_RESULT_ACK, ack) for ack in _acks(meant, outcomes)], _over(meant, outcomes)


def batch_finished(meant: Meant, outcomes: Sequence[Record | Problem]) -> Finished:
    """One message for a batch of results, in input order."""
    if outcomes and set(map(type, outcomes)) == _ALL_RECORDED:
        return [encode.field(_RESULT_ACK_BATCH, encode.result_acks(1, [text for text, _ in meant]))], meant
    return [encode.field(_RESULT_ACK_BATCH, encode.joined(1, _acks(meant, outcomes)))], _over(meant, outcomes)


def _over(meant: Meant, outcomes: Sequence[Record | Problem]) -> Meant:
    return [each for each, outcome in zip(meant, outcomes, strict=True) if lease_is_over(outcome)]


def _acks(meant: Meant, outcomes: Sequence[Record | Problem]) -> list[bytes]:
    return [
        ResultAck(task_id=text[:ECHO_CHARS_MAX], error_message=error_text(finished)).SerializeToString()
        if isinstance(finished, Problem)
        else encode.result_ack(text[:ECHO_CHARS_MAX].encode())
        for (text, _), finished in zip(meant, outcomes, strict=True)
    ]


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
