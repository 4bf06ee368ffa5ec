"""From the fields of events to what the state machine takes, within the contract's limits.

Owns what an empty or zero field stands for, and the check that a payload or a result is JSON. Must not know streams.
Runs on the event loop's thread; refusals are raised Problems, named after the field on the wire.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from appliance.api.bodies import DEPTH_MAX, too_deep
from appliance.api.canonical import terms_hash
from appliance.api.parse import (
    ATTEMPTS_MAX,
    DELAY_SECONDS_MAX,
    ERROR_BYTES_MAX,
    KEY_CHARS_MAX,
    PRIORITY_MAX,
    TRACE_PARENT_CHARS_MAX,
    TRACE_STATE_CHARS_MAX,
    callable_url,
    check_command,
    in_range,
    run_at_ms,
    text_within,
    trace_text,
)
from appliance.api.streams.wire.producer_pb2 import CreateTask
from appliance.errors import PAYLOAD_TOO_LARGE, Problem, invalid
from appliance.tasks.model import NewTask

_TIMESTAMP_SECONDS: Final = range(-62_135_596_800, 253_402_300_800)
_NANOS: Final = range(1_000_000_000)
_KNOWN_COMMANDS_MAX: Final = 4_096

_ONE_BYTE_SIZES: Final = 128
_PRIORITY_BYTES_MAX: Final = 3
_KEY_HEAD_BYTES: Final = 2
"""Tag and size of a key in an event, while its size takes one byte."""

_skip_value = msgspec.json.Decoder(msgspec.Raw).decode
_known_commands: dict[str, int] = {}
"""Commands that were found good, with the bytes that they take in an event."""


def new_task(
    create: CreateTask,
    clock: Callable[[], int],
    max_attempts: int,
    payload_bytes_max: int,
    *,
    private_webhooks: bool = False,
) -> NewTask:
    """The task that an event asks for. `clock` gives the time (ms); raises Problem naming the field."""
    command = create.command
    command_bytes = _known_commands.get(command) or _learn(command)
    content = create.payload
    payload = json_text(content or b"null", payload_bytes_max, "payload")
    # What most creates are is seen by their size: a command, a payload and a number, perhaps a priority or a key, and
    # nothing else.
    rest_bytes = create.ByteSize() - command_bytes - len(content) - _two_fields_bytes(create.seq, len(content))
    priority = create.priority if 0 < rest_bytes <= _PRIORITY_BYTES_MAX else 0
    if rest_bytes == _priority_bytes(priority):
        return NewTask(command, payload, priority, max_attempts, "", "", 0, 0, "", "", b"", True)
    key = create.idempotency_key
    if key and len(key) == rest_bytes - _KEY_HEAD_BYTES and key.isascii() and len(key) < _ONE_BYTE_SIZES:
        digest = terms_hash(command, 0, max_attempts, "", 0, 0)
        return NewTask(command, payload, 0, max_attempts, "", key, 0, 0, "", "", digest, True)
    priority = create.priority
    if not 0 <= priority <= PRIORITY_MAX:
        raise invalid(f"priority must be from 0 to {PRIORITY_MAX}")
    attempts = create.max_attempts or max_attempts
    if not 1 <= attempts <= ATTEMPTS_MAX:
        raise invalid(f"max_attempts must be from 1 to {ATTEMPTS_MAX}")
    delay_seconds = create.delay_seconds
    if not 0 <= delay_seconds <= DELAY_SECONDS_MAX:
        raise invalid(f"delay_seconds must be from 0 to {DELAY_SECONDS_MAX}")
    run_at = _run_at(create, clock()) if create.HasField("run_at") else 0
    webhook = create.webhook and callable_url(create.webhook, "webhook", allow_private=private_webhooks)
    parent = create.trace_parent and trace_text(create.trace_parent, TRACE_PARENT_CHARS_MAX, "trace_parent")
    state = create.trace_state and trace_text(create.trace_state, TRACE_STATE_CHARS_MAX, "trace_state")
    digest = b""
    if key:
        text_within(key, KEY_CHARS_MAX, "idempotency_key")
        digest = terms_hash(command, priority, attempts, webhook, run_at, delay_seconds)
    delay_ms = delay_seconds * 1000
    unnamed = not create.max_attempts
    return NewTask(command, payload, priority, attempts, webhook, key, run_at, delay_ms, parent, state, digest, unnamed)


def json_text(text: bytes, bytes_max: int, field: str) -> bytes:
    """A JSON text as it came; raises Problem where it is too large, none, or nested too deep."""
    size = len(text)
    if size > bytes_max:
        raise Problem(PAYLOAD_TOO_LARGE, f"{field} must not be larger than {bytes_max} bytes")
    try:
        text.isascii() or text.decode()
        _skip_value(text)
    except UnicodeDecodeError:
        raise invalid(f"{field} is not valid UTF-8") from None
    except RecursionError:
        raise _too_deep(field) from None
    except msgspec.DecodeError as error:
        raise invalid(f"{field}: {error}") from None
    if size > 2 * DEPTH_MAX and too_deep(text):
        raise _too_deep(field)
    return text


def result_text(text: bytes, bytes_max: int) -> bytes:
    """A result as it came; empty for null, which is what a task without a result shows."""
    if not text or text == b"null":
        return b""
    return b"" if json_text(text, bytes_max, "result_json").strip() == b"null" else text


def completed(status: str) -> bool:
    """Whether a result says that the task went well."""
    if status == "COMPLETED":
        return True
    if status == "FAILED":
        return False
    raise invalid("status must be COMPLETED or FAILED")


def seconds_ms(seconds: int, low: int, high: int, default: int, field: str) -> int:
    """A duration in ms; zero means the default."""
    return in_range(seconds or None, low, high, default, field) * 1000


def words(text: str, field: str) -> str:
    """A reason or error in words."""
    if len(text) > ERROR_BYTES_MAX or (not text.isascii() and len(text.encode()) > ERROR_BYTES_MAX):
        raise invalid(f"{field} must not be longer than {ERROR_BYTES_MAX} bytes")
    return text


def _learn(command: str) -> int:
    check_command(command, "command")
    if len(_known_commands) >= _KNOWN_COMMANDS_MAX:
        _known_commands.clear()
    encoded_bytes = _known_commands[command] = CreateTask(command=command).ByteSize()
    return encoded_bytes


def _priority_bytes(priority: int) -> int:
    """What a priority takes in an event; -1 for one that is out of range."""
    if 0 < priority <= PRIORITY_MAX:
        return 2 if priority < _ONE_BYTE_SIZES else 3
    return -1 if priority else 0


def _two_fields_bytes(seq: int, payload_bytes: int) -> int:
    """What `seq` takes in an event, and the tag and size of the payload; both are left out where they are empty."""
    seq_bytes = 1 + (seq.bit_length() + 6) // 7 if seq else 0
    return seq_bytes + 1 + (payload_bytes.bit_length() + 6) // 7 if payload_bytes else seq_bytes


def _run_at(create: CreateTask, now: int) -> int:
    seconds, nanos = create.run_at.seconds, create.run_at.nanos
    if seconds not in _TIMESTAMP_SECONDS or nanos not in _NANOS:
        raise invalid("run_at is no valid time")
    return run_at_ms(seconds * 1000 + nanos // 1_000_000, now, "run_at")


def _too_deep(field: str) -> Problem:
    return invalid(f"{field} is nested deeper than {DEPTH_MAX}")
