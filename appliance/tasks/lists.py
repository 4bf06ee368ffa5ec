"""Lists for operators: tasks of a queue by status, dead letters, queues, audit entries, a page at a time.

Owns the bound on what one page may cost, and what a cursor means. Reads durable rows only, as every read does; depths
come from the counters in memory and are never counted. A page may be short, or empty, and still have a cursor.
"""

from operator import attrgetter
from typing import Final, NamedTuple

from appliance.engine.rows import (
    CLAIMED,
    COMPLETED,
    DLQ,
    FAILED,
    PENDING,
    AuditEntry,
    DamagedRow,
    decode_audit_entry,
)
from appliance.engine.tables import (
    AUDIT,
    DEAD,
    DUE,
    EXPIRE,
    ID_BYTES,
    LEASE,
    READY,
    prefix_end,
)
from appliance.tasks import table
from appliance.tasks.model import Task
from appliance.tasks.outbox import Listed, listed
from appliance.tasks.queues import Queue
from appliance.tasks.reads import AGE_LOOKS_MAX, Durable

LOOKS_MAX: Final = 500
"""Index rows looked at for one page: a few milliseconds of held loop while they are in memory."""

PAGE_BYTES_MAX: Final = 1 << 20
"""Payloads and results in one page; one task more may go beyond it."""

HISTORY_LOOKS_MAX: Final = 2_000
"""Audit entries looked at for the history of one task."""

_INDEX_OF: Final = {
    table.READY: (READY, PENDING),
    table.DELAYED: (DUE, PENDING),
    table.CLAIMED: (LEASE, CLAIMED),
    table.COMPLETED: (EXPIRE, COMPLETED),
    table.FAILED: (EXPIRE, FAILED),
    table.DLQ: (DEAD, DLQ),
}


class Page(NamedTuple):
    """Tasks, and where the next page begins; None at the end."""

    tasks: list[Task]
    cursor: bytes | None


class AuditPage(NamedTuple):
    """Entries, newest first, and where the next page begins; None at the end."""

    entries: list[AuditEntry]
    cursor: bytes | None


class QueuePage(NamedTuple):
    """Queues with the age (ms) of their oldest ready task, None where finding out would have cost too much."""

    queues: list[tuple[Queue, int | None]]
    cursor: bytes | None


class DeliveryPage(NamedTuple):
    """Deliveries of webhooks, and where the next page begins; None at the end."""

    deliveries: list[Listed]
    cursor: bytes | None


