"""What happens to a task, from the outside of the state machine: order, fencing, counts, delays, ends."""

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, FAILED, PENDING
from appliance.engine.tables import BODY, EXPIRE, IDEM, LEASE, STATE
from appliance.errors import Problem
from appliance.tasks import machine, table
from appliance.tasks.model import (
    Create,
    CreateBatch,
    Created,
    Extended,
    FinishBatch,
    NewTask,
    Record,
    Returned,
    Task,
)
from appliance.tasks.settings import TaskSettings
from tests.tasks.desk import (
    SUBJECT,
    TENANT,
    Desk,
    abandon,
    cancel,
    claim,
    code,
    create,
    create_batch,
    finish,
    heartbeat,
    nack,
    requeue,
    unheard,
)

MINUTE_MS = 60_000


@pytest.fixture
def desk() -> Desk:
    return Desk()


def _dead(desk: Desk) -> Task:
    """A task that has just become a dead letter."""
    desk.create(max_attempts=1)
    task = desk.one()
    assert desk.ask(nack(task, reason="broken")) == Returned(True, 0, 1)
    return task


# Creating.


def test_a_created_task_is_pending_and_durable(desk: Desk) -> None:
    task = desk.create(payload=b'{"to": 1}', priority=3, max_attempts=2, webhook="https://x", trace_parent="00-1")
    assert desk.read(task) == task
    assert (task.state.status, task.state.attempts, task.state.priority, task.state.max_attempts) == (PENDING, 0, 3, 2)
    assert (task.body.payload, task.body.webhook, task.body.created) == (b'{"to": 1}', "https://x", desk.now)


def test_the_same_key_and_request_finds_the_same_task(desk: Desk) -> None:
    first = desk.ask(create(key="k", terms_hash=b"1"))
    again = desk.ask(create(key="k", terms_hash=b"1"))
    assert (first.replayed, again.replayed) == (False, True)
    assert again.task == first.task


def test_the_same_key_with_another_request_is_a_conflict(desk: Desk) -> None:
    desk.ask(create(key="k", terms_hash=b"1"))
    assert code(desk.ask(create(key="k", terms_hash=b"2"))) == "idempotency-conflict"


def test_a_key_belongs_to_its_queue_and_tenant(desk: Desk) -> None:
    ids = {desk.create(command, tenant, key="k").id for command in ("one", "two") for tenant in ("a", "b")}
    assert len(ids) == 4


def test_a_key_in_one_batch_twice_makes_one_task(desk: Desk) -> None:
    one, two = desk.ask(create_batch(2, key="k"))
    assert one.task.id == two.task.id
    assert (one.replayed, two.replayed) == (False, True)


_keys = st.lists(st.integers(0, 12), min_size=1, max_size=8)
"""The keys of a batch; 0 is a task without one."""


@pytest.mark.parametrize("last_key_every", [2, machine.LAST_KEY_EVERY])
@given(steps=st.lists(_keys | st.sampled_from(["restart", "fail", "sweep"]), max_size=40))
def test_a_key_makes_one_task_in_whatever_order_keys_come(last_key_every: int, steps: list[list[int] | str]) -> None:
    with patch.object(machine, "LAST_KEY_EVERY", last_key_every):
        _create_with_keys(steps)


def test_the_last_key_of_a_queue_may_be_one_that_is_not_written_yet(desk: Desk) -> None:
    desk.create(key="01")
    desk.start()
    with patch.object(machine, "LAST_KEY_EVERY", 2):
        desk.create(key="00")
        tasks: list[NewTask | Problem] = [NewTask("mail", b"{}", key=key) for key in ("", "05", "03", "05")]
        _, made, _, again = desk.ask(CreateBatch(TENANT, unheard, tasks))
    assert again.task.id == made.task.id


def _create_with_keys(steps: list[list[int] | str]) -> None:
    desk = Desk(TaskSettings(retention_ms=1_000))
    known: dict[str, bytes] = {}
    for step in steps:
        if step == "restart":
            desk.start()
        elif step == "fail":
            desk.offer(create(key="lost"))
            desk.scheduler.pump(desk.now)
            desk.fail()
        elif step == "sweep":
            desk.ask(FinishBatch(TENANT, unheard, [finish(task) for task in desk.claim(count=100)]))
            desk.pass_ms(2_000)
            known.clear()
        else:
            keys = [f"{number:02}" if number else "" for number in step]
            batch = CreateBatch(TENANT, unheard, [NewTask("mail", b"{}", key=key) for key in keys])
            for key, made in zip(keys, desk.ask(batch), strict=True):
                assert made.replayed is (key in known)
                assert not key or known.setdefault(key, made.task.id) == made.task.id


