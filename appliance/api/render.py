"""Outcomes as JSON: tasks, records and the short answers.

Owns the field names of every answer. In a task an optional field that has no value is left out; in a record every
field is there, null where it has none. Payloads and results go out byte for byte as they came in. Pure functions.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from appliance.api.times import time_text
from appliance.engine.rows import CLAIMED, COMPLETED, PENDING
from appliance.errors import UNAUTHENTICATED, Problem
from appliance.mux.exchange import Response, problem_response
from appliance.tasks.ids import id_text
from appliance.tasks.model import STATUS_NAMES, Claimed, Created, Extended, Polled, Record, Returned, Subscribed, Task

TASKS_PATH: Final = "/v1/codeq/tasks"

_LOCATION_START: Final = (TASKS_PATH + "/").encode()
_NULL: Final = msgspec.Raw(b"null")
_NO_ARTIFACTS: Final = msgspec.Raw(b"[]")
_PENDING_NAME: Final = STATUS_NAMES[PENDING]

encode: Final = msgspec.json.Encoder().encode


class TaskJson(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """A task as clients see it. Fields with a default are the optional ones."""

    id: str
    command: str
    payload: msgspec.Raw
    priority: int
    max_attempts: int
    status: str
    attempts: int
    tenant_id: str
    created_at: str
    updated_at: str
    worker_id: str = ""
    lease_id: str = ""
    lease_until: str = ""
    webhook: str = ""
    idempotency_key: str = ""
    run_at: str = ""
    error: str = ""
    trace_parent: str = ""
    trace_state: str = ""
    completed_at: str = ""


class RecordJson(msgspec.Struct, rename="camel", gc=False):
    """The recorded end of a task; `status` is PENDING and the rest empty until it is there."""

    task_id: str
    status: str
    result: msgspec.Raw
    error: str | None
    artifacts: msgspec.Raw
    completed_at: str | None


class RecordWithTaskJson(RecordJson, rename="camel", gc=False, kw_only=True):
    """What a result read answers."""

    task: TaskJson


class ErrorJson(msgspec.Struct, gc=False):
    """The error of one item of a batch."""

    code: str
    message: str


class TaskItem(msgspec.Struct, omit_defaults=True, gc=False):
    """One item of a batch of creates: the task or an error."""

    task: TaskJson | UnsetType = UNSET
    replayed: bool = False
    error: ErrorJson | UnsetType = UNSET


class RecordItem(msgspec.Struct, rename="camel", gc=False):
    """One item of a batch of results: the record or an error; `task_id` as the client sent it, null where it sent no
    text."""

    task_id: str | None
    result: RecordJson | UnsetType = UNSET
    error: ErrorJson | UnsetType = UNSET


class CreatedBatchJson(msgspec.Struct):
    """The outcome of each item of a batch of creates, in order."""

    results: list[TaskItem]


class ClaimedBatchJson(msgspec.Struct):
    """Tasks that were claimed together."""

    tasks: list[TaskJson]


class RecordBatchJson(msgspec.Struct):
    """The outcome of each item of a batch of results, in order."""

    results: list[RecordItem]


class ExtendedJson(msgspec.Struct, rename="camel"):
    """A lease that was extended."""

    ok: bool
    lease_until: str


class AbandonedJson(msgspec.Struct):
    """Where a task went: `requeued` or `dlq`."""

    status: Literal["requeued", "dlq"]


class NackedJson(AbandonedJson, rename="camel"):
    """Where a task went, and when it comes back."""

    delay_seconds: int
    attempts: int


class SubscriptionJson(msgspec.Struct, rename="camel"):
    """A subscription."""

    subscription_id: str
    expires_at: str


class ReadyJson(msgspec.Struct):
    """Work that is there."""

    command: str
    depth: int


class PolledJson(SubscriptionJson, rename="camel"):
    """A subscription that was renewed, and where there is work."""

    ready: list[ReadyJson]


def problem(refusal: Problem) -> Response:
    """The response to a refusal; a 401 names the scheme that it wants."""
    response = problem_response(refusal)
    if refusal.code == UNAUTHENTICATED:
        response.headers += ((b"WWW-Authenticate", b"Bearer"),)
    return response


def task_json(task: Task, tenant: str, *, leased: bool = False) -> TaskJson:
    """A task; with its `leaseId` where it is `leased` to whom it is shown."""
    body, state = task.body, task.state
    text = id_text(task.id)
    status = state.status
    created = time_text(body.created)
    return TaskJson(
        text,
        body.command,
        msgspec.Raw(body.payload),
        state.priority,
        state.max_attempts,
        STATUS_NAMES[status],
        state.attempts,
        tenant,
        created,
        created if state.updated in (0, body.created) else time_text(state.updated),
        state.worker,
        f"{text}:{state.lease_number}" if leased else "",
        time_text(state.lease_until) if status == CLAIMED else "",
        body.webhook,
        body.key,
        time_text(state.run_at) if state.run_at else "",
        state.error,
        body.trace_parent,
        body.trace_state,
        time_text(state.completed) if status >= COMPLETED else "",
    )


def created(outcome: Created, tenant: str) -> Response:
    """201 for a new task, 200 for the one that the same key made before."""
    task = task_json(outcome.task, tenant)
    location = (b"Location", _LOCATION_START + task.id.encode())
    if outcome.replayed:
        return Response(200, encode(task), (location, (b"Idempotent-Replayed", b"true")))
    return Response(201, encode(task), (location,))


def created_batch(outcomes: list[Created | Problem], tenant: str, bare: bool) -> Response:
    """The results of a batch of creates, in order."""
    return _list(
        "results",
        [
            TaskItem(error=ErrorJson(outcome.code, outcome.message))
            if isinstance(outcome, Problem)
            else TaskItem(task_json(outcome.task, tenant), outcome.replayed)
            for outcome in outcomes
        ],
        bare=bare,
    )


def claimed(outcome: Claimed, tenant: str) -> Response:
    """The one task that was claimed, or 204."""
    if not outcome.tasks:
        return Response(204)
    return Response(200, encode(task_json(outcome.tasks[0], tenant, leased=True)))


def claimed_batch(outcome: Claimed, tenant: str) -> Response:
    """The tasks that were claimed, or 204."""
    if not outcome.tasks:
        return Response(204)
    return _list("tasks", [task_json(task, tenant, leased=True) for task in outcome.tasks], bare=False)


def task(found: Task, tenant: str) -> Response:
    """A task that was asked for."""
    return Response(200, encode(task_json(found, tenant)))


def record_json(outcome: Record) -> RecordJson:
    """The recorded end of a task."""
    return RecordJson(*_record_fields(outcome))


def record(outcome: Record) -> Response:
    """The recorded end of a task, to whoever ended it."""
    return Response(200, encode(record_json(outcome)))


def result(found: Task, tenant: str) -> Response:
    """The end of a task, or that it is pending, with the task."""
    if found.state.status >= COMPLETED:
        fields = _record_fields(Record(found.id, found.state))
    else:
        fields = (id_text(found.id), _PENDING_NAME, _NULL, None, _NO_ARTIFACTS, None)
    return Response(200, encode(RecordWithTaskJson(*fields, task=task_json(found, tenant))))


def record_batch(task_ids: list[str | None], outcomes: list[Record | Problem], bare: bool) -> Response:
    """The results of a batch of results, in order."""
    return _list(
        "results",
        [
            RecordItem(task_id, error=ErrorJson(outcome.code, outcome.message))
            if isinstance(outcome, Problem)
            else RecordItem(id_text(outcome.id), record_json(outcome))
            for task_id, outcome in zip(task_ids, outcomes, strict=True)
        ],
        bare=bare,
    )


def extended(outcome: Extended) -> Response:
    """A lease that was extended."""
    return Response(200, encode(ExtendedJson(ok=True, lease_until=time_text(outcome.lease_until))))


def nacked(outcome: Returned) -> Response:
    """A task that was given back. The delay is in whole seconds, rounded up: it is over then."""
    delay_seconds = -(-outcome.delay_ms // 1000)
    return Response(200, encode(NackedJson(_returned_name(outcome), delay_seconds, outcome.attempts)))


def abandoned(outcome: Returned) -> Response:
    """A task that was given back as if it had not been claimed."""
    return Response(200, encode(AbandonedJson(_returned_name(outcome))))


def subscribed(outcome: Subscribed) -> Response:
    """A new subscription."""
    return Response(200, encode(SubscriptionJson(*_subscription(outcome))))


def polled(outcome: Polled) -> Response:
    """A subscription that was renewed, and where there is work."""
    ready = [ReadyJson(command, depth) for command, depth in outcome.ready]
    return Response(200, encode(PolledJson(*_subscription(outcome), ready)))


def _subscription(outcome: Subscribed) -> tuple[str, str]:
    return id_text(outcome.id), time_text(outcome.expires)


def _returned_name(outcome: Returned) -> Literal["requeued", "dlq"]:
    return "dlq" if outcome.dead else "requeued"


def _record_fields(outcome: Record) -> tuple[str, str, msgspec.Raw, str | None, msgspec.Raw, str | None]:
    state = outcome.state
    return (
        id_text(outcome.id),
        STATUS_NAMES[state.status],
        msgspec.Raw(state.result) if state.result else _NULL,
        state.error or None,
        msgspec.Raw(state.artifacts) if state.artifacts else _NO_ARTIFACTS,
        time_text(state.completed),
    )


def _list(name: str, items: list[Any], *, bare: bool) -> Response:
    return Response(200, encode(items if bare else {name: items}))
