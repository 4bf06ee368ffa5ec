"""`codeq.Admin` on an event loop, each request in a thread."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codeq._admin import Admin as _Admin
from codeq._admin import Time
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
from codeq._rest import TIMEOUT_SECONDS


class Admin:
    """Tasks, results and queues over REST. Arguments, answers and errors are those of `codeq.Admin`."""

    def __init__(
        self,
        target: Targets,
        token: Token,
        *,
        ca: str | Path | bytes | None = None,
        plaintext: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._admin = _Admin(target, token, ca=ca, plaintext=plaintext, timeout_seconds=timeout_seconds)

    async def request(self, method: str, path: str, body: object = None, *, wait_seconds: float = 0) -> Any:
        """Any request of the REST contract: `path` is below `/v1/codeq`, the answer is its JSON, or None for a 204."""
        return await asyncio.to_thread(self._admin.request, method, path, body, wait_seconds=wait_seconds)

    async def create(
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
        return await asyncio.to_thread(
            self._admin.create,
            command,
            payload,
            priority=priority,
            max_attempts=max_attempts,
            webhook=webhook,
            idempotency_key=idempotency_key,
            run_at=run_at,
            delay_seconds=delay_seconds,
        )

    async def task(self, task_id: str) -> TaskInfo:
        """A task as it is now. Raises NotFound for one that is unknown or another tenant's."""
        return await asyncio.to_thread(self._admin.task, task_id)

    async def result(self, task_id: str, *, wait_seconds: int = 0) -> Result:
        """The result of a task, after waiting for it at most `wait_seconds` (0 to 60)."""
        return await asyncio.to_thread(self._admin.result, task_id, wait_seconds=wait_seconds)

    async def claim(
        self, commands: Sequence[str] = (), *, lease_seconds: int = 300, wait_seconds: int = 0, worker_id: str = ""
    ) -> TaskInfo | None:
        """Claim one task, with a worker's token; none `commands` means all that it allows. None if there is no task."""
        return await asyncio.to_thread(
            self._admin.claim, commands, lease_seconds=lease_seconds, wait_seconds=wait_seconds, worker_id=worker_id
        )

    async def finish(
        self, task_id: str, result: Any = None, *, error: str = "", lease_id: str = "", worker_id: str = ""
    ) -> Result:
        """Give the result of a claimed task: COMPLETED with `result`, or FAILED with an `error`."""
        return await asyncio.to_thread(
            self._admin.finish, task_id, result, error=error, lease_id=lease_id, worker_id=worker_id
        )

    async def nack(
        self,
        task_id: str,
        *,
        delay_seconds: int | None = None,
        reason: str = "",
        lease_id: str = "",
        worker_id: str = "",
    ) -> str:
        """End an attempt at a claimed task: `requeued` after a delay (None: the backoff), or `dlq` after the last."""
        return await asyncio.to_thread(
            self._admin.nack,
            task_id,
            delay_seconds=delay_seconds,
            reason=reason,
            lease_id=lease_id,
            worker_id=worker_id,
        )

    async def abandon(self, task_id: str, *, lease_id: str = "", worker_id: str = "") -> str:
        """Give a claimed task back, at no cost of an attempt: `requeued`, or `dlq` after too many deliveries."""
        return await asyncio.to_thread(self._admin.abandon, task_id, lease_id=lease_id, worker_id=worker_id)

    async def history(self, task_id: str, *, tenant: str = "") -> TaskHistory:
        """A task with all that the node knows of it."""
        return await asyncio.to_thread(self._admin.history, task_id, tenant=tenant)

    async def cancel(self, task_id: str, *, reason: str = "", tenant: str = "") -> TaskInfo:
        """End a task that has not ended: FAILED, with the error `cancelled`."""
        return await asyncio.to_thread(self._admin.cancel, task_id, reason=reason, tenant=tenant)

    async def requeue_task(self, task_id: str, *, tenant: str = "") -> TaskInfo:
        """Make a dead letter a task again, with the same id and no attempts."""
        return await asyncio.to_thread(self._admin.requeue_task, task_id, tenant=tenant)

    async def purge_task(self, task_id: str, *, tenant: str = "") -> Step:
        """Delete a dead letter."""
        return await asyncio.to_thread(self._admin.purge_task, task_id, tenant=tenant)

    async def cleanup(self, *, limit: int = 0, before: Time = None, tenant: str = "") -> Step:
        """Run the retention sweep now for tasks that expired by `before`; one bounded step."""
        return await asyncio.to_thread(self._admin.cleanup, limit=limit, before=before, tenant=tenant)

    async def queues(self, *, tenant: str = "") -> list[Queue]:
        """All queues of the tenant; `*` means of all tenants."""
        return await asyncio.to_thread(self._admin.queues, tenant=tenant)

    async def queue(self, command: str, *, tenant: str = "") -> Queue:
        """One queue. Raises NotFound for one that never had a task."""
        return await asyncio.to_thread(self._admin.queue, command, tenant=tenant)

    async def pause(self, command: str, *, what: str = "dispatch", until: Time = None, tenant: str = "") -> Queue:
        """Pause `dispatch` (claims find nothing), `intake` (creates are refused) or `both`, for good or `until`."""
        return await asyncio.to_thread(self._admin.pause, command, what=what, until=until, tenant=tenant)

    async def resume(self, command: str, *, what: str = "both", tenant: str = "") -> Queue:
        """End a pause of `dispatch`, `intake` or `both`."""
        return await asyncio.to_thread(self._admin.resume, command, what=what, tenant=tenant)

    async def set_queue(self, command: str, settings: Mapping[str, Any], *, tenant: str = "") -> Queue:
        """Change settings of a queue, by the names of the REST contract; None takes one back to the node's default."""
        return await asyncio.to_thread(self._admin.set_queue, command, settings, tenant=tenant)

    async def tasks(
        self, command: str, status: str, *, limit: int = 100, cursor: str = "", tenant: str = ""
    ) -> Page[TaskInfo]:
        """Tasks of a queue: ready, delayed, claimed, completed, failed or dlq."""
        return await asyncio.to_thread(self._admin.tasks, command, status, limit=limit, cursor=cursor, tenant=tenant)

    async def dead_letters(
        self, *, command: str = "", before: Time = None, limit: int = 100, cursor: str = "", tenant: str = ""
    ) -> Page[TaskInfo]:
        """Dead letters, of one command or all, that died before a time or whenever."""
        return await asyncio.to_thread(
            self._admin.dead_letters, command=command, before=before, limit=limit, cursor=cursor, tenant=tenant
        )

    async def requeue(self, *, command: str = "", before: Time = None, limit: int = 0, tenant: str = "") -> Step:
        """Make dead letters tasks again; one bounded step, to be repeated while there are more."""
        return await asyncio.to_thread(self._admin.requeue, command=command, before=before, limit=limit, tenant=tenant)

    async def purge(self, *, command: str = "", before: Time = None, limit: int = 0, tenant: str = "") -> Step:
        """Delete dead letters; one bounded step, to be repeated while there are more."""
        return await asyncio.to_thread(self._admin.purge, command=command, before=before, limit=limit, tenant=tenant)

    async def webhooks(
        self, state: str = "given-up", *, limit: int = 100, cursor: str = "", tenant: str = ""
    ) -> Page[WebhookDelivery]:
        """Deliveries of webhooks that are `waiting` for their next attempt or were `given-up`."""
        return await asyncio.to_thread(self._admin.webhooks, state, limit=limit, cursor=cursor, tenant=tenant)

    async def retry_webhook(self, delivery_id: str, *, tenant: str = "") -> Step:
        """Send one delivery again."""
        return await asyncio.to_thread(self._admin.retry_webhook, delivery_id, tenant=tenant)

    async def retry_webhooks(self, *, before: Time = None, limit: int = 0, tenant: str = "") -> Step:
        """Send deliveries again that were given up; one bounded step, to be repeated while there are more."""
        return await asyncio.to_thread(self._admin.retry_webhooks, before=before, limit=limit, tenant=tenant)

    async def limits(self, tenant: str) -> TenantLimits:
        """The limits of a tenant."""
        return await asyncio.to_thread(self._admin.limits, tenant)

    async def set_limits(self, tenant: str, limits: TenantLimits) -> TenantLimits:
        """Replace the limits of a tenant; needs the operator scope."""
        return await asyncio.to_thread(self._admin.set_limits, tenant, limits)

    async def audit(self, *, limit: int = 100, cursor: str = "", tenant: str = "") -> Page[AuditEntry]:
        """Who changed what, the newest first."""
        return await asyncio.to_thread(self._admin.audit, limit=limit, cursor=cursor, tenant=tenant)

    async def node(self) -> NodeInfo:
        """The node that answers."""
        return await asyncio.to_thread(self._admin.node)