@pytest.mark.parametrize("stored", [["5"], ["5", "7"], [str(number) for number in range(20)]])
def test_after_a_start_keys_are_found_on_either_side_of_those_in_the_store(desk: Desk, stored: list[str]) -> None:
    known = {key: desk.create(key=key).id for key in stored}
    desk.start()
    for key in ["6", *stored, "8", "6", "9", *stored, "8"]:
        made = desk.ask(create(key=key))
        assert made.replayed is (key in known)
        assert known.setdefault(key, made.task.id) == made.task.id


NEW_TASKS = [
    NewTask("mail", b"1"),
    NewTask("mail", b"22", priority=7),
    NewTask("mail", b"33", priority=7),
    NewTask("mail", b"4", key="k", terms_hash=b"h"),
    NewTask("mail", b"5", webhook="https://example.com/a"),
    NewTask("mail", b"6", webhook="https://example.com/b", max_attempts=2),
    NewTask("mail", b"7", delay_ms=500),
    NewTask("mail", b"8", key="k", terms_hash=b"h"),
    NewTask("mail", b"8", key="k", terms_hash=b"other"),
    NewTask("print", b"9", trace_parent="00-1-2-03"),
    NewTask("mail", b"10", run_at=1),
    NewTask("mail", b"11"),
]
"""Neighbours that are alike and neighbours that are not, in every way in which a create can differ."""


@pytest.mark.parametrize("hot_bytes", [0, 1 << 20])
def test_a_batch_makes_what_its_creates_make_one_by_one(hot_bytes: int) -> None:
    together, alone = (Desk(TaskSettings(hot_bytes_max=hot_bytes)) for _ in range(2))
    outcomes = together.ask(CreateBatch(TENANT, unheard, list(NEW_TASKS)))
    for outcome, new in zip(outcomes, NEW_TASKS, strict=True):
        by_itself = alone.ask(Create(TENANT, unheard, new))
        if isinstance(by_itself, Created):
            assert outcome.replayed == by_itself.replayed
            assert (outcome.task.body, outcome.task.state) == (by_itself.task.body, by_itself.task.state)
            assert together.read(outcome.task) == outcome.task
        else:
            assert outcome == by_itself
    for command in ("mail", "print"):
        queues = [desk.scheduler.tasks.registry.tenants[TENANT].queues[command] for desk in (together, alone)]
        assert queues[0].row() == queues[1].row()


@pytest.mark.parametrize("hot_bytes", [0, 1 << 20])
def test_a_batch_of_results_records_each_as_it_came(hot_bytes: int) -> None:
    desk = Desk(TaskSettings(hot_bytes_max=hot_bytes))
    desk.ask(create_batch(6))
    tasks = desk.claim(count=6)
    items = [
        finish(tasks[0], b"1"),
        finish(tasks[1], b"1"),
        finish(tasks[2], b"2"),
        finish(tasks[3], b"2", error="but"),
        finish(tasks[4], b"2", completed=False, error="but"),
        finish(tasks[0], b"1"),
        finish(tasks[0], b"2"),
        finish(tasks[5], b""),
    ]
    outcomes = desk.ask(FinishBatch(TENANT, unheard, [*items]))
    assert code(outcomes.pop(6)) == "not-claimed"
    del items[6]
    for item, outcome in zip(items, outcomes, strict=True):
        state = desk.read(next(task for task in tasks if task.id == item.id)).state
        assert outcome.state == state
        assert (state.status == COMPLETED) is item.completed
        assert (state.result, state.error) == (item.result, item.error)
    queue = desk.scheduler.tasks.registry.tenants[TENANT].queues["mail"]
    assert queue.counts == {"ready": 0, "delayed": 0, "claimed": 0, "completed": 5, "failed": 1, "dlq": 0}


def test_a_key_replays_in_every_state_and_is_free_after_the_sweep(desk: Desk) -> None:
    first = desk.create(key="k")
    task = desk.one()
    assert desk.ask(create(key="k")).task.state.status == CLAIMED
    desk.ask(finish(task))
    assert desk.ask(create(key="k")).task.state.status == COMPLETED
    desk.pass_ms(desk.settings.retention_ms)
    assert desk.store.rows[IDEM] == {}
    assert desk.create(key="k").id != first.id


