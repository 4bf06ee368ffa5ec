"""What time does to tasks: leases that end, delays that end, retention that ends, clocks that went back.

Each function is one decision about one key of an index, or many of them, into the open group. A key may be out of date
by then: the state row says so, and nothing happens. Sans-IO. Must not know when it is called: the scheduler takes what
is due.
"""

from typing import Final

from appliance.engine.rows import CLAIMED, COMPLETED, PENDING, State, decode_state
from appliance.engine.tables import DUE, LEASE, POST, STATE, time_key
from appliance.tasks import table
from appliance.tasks.moves import Moves
from appliance.tasks.states import replaced
from appliance.tasks.table import TABLE

_NO_STATE: Final = State(PENDING, b"", 0, 0, 0)


def lease_ended(tasks: Moves, now: int, key: bytes) -> None:
    """A key of `lease` is due: the task is delayed by the backoff, or becomes a dead letter."""
    task_id = key[12:]
    state = tasks.state_of(task_id)
    if state is None or state.status != CLAIMED or time_key(state.queue, state.lease_until, task_id) != key:
        return  # finished or extended meanwhile
    tasks.expire(now, task_id, state)


def became_due(tasks: Moves, now: int, key: bytes) -> None:
    """A key of `due` is due: the task becomes claimable and keeps its place."""
    task_id = key[12:]
    state = tasks.state_of(task_id)
    if (
        state is None
        or state.status != PENDING
        or time_key(state.queue, state.run_at, task_id) != key
        or tasks.overlay.get(DUE, key) is None
    ):
        return
    edge = TABLE[table.DELAYED, table.DUE, table.PLAIN]
    tasks.move(edge, tasks.registry.by_prefix[state.queue], task_id, state.priority, state.run_at, 0, None)


def sweep(tasks: Moves, now: int, key: bytes) -> None:
    """A key of `expire` is due: the task and its idempotency key are forgotten."""
    task_id = key[12:]
    state = tasks.state_of(task_id)
    if state is None or state.status < COMPLETED or state.expires > now:
        return
    if time_key(state.queue, state.expires, task_id) == key:
        tasks.forget(table.SWEEP, task_id, state)


def sweep_all(tasks: Moves, now: int, keys: list[bytes]) -> None:
    """The same for many keys together. A damaged row is reported and leaves its own task alone unswept.

    `hot` is not asked: a task that has ended has left it. Rows that are alike, as those of one batch of results often
    are, are decoded once.
    """
    ids = [key[12:] for key in keys]
    rows = tasks.overlay.get_all(STATE, ids, tasks.on_damage)
    ended: dict[bytes, State] = {}
    like, state, over, key_start = b"", _NO_STATE, False, b""
    for key, task_id in zip(keys, ids, strict=True):
        row = rows.get(task_id)
        if row is None:
            continue
        if row != like:
            like, state = row, decode_state(row)
            over = state.status >= COMPLETED and state.expires <= now
            key_start = time_key(state.queue, state.expires, b"")
        if over and key_start + task_id == key:
            ended[key] = state
    for damage in tasks.forget_all(table.SWEEP, ended):
        tasks.on_damage(damage)


def shorten(tasks: Moves, now: int, table_number: int, key: bytes) -> None:
    """After a clock that went back: a lease or a retry delay ends no later than its own length from now."""
    if table_number == POST:
        tasks.outbox.shorten(now, key)
        return
    task_id = key[12:]
    state = tasks.state_of(task_id)
    if state is None:
        return
    if table_number == LEASE and state.status == CLAIMED and state.lease_until > now + state.lease_ms:
        edge = TABLE[table.CLAIMED, table.REBASE, table.PLAIN]
        left, entered = state.lease_until, now + state.lease_ms
        new = replaced(state, updated=now, lease_until=entered)
    elif (
        table_number == DUE
        and state.lease_number  # only delays that the system chose: a client's own runAt is a date and stays
        and state.run_at > now + tasks.registry.by_prefix[state.queue].settings.backoff_cap_ms
        and tasks.position(task_id, state) == table.DELAYED
    ):
        edge = TABLE[table.DELAYED, table.REBASE, table.PLAIN]
        left, entered = state.run_at, now + tasks.registry.by_prefix[state.queue].settings.backoff_cap_ms
        new = replaced(state, updated=now, run_at=entered)
    else:
        return
    tasks.hot.update(task_id, new)
    tasks.move(edge, tasks.registry.by_prefix[state.queue], task_id, state.priority, left, entered, new)
