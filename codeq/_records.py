"""What a server says over REST, as values with types.

Owns the reading of answers. Each record keeps in `fields` everything that the server said, by the names of the REST
contract. Must not know how an answer was asked for.
"""

# ruff: noqa: RUF009 - `_fields` returns a dataclass field, like `dataclasses.field` itself

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from codeq.errors import InternalError

Record = TypeVar("Record")
Item = TypeVar("Item")
Fields = dict[str, Any]


def _fields() -> Any:
    return dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as it was at the time of the request. `lease_id` is there in the answer to a claim only."""

    id: str
    command: str
    payload: Any
    status: str
    priority: int
    attempts: int
    max_attempts: int
    tenant_id: str
    worker_id: str
    lease_id: str
    error: str
    created_at: datetime.datetime
    completed_at: datetime.datetime | None
    fields: Fields = _fields()


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The result of a task. `status` is PENDING until there is one, then COMPLETED, FAILED or DLQ."""

    task_id: str
    status: str
    result: Any
    error: str
    completed_at: datetime.datetime | None
    fields: Fields = _fields()

    @property
    def finished(self) -> bool:
        """Whether the task has ended."""
        return self.status != "PENDING"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a task, or that somebody did to it."""

    at: datetime.datetime | None
    event: str
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class TaskHistory:
    """A task as an operator sees it, with what happened to it as far as the server remembers."""

    task: TaskInfo
    deliveries: int
    history: tuple[Event, ...]
    fields: Fields = _fields()


@dataclasses.dataclass(frozen=True, slots=True)
class Queue:
    """One queue: how many tasks it has in each state, and what is set for it.

    `dispatch_paused` means that claims find it empty, `intake_paused` that creates are refused, `…_until` when that
    ends by itself. `settings` are those that differ from the node's. The age is None where the server did not look.
    """

    command: str
    tenant_id: str
    ready: int
    delayed: int
    in_progress: int
    dlq: int
    oldest_ready_age_seconds: float | None
    dispatch_paused: bool
    intake_paused: bool
    dispatch_until: datetime.datetime | None
    intake_until: datetime.datetime | None
    settings: Fields
    fields: Fields = _fields()


@dataclasses.dataclass(frozen=True, slots=True)
class TenantLimits:
    """What a tenant may use; None: no limit of its own. Requests and Hellos are per second."""

    rest_per_second: float | None = None
    hellos_per_second: float | None = None
    in_flight: int | None = None
    stored_bytes: int | None = None
    fields: Fields = dataclasses.field(default_factory=dict, repr=False, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change that somebody made."""

    at: datetime.datetime | None
    tenant_id: str
    subject: str
    action: str
    target: str
    fields: Fields = _fields()