class Lists(Durable):
    """What operators read."""

    # Webhooks.

    def deliveries(self, tenant_name: str, cursor: bytes, limit: int, *, given_up: bool) -> DeliveryPage:
        """Up to `limit` deliveries that wait for an attempt, or that were given up, in the order of their times."""
        tenant = self._registry().tenants.get(tenant_name)
        if tenant is None or not tenant.number:
            return DeliveryPage([], None)
        with self._reading():
            found, after = listed(
                self._store, tenant.prefix, given_up=given_up, after=cursor, limit=min(limit, LOOKS_MAX)
            )
        return DeliveryPage(found, after)

    # Tasks.

    def tasks(self, tenant_name: str, command: str, status: str, cursor: bytes, limit: int) -> Page | None:
        """Up to `limit` tasks of a queue by status, in the order in which they are due; None: no such queue."""
        queue = self._queue(tenant_name, command)
        if queue is None:
            return None
        index, wanted = _INDEX_OF[status]
        prefix = queue.prefix if index in (READY, DEAD) else queue.tenant.prefix
        low = cursor if cursor.startswith(prefix) else prefix
        with self._reading():
            rows = self._store.scan(index, low, prefix_end(prefix), LOOKS_MAX)
            return self._page([key for key, _ in rows], queue.prefix, wanted, limit, more=len(rows) == LOOKS_MAX)

    def dead(self, tenant_name: str, command: str | None, before: int, cursor: bytes, limit: int) -> Page:
        """Up to `limit` dead letters of one queue or of all, that died before a moment (ms, 0: any), oldest first."""
        tenant = self._registry().tenants.get(tenant_name)
        if tenant is None:
            return Page([], None)
        keys: list[bytes] = []
        more = False
        with self._reading():
            for queue in tenant.queues_with_dead(command, cursor):
                end = queue.prefix + before.to_bytes(8, "big") if before else prefix_end(queue.prefix)
                low = max(cursor, queue.prefix)
                wanted = LOOKS_MAX - len(keys)
                rows = self._store.scan(DEAD, low, end, wanted) if low < end else []
                keys += [key for key, _ in rows]
                if len(rows) == wanted:
                    more = True
                    break
            return self._page(keys, b"", DLQ, limit, more=more)

    def _page(self, keys: list[bytes], queue: bytes, status: int, limit: int, *, more: bool) -> Page:
        """The tasks that these index rows name, as far as they are of this queue (any, where empty) and status."""
        tasks: list[Task] = []
        size = 0
        for at, key in enumerate(keys):
            if len(tasks) == limit or size >= PAGE_BYTES_MAX:
                return Page(tasks, keys[at])
            task = self._task(key[-ID_BYTES:], queue, status)
            if task is not None:
                tasks.append(task)
                size += task.state.stored_bytes
        return Page(tasks, keys[-1] + b"\0" if more else None)

    def _task(self, task_id: bytes, queue: bytes, status: int) -> Task | None:
        try:
            return self._durable_task(task_id, lambda state: state.status == status and state.queue.startswith(queue))
        except DamagedRow as damage:
            self._on_error(damage)
            return None

    # Queues.

    def queue(self, tenant_name: str, command: str, now: int) -> tuple[Queue, int | None] | None:
        """One queue with the age (ms) of its oldest ready task at `now`, or None."""
        queue = self._queue(tenant_name, command)
        if queue is None:
            return None
        with self._reading():
            return queue, self._age(queue, now, AGE_LOOKS_MAX)[0]

    def queues(self, tenant_name: str | None, cursor: bytes, limit: int, now: int) -> QueuePage:
        """Up to `limit` queues of a tenant, or of all, in the order in which they came into being."""
        registry = self._registry()
        if tenant_name is None:
            every = list(registry.by_prefix.values())
        else:
            tenant = registry.tenants.get(tenant_name)
            every = list(tenant.queues.values()) if tenant is not None else []
        found = sorted((queue for queue in every if queue.prefix >= cursor), key=attrgetter("prefix"))
        page: list[tuple[Queue, int | None]] = []
        looks = AGE_LOOKS_MAX
        with self._reading():
            for queue in found[:limit]:
                age, looked = self._age(queue, now, looks)
                looks -= looked
                page.append((queue, age))
        return QueuePage(page, found[limit].prefix if len(found) > limit else None)

    def _age(self, queue: Queue, now: int, looks_max: int) -> tuple[int | None, int]:
        """The age of the oldest ready task, and how many looks it took: the first of each priority is its oldest."""
        made, looks, enough = self._oldest_ready(queue, now, looks_max)
        return (now - made if enough else None), looks

    # The audit.

    def audit(self, tenant_name: str, cursor: bytes, limit: int, since: int) -> AuditPage:
        """Up to `limit` entries of a tenant, newest first, not older than `since` (ms)."""
        tenant = self._registry().tenants.get(tenant_name)
        if tenant is None or not tenant.number:
            return AuditPage([], None)
        prefix = tenant.prefix
        low = cursor if cursor.startswith(prefix) else prefix
        with self._reading():
            rows = self._store.scan(AUDIT, low, prefix_end(prefix), min(limit, LOOKS_MAX) + 1)
        entries = [decode_audit_entry(content) for _, content in rows]
        kept = [entry for entry in entries if entry.at >= since]
        more = len(rows) > min(limit, LOOKS_MAX) and len(kept) == len(entries)
        return AuditPage(kept[:-1] if more else kept, rows[-1][0] if more else None)

    def history(self, tenant_name: str, target: str) -> list[AuditEntry]:
        """The audit entries of one target among the newest, oldest first."""
        tenant = self._registry().tenants.get(tenant_name)
        if tenant is None or not tenant.number:
            return []
        with self._reading():
            rows = self._store.scan(AUDIT, tenant.prefix, prefix_end(tenant.prefix), HISTORY_LOOKS_MAX)
        entries = (decode_audit_entry(content) for _, content in reversed(rows))
        return [entry for entry in entries if entry.target == target]

    def _queue(self, tenant_name: str, command: str) -> Queue | None:
        tenant = self._registry().tenants.get(tenant_name)
        return tenant.queues.get(command) if tenant is not None else None