def test_creates_are_refused_below_the_floor_and_replays_are_not(desk: Desk) -> None:
    first = desk.create(key="k")
    desk.scheduler.set_accepts_creates(False)
    assert code(desk.ask(create())) == "unavailable"
    replay = desk.ask(create(key="k"))
    assert isinstance(replay, Created) and replay.task.id == first.id
    task = desk.one()
    assert isinstance(desk.ask(finish(task)), Record)
    desk.scheduler.set_accepts_creates(True)
    desk.create()


def test_run_at_beats_a_delay_and_one_in_the_past_means_now(desk: Desk) -> None:
    later = desk.create("one", run_at=desk.now + 10_000, delay_ms=1)
    assert later.state.run_at == desk.now + 10_000
    desk.create("two", run_at=desk.now - 10_000, delay_ms=99_999)
    assert desk.claim("two") != []


# Claiming.


def test_a_delayed_task_is_claimable_when_it_is_due_and_not_before(desk: Desk) -> None:
    desk.create(delay_ms=5_000)
    desk.pass_ms(4_999)
    assert desk.claim() == []
    desk.pass_ms(1)
    assert len(desk.claim()) == 1


def test_higher_priorities_come_first_and_then_older_tasks(desk: Desk) -> None:
    made = [desk.create(priority=priority) for priority in (0, 5, 0, 255, 5)]
    order = [task.id for task in desk.claim(count=9)]
    assert order == [made[at].id for at in (3, 1, 4, 0, 2)]


def test_over_several_commands_the_best_head_comes_first(desk: Desk) -> None:
    old = desk.create("a")
    high = desk.create("b", priority=1)
    desk.create("c", priority=9)
    assert [task.id for task in desk.claim("a", "b", "unheard-of", count=9)] == [high.id, old.id]


@pytest.mark.parametrize("way", ["delay", "nack", "abandon", "expiry"])
def test_a_task_keeps_its_place(desk: Desk, way: str) -> None:
    first = desk.create(delay_ms=2_000 if way == "delay" else 0)
    second = desk.create()
    if way != "delay":
        task = desk.one()
        if way == "nack":
            desk.ask(nack(task, 500))
        elif way == "abandon":
            desk.ask(abandon(task))
        else:
            desk.pass_ms(MINUTE_MS)
    desk.pass_ms(2_000)
    assert [task.id for task in desk.claim(count=9)] == [first.id, second.id]


def test_a_claim_counts_and_names_the_owner(desk: Desk) -> None:
    desk.create()
    (task,) = desk.claim(worker="w1")
    state = task.state
    assert (state.status, state.attempts, state.deliveries, state.lease_number) == (CLAIMED, 1, 1, 1)
    assert (state.subject, state.worker, state.lease_until) == (SUBJECT, "w1", desk.now + MINUTE_MS)


def test_a_cancelled_task_is_not_claimed(desk: Desk) -> None:
    gone = desk.create()
    kept = desk.create()
    desk.ask(cancel(gone))
    assert [task.id for task in desk.claim(count=9)] == [kept.id]


# The order of judgement.

ACTIONS: list[Any] = [
    lambda task, **who: heartbeat(task, 1_000, **who),
    lambda task, **who: nack(task, **who),
    lambda task, **who: abandon(task, **who),
    lambda task, **who: finish(task, **who),
    lambda task, **who: finish(task, completed=False, **who),
]


@pytest.mark.parametrize("action", ACTIONS)
def test_owner_actions_are_judged_in_the_order_of_the_contract(desk: Desk, action: Any) -> None:
    task = desk.create()
    desk.create(tenant="other")
    assert code(desk.ask(action(task, tenant="other"))) == "not-found"
    assert code(desk.ask(action(task, tenant="nobody"))) == "not-found"
    assert code(desk.ask(action(task, lease=1))) == "lease-lost"
    assert code(desk.ask(action(task))) == "not-claimed"
    (task,) = desk.claim("mail", worker="w1")
    assert code(desk.ask(action(task, subject="stranger"))) == "permission-denied"
    assert code(desk.ask(action(task, worker="w2", lease=9))) == "permission-denied"
    assert code(desk.ask(action(task, lease=9))) == "lease-lost"
    assert desk.read(task).state == task.state
    desk.ask(finish(task, b"77"))
    assert code(desk.ask(action(task, subject="stranger"))) == "permission-denied"
    assert code(desk.ask(action(task))) == "not-claimed"
    assert code(desk.ask(action(task, worker="w1", lease=1))) == "not-claimed"


