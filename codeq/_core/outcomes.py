"""How a delivery ends, and the messages that say so.

Owns the kinds of outcome, their limits, and the choice that an exception of a handler makes. Must not know leases'
times, nor how messages travel.
"""

import dataclasses
from typing import TYPE_CHECKING, Final

from codeq._core.requests import MESSAGE_BYTES_MAX, encode_json
from codeq._wire import worker_pb2
from codeq.errors import ValidationError
from codeq.tasks import Abandon, Fail, Nack

if TYPE_CHECKING:
    from codeq._core.lease import Lease

BATCH_COUNT_MAX: Final = 256
BATCH_BYTES_MAX: Final = 1024 * 1024
"""Below the server's 4 MiB for a message even when one more result of the largest size is added."""
TEXT_BYTES_MAX: Final = 4_096
"""The server's limit for an error and for a reason."""

Ack = worker_pb2.ResultAck | worker_pb2.NackAck | worker_pb2.AbandonAck


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """A result: COMPLETED, or FAILED with `error`."""

    result_json: bytes = b"null"
    error: str = ""
    failed: bool = False

    @property
    def size_bytes(self) -> int:
        """About what it takes in a message."""
        return len(self.result_json) + 4 * len(self.error) + 128


@dataclasses.dataclass(frozen=True, slots=True)
class Again:
    """A nack: another attempt after `delay_seconds`, 0 for the server's backoff."""

    delay_seconds: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class GiveBack:
    """An abandon: the delivery does not count."""


GIVE_BACK: Final = GiveBack()
Outcome = Done | Again | GiveBack


def of_value(value: object) -> Outcome:
    """What a handler's return value means: COMPLETED with it; a nack if it is no JSON or too large to send."""
    try:
        encoded = encode_json(value)
    except ValidationError as error:
        return Again(0, cut(f"the result is {error.message}"))
    if len(encoded) > MESSAGE_BYTES_MAX:
        return Again(0, f"the result has {len(encoded)} bytes, at most {MESSAGE_BYTES_MAX} can be sent")
    return Done(encoded)


def of_exception(error: BaseException, fail_on: tuple[type[Exception], ...] = ()) -> Outcome:
    """What a handler's exception means; one that says nothing of it is a nack, or FAILED if `fail_on` has its type."""
    if isinstance(error, Fail):
        return Done(error=cut(error.error) or "failed", failed=True)
    if isinstance(error, Nack):
        return Again(error.delay_seconds, cut(error.reason))
    if isinstance(error, Abandon):
        return GIVE_BACK
    text = cut(f"{type(error).__name__}: {error}")
    return Done(error=text, failed=True) if fail_on and isinstance(error, fail_on) else Again(0, text)


def cut(text: str) -> str:
    """`text` within the server's limit, in whole characters, and without what UTF-8 can't say."""
    encoded = text.encode(errors="replace")
    return encoded[:TEXT_BYTES_MAX].decode(errors="ignore")


def result(lease: "Lease", outcome: Done) -> worker_pb2.Result:
    """The message of a result."""
    return worker_pb2.Result(
        task_id=lease.task.id,
        status="FAILED" if outcome.failed else "COMPLETED",
        result_json=outcome.result_json,
        error=outcome.error,
        lease_id=lease.task.lease_id,
    )


def results_event(results: list[worker_pb2.Result]) -> worker_pb2.WorkerEvent:
    """The event for one or more results."""
    if len(results) == 1:
        return worker_pb2.WorkerEvent(result=results[0])
    return worker_pb2.WorkerEvent(result_batch=worker_pb2.ResultBatch(results=results))


def event(lease: "Lease", outcome: Again | GiveBack) -> worker_pb2.WorkerEvent:
    """The event for a nack or an abandon."""
    task = lease.task
    if isinstance(outcome, Again):
        return worker_pb2.WorkerEvent(
            nack=worker_pb2.Nack(
                task_id=task.id, delay_seconds=outcome.delay_seconds, reason=outcome.reason, lease_id=task.lease_id
            )
        )
    return worker_pb2.WorkerEvent(abandon=worker_pb2.Abandon(task_id=task.id, lease_id=task.lease_id))
