"""The contract's limits, and the way from a typed body to what the state machine takes.

Owns every limit on a field and the message that names it. Must not know HTTP or tokens. Pure: the clock's time comes
in. Out of range is refused, never clamped; null is the same as absent.
"""

import re
from typing import Final

import msgspec

from appliance.api.bodies import BATCH_ITEMS_MAX, Artifact, CreateBody
from appliance.api.canonical import terms_hash
from appliance.api.times import parse_time
from appliance.errors import PAYLOAD_TOO_LARGE, Problem, invalid
from appliance.tasks.ids import parse_id
from appliance.tasks.model import NewTask
from appliance.webhooks.target import BadTarget, parse_target

PRIORITY_MAX: Final = 255
ATTEMPTS_MAX: Final = 1_000
KEY_CHARS_MAX: Final = 256
WORKER_CHARS_MAX: Final = 128
ERROR_BYTES_MAX: Final = 4_096
TRACE_PARENT_CHARS_MAX: Final = 128
TRACE_STATE_CHARS_MAX: Final = 512
COMMANDS_MAX: Final = 100
CLAIM_COUNT_MAX: Final = 100
LEASE_SECONDS_MAX: Final = 86_400
LEASE_SECONDS: Final = 300
CLAIM_WAIT_SECONDS_MAX: Final = 30
RESULT_WAIT_SECONDS_MAX: Final = 60
DELAY_SECONDS_MAX: Final = 31_536_000
ARTIFACTS_MAX: Final = 100
ARTIFACT_NAME_CHARS_MAX: Final = 256
ARTIFACT_URL_CHARS_MAX: Final = 2_048

QUERY_FIELDS_MAX: Final = 32
"""A handful are known; the rest is ignored, and this bounds what ignoring costs."""

SUBSCRIPTION_SECONDS: Final = 300
SUBSCRIPTION_SECONDS_MAX: Final = 86_400
INTERVAL_SECONDS: Final = 5
INTERVAL_SECONDS_MAX: Final = 3_600
GROUP_CHARS_MAX: Final = 128

NO_TASK: Final = bytes(16)
"""Stands for whatever a client sends that is no id: it is never the id of a task, so it is not found."""

NO_SUCH_LEASE: Final = -1
"""Stands for a `leaseId` that can't be one of this task: it is never equal to a lease's number."""

_LEASE_DIGITS_MAX: Final = 18

_is_command = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
_encode = msgspec.json.Encoder().encode


def new_task(
    body: CreateBody, now: int, max_attempts: int, payload_bytes_max: int, *, private_webhooks: bool = False
) -> NewTask:
    """The task that a body asks for. `now` is the clock (ms); raises Problem naming the field."""
    command = check_command(body.command, "command")
    payload = json_value(body.payload, payload_bytes_max, "payload")
    priority = in_range(body.priority, 0, PRIORITY_MAX, 0, "priority")
    attempts = in_range(body.max_attempts, 1, ATTEMPTS_MAX, max_attempts, "maxAttempts")
    delay_seconds = in_range(body.delay_seconds, 0, DELAY_SECONDS_MAX, 0, "delaySeconds")
    run_at = 0 if body.run_at is None else _run_at(body.run_at, now)
    webhook = "" if body.webhook is None else callable_url(body.webhook, "webhook", allow_private=private_webhooks)
    key = "" if body.idempotency_key is None else text_within(body.idempotency_key, KEY_CHARS_MAX, "idempotencyKey")
    parent = "" if body.trace_parent is None else trace_text(body.trace_parent, TRACE_PARENT_CHARS_MAX, "traceParent")
    state = "" if body.trace_state is None else trace_text(body.trace_state, TRACE_STATE_CHARS_MAX, "traceState")
    digest = b""
    if key:
        digest = terms_hash(command, priority, attempts, webhook, run_at, delay_seconds)
    delay_ms = delay_seconds * 1000
    unnamed = body.max_attempts is None
    return NewTask(command, payload, priority, attempts, webhook, key, run_at, delay_ms, parent, state, digest, unnamed)


def check_command(command: str, field: str) -> str:
    """A command that is well formed."""
    if _is_command(command) is None:
        raise invalid(f"{field} must match [A-Za-z0-9._:-]{{1,128}}")
    return command


def claim_commands(commands: list[str] | None) -> tuple[str, ...]:
    """The commands that a claim names, each once; empty where it names none."""
    if not commands:
        return ()
    if len(commands) > COMMANDS_MAX:
        raise invalid(f"commands must not have more than {COMMANDS_MAX} entries")
    for command in commands:
        check_command(command, "commands")
    return tuple(dict.fromkeys(commands)) if len(commands) > 1 else (commands[0],)


def lease_ms(seconds: int | None, field: str) -> int:
    """The length of a lease or of its extension."""
    return in_range(seconds, 1, LEASE_SECONDS_MAX, LEASE_SECONDS, field) * 1000


def claim_wait_ms(seconds: int | None) -> int:
    """How long a claim waits for work."""
    return in_range(seconds, 0, CLAIM_WAIT_SECONDS_MAX, 0, "waitSeconds") * 1000


