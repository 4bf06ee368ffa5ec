"""Everything that is asked over REST: tasks and results, and the administration of queues.

Owns the paths and what goes into each request. What is done often belongs on a stream: see Producer and Worker.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from codeq import _records as records
from codeq._dial import Targets, Token
from codeq._records import (
    AuditEntry,
    NodeInfo,
    Page,
    Queue,
    Result,
    Step,
    TaskHistory,
    TaskInfo,
    TenantLimits,
    WebhookDelivery,
)
from codeq._rest import TIMEOUT_SECONDS, Rest
from codeq.errors import ValidationError

Time = datetime.datetime | None


class Admin:
    """Tasks, results and queues over REST; with several targets the next one is asked when one can't be reached.

        Admin("localhost:8443", token, ca="ca.pem").result(task_id, wait_seconds=30)

    Every method raises what the server answers, `Unavailable` when no target can be reached, `DeadlineExceeded` when a
    change was sent and not answered, and `InternalError` for an answer that makes no sense. What is not about single
    tasks needs a token with the admin role; `tenant` names another tenant, for tokens with the operator scope. Times
    need a time zone.
    """

    def __init__(
        self,
        target: Targets,
        token: Token,
        *,
        ca: str | Path | bytes | None = None,
        plaintext: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._rest = Rest(target, token, ca=ca, plaintext=plaintext, timeout_seconds=timeout_seconds)

    def request(self, method: str, path: str, body: object = None, *, wait_seconds: float = 0) -> Any:
        """Any request of the REST contract: `path` is below `/v1/codeq`, the answer is its JSON, or None for a 204."""
        return self._rest.request(method, path, body, wait_seconds=wait_seconds)

    # Tasks.

    def create(
        self,
        command: str,
        payload: Any = None,
        *,
        priority: int = 0,
        max_attempts: int = 0,
        webhook: str = "",
        idempotency_key: str = "",
        run_at: Time = None,
        delay_seconds: int = 0,
    ) -> TaskInfo:
        """Create one task; 0 `max_attempts` means the queue's default. Repeat it safely with an `idempotency_key`."""
        body = {
            "command": command,
            "payload": payload,
            **_given(
                priority=priority,
                maxAttempts=max_attempts,
                webhook=webhook,
                idempotencyKey=idempotency_key,
                runAt=_time(run_at),
                delaySeconds=delay_seconds,
            ),
        }
        return records.read(records.task_info, self.request("POST", "/tasks", body))

    def task(self, task_id: str) -> TaskInfo:
        """A task as it is now. Raises NotFound for one that is unknown or another tenant's."""
        return records.read(records.task_info, self.request("GET", _task(task_id)))

    def result(self, task_id: str, *, wait_seconds: int = 0) -> Result:
        """The result of a task, after waiting for it at most `wait_seconds` (0 to 60)."""
        path = f"{_task(task_id)}/result?waitSeconds={int(wait_seconds)}"
        return records.read(records.result, self.request("GET", path, wait_seconds=wait_seconds))

    def claim(
        self,
        commands: Sequence[str] = (),
        *,
        lease_seconds: int = 300,
        wait_seconds: int = 0,
        worker_id: str = "",
    ) -> TaskInfo | None:
        """Claim one task, with a worker's token; none `commands` means all that it allows. None if there is no task."""
        body = {
            "commands": list(commands),
            "leaseSeconds": lease_seconds,
            "waitSeconds": wait_seconds,
            **_given(workerId=worker_id),
        }
        answer = self.request("POST", "/tasks/claim", body, wait_seconds=wait_seconds)
        return records.read(records.claimed, answer)

    def finish(
        self, task_id: str, result: Any = None, *, error: str = "", lease_id: str = "", worker_id: str = ""
    ) -> Result:
        """Give the result of a claimed task: COMPLETED with `result`, or FAILED with an `error`."""
        outcome = {"status": "FAILED", "error": error} if error else {"status": "COMPLETED", "result": result}
        body = {**outcome, **_given(leaseId=lease_id, workerId=worker_id)}
        return records.read(records.result, self.request("POST", f"{_task(task_id)}/result", body))

    def nack(
        self,
        task_id: str,
        *,
        delay_seconds: int | None = None,
        reason: str = "",
        lease_id: str = "",
        worker_id: str = "",
    ) -> str:
        """End an attempt at a claimed task: `requeued` after a delay (None: the backoff), or `dlq` after the last."""
        body = _given(reason=reason, leaseId=lease_id, workerId=worker_id)
        if delay_seconds is not None:
            body["delaySeconds"] = delay_seconds
        answer = self.request("POST", f"{_task(task_id)}/nack", body)
        return records.read(lambda value: str(value["status"]), answer)

    def abandon(self, task_id: str, *, lease_id: str = "", worker_id: str = "") -> str:
        """Give a claimed task back, at no cost of an attempt: `requeued`, or `dlq` after too many deliveries."""
        body = _given(leaseId=lease_id, workerId=worker_id)
        answer = self.request("POST", f"{_task(task_id)}/abandon", body)
        return records.read(lambda value: str(value["status"]), answer)

    # The administration of tasks.

    def history(self, task_id: str, *, tenant: str = "") -> TaskHistory:
        """A task with all that the node knows of it."""
        return records.read(records.task_history, self.request("GET", _admin_task(task_id, tenant)))

    def cancel(self, task_id: str, *, reason: str = "", tenant: str = "") -> TaskInfo:
        """End a task that has not ended: FAILED, with the error `cancelled`."""
        path = _admin_task(task_id, tenant, "/cancel")
        return records.read(records.task_info, self.request("POST", path, _given(reason=reason)))

    def requeue_task(self, task_id: str, *, tenant: str = "") -> TaskInfo:
        """Make a dead letter a task again, with the same id and no attempts."""
        return records.read(records.task_info, self.request("POST", _admin_task(task_id, tenant, "/requeue"), {}))

    def purge_task(self, task_id: str, *, tenant: str = "") -> Step:
        """Delete a dead letter."""
        return records.read(records.step("purged"), self.request("POST", _admin_task(task_id, tenant, "/purge"), {}))

    def cleanup(self, *, limit: int = 0, before: Time = None, tenant: str = "") -> Step:
        """Run the retention sweep now for tasks that expired by `before`; one bounded step."""
        path = _admin("/tasks/cleanup", tenant=tenant)
        wanted = limit or 1_000
        answer = self.request("POST", path, {"limit": wanted, **_given(before=_time(before))})
        return records.read(lambda value: Step(value["deleted"], value["deleted"] >= wanted), answer)

    # Queues.

    def queues(self, *, tenant: str = "") -> list[Queue]:
        """All queues of the tenant; `*` means of all tenants."""
        found: list[Queue] = []
        cursor = ""
        while True:
            answer = self.request("GET", _admin("/queues", tenant=tenant, cursor=cursor))
            page = records.read(records.page("queues", records.queue), answer)
            found += page.items
            cursor = page.cursor
            if not cursor:
                return found

    def queue(self, command: str, *, tenant: str = "") -> Queue:
        """One queue. Raises NotFound for one that never had a task."""
        return records.read(records.queue, self.request("GET", _queue(command, tenant)))

    def pause(self, command: str, *, what: str = "dispatch", until: Time = None, tenant: str = "") -> Queue:
        """Pause `dispatch` (claims find nothing), `intake` (creates are refused) or `both`, for good or `until`."""
        body = {"what": what, **_given(until=_time(until))}
        return records.read(records.queue, self.request("POST", _queue(command, tenant, "/pause"), body))

    def resume(self, command: str, *, what: str = "both", tenant: str = "") -> Queue:
        """End a pause of `dispatch`, `intake` or `both`."""
        return records.read(records.queue, self.request("POST", _queue(command, tenant, "/resume"), {"what": what}))

    def set_queue(self, command: str, settings: Mapping[str, Any], *, tenant: str = "") -> Queue:
        """Change settings of a queue, by the names of the REST contract; None takes one back to the node's default."""
        path = _queue(command, tenant, "/settings")
        return records.read(records.queue, self.request("PUT", path, dict(settings)))

    def tasks(
        self, command: str, status: str, *, limit: int = 100, cursor: str = "", tenant: str = ""
    ) -> Page[TaskInfo]:
        """Tasks of a queue: ready, delayed, claimed, completed, failed or dlq."""
        path = _queue(command, tenant, "/tasks", status=status, limit=limit, cursor=cursor)
        return records.read(records.page("tasks", records.task_info), self.request("GET", path))

    # Dead letters.

    def dead_letters(
        self, *, command: str = "", before: Time = None, limit: int = 100, cursor: str = "", tenant: str = ""
    ) -> Page[TaskInfo]:
        """Dead letters, of one command or all, that died before a time or whenever."""
        path = _admin("/dlq", tenant=tenant, command=command, before=_time(before), limit=limit, cursor=cursor)
        return records.read(records.page("tasks", records.task_info), self.request("GET", path))

    def requeue(self, *, command: str = "", before: Time = None, limit: int = 0, tenant: str = "") -> Step:
        """Make dead letters tasks again; one bounded step, to be repeated while there are more."""
        body = _given(command=command, before=_time(before), limit=limit)
        answer = self.request("POST", _admin("/dlq/requeue", tenant=tenant), body)
        return records.read(records.step("requeued"), answer)

    def purge(self, *, command: str = "", before: Time = None, limit: int = 0, tenant: str = "") -> Step:
        """Delete dead letters; one bounded step, to be repeated while there are more."""
        body = _given(command=command, before=_time(before), limit=limit)
        return records.read(records.step("purged"), self.request("POST", _admin("/dlq/purge", tenant=tenant), body))

    # Webhooks.

    def webhooks(
        self, state: str = "given-up", *, limit: int = 100, cursor: str = "", tenant: str = ""
    ) -> Page[WebhookDelivery]:
        """Deliveries of webhooks that are `waiting` for their next attempt or were `given-up`."""
        path = _admin("/webhooks", tenant=tenant, state=state, limit=limit, cursor=cursor)
        return records.read(records.page("deliveries", records.webhook_delivery), self.request("GET", path))

    def retry_webhook(self, delivery_id: str, *, tenant: str = "") -> Step:
        """Send one delivery again."""
        path = _admin(f"/webhooks/{quote(delivery_id, safe='')}/retry", tenant=tenant)
        return records.read(records.step("retried"), self.request("POST", path, {}))

    def retry_webhooks(self, *, before: Time = None, limit: int = 0, tenant: str = "") -> Step:
        """Send deliveries again that were given up; one bounded step, to be repeated while there are more."""
        body = _given(before=_time(before), limit=limit)
        answer = self.request("POST", _admin("/webhooks/retry", tenant=tenant), body)
        return records.read(records.step("retried"), answer)

    # Tenants and the node.

    def limits(self, tenant: str) -> TenantLimits:
        """The limits of a tenant."""
        return records.read(records.tenant_limits, self.request("GET", _limits(tenant)))

    def set_limits(self, tenant: str, limits: TenantLimits) -> TenantLimits:
        """Replace the limits of a tenant; needs the operator scope."""
        body = {
            "restPerSecond": limits.rest_per_second,
            "hellosPerSecond": limits.hellos_per_second,
            "inFlight": limits.in_flight,
            "storedBytes": limits.stored_bytes,
        }
        return records.read(records.tenant_limits, self.request("PUT", _limits(tenant), body))

    def audit(self, *, limit: int = 100, cursor: str = "", tenant: str = "") -> Page[AuditEntry]:
        """Who changed what, the newest first."""
        path = _admin("/audit", tenant=tenant, limit=limit, cursor=cursor)
        return records.read(records.page("entries", records.audit_entry), self.request("GET", path))

    def node(self) -> NodeInfo:
        """The node that answers."""
        return records.read(records.node_info, self.request("GET", _admin("/node")))


def _given(**values: object) -> dict[str, Any]:
    """The values that say something."""
    return {name: value for name, value in values.items() if value not in ("", 0, None)}


def _time(time: Time) -> str:
    if time is None:
        return ""
    if time.tzinfo is None:
        raise ValidationError(f"{time} has no time zone")
    return time.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _task(task_id: str) -> str:
    return f"/tasks/{quote(task_id, safe='')}"


def _admin(path: str, **query: object) -> str:
    words = urlencode(_given(**query))
    return f"/admin{path}?{words}" if words else f"/admin{path}"


def _admin_task(task_id: str, tenant: str, action: str = "") -> str:
    return _admin(f"/tasks/{quote(task_id, safe='')}{action}", tenant=tenant)


def _queue(command: str, tenant: str, action: str = "", **query: object) -> str:
    return _admin(f"/queues/{quote(command, safe='')}{action}", tenant=tenant, **query)


def _limits(tenant: str) -> str:
    return _admin(f"/tenants/{quote(tenant, safe='')}/limits")
