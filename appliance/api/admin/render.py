"""What operators are shown, as types and as JSON.

Owns the field names. Where a time or a number is not there it is null; in a queue's settings only what is set is there.
Pure functions.
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from appliance.api.admin.asking import cursor_text
from appliance.api.render import TaskJson, encode, task_json
from appliance.api.times import time_text
from appliance.engine.rows import COMPLETED, PENDING, AuditEntry, QueueControl, TenantControl
from appliance.mux.exchange import Response
from appliance.tasks import table
from appliance.tasks.lists import AuditPage, Page, QueuePage
from appliance.tasks.model import STATUS_NAMES, Task
from appliance.tasks.queues import Queue

_NO_CONTROL: Final = QueueControl()


class PausedJson(msgspec.Struct, rename="camel"):
    """What of a queue is paused, and until when; null is until somebody resumes it."""

    dispatch: bool
    intake: bool
    dispatch_until: str | None
    intake_until: str | None


class BackoffJson(msgspec.Struct, rename="camel", omit_defaults=True):
    """The backoff of a queue as far as it is set."""

    policy: str | None = None
    base_seconds: int | None = None
    cap_seconds: int | None = None


class SettingsJson(msgspec.Struct, rename="camel", omit_defaults=True):
    """What is set for a queue."""

    max_depth: int | None = None
    retention_seconds: int | None = None
    dead_retention_seconds: int | None = None
    max_attempts: int | None = None
    backoff: BackoffJson | None = None


class QueueJson(msgspec.Struct, rename="camel"):
    """A queue. `oldest_ready_age_seconds` is null where finding out would have cost too much. `created` and `swept`
    only grow: what was ever created is what is there, by status, and what was swept or purged."""

    command: str
    tenant_id: str
    ready: int
    delayed: int
    in_progress: int
    dlq: int
    oldest_ready_age_seconds: float | None
    completed: int
    failed: int
    created: int
    swept: int
    paused: PausedJson
    settings: SettingsJson


class QueuesJson(msgspec.Struct, rename="camel"):
    """A page of queues."""

    queues: list[QueueJson]
    cursor: str | None


class TasksJson(msgspec.Struct, rename="camel"):
    """A page of tasks."""

    tasks: list[TaskJson]
    cursor: str | None


class EventJson(msgspec.Struct, rename="camel"):
    """One event in the history of a task."""

    at: str
    event: str
    detail: str


class OperatorTaskJson(TaskJson, rename="camel", omit_defaults=True, kw_only=True):
    """A task as an operator sees it; `result` and `artifacts` are there where it has ended with some."""

    deliveries: int
    history: list[EventJson]
    result: msgspec.Raw | UnsetType = UNSET
    artifacts: msgspec.Raw | UnsetType = UNSET


class RequeuedJson(msgspec.Struct):
    """Dead letters that one step has requeued; `more` says that another may find some."""

    requeued: int
    more: bool


class PurgedJson(msgspec.Struct):
    """A dead letter that is forgotten."""

    purged: int


class PurgedStepJson(PurgedJson):
    """Dead letters that one step has purged; `more` says that another may find some."""

    more: bool


class CleanedJson(msgspec.Struct):
    """What a sweep has deleted, and what it was asked for."""

    deleted: int
    before: str
    limit: int


class LimitsJson(msgspec.Struct, rename="camel"):
    """A tenant's limits; null is none."""

    rest_per_second: int | None
    hellos_per_second: int | None
    in_flight: int | None
    stored_bytes: int | None


class AuditEntryJson(msgspec.Struct, rename="camel"):
    """One thing that somebody did."""

    at: str
    tenant_id: str
    subject: str
    action: str
    target: str
    detail: str


class AuditJson(msgspec.Struct, rename="camel"):
    """A page of the audit, newest first."""

    entries: list[AuditEntryJson]
    cursor: str | None


class NodeJson(msgspec.Struct, rename="camel"):
    """The node. Sizes are bytes; `certificate_days_left` is null without TLS."""

    node_id: str
    version: str
    format_version: int
    started_at: str
    uptime_seconds: float
    durability: str
    store_bytes: int
    free_bytes: int
    certificate_days_left: float | None