@dataclasses.dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A webhook that waits for its next attempt, or was given up. `url` is without user and query."""

    delivery_id: str
    task_id: str
    url: str
    state: str
    attempts: int
    last_error: str
    next_at: datetime.datetime | None
    given_up_at: datetime.datetime | None
    fields: Fields = _fields()


@dataclasses.dataclass(frozen=True, slots=True)
class NodeInfo:
    """The node that answered."""

    node_id: str
    version: str
    format_version: int
    started_at: datetime.datetime | None
    uptime_seconds: float
    store_bytes: int
    free_bytes: int
    certificate_days_left: float | None
    fields: Fields = _fields()


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list. With a `cursor` there may be more, also where this page is short or empty."""

    items: tuple[Item, ...]
    cursor: str


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One bounded step of long work: how many it was done to, and whether there are more."""

    count: int
    more: bool


def read(reader: Callable[[Any], Record], value: object) -> Record:
    """The record in an answer. Raises InternalError where it makes no sense."""
    try:
        return reader(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InternalError(f"the answer makes no sense: {error!r}") from error


def page(name: str, reader: Callable[[Any], Item]) -> Callable[[Any], Page[Item]]:
    """A reader of a page whose items are under `name`."""

    def read_page(value: Fields) -> Page[Item]:
        return Page(tuple(reader(item) for item in value[name]), value.get("cursor") or "")

    return read_page


def step(name: str) -> Callable[[Any], Step]:
    """A reader of a step whose number is under `name`."""
    return lambda value: Step(int(value[name]), bool(value.get("more")))


def task_info(value: Fields) -> TaskInfo:
    """A task."""
    return TaskInfo(
        id=value["id"],
        command=value["command"],
        payload=value["payload"],
        status=value["status"],
        priority=value["priority"],
        attempts=value["attempts"],
        max_attempts=value["maxAttempts"],
        tenant_id=value["tenantId"],
        worker_id=value.get("workerId") or "",
        lease_id=value.get("leaseId") or "",
        error=value.get("error") or "",
        created_at=datetime.datetime.fromisoformat(value["createdAt"]),
        completed_at=_time(value, "completedAt"),
        fields=value,
    )


def claimed(value: Fields | None) -> TaskInfo | None:
    """The task in the answer to a claim, if there was one."""
    return None if value is None else task_info(value)


def result(value: Fields) -> Result:
    """A result, or that there is none yet."""
    return Result(
        task_id=value["taskId"],
        status=value["status"],
        result=value["result"],
        error=value.get("error") or "",
        completed_at=_time(value, "completedAt"),
        fields=value,
    )


def task_history(value: Fields) -> TaskHistory:
    """A task with its history."""
    events = tuple(
        Event(_time(each, "at"), each["event"], _text(each.get("detail"))) for each in value.get("history") or ()
    )
    return TaskHistory(task_info(value), int(value.get("deliveries") or 0), events, value)


def queue(value: Fields) -> Queue:
    """A queue."""
    paused = value.get("paused") or {}
    return Queue(
        command=value["command"],
        tenant_id=value["tenantId"],
        ready=value["ready"],
        delayed=value["delayed"],
        in_progress=value["inProgress"],
        dlq=value["dlq"],
        oldest_ready_age_seconds=value.get("oldestReadyAgeSeconds"),
        dispatch_paused=bool(paused.get("dispatch")),
        intake_paused=bool(paused.get("intake")),
        dispatch_until=_time(paused, "dispatchUntil"),
        intake_until=_time(paused, "intakeUntil"),
        settings=dict(value.get("settings") or {}),
        fields=value,
    )


def tenant_limits(value: Fields) -> TenantLimits:
    """The limits of a tenant."""
    return TenantLimits(
        rest_per_second=value.get("restPerSecond"),
        hellos_per_second=value.get("hellosPerSecond"),
        in_flight=value.get("inFlight"),
        stored_bytes=value.get("storedBytes"),
        fields=dict(value),
    )


def audit_entry(value: Fields) -> AuditEntry:
    """An entry of the audit log."""
    return AuditEntry(
        at=_time(value, "at"),
        tenant_id=value.get("tenantId") or "",
        subject=value["subject"],
        action=value["action"],
        target=_text(value.get("target")),
        fields=value,
    )


def webhook_delivery(value: Fields) -> WebhookDelivery:
    """A delivery of a webhook."""
    return WebhookDelivery(
        delivery_id=value["deliveryId"],
        task_id=value["taskId"],
        url=value["url"],
        state=value["state"],
        attempts=value["attempts"],
        last_error=value.get("lastError") or "",
        next_at=_time(value, "nextAt"),
        given_up_at=_time(value, "givenUpAt"),
        fields=value,
    )


def node_info(value: Fields) -> NodeInfo:
    """The node that answered."""
    return NodeInfo(
        node_id=value["nodeId"],
        version=value["version"],
        format_version=value["formatVersion"],
        started_at=_time(value, "startedAt"),
        uptime_seconds=value["uptimeSeconds"],
        store_bytes=value["storeBytes"],
        free_bytes=value["freeBytes"],
        certificate_days_left=value.get("certificateDaysLeft"),
        fields=value,
    )


def _time(value: Mapping[str, Any], name: str) -> datetime.datetime | None:
    text = value.get(name)
    return datetime.datetime.fromisoformat(text) if text else None


def _text(value: object) -> str:
    return "" if value is None else str(value)
