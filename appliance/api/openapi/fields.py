"""What the fields of bodies may be beyond their type, in JSON Schema's words.

Owns the way from the constants that limits are checked against to schemas. Must not know operations.
"""

from typing import Any, Final

from appliance.api import parse
from appliance.api.admin import bodies as admin
from appliance.api.admin.webhooks import RESEND_MAX
from appliance.api.bodies import BATCH_ITEMS_MAX
from appliance.webhooks.target import URL_CHARS_MAX

Schema = dict[str, Any]

COMMAND: Final[Schema] = {"pattern": "^[A-Za-z0-9._:-]{1,128}$"}
ID: Final[Schema] = {"format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
TIME: Final[Schema] = {"format": "date-time"}
WEBHOOK: Final[Schema] = {
    "format": "uri",
    "minLength": 1,
    "maxLength": URL_CHARS_MAX,
    "pattern": "^https?://",
    "description": "http or https, without user information and fragment; private targets are refused",
}
_PRINTABLE: Final = "^[ -~]*$"


def number(low: int, high: int) -> Schema:
    """A number from `low` to `high`."""
    return {"minimum": low, "maximum": high}


def text(chars_max: int) -> Schema:
    """A text that is not empty."""
    return {"minLength": 1, "maxLength": chars_max}


def commands() -> Schema:
    """A list of commands."""
    return {"maxItems": parse.COMMANDS_MAX, "items": {"type": "string", **COMMAND}}


_DELAY: Final = number(0, parse.DELAY_SECONDS_MAX)
_LEASE: Final = number(1, parse.LEASE_SECONDS_MAX)
_WAIT: Final = number(0, parse.CLAIM_WAIT_SECONDS_MAX)
_WORDS: Final[Schema] = {"maxLength": parse.ERROR_BYTES_MAX, "description": f"at most {parse.ERROR_BYTES_MAX} bytes"}
_ATTEMPTS: Final = number(1, parse.ATTEMPTS_MAX)
_RETENTION: Final = number(0, admin.RETENTION_SECONDS_MAX)
_STEP: Final = number(1, admin.STEP_TASKS_MAX)

LIMITS: Final[dict[str, Schema]] = {
    "command": COMMAND,
    "commands": commands(),
    "eventTypes": commands(),
    "priority": number(0, parse.PRIORITY_MAX),
    "maxAttempts": _ATTEMPTS,
    "webhook": WEBHOOK,
    "callbackUrl": WEBHOOK,
    "idempotencyKey": text(parse.KEY_CHARS_MAX),
    "runAt": {**TIME, "description": "an RFC 3339 time with an offset; it beats delaySeconds"},
    "until": TIME,
    "before": TIME,
    "delaySeconds": _DELAY,
    "traceParent": {"maxLength": parse.TRACE_PARENT_CHARS_MAX, "pattern": _PRINTABLE},
    "traceState": {"maxLength": parse.TRACE_STATE_CHARS_MAX, "pattern": _PRINTABLE},
    "leaseSeconds": {**_LEASE, "default": parse.LEASE_SECONDS},
    "extendSeconds": {**_LEASE, "default": parse.LEASE_SECONDS},
    "waitSeconds": {**_WAIT, "default": 0},
    "workerId": text(parse.WORKER_CHARS_MAX),
    "groupId": text(parse.GROUP_CHARS_MAX),
    "count": number(1, parse.CLAIM_COUNT_MAX),
    "error": _WORDS,
    "reason": _WORDS,
    "ttlSeconds": {**number(1, parse.SUBSCRIPTION_SECONDS_MAX), "default": parse.SUBSCRIPTION_SECONDS},
    "minIntervalSeconds": {**number(0, parse.INTERVAL_SECONDS_MAX), "default": parse.INTERVAL_SECONDS},
    "tasks": {"maxItems": BATCH_ITEMS_MAX},
    "results": {"maxItems": BATCH_ITEMS_MAX},
    "artifacts": {"maxItems": parse.ARTIFACTS_MAX},
    "limit": {**_STEP, "default": admin.STEP_TASKS},
    "maxDepth": number(1, admin.DEPTH_MAX),
    "retentionSeconds": _RETENTION,
    "deadRetentionSeconds": _RETENTION,
    "baseSeconds": number(0, admin.BACKOFF_BASE_SECONDS_MAX),
    "capSeconds": number(0, admin.BACKOFF_CAP_SECONDS_MAX),
    "restPerSecond": number(1, admin.RATE_MAX),
    "hellosPerSecond": number(1, admin.RATE_MAX),
    "inFlight": number(0, admin.IN_FLIGHT_MAX),
    "storedBytes": number(0, admin.STORED_BYTES_MAX),
}
"""By the name of the field, which means the same in every body."""

_OWN_LIMITS: Final[dict[str, dict[str, Schema]]] = {
    "Artifact": {"name": text(parse.ARTIFACT_NAME_CHARS_MAX), "url": text(parse.ARTIFACT_URL_CHARS_MAX)},
    "ResendBody": {**LIMITS, "limit": {**number(1, RESEND_MAX), "default": RESEND_MAX}},
}
"""Of bodies in which a field is something else."""

_TIMES: Final = frozenset(
    {
        "createdAt", "updatedAt", "completedAt", "leaseUntil", "runAt", "expiresAt", "startedAt", "at", "before",
        "dispatchUntil", "intakeUntil", "nextAt", "givenUpAt",
    }
)  # fmt: skip


def limit_body(name: str, schema: Schema) -> None:
    """Add to the schema of a body what its fields may be."""
    limits = _OWN_LIMITS.get(name, LIMITS)
    for field, field_schema in schema.get("properties", {}).items():
        if field_schema.get("default", "") is None:
            del field_schema["default"]  # null is the same as absent
        if field in limits:
            _narrow(field_schema, limits[field])


def date_answer(schema: Schema) -> None:
    """Add to the schema of an answer which of its fields are times."""
    for field, field_schema in schema.get("properties", {}).items():
        field_schema.pop("default", None)
        if field in _TIMES:
            _narrow(field_schema, TIME)


def _narrow(schema: Schema, limit: Schema) -> None:
    """Add a limit to the part of a schema that is no null."""
    parts = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    for part in parts:
        part.update({key: value for key, value in limit.items() if key != "default"})
    if "default" in limit:
        schema["default"] = limit["default"]
