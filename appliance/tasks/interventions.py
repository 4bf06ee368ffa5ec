"""What an operator does to a task: cancel, requeue, purge; one by its id, or one of many by its row in an index.

Each function is one decision into the open group. Sans-IO, as the machine. Must not know who may do what, nor about the
audit: `operators` writes it.
"""

from typing import Final

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, FAILED, DamagedRow, State
from appliance.engine.tables import DEAD, dead_key, time_key
from appliance.errors import Problem
from appliance.tasks import table
from appliance.tasks.model import Cancel, Purge, Requeue, Stepped, Task
from appliance.tasks.moves import Moves
from appliance.tasks.states import ended, requeued
from appliance.tasks.table import TABLE, Edge

CANCELLED_ERROR: Final = "cancelled"


def cancel(tasks: Moves, now: int, action: Cancel) -> Task | Problem:
    """End a task that is not terminal."""
    found = _chosen(tasks, action.tenant, action.id, table.CANCEL)
    if isinstance(found, Problem):
        return found
    edge, state, task = found
    queue = tasks.registry.by_prefix[state.queue]
    new = ended(FAILED, state, now, now + queue.settings.retention_ms, CANCELLED_ERROR, cancelled=True)
    left = state.lease_until if state.status == CLAIMED else state.run_at
    tasks.end(edge, now, queue, action.id, left, new)
    return Task(action.id, task.body, new)


def requeue(tasks: Moves, now: int, action: Requeue) -> Task | Problem:
    """Give a dead letter another life: its attempts and deliveries start again, its id and place stay."""
    found = _chosen(tasks, action.tenant, action.id, table.REQUEUE)
    if isinstance(found, Problem):
        return found
    edge, state, task = found
    return Task(action.id, task.body, _revive(tasks, edge, now, action.id, state))


def purge(tasks: Moves, _now: int, action: Purge) -> Stepped | Problem:
    """Forget a dead letter."""
    found = _chosen(tasks, action.tenant, action.id, table.PURGE)
    if isinstance(found, Problem):
        return found
    _, state, _ = found
    tasks.forget(table.PURGE, action.id, state)
    return Stepped(1)


def requeue_dead(tasks: Moves, now: int, task_id: bytes) -> None:
    """Requeue what a row of `dead` names."""
    state = _dead_state(tasks, task_id)
    _revive(tasks, TABLE[table.DLQ, table.REQUEUE, table.PLAIN], now, task_id, state)


def purge_dead(tasks: Moves, _now: int, task_id: bytes) -> None:
    """Forget what a row of `dead` names."""
    tasks.forget(table.PURGE, task_id, _dead_state(tasks, task_id))


def stands_in_expire(tasks: Moves, key: bytes) -> bool:
    """Whether a row of `expire` is that of a task."""
    state = tasks.state_of(key[12:])
    return state is not None and state.status >= COMPLETED and time_key(state.queue, state.expires, key[12:]) == key


def _chosen(tasks: Moves, tenant: str, task_id: bytes, event: str) -> tuple[Edge, State, Task] | Problem:
    """The edge that an operator's event takes, and the task; all that may be damaged has been read then."""
    state = tasks.own_state(tenant, task_id)
    if state is None:
        return tasks.refusal(TABLE[table.ABSENT, event, table.PLAIN])
    edge = TABLE[tasks.position(task_id, state), event, table.PLAIN]
    if edge.refusal:
        return tasks.refusal(edge)
    task = tasks.task(task_id)
    assert task is not None
    return edge, state, task


def _dead_state(tasks: Moves, task_id: bytes) -> State:
    state = tasks.state_of(task_id)
    if state is None or state.status != DLQ:
        raise DamagedRow(DEAD, task_id, "it names no dead letter")
    return state


def _revive(tasks: Moves, edge: Edge, now: int, task_id: bytes, state: State) -> State:
    queue = tasks.registry.by_prefix[state.queue]
    new = requeued(state, now)
    tasks.hot.update(task_id, new)
    tasks.overlay.open.delete(DEAD, dead_key(state.queue, state.completed, task_id))
    tasks.move(edge, queue, task_id, new.priority, state.expires, 0, new)
    return new