@pytest.mark.parametrize("action", ACTIONS)
def test_the_owner_of_a_cancelled_task_hears_that_it_was(desk: Desk, action: Any) -> None:
    desk.create()
    task = desk.one()
    desk.ask(cancel(task))
    assert code(desk.ask(action(task))) == "cancelled"
    assert code(desk.ask(action(task, subject="stranger"))) == "permission-denied"


def test_an_action_without_a_worker_matches_any_of_the_subjects(desk: Desk) -> None:
    desk.create()
    (task,) = desk.claim(worker="w1")
    assert isinstance(desk.ask(heartbeat(task, 1_000)), Extended)
    assert isinstance(desk.ask(heartbeat(task, 1_000, worker="w1")), Extended)
    desk.ask(finish(task))
    desk.create()
    (task,) = desk.claim()
    assert isinstance(desk.ask(heartbeat(task, 1_000, worker="anyone")), Extended)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_on_a_task_that_was_never_claimed_and_cancelled_is_a_strangers(desk: Desk, action: Any) -> None:
    task = desk.create()
    desk.ask(cancel(task))
    assert code(desk.ask(action(task))) == "permission-denied"


def test_the_second_of_two_leases_fences_the_first(desk: Desk) -> None:
    desk.create()
    old = desk.one()
    desk.ask(nack(old, 0))
    new = desk.one()
    assert (old.state.lease_number, new.state.lease_number) == (1, 2)
    for action in ACTIONS:
        assert code(desk.ask(action(old, lease=1))) == "lease-lost"
    assert desk.read(new).state == new.state
    assert isinstance(desk.ask(finish(new, lease=2)), Record)


# Results.


def test_the_first_result_stays_and_its_repeat_gets_it_again(desk: Desk) -> None:
    desk.create()
    task = desk.one()
    first = desk.ask(finish(task, b'{"a": [1, 2]}'))
    assert isinstance(first, Record)
    assert desk.ask(finish(task, b' {"a":[1,2]} ')) == first
    assert desk.ask(finish(task, b'{"a":[1,2]}', lease=1)) == first
    assert code(desk.ask(finish(task, b'{"a":[2,1]}'))) == "not-claimed"
    assert code(desk.ask(finish(task, b'{"a": [1, 2]}', completed=False))) == "not-claimed"
    assert code(desk.ask(finish(task, b'{"a": [1, 2]}', lease=2))) == "not-claimed"
    assert code(desk.ask(finish(task, b'{"a": [1, 2]}', subject="stranger"))) == "permission-denied"
    assert desk.read(task).state.result == b'{"a": [1, 2]}'


def test_a_failure_is_recorded_and_never_delivered_again(desk: Desk) -> None:
    desk.create()
    task = desk.one()
    record = desk.ask(finish(task, b"", completed=False, error="no such address"))
    assert (record.state.status, record.state.error, record.state.attempts) == (FAILED, "no such address", 1)
    assert desk.ask(finish(task, b"", completed=False, error="no such address")) == record
    desk.pass_ms(10 * MINUTE_MS)
    assert desk.claim() == []


# Leases.


def test_a_heartbeat_extends_and_never_shortens(desk: Desk) -> None:
    desk.create()
    task = desk.one()
    assert desk.ask(heartbeat(task, 1_000)) == Extended(desk.now + MINUTE_MS)
    assert desk.ask(heartbeat(task, 2 * MINUTE_MS)) == Extended(desk.now + 2 * MINUTE_MS)
    desk.pass_ms(MINUTE_MS)
    assert desk.read(task).state.status == CLAIMED
    desk.pass_ms(MINUTE_MS)
    assert desk.read(task).state.status == PENDING


def test_many_heartbeats_leave_one_row(desk: Desk) -> None:
    desk.create()
    task = desk.one()
    for _ in range(20):
        desk.now += 1
        desk.ask(heartbeat(task, MINUTE_MS))
    assert len(desk.store.rows[LEASE]) == 1


def test_a_lease_ends_when_it_expires_and_not_at_the_next_claim(desk: Desk) -> None:
    desk.create()
    task = desk.one()
    desk.pass_ms(MINUTE_MS - 1)
    assert desk.read(task).state.status == CLAIMED
    desk.pass_ms(1)
    state = desk.read(task).state
    assert (state.status, state.run_at, state.error, state.attempts) == (PENDING, desk.now + 1_000, "lease expired", 1)