def claim_count(count: int) -> int:
    """How many tasks a batch claim asks for."""
    return in_range(count, 1, CLAIM_COUNT_MAX, 1, "count")


def nack_delay_ms(seconds: int | None) -> int | None:
    """The delay that a nack asks for; None leaves it to the backoff."""
    return None if seconds is None else in_range(seconds, 0, DELAY_SECONDS_MAX, 0, "delaySeconds") * 1000


def worker_id(text: str | None) -> str:
    """The worker that a caller names, or an empty text."""
    return "" if text is None else text_within(text, WORKER_CHARS_MAX, "workerId")


def reason(text: str | None, field: str) -> str:
    """A reason or error in words."""
    if text is None:
        return ""
    if len(text) > ERROR_BYTES_MAX or (not text.isascii() and len(text.encode()) > ERROR_BYTES_MAX):
        raise invalid(f"{field} must not be longer than {ERROR_BYTES_MAX} bytes")
    return text


def lease_number(text: str | None, task_id: bytes) -> int | None:
    """The number of the lease that a `leaseId` names; None where none is named, `NO_SUCH_LEASE` where none is meant."""
    if text is None:
        return None
    id_part, _, digits = text.partition(":")
    if parse_id(id_part) != task_id or not 0 < len(digits) <= _LEASE_DIGITS_MAX:
        return NO_SUCH_LEASE
    if not digits.isascii() or not digits.isdigit() or digits[0] == "0":
        return NO_SUCH_LEASE
    return int(digits)


def result_value(raw: msgspec.Raw, bytes_max: int) -> bytes:
    """A result as it came; empty for null, which is what a task without a result shows."""
    result = json_value(raw, bytes_max, "result")
    return b"" if result == b"null" else result


def artifacts_json(artifacts: list[Artifact] | None) -> bytes:
    """The artifacts as they are stored; empty where there are none."""
    if not artifacts:
        return b""
    if len(artifacts) > ARTIFACTS_MAX:
        raise invalid(f"artifacts must not have more than {ARTIFACTS_MAX} entries")
    for artifact in artifacts:
        text_within(artifact.name, ARTIFACT_NAME_CHARS_MAX, "artifacts[].name")
        text_within(artifact.url, ARTIFACT_URL_CHARS_MAX, "artifacts[].url")
    return _encode(artifacts)


def json_value(raw: msgspec.Raw, bytes_max: int, field: str) -> bytes:
    """A JSON value as it came; raises `payload-too-large` past the limit."""
    value = bytes(raw)
    if len(value) > bytes_max:
        raise Problem(PAYLOAD_TOO_LARGE, f"{field} must not be larger than {bytes_max} bytes")
    return value


def wait_ms_in_query(values: list[str]) -> int:
    """`waitSeconds` of a result read, as it stands in the query."""
    if not values:
        return 0
    text = values[0]
    if len(values) > 1 or not 0 < len(text) <= 2 or not text.isascii() or not text.isdigit():
        raise invalid(f"waitSeconds must be one integer from 0 to {RESULT_WAIT_SECONDS_MAX}")
    return in_range(int(text), 0, RESULT_WAIT_SECONDS_MAX, 0, "waitSeconds") * 1000


def check_batch(count: int) -> None:
    """A batch that is not too long. An empty one is allowed and answers an empty list."""
    if count > BATCH_ITEMS_MAX:
        raise invalid(f"a batch must not have more than {BATCH_ITEMS_MAX} items")


def in_range(value: int | None, low: int, high: int, default: int, field: str) -> int:
    """A number from `low` to `high`; the default for None."""
    if value is None:
        return default
    if not low <= value <= high:
        raise invalid(f"{field} must be from {low} to {high}")
    return value


def text_within(text: str, chars_max: int, field: str) -> str:
    """A text that is neither empty nor too long."""
    if not 0 < len(text) <= chars_max:
        raise invalid(f"{field} must have 1 to {chars_max} characters")
    return text


def trace_text(text: str, chars_max: int, field: str) -> str:
    """A trace field, possibly empty."""
    # Trace fields are handed on as headers, where a line break would begin another one.
    if len(text) > chars_max or not (text.isascii() and text.isprintable()):
        raise invalid(f"{field} must have at most {chars_max} printable ASCII characters")
    return text


def _run_at(text: str, now: int) -> int:
    run_at = parse_time(text)
    if run_at is None:
        raise invalid("runAt must be an RFC 3339 time with an offset, for example 2026-05-18T12:00:00Z")
    return run_at_ms(run_at, now, "runAt")


def run_at_ms(run_at: int, now: int, field: str) -> int:
    """A time (ms) at which a task may begin to run."""
    if run_at - now > DELAY_SECONDS_MAX * 1000:
        raise invalid(f"{field} must not be more than {DELAY_SECONDS_MAX} seconds ahead")
    # 0 means "none" further on, and a time before the epoch is as past as any other.
    return max(run_at, 1)


def callable_url(text: str, field: str, *, allow_private: bool) -> str:
    """An address to call, as far as its text tells."""
    try:
        parse_target(text, allow_private=allow_private)
    except BadTarget as error:
        raise invalid(f"{field} {error}") from None
    return text
