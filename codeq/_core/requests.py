"""What a create may say, checked as far as the client can know, and made into its message.

Owns the options of a create and their encoding. Limits that a server may be configured for are the server's to judge.
"""

import dataclasses
import datetime
import json
from typing import Any, Final

from codeq._wire import producer_pb2
from codeq.errors import PayloadTooLarge, ValidationError

MESSAGE_BYTES_MAX: Final = 3 * 1024 * 1024
"""The server refuses messages above 4 MiB and ends the stream for them; nothing near that is sent."""
_NANOSECONDS: Final = 1_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """One task to create.

    `payload` is any JSON value; bytes are taken as JSON that is encoded already. `priority` is 0 to 255, higher first.
    `max_attempts` 0 means the server's default (5). `run_at` needs a time zone and beats `delay_seconds`. Without an
    `idempotency_key` the client makes one, so that its own repeats create nothing twice; with one, so do yours.
    """

    command: str
    payload: Any = None
    priority: int = 0
    max_attempts: int = 0
    webhook: str = ""
    idempotency_key: str = ""
    run_at: datetime.datetime | None = None
    delay_seconds: int = 0
    trace_parent: str = ""
    trace_state: str = ""


def encode_json(value: object) -> bytes:
    """A JSON value as compact UTF-8; bytes stay as they are. Raises ValidationError for what is no JSON."""
    if isinstance(value, bytes):
        return value
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"not a JSON value: {error}") from error


def encode_create(task: NewTask) -> producer_pb2.CreateTask:
    """The message for one create, without a seq. Raises ValidationError or PayloadTooLarge."""
    payload = encode_json(task.payload)
    try:
        message = producer_pb2.CreateTask(
            command=task.command,
            payload=payload,
            priority=task.priority,
            max_attempts=task.max_attempts,
            webhook=task.webhook,
            idempotency_key=task.idempotency_key,
            delay_seconds=task.delay_seconds,
            trace_parent=task.trace_parent,
            trace_state=task.trace_state,
        )
    except (TypeError, ValueError) as error:
        raise ValidationError(str(error)) from error
    if task.run_at is not None:
        _set_run_at(message, task.run_at)
    if message.ByteSize() > MESSAGE_BYTES_MAX:
        raise PayloadTooLarge(f"the create has {message.ByteSize()} bytes, at most {MESSAGE_BYTES_MAX} can be sent")
    return message


def _set_run_at(message: producer_pb2.CreateTask, run_at: datetime.datetime) -> None:
    if run_at.tzinfo is None:
        raise ValidationError("run_at has no time zone")
    since = run_at - datetime.datetime.fromtimestamp(0, datetime.UTC)
    message.run_at.seconds = since.days * 86_400 + since.seconds
    message.run_at.nanos = since.microseconds * _NANOSECONDS