def test_a_result_at_the_instant_of_expiry_comes_too_late(desk: Desk) -> None:
    desk.create()
    task = desk.one()
    desk.now += MINUTE_MS
    assert code(desk.scheduler.tasks.finish(desk.now, finish(task, lease=1), lambda one, other: False)) == "lease-lost"
    desk.settle()
    assert desk.read(task).state.status == PENDING
    edge = table.TABLE[table.CLAIMED, table.COMPLETE, table.OVERDUE]
    assert desk.scheduler.edge_counts()[edge.number] == 1


def test_a_result_just_before_expiry_counts(desk: Desk) -> None:
    desk.create()
    task = desk.one()
    desk.now += MINUTE_MS - 1
    assert isinstance(desk.ask(finish(task)), Record)


# Attempts, deliveries and dead letters.


def test_a_nack_returns_the_task_with_the_backoff_or_the_given_delay(desk: Desk) -> None:
    desk.create()
    assert desk.ask(nack(desk.one())) == Returned(False, 1_000, 1)
    desk.pass_ms(1_000)
    assert desk.ask(nack(desk.one(), 0)) == Returned(False, 0, 2)
    assert desk.ask(nack(desk.one(), 10**12)) == Returned(False, desk.settings.backoff_cap_ms, 3)
    assert desk.claim() == []


def test_a_nack_at_the_last_attempt_is_a_dead_letter_with_its_reason(desk: Desk) -> None:
    task = _dead(desk)
    state = desk.read(task).state
    assert (state.status, state.error, state.attempts) == (DLQ, "broken", 1)
    assert state.expires == desk.now + desk.settings.dead_retention_ms


def test_a_dead_letter_has_a_reason_even_if_nobody_gave_one(desk: Desk) -> None:
    desk.create(max_attempts=1)
    task = desk.one()
    desk.ask(nack(task))
    assert desk.read(task).state.error


def test_an_expiry_at_the_last_attempt_is_a_dead_letter(desk: Desk) -> None:
    desk.create(max_attempts=1)
    task = desk.one()
    desk.pass_ms(MINUTE_MS)
    state = desk.read(task).state
    assert (state.status, state.error) == (DLQ, "lease expired")


def test_an_abandon_gives_the_attempt_back_and_not_the_delivery(desk: Desk) -> None:
    desk.create(max_attempts=1)
    assert desk.ask(abandon(desk.one())) == Returned(False, 0, 0)
    state = desk.one().state
    assert (state.attempts, state.deliveries, state.lease_number) == (1, 2, 2)


def test_from_the_third_abandon_in_a_row_the_task_waits_longer_each_time(desk: Desk) -> None:
    desk.create()
    delays = []
    for _ in range(5):
        returned = desk.ask(abandon(desk.one()))
        delays.append(returned.delay_ms)
        desk.pass_ms(returned.delay_ms)
    assert delays == [0, 0, 1_000, 2_000, 4_000]
    desk.ask(nack(desk.one(), 0))
    assert desk.ask(abandon(desk.one())).delay_ms == 0


def test_a_claim_that_nobody_heard_of_is_no_abandon(desk: Desk) -> None:
    desk.create()
    for _ in range(5):
        assert desk.ask(abandon(desk.one(), undelivered=True)) == Returned(False, 0, 0)
    assert desk.one().state.abandons == 0


def test_deliveries_are_bounded_although_nothing_is_nacked() -> None:
    desk = Desk(TaskSettings(max_deliveries=3))
    desk.create(max_attempts=1)
    outcomes = []
    for _ in range(3):
        task = desk.one()
        outcomes.append(desk.ask(abandon(task, undelivered=True)).dead)
    assert outcomes == [False, False, True]
    state = desk.read(task).state
    assert (state.status, state.deliveries) == (DLQ, 3)
    assert "3" in state.error


def test_the_bound_of_deliveries_leaves_room_for_every_attempt() -> None:
    desk = Desk(TaskSettings(max_deliveries=1))
    desk.create(max_attempts=3)
    for number in range(6):
        assert desk.ask(abandon(desk.one(), undelivered=True)).dead == (number == 5)


def test_a_nack_at_the_bound_of_deliveries_is_a_dead_letter() -> None:
    desk = Desk(TaskSettings(max_deliveries=2))
    desk.create(max_attempts=1)
    desk.ask(abandon(desk.one()))
    assert desk.ask(nack(desk.one(), 0)).dead


# Operators.


