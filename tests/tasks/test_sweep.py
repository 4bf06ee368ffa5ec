"""The sweep of many tasks together: all that one after another would take, nothing else, and damage stays alone."""

from random import Random

import pytest

from appliance.engine.rows import COMPLETED, DLQ, FAILED, DamagedRow
from appliance.engine.tables import BODY, DEAD, EXPIRE, IDEM, STATE, idem_key, time_key
from appliance.tasks import table, timers
from appliance.tasks.model import Task
from appliance.tasks.settings import TaskSettings
from appliance.tasks.table import TABLE, TERMINAL_STATES
from tests.tasks.desk import TENANT, Desk, claim, create, finish, nack, requeue
from tests.tasks.test_damage import DamagedStore

RETENTION_MS = 10_000
SETTINGS = TaskSettings(
    retention_ms=RETENTION_MS, dead_retention_ms=RETENTION_MS, hot_bytes_max=0, backoff_policy="fixed"
)
COMMANDS = ("mail", "print", "scan")


def _desk() -> tuple[Desk, DamagedStore]:
    store = DamagedStore()
    return Desk(SETTINGS, store=store), store


def _end(desk: Desk, status: int, command: str = "mail", **fields: str) -> Task:
    """A task that has ended so."""
    desk.create(command, max_attempts=1, **fields)
    task = desk.one(command)
    if status == DLQ:
        desk.ask(nack(task))
    else:
        desk.ask(finish(task, b'"result"', completed=status == COMPLETED))
    return desk.read(task)


def _expire_key(task: Task) -> bytes:
    return time_key(task.state.queue, task.state.expires, task.id)


def test_tasks_of_many_queues_and_ends_go_with_all_their_rows_and_counts() -> None:
    desk, store = _desk()
    for turn in range(4):
        for command in COMMANDS:
            for status in (COMPLETED, FAILED, DLQ):
                _end(desk, status, command, key=f"key-{turn}-{status}" if turn % 2 else "")
    alive = desk.create("mail", key="alive")
    desk.pass_ms(RETENTION_MS)
    assert set(store.rows[STATE]) == set(store.rows[BODY]) == {alive.id}
    assert list(store.rows[IDEM]) == [idem_key(alive.state.queue, "alive")]
    assert not store.rows[EXPIRE]
    assert not store.rows[DEAD]
    tenant = desk.scheduler.tasks.registry.tenants[TENANT]
    assert [queue.swept for queue in tenant.queues.values()] == [12, 12, 12]
    assert not any(queue.counts[state] for queue in tenant.queues.values() for state in TERMINAL_STATES)
    assert tenant.stored_bytes == tenant.queues["mail"].stored_bytes == len(alive.body.payload)
    edges = desk.scheduler.edge_counts()
    assert [edges[TABLE[state, table.SWEEP, table.PLAIN].number] for state in TERMINAL_STATES] == [12, 12, 12]
    assert desk.errors == []


@pytest.mark.parametrize("damaged", [STATE, BODY])
def test_a_damaged_row_leaves_only_its_own_task(damaged: int) -> None:
    desk, store = _desk()
    tasks = [_end(desk, COMPLETED, command, key=f"key-{number}") for number in range(3) for command in COMMANDS]
    bad = tasks[4]
    store.damaged.add((damaged, bad.id))
    desk.pass_ms(RETENTION_MS)
    assert set(store.rows[STATE]) == set(store.rows[BODY]) == {bad.id}
    assert list(store.rows[EXPIRE]) == [_expire_key(bad)]
    assert list(store.rows[IDEM]) == [idem_key(bad.state.queue, bad.body.key)]
    assert [(error.table, error.key) for error in desk.errors if isinstance(error, DamagedRow)] == [(damaged, bad.id)]
    queue = desk.scheduler.tasks.registry.by_prefix[bad.state.queue]
    assert (queue.swept, queue.counts[table.COMPLETED], queue.stored_bytes) == (2, 1, bad.state.stored_bytes)


def test_a_damaged_body_that_nothing_is_read_from_goes_with_its_task() -> None:
    desk, store = _desk()
    store.damaged.add((BODY, _end(desk, COMPLETED).id))
    desk.pass_ms(RETENTION_MS)
    assert not store.rows[STATE]
    assert not store.rows[BODY]
    assert desk.errors == []


def test_a_damaged_dead_letter_is_purged_by_no_one_and_swept_by_no_one() -> None:
    desk, store = _desk()
    task = _end(desk, DLQ, key="k")
    store.damaged.add((BODY, task.id))
    tasks = desk.scheduler.tasks
    with pytest.raises(DamagedRow):
        tasks.forget(table.PURGE, task.id, task.state)
    with pytest.raises(DamagedRow):
        timers.sweep(tasks, task.state.expires, _expire_key(task))
    timers.sweep_all(tasks, task.state.expires, [_expire_key(task)])
    assert len(desk.errors) == 1
    assert not tasks.overlay.open.has_writes