def queue_json(queue: Queue, age_ms: int | None) -> QueueJson:
    """A queue as its counters are now."""
    counts, control = queue.counts, queue.control or _NO_CONTROL
    return QueueJson(
        queue.command,
        queue.tenant.name,
        counts[table.READY],
        counts[table.DELAYED],
        counts[table.CLAIMED],
        counts[table.DLQ],
        None if age_ms is None else age_ms / 1000,
        counts[table.COMPLETED],
        counts[table.FAILED],
        queue.created,
        queue.swept,
        PausedJson(
            control.dispatch_paused,
            control.intake_paused,
            _time_or_null(control.dispatch_until),
            _time_or_null(control.intake_until),
        ),
        _settings_json(control),
    )


def queue(found: tuple[Queue, int | None]) -> Response:
    """One queue."""
    return Response(200, encode(queue_json(*found)))


def queues(page: QueuePage) -> Response:
    """A page of queues."""
    return Response(200, encode(QueuesJson([queue_json(*each) for each in page.queues], cursor_text(page.cursor))))


def tasks(page: Page, tenant: str) -> Response:
    """A page of tasks."""
    return Response(200, encode(TasksJson([task_json(each, tenant) for each in page.tasks], cursor_text(page.cursor))))


def operator_task(found: Task, tenant: str, entries: list[AuditEntry]) -> Response:
    """One task with its history."""
    state = found.state
    shown = OperatorTaskJson(
        **msgspec.structs.asdict(task_json(found, tenant)),
        deliveries=state.deliveries,
        history=_history(found, entries),
        result=msgspec.Raw(state.result) if state.result else UNSET,
        artifacts=msgspec.Raw(state.artifacts) if state.artifacts else UNSET,
    )
    return Response(200, encode(shown))


def limits(control: TenantControl) -> Response:
    """A tenant's limits."""
    shown = LimitsJson(
        control.rest_per_second, control.hellos_per_second, control.in_flight_max, control.stored_bytes_max
    )
    return Response(200, encode(shown))


def audit(page: AuditPage, tenant: str) -> Response:
    """A page of the audit."""
    entries = [
        AuditEntryJson(time_text(entry.at), tenant, entry.subject, entry.action, entry.target, entry.detail)
        for entry in page.entries
    ]
    return Response(200, encode(AuditJson(entries, cursor_text(page.cursor))))


def _settings_json(control: QueueControl) -> SettingsJson:
    backoff = BackoffJson(control.backoff_policy, _seconds(control.backoff_base_ms), _seconds(control.backoff_cap_ms))
    return SettingsJson(
        control.depth_max,
        _seconds(control.retention_ms),
        _seconds(control.dead_retention_ms),
        control.max_attempts,
        None if backoff == BackoffJson() else backoff,
    )


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000


def _time_or_null(time_ms: int) -> str | None:
    return time_text(time_ms) if time_ms else None


def _history(task: Task, entries: list[AuditEntry]) -> list[EventJson]:
    """What the rows know: the creation, the newest delivery, the end, and what operators did."""
    body, state = task.body, task.state
    events = [(body.created, "created", "")]
    if state.claimed:
        who = f"{state.subject}/{state.worker}" if state.worker else state.subject
        events.append((state.claimed, "claimed", f"delivery {state.deliveries}, by {who}"))
    if state.status >= COMPLETED:
        events.append((state.completed, STATUS_NAMES[state.status].lower(), state.error))
    elif state.status == PENDING and state.updated not in (0, body.created):
        events.append((state.updated, "returned", state.error))
    events += [
        (entry.at, entry.action, f"by {entry.subject}: {entry.detail}" if entry.detail else f"by {entry.subject}")
        for entry in entries
    ]
    events.sort(key=_moment)
    return [EventJson(time_text(at), event, detail) for at, event, detail in events]


def _moment(event: tuple[int, str, str]) -> int:
    return event[0]
