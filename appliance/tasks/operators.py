"""What operators do: settings, pauses, limits, changes of many tasks in steps, and the audit of all of it.

Owns the rows of `control` and `audit`. Each function is one decision of the state machine, into the open group: what is
audited is durable together with its entry. Sans-IO, as the machine. Must not know who may do what: the fronts judge.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from appliance.engine.rows import AuditEntry, DamagedRow, QueueControl, decode_audit_entry, encode_row
from appliance.engine.tables import AUDIT, DEAD, EXPIRE, ID_BYTES, audit_key, dead_key, prefix_end
from appliance.errors import NOT_FOUND, Problem
from appliance.tasks import interventions, table, timers
from appliance.tasks.ids import id_text
from appliance.tasks.machine import Tasks
from appliance.tasks.model import (
    Cancel,
    Changed,
    Cleanup,
    Operation,
    Purge,
    PurgeDead,
    Requeue,
    RequeueDead,
    Resend,
    ResendAll,
    Resent,
    SetLimits,
    SetQueue,
    Step,
    Stepped,
    Task,
)
from appliance.tasks.queues import Queue, Tenant

AUDIT_ENTRIES_MAX: Final = 10_000
"""Per tenant: about 2 MB. An operator who acts once a minute fills it in a week."""

AUDIT_AGE_MS_MAX: Final = 90 * 86_400_000
"""Older entries make room when new ones come, and are not shown."""

AUDIT_DROPS_MAX: Final = 4
"""Old entries that one new one drops at most: more than one, so that a bound that was passed is reached again."""

SELF: Final = "codeq"
"""Who did it where nobody did: the end of a pause."""


def cancel(tasks: Tasks, now: int, action: Cancel) -> Task | Problem:
    """End a task that has not ended."""
    outcome = interventions.cancel(tasks, now, action)
    if isinstance(outcome, Task):
        note(tasks, now, action.tenant, AuditEntry(now, action.by, "task.cancel", id_text(action.id), action.reason))
    return outcome


def requeue(tasks: Tasks, now: int, action: Requeue) -> Task | Problem:
    """Give one dead letter another life."""
    outcome = interventions.requeue(tasks, now, action)
    if isinstance(outcome, Task):
        note(tasks, now, action.tenant, AuditEntry(now, action.by, "task.requeue", id_text(action.id)))
    return outcome


def purge(tasks: Tasks, now: int, action: Purge) -> Stepped | Problem:
    """Forget one dead letter."""
    outcome = interventions.purge(tasks, now, action)
    if isinstance(outcome, Stepped):
        note(tasks, now, action.tenant, AuditEntry(now, action.by, "task.purge", id_text(action.id)))
    return outcome


def resend(tasks: Tasks, now: int, action: Resend) -> Resent | Problem:
    """Have one webhook sent again that was given up."""
    outcome = tasks.outbox.resend(now, action)
    if isinstance(outcome, Resent):
        note(tasks, now, action.tenant, AuditEntry(now, action.by, "webhook.retry", id_text(action.id)))
    return outcome


def resend_all(tasks: Tasks, now: int, action: ResendAll) -> Resent:
    """Have many sent again: one bounded step."""
    outcome = tasks.outbox.resend_all(now, action)
    if outcome.count:
        note(tasks, now, action.tenant, AuditEntry(now, action.by, "webhook.retry", "", f"{outcome.count} webhooks"))
    return outcome


def set_queue(tasks: Tasks, now: int, action: SetQueue) -> Changed | Problem:
    """Change what is set for a queue: pauses, limits, retention, backoff."""
    tenant = tasks.registry.tenants.get(action.tenant)
    queue = tenant.queues.get(action.command) if tenant is not None else None
    if queue is None:
        return Problem(NOT_FOUND, f"no task of the command {action.command} was ever created")
    control = msgspec.structs.replace(queue.control or QueueControl(), **action.changes)
    _set_control(tasks, queue, control)
    note(tasks, now, action.tenant, AuditEntry(now, action.by, action.action, action.command, action.detail))
    return Changed()


def set_limits(tasks: Tasks, now: int, action: SetLimits) -> Changed:
    """Set a tenant's limits."""
    registry = tasks.registry
    tenant = registry.tenant(action.tenant)
    registry.set_limits(tasks.overlay.open, tenant, msgspec.structs.replace(tenant.control, **action.changes))
    tasks.overlay.open.transitions += 1
    tasks.wake_tenant(tenant)
    note(tasks, now, action.tenant, AuditEntry(now, action.by, "tenant.limits", action.tenant, action.detail))
    return Changed()


def end_pauses(tasks: Tasks, now: int) -> bool:
    """Resume a queue whose pause was to end by now. False: there is none."""
    prefix = tasks.pauses.take(now)
    if prefix is None:
        return False
    queue = tasks.registry.by_prefix[prefix]
    control = queue.control
    assert control is not None, "a pause without a row"
    over = []
    if control.dispatch_paused and 0 < control.dispatch_until <= now:
        over.append("dispatch")
        control = msgspec.structs.replace(control, dispatch_paused=False, dispatch_until=0)
    if control.intake_paused and 0 < control.intake_until <= now:
        over.append("intake")
        control = msgspec.structs.replace(control, intake_paused=False, intake_until=0)
    _set_control(tasks, queue, control)
    entry = AuditEntry(now, SELF, "queue.resume", queue.command, f"{' and '.join(over)}: the time was over")
    note(tasks, now, queue.tenant.name, entry)
    return True