def test_rows_that_are_not_of_their_task_take_nothing() -> None:
    desk, _ = _desk()
    ended, alive = _end(desk, COMPLETED), desk.create()
    lives_again = _end(desk, DLQ, "print")
    desk.ask(requeue(lives_again))
    kept = _end(desk, FAILED, "scan")
    now = desk.now + RETENTION_MS - 1
    tasks = desk.scheduler.tasks
    stale = [
        time_key(ended.state.queue, ended.state.expires - 1, ended.id),
        time_key(b"\0\0\0\x09" + bytes(4), ended.state.expires, ended.id),
        time_key(alive.state.queue, 0, alive.id),
        time_key(alive.state.queue, now, alive.id),
        time_key(alive.state.queue, now, bytes(16)),
        _expire_key(lives_again),
        _expire_key(kept),
    ]
    timers.sweep_all(tasks, now, stale)
    assert not tasks.overlay.open.has_writes
    assert desk.errors == []


def test_a_row_that_comes_twice_is_swept_once() -> None:
    desk, store = _desk()
    task, other = _end(desk, DLQ, key="k"), _end(desk, COMPLETED)
    keys = [_expire_key(task), _expire_key(other), _expire_key(task)]
    timers.sweep_all(desk.scheduler.tasks, desk.now + RETENTION_MS, keys)
    desk.settle()
    assert not store.rows[STATE]
    queue = desk.scheduler.tasks.registry.by_prefix[task.state.queue]
    assert (queue.swept, queue.stored_bytes) == (2, 0)


def test_tasks_of_older_groups_and_of_this_one_are_swept_together() -> None:
    desk, store = _desk()
    desk.settings = TaskSettings(retention_ms=500, dead_retention_ms=500)
    desk.start()
    for number in range(3):
        desk.create(max_attempts=1, key=f"old-{number}")
    old = desk.claim(count=3)
    desk.offer(claim("print", wait_ms=60_000, lease_ms=1_000))
    desk.offer(claim("print", wait_ms=60_000, lease_ms=1_000))
    desk.create("other")
    desk.scheduler.pump(desk.now)
    desk.offer(create("other"))
    desk.scheduler.pump(desk.now)
    assert desk.flights, "a group must be on its way, so that the open one stays open"
    for task in old[:2]:
        desk.offer(nack(task))
    for number in range(2):
        desk.offer(create("print", max_attempts=1, key=f"new-{number}"))
    desk.scheduler.pump(desk.now)
    group = desk.scheduler.overlay.open
    made = set(group.tables[BODY])
    assert len(made) == 2
    desk.now += 1_000
    desk.scheduler.pump(desk.now)
    desk.now += 500
    desk.scheduler.pump(desk.now)
    assert desk.scheduler.overlay.open is group
    assert not made & group.tables[BODY].keys()
    assert not made & group.tables[STATE].keys()
    desk.settle()
    assert old[2].id in store.rows[STATE]
    assert not made & store.rows[STATE].keys()
    assert not {task.id for task in old[:2]} & store.rows[STATE].keys()
    assert [key[8:] for key in store.rows[IDEM]] == [b"old-2"]


@pytest.mark.parametrize("seed", range(20))
def test_together_does_what_one_after_another_does(seed: int) -> None:
    closed = []
    for together in (False, True):
        desk, store = _desk()
        rng = Random(seed)
        tasks = [
            _end(
                desk, rng.choice((COMPLETED, FAILED, DLQ)), rng.choice(COMMANDS), key=rng.choice(("", f"key-{number}"))
            )
            for number in range(30)
        ]
        for task in tasks:
            if task.state.status == DLQ and rng.random() < 0.3:
                desk.ask(requeue(task))
        for task in rng.sample(tasks, 4):
            store.damaged.add((rng.choice((STATE, BODY)), task.id))
        keys = [_expire_key(task) for task in rng.choices(tasks, k=40)]
        now = desk.now + RETENTION_MS
        machine = desk.scheduler.tasks
        if together:
            timers.sweep_all(machine, now, keys)
        else:
            for key in keys:
                try:
                    timers.sweep(machine, now, key)
                except DamagedRow as damage:
                    desk.errors.append(damage)
        reported = {str(error) for error in desk.errors}
        transitions = machine.overlay.open.transitions
        machine.close_group(now)
        writes = machine.overlay.close().close()
        tenant = machine.registry.tenants[TENANT]
        closed.append((writes, transitions, reported, desk.scheduler.edge_counts(), tenant.stored_bytes))
    assert closed[0] == closed[1]