def test_a_requeue_gives_a_dead_letter_another_life_and_keeps_the_fence(desk: Desk) -> None:
    task = _dead(desk)
    again = desk.ask(requeue(task))
    assert (again.id, again.state.status, again.state.attempts, again.state.deliveries) == (task.id, PENDING, 0, 0)
    assert code(desk.ask(finish(task, lease=1))) == "lease-lost"
    state = desk.one().state
    assert (state.lease_number, state.attempts, state.deliveries) == (2, 1, 1)
    assert code(desk.ask(finish(task, lease=1))) == "lease-lost"


def test_only_dead_letters_are_requeued(desk: Desk) -> None:
    task = desk.create()
    assert code(desk.ask(requeue(task))) == "not-claimed"
    desk.ask(finish(desk.one()))
    assert code(desk.ask(requeue(task))) == "not-claimed"
    assert code(desk.ask(requeue(task, "other"))) == "not-found"


@pytest.mark.parametrize("before", ["ready", "delayed", "claimed"])
def test_a_cancel_ends_whatever_has_not_ended(desk: Desk, before: str) -> None:
    task = desk.create(delay_ms=10_000 if before == "delayed" else 0)
    if before == "claimed":
        desk.one()
    assert code(desk.ask(cancel(task, "other"))) == "not-found"
    record = desk.ask(cancel(task))
    assert (record.state.status, record.state.error, record.state.cancelled) == (FAILED, "cancelled", True)
    assert code(desk.ask(cancel(task))) == "not-claimed"
    desk.pass_ms(MINUTE_MS)
    assert desk.claim() == []


# Retention and clocks.


def test_the_sweep_takes_what_has_ended_and_leaves_the_rest(desk: Desk) -> None:
    desk.create(key="k")
    desk.ask(finish(desk.one()))
    alive = desk.create()
    desk.pass_ms(desk.settings.retention_ms - 1)
    assert len(desk.store.rows[STATE]) == 2
    desk.pass_ms(1)
    assert set(desk.store.rows[STATE]) == set(desk.store.rows[BODY]) == {alive.id}
    assert desk.store.rows[EXPIRE] == {}
    assert desk.scheduler.reads.task(TENANT, alive.id) is not None


def test_the_sweep_does_not_take_a_dead_letter_that_lives_again(desk: Desk) -> None:
    task = _dead(desk)
    desk.ask(requeue(task))
    desk.pass_ms(desk.settings.dead_retention_ms)
    assert desk.read(task).state.status == PENDING


def test_after_a_clock_that_went_back_no_lease_lies_further_ahead_than_its_length(desk: Desk) -> None:
    for _ in range(600):
        desk.create()
    leased = desk.claim(count=600)
    dated = desk.create("other", delay_ms=3_600_000)
    desk.now -= 86_400_000
    desk.start()
    desk.settle()
    assert {desk.read(task).state.lease_until for task in leased} == {desk.now + MINUTE_MS}
    assert desk.read(dated).state.run_at == dated.state.run_at


def test_a_rebase_that_is_cut_short_goes_on_after_the_next_start() -> None:
    desk = Desk(TaskSettings(group_transitions_max=100))
    desk.ask(create_batch(600))
    leased = desk.claim(count=600)
    desk.now -= 86_400_000
    desk.start()
    while not desk.flights:
        desk.scheduler.pump(desk.now)
    desk.land()  # only the first group of the rebase
    desk.now += 10
    desk.start()
    desk.settle()
    assert max(desk.read(task).state.lease_until for task in leased) <= desk.now + MINUTE_MS


def test_a_rebase_goes_on_without_anybody_waking_it(desk: Desk) -> None:
    desk.ask(create_batch(600))
    desk.claim(count=600)
    desk.now -= 1  # nothing lies too far ahead, so nothing is written, and all has to be looked through
    desk.start()
    rounds = 0
    while desk.scheduler.next_time() <= desk.now:
        desk.scheduler.pump(desk.now)
        rounds += 1
        assert rounds < 20
    assert rounds >= 2


def test_ids_go_on_from_the_last_one_when_the_clock_went_back(desk: Desk) -> None:
    first = desk.create()
    desk.now -= 86_400_000
    desk.start()
    second = desk.create()
    assert second.id > first.id
    assert [task.id for task in desk.claim(count=9)] == [first.id, second.id]


def test_claim_uses_its_own_lease_length(desk: Desk) -> None:
    desk.create()
    outcome = desk.ask(claim(lease_ms=5_000))
    assert outcome.tasks[0].state.lease_until == desk.now + 5_000
