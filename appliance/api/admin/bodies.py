"""Bodies of operators' requests, as types, and what their fields may be.

Owns the shapes and the limits. Must not know what is done with them. Pure; everything wrong is a `Problem`.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from appliance.api.bodies import reader
from appliance.api.parse import ATTEMPTS_MAX, in_range
from appliance.errors import invalid

DEPTH_MAX: Final = 1_000_000_000
RETENTION_SECONDS_MAX: Final = 10 * 366 * 86_400
BACKOFF_BASE_SECONDS_MAX: Final = 86_400
BACKOFF_CAP_SECONDS_MAX: Final = 366 * 86_400
RATE_MAX: Final = 1_000_000
IN_FLIGHT_MAX: Final = 1_000_000_000
STORED_BYTES_MAX: Final = 1 << 50
STEP_TASKS: Final = 1_000
STEP_TASKS_MAX: Final = 10_000

What = Literal["dispatch", "intake", "both"]
Policy = Literal["fixed", "linear", "exponential", "exp_full_jitter", "exp_equal_jitter"]


class PauseBody(msgspec.Struct, rename="camel"):
    """`POST /admin/queues/<command>/pause`."""

    what: What = "dispatch"
    until: str | None = None


class ResumeBody(msgspec.Struct, rename="camel"):
    """`POST /admin/queues/<command>/resume`."""

    what: What = "both"


class BackoffBody(msgspec.Struct, rename="camel"):
    """The backoff in a queue's settings; absent is unchanged, null is the node's default."""

    policy: Policy | UnsetType | None = UNSET
    base_seconds: int | UnsetType | None = UNSET
    cap_seconds: int | UnsetType | None = UNSET


class SettingsBody(msgspec.Struct, rename="camel"):
    """`PUT /admin/queues/<command>/settings`; absent is unchanged, null is the node's default."""

    max_depth: int | UnsetType | None = UNSET
    retention_seconds: int | UnsetType | None = UNSET
    dead_retention_seconds: int | UnsetType | None = UNSET
    max_attempts: int | UnsetType | None = UNSET
    backoff: BackoffBody | UnsetType | None = UNSET


class ResendBody(msgspec.Struct):
    """`POST /admin/webhooks/retry`."""

    before: str | None = None
    limit: int | None = None


class LimitsBody(msgspec.Struct, rename="camel"):
    """`PUT /admin/tenants/<tenant>/limits`; absent is unchanged, null is none."""

    rest_per_second: int | UnsetType | None = UNSET
    hellos_per_second: int | UnsetType | None = UNSET
    in_flight: int | UnsetType | None = UNSET
    stored_bytes: int | UnsetType | None = UNSET


class StepBody(msgspec.Struct, rename="camel"):
    """`POST /admin/dlq/requeue` and `/purge`."""

    command: str | None = None
    before: str | None = None
    limit: int | None = None


class CleanupBody(msgspec.Struct, rename="camel"):
    """`POST /admin/tasks/cleanup`."""

    before: str | None = None
    limit: int | None = None


class CancelBody(msgspec.Struct, rename="camel"):
    """`POST /admin/tasks/<id>/cancel`."""

    reason: str | None = None


class NoBody(msgspec.Struct):
    """A request that has nothing to say."""


read_pause: Final = reader(msgspec.json.Decoder(PauseBody).decode)
read_resume: Final = reader(msgspec.json.Decoder(ResumeBody).decode)
read_settings: Final = reader(msgspec.json.Decoder(SettingsBody).decode)
read_limits: Final = reader(msgspec.json.Decoder(LimitsBody).decode)
read_resend: Final = reader(msgspec.json.Decoder(ResendBody).decode)
read_step: Final = reader(msgspec.json.Decoder(StepBody).decode)
read_cleanup: Final = reader(msgspec.json.Decoder(CleanupBody).decode)
read_cancel: Final = reader(msgspec.json.Decoder(CancelBody).decode)
read_nothing: Final = reader(msgspec.json.Decoder(NoBody).decode)


def control_changes(body: SettingsBody) -> dict[str, Any]:
    """The fields of a `QueueControl` that a body changes."""
    changes: dict[str, Any] = {}
    _number(changes, "depth_max", body.max_depth, 1, DEPTH_MAX, "maxDepth")
    _number(changes, "retention_ms", body.retention_seconds, 0, RETENTION_SECONDS_MAX, "retentionSeconds", 1_000)
    _number(
        changes,
        "dead_retention_ms",
        body.dead_retention_seconds,
        0,
        RETENTION_SECONDS_MAX,
        "deadRetentionSeconds",
        1_000,
    )
    _number(changes, "max_attempts", body.max_attempts, 1, ATTEMPTS_MAX, "maxAttempts")
    backoff = body.backoff
    if backoff is None:
        backoff = BackoffBody(None, None, None)
    if backoff is not UNSET:
        if backoff.policy is not UNSET:
            changes["backoff_policy"] = backoff.policy
        base, cap = backoff.base_seconds, backoff.cap_seconds
        _number(changes, "backoff_base_ms", base, 0, BACKOFF_BASE_SECONDS_MAX, "backoff.baseSeconds", 1_000)
        _number(changes, "backoff_cap_ms", cap, 0, BACKOFF_CAP_SECONDS_MAX, "backoff.capSeconds", 1_000)
        if isinstance(base, int) and isinstance(cap, int) and cap < base:
            raise invalid("backoff.capSeconds must not be below backoff.baseSeconds")
    return changes


def limit_changes(body: LimitsBody) -> dict[str, int | None]:
    """The fields of a `TenantControl` that a body changes."""
    changes: dict[str, int | None] = {}
    _number(changes, "rest_per_second", body.rest_per_second, 1, RATE_MAX, "restPerSecond")
    _number(changes, "hellos_per_second", body.hellos_per_second, 1, RATE_MAX, "hellosPerSecond")
    _number(changes, "in_flight_max", body.in_flight, 0, IN_FLIGHT_MAX, "inFlight")
    _number(changes, "stored_bytes_max", body.stored_bytes, 0, STORED_BYTES_MAX, "storedBytes")
    return changes


def step_limit(limit: int | None, most: int = STEP_TASKS_MAX) -> int:
    """How many tasks one step may change."""
    return in_range(limit, 1, most, STEP_TASKS, "limit")


def _number(
    changes: dict[str, Any],
    name: str,
    value: int | UnsetType | None,
    low: int,
    high: int,
    field: str,
    factor: int = 1,
) -> None:
    if value is None:
        changes[name] = None
    elif value is not UNSET:
        changes[name] = in_range(value, low, high, 0, field) * factor