def advance(tasks: Tasks, now: int, step: Step, quantum: int) -> Stepped | None:
    """Change up to `quantum` tasks more; the outcome once the step is done, None while there is more of it to do."""
    tenant = tasks.registry.tenants.get(step.tenant)
    keys = [] if tenant is None else _next_keys(tasks, tenant, step, min(quantum, step.limit - step.done))
    change = _CHANGES[type(step)]
    for key in keys:
        try:
            change(tasks, now, key)
        except DamagedRow as damage:
            tasks.on_damage(damage)
            continue
        step.done += 1
    if keys:
        step.low = keys[-1] + b"\0"
        _note_step(tasks, now, step)
    if not keys or step.done >= step.limit:
        return Stepped(step.done, more=bool(keys) and bool(tenant and _next_keys(tasks, tenant, step, 1)))
    return None


def _next_keys(tasks: Tasks, tenant: Tenant, step: Step, limit: int) -> list[bytes]:
    """The next index keys that a step has to look at, in order; empty when there are no more."""
    if isinstance(step, Cleanup):
        end = tenant.prefix + (step.before + 1).to_bytes(8, "big")
        return _keys(tasks, EXPIRE, max(step.low, tenant.prefix), end, limit)
    keys: list[bytes] = []
    for queue in tenant.queues_with_dead(step.command, step.low):
        end = dead_key(queue.prefix, step.before, b"") if step.before else prefix_end(queue.prefix)
        keys += _keys(tasks, DEAD, max(step.low, queue.prefix), end, limit - len(keys))
        if len(keys) == limit:
            break
    return keys


def _keys(tasks: Tasks, table_number: int, low: bytes, end: bytes, limit: int) -> list[bytes]:
    try:
        return [key for key, _ in tasks.overlay.scan(table_number, low, end, limit)] if low < end else []
    except DamagedRow as damage:
        # What lies behind it cannot be reached until the store is repaired.
        tasks.on_damage(damage)
        return []


def _requeue_key(tasks: Tasks, now: int, key: bytes) -> None:
    interventions.requeue_dead(tasks, now, key[-ID_BYTES:])


def _purge_key(tasks: Tasks, now: int, key: bytes) -> None:
    interventions.purge_dead(tasks, now, key[-ID_BYTES:])


def _sweep_key(tasks: Tasks, now: int, key: bytes) -> None:
    timers.sweep(tasks, now, key)
    if tasks.overlay.get(EXPIRE, key) is not None and not interventions.stands_in_expire(tasks, key):
        tasks.overlay.open.delete(EXPIRE, key)
        tasks.overlay.open.transitions += 1


_CHANGES: Final[dict[type[Step], Callable[[Tasks, int, bytes], None]]] = {
    RequeueDead: _requeue_key,
    PurgeDead: _purge_key,
    Cleanup: _sweep_key,
}
_ACTIONS: Final = {RequeueDead: "dlq.requeue", PurgeDead: "dlq.purge", Cleanup: "tasks.cleanup"}


def note(tasks: Tasks, now: int, tenant_name: str, entry: AuditEntry) -> int:
    """Write an audit entry, and drop old ones past the bounds; its number."""
    registry, group = tasks.registry, tasks.overlay.open
    tenant = registry.tenant(tenant_name)
    registry.give_number(group, tenant)
    control = tenant.control
    first, number = control.audit_first, control.audit_next
    group.put_new(AUDIT, audit_key(tenant.prefix, number), encode_row(entry))
    for _ in range(AUDIT_DROPS_MAX):
        if first == number or not _is_old(tasks, now, tenant, first, number):
            break
        group.delete(AUDIT, audit_key(tenant.prefix, first))
        first += 1
    tenant.control = msgspec.structs.replace(control, audit_first=first, audit_next=number + 1)
    registry.write_control(group, tenant)
    group.transitions += 1
    return number


def _is_old(tasks: Tasks, now: int, tenant: Tenant, first: int, newest: int) -> bool:
    if newest - first >= AUDIT_ENTRIES_MAX:
        return True
    try:
        row = tasks.overlay.get(AUDIT, audit_key(tenant.prefix, first))
    except DamagedRow as damage:
        tasks.on_damage(damage)
        return False
    return row is not None and decode_audit_entry(row).at < now - AUDIT_AGE_MS_MAX


def _note_step(tasks: Tasks, now: int, step: Step) -> None:
    """One entry for the whole step, brought up to date with every part of it."""
    what = f"{step.done} of at most {step.limit}" + (f", before {step.before} ms" if step.before else "")
    entry = AuditEntry(now, step.by, _ACTIONS[type(step)], step.command or "*", what)
    tenant = tasks.registry.tenants[step.tenant]
    if step.audited >= tenant.control.audit_first and step.audited:
        tasks.overlay.open.put(AUDIT, audit_key(tenant.prefix, step.audited), encode_row(entry))
    else:
        step.audited = note(tasks, now, step.tenant, entry)


def _set_control(tasks: Tasks, queue: Queue, control: QueueControl) -> None:
    resumed = queue.control is not None and queue.control.dispatch_paused and not control.dispatch_paused
    tasks.registry.set_control(tasks.overlay.open, queue, control)
    tasks.overlay.open.transitions += 1
    tasks.pauses.set(queue.prefix, control.dispatch_until, control.intake_until)
    if resumed and queue.counts[table.READY]:
        tasks.woken[queue] = None
        if queue.tenant.subscribed:
            tasks.risen[queue] = None
    if not control.dispatch_paused and queue.tenant.subscribed:
        tasks.risen[queue] = None


HANDLERS: Final[dict[type[Operation], Callable[[Tasks, int, Any], Any]]] = {
    Cancel: cancel,
    Requeue: requeue,
    Purge: purge,
    Resend: resend,
    ResendAll: resend_all,
    SetQueue: set_queue,
    SetLimits: set_limits,
}
"""The operations that are decided at once; steps are not among them."""
