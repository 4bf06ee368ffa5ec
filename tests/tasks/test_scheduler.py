"""When things are decided, in which group, and who hears of them when."""

from functools import partial
from typing import Any

import pytest

from appliance.engine.rows import COMPLETED, decode_state
from appliance.engine.tables import AUDIT, BODY, STATE
from appliance.errors import Problem, unavailable
from appliance.tasks import scheduler as module
from appliance.tasks.model import FOREVER_MS, Claimed, CreateBatch, Created, FinishBatch, NewTask, Settle
from appliance.tasks.scheduler import INBOX_QUANTUM, NEVER
from appliance.tasks.settings import TaskSettings
from appliance.tasks.shares import (
    FILLING_MS,
    GROUPS_PASSED,
    HOLDS_MS,
    INBOX_OPERATIONS,
    KEPT_DIVISOR,
    PERIOD_MS,
    RESUMED,
    SLICE_ANSWERS,
    SLICE_TRANSITIONS,
    SLICE_TURNS,
    SMALL_BYTES,
    SMALL_TRANSITIONS,
)
from appliance.tasks.watches import Watch
from tests.tasks.desk import (
    TENANT,
    Desk,
    abandon,
    cancel,
    claim,
    code,
    create,
    create_batch,
    finish,
    nack,
    requeue,
    unheard,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# Answers and durability.


def test_nobody_is_answered_before_the_group_is_durable(desk: Desk) -> None:
    heard = desk.offer(create())
    desk.scheduler.pump(desk.now)
    assert heard == []
    desk.land()
    assert isinstance(heard[0], Created)


def test_an_answer_that_wrote_nothing_waits_for_what_it_read(desk: Desk) -> None:
    desk.offer(create(key="k"))
    desk.scheduler.pump(desk.now)
    replay, conflict = desk.offer(create(key="k")), desk.offer(create(key="k", terms_hash=b"2"))
    desk.scheduler.pump(desk.now)
    assert (replay, conflict) == ([], [])
    desk.land()
    assert replay[0].replayed
    assert code(conflict[0]) == "idempotency-conflict"


def test_an_answer_waits_for_the_newest_of_several_groups() -> None:
    desk = Desk(depth=2)
    task = desk.create()
    (leased,) = desk.claim()
    desk.offer(finish(leased))
    desk.scheduler.pump(desk.now)
    desk.offer(create())
    desk.scheduler.pump(desk.now)
    heard = desk.offer(finish(task, b"2"))
    desk.scheduler.pump(desk.now)
    desk.land()
    assert heard == []
    desk.land()
    assert code(heard[0]) == "not-claimed"


def test_a_refusal_that_nothing_undurable_could_change_is_answered_at_once(desk: Desk) -> None:
    task = desk.create()
    heard = desk.offer(finish(task))
    desk.scheduler.pump(desk.now)
    assert code(heard[0]) == "not-claimed"


def test_reads_see_only_what_is_durable(desk: Desk) -> None:
    task = desk.create()
    desk.offer(cancel(task))
    desk.scheduler.pump(desk.now)
    assert desk.read(task).state == task.state
    desk.land()
    assert desk.read(task).state.cancelled


def test_no_tenant_reads_the_task_of_another(desk: Desk) -> None:
    task = desk.create()
    desk.create(tenant="other")
    assert desk.scheduler.reads.task("other", task.id) is None
    assert desk.scheduler.reads.task("nobody", task.id) is None


def test_an_answer_that_fails_does_not_keep_the_others_from_theirs(desk: Desk) -> None:
    def broken(_: Any) -> None:
        raise ValueError("broken sink")

    operation = create()
    operation.sink = broken
    desk.scheduler.offer(operation)
    heard = desk.offer(create())
    desk.settle()
    assert len(heard) == 1
    assert [str(error) for error in desk.errors] == ["broken sink"]


def test_an_answer_may_ask_the_next_question(desk: Desk) -> None:
    task = desk.create()
    heard: list[Any] = []

    def then(outcome: Any) -> None:
        heard.append(outcome)
        if len(heard) < 4:
            again = finish(task)
            again.sink = then
            desk.scheduler.offer(again)

    first = finish(task)
    first.sink = then
    desk.scheduler.offer(first)
    desk.settle()
    assert len(heard) == 4
    desk.create()


# Groups.


def test_while_a_group_is_on_its_way_the_next_one_grows() -> None:
    desk = Desk()
    desk.offer(create())
    desk.scheduler.pump(desk.now)
    heard = [desk.offer(create()) for _ in range(10)]
    desk.scheduler.pump(desk.now)
    assert len(desk.flights) == 1
    desk.land()
    assert len(desk.flights) == 1
    desk.land()
    assert all(len(each) == 1 for each in heard)


def test_a_group_is_closed_at_its_number_of_transitions() -> None:
    desk = Desk(TaskSettings(group_transitions_max=10), depth=100)
    for _ in range(35):
        desk.offer(create())
    desk.scheduler.pump(desk.now)
    assert [_tasks_in(flight) for flight in desk.flights] == [10, 10, 10, 5]


def test_a_group_is_closed_at_its_number_of_bytes() -> None:
    desk = Desk(TaskSettings(group_bytes_max=10_000), depth=100)
    for _ in range(10):
        desk.offer(create(payload=b"x" * 4_000))
    desk.scheduler.pump(desk.now)
    assert len(desk.flights) == 5


def _tasks_in(flight: Any) -> int:
    return sum(len(writes.puts) for writes in flight[1] if writes.table == BODY)


def test_a_batch_is_in_one_group_whole() -> None:
    desk = Desk(TaskSettings(group_transitions_max=10), depth=100)
    for _ in range(3):
        desk.offer(create_batch(4))
    big = desk.offer(create_batch(25))
    desk.scheduler.pump(desk.now)
    assert [_tasks_in(flight) for flight in desk.flights] == [8, 4, 25]
    desk.settle()
    assert len(big[0]) == 25


def test_a_pump_with_a_full_group_decides_nothing_and_goes_on_when_it_is_durable() -> None:
    desk = Desk(TaskSettings(group_transitions_max=2))
    heard = [desk.offer(create()) for _ in range(7)]
    for _ in range(3):
        desk.scheduler.pump(desk.now)
    assert desk.scheduler.overlay.open.transitions == 2
    assert len(desk.scheduler.inboxes) == 3
    assert desk.scheduler.next_time() == NEVER
    desk.settle()
    assert all(len(each) == 1 for each in heard)


def test_results_of_a_batch_are_each_true_and_in_one_commit(desk: Desk) -> None:
    desk.ask(create_batch(3))
    tasks = desk.claim(count=3)
    items = [finish(task) for task in tasks]
    items[1].subject = "stranger"
    outcomes = desk.ask(FinishBatch(TENANT, unheard, [*items, unavailable("not valid")]))
    assert [outcomes[0].id, outcomes[2].id] == [tasks[0].id, tasks[2].id]
    assert (code(outcomes[1]), code(outcomes[3])) == ("permission-denied", "unavailable")
    assert [desk.read(task).state.status == COMPLETED for task in tasks] == [True, False, True]


def test_a_slow_disk_makes_groups_smaller_and_a_fast_one_lets_them_grow(desk: Desk) -> None:
    for _ in range(20):
        desk.offer(create())
        desk.scheduler.pump(desk.now)
        number, writes, fresh = desk.flights.popleft()
        desk.store.apply(writes, fresh)
        desk.scheduler.durable(number, desk.now, parked_ms=50.0)
    assert desk.scheduler.group_limit == module.GROUP_TRANSITIONS_MIN
    for _ in range(40):
        desk.create()
    assert desk.scheduler.group_limit == desk.settings.group_transitions_max


# Waiting claims.


def test_a_claim_waits_for_a_task_and_is_woken_by_it(desk: Desk) -> None:
    heard = desk.offer(claim(wait_ms=10_000))
    desk.settle()
    assert heard == []
    task = desk.create()
    assert [each.id for each in heard[0].tasks] == [task.id]


@pytest.mark.parametrize("by", ["due", "expiry", "nack", "abandon", "requeue"])
def test_whatever_makes_a_task_ready_wakes_a_waiting_claim(by: str) -> None:
    desk = Desk()
    desk.create(delay_ms=5_000 if by == "due" else 0, max_attempts=1 if by == "requeue" else 5)
    task = desk.one() if by != "due" else None
    if by == "requeue" and task is not None:
        desk.ask(nack(task))
    heard = desk.offer(claim(wait_ms=1_000_000))
    desk.settle()
    assert heard == []
    if task is not None and by != "expiry":
        desk.ask({"nack": nack(task, 0), "abandon": abandon(task), "requeue": requeue(task)}[by])
    else:
        desk.pass_ms(60_000)
        desk.pass_ms(1_000)
    assert len(heard) == 1 and len(heard[0].tasks) == 1


def test_a_claim_that_waited_in_vain_ends_empty_at_its_deadline(desk: Desk) -> None:
    heard = desk.offer(claim("mail", wait_ms=10_000))
    desk.settle()
    desk.pass_ms(9_999)
    assert heard == []
    assert desk.scheduler.next_time() == desk.now + 1
    desk.pass_ms(1)
    assert heard == [Claimed([])]


def test_claims_are_woken_in_the_order_in_which_they_came(desk: Desk) -> None:
    heard = [
        desk.offer(claim("mail", wait_ms=10_000)),
        desk.offer(claim(wait_ms=10_000)),
        desk.offer(claim("print", "mail", wait_ms=10_000)),
    ]
    desk.settle()
    for number in range(3):
        desk.create("mail")
        assert [len(each) for each in heard] == [1] * (number + 1) + [0] * (2 - number)


def test_a_claim_whose_caller_left_takes_nothing(desk: Desk) -> None:
    left = claim(wait_ms=10_000)
    desk.offer(left)
    staying = desk.offer(claim(wait_ms=10_000))
    desk.settle()
    left.gone = True
    desk.create()
    assert len(staying) == 1 and len(staying[0].tasks) == 1


def test_so_many_claims_of_a_tenant_wait_and_no_more() -> None:
    desk = Desk(TaskSettings(waiting_per_tenant_max=2))
    heard = [desk.offer(claim(wait_ms=10_000)) for _ in range(3)]
    other = desk.offer(claim(wait_ms=10_000, tenant="other"))
    desk.settle()
    assert [len(each) for each in heard] == [0, 0, 1]
    assert code(heard[2][0]) == "rate-limited"
    assert other == []


def test_work_that_comes_in_bulk_goes_to_all_who_wait(desk: Desk) -> None:
    heard = [desk.offer(claim("mail", wait_ms=10_000, count=2)) for _ in range(3)]
    desk.settle()
    desk.ask(create_batch(5))
    assert [len(each[0].tasks) for each in heard] == [2, 2, 1]


# Failure.


def test_what_was_decided_is_unknown_and_the_store_decides_anew(desk: Desk) -> None:
    task = desk.create()
    heard = desk.offer(claim())
    desk.scheduler.pump(desk.now)
    desk.fail()
    assert code(heard[0]) == "unavailable"
    assert desk.scheduler.epoch == 1
    assert [each.id for each in desk.claim()] == [task.id]


def test_a_failure_takes_every_later_group_along() -> None:
    desk = Desk(depth=3)
    heard = []
    for _ in range(3):
        heard.append(desk.offer(create()))
        desk.scheduler.pump(desk.now)
    still_open = desk.offer(create())
    desk.depth = 0
    desk.scheduler.pump(desk.now)
    desk.depth = 3
    desk.fail(unavailable("the disk is full", 10))
    assert [each[0].message for each in [*heard, still_open]] == ["the disk is full"] * 4
    desk.settle()
    assert desk.store.rows[STATE] == {}


def test_what_was_not_decided_and_who_waits_survive_a_failure() -> None:
    desk = Desk(TaskSettings(group_transitions_max=1))
    waiting = desk.offer(claim("print", wait_ms=10_000))
    desk.settle()
    lost, kept = desk.offer(create("mail")), [desk.offer(create("mail")) for _ in range(3)]
    desk.scheduler.pump(desk.now)
    desk.fail()
    assert code(lost[0]) == "unavailable"
    desk.settle()
    assert [isinstance(each[0], Created) for each in kept].count(True) >= 2
    desk.create("print")
    assert len(waiting[0].tasks) == 1


def test_a_waiting_claim_keeps_its_deadline_over_a_failure(desk: Desk) -> None:
    waiting = desk.offer(claim(wait_ms=10_000))
    desk.settle()
    desk.now += 6_000
    desk.offer(create("x", "other"))
    desk.scheduler.pump(desk.now)
    desk.fail()
    desk.pass_ms(3_999)
    assert waiting == []
    desk.pass_ms(1)
    assert waiting == [Claimed([])]


def test_answers_of_an_old_epoch_are_dropped(desk: Desk) -> None:
    desk.offer(create())
    desk.scheduler.pump(desk.now)
    number = desk.flights[0][0]
    desk.fail()
    desk.scheduler.durable(number, desk.now)
    desk.scheduler.failed(number, desk.now)
    assert desk.scheduler.epoch == 1
    desk.create()


def test_counters_and_ids_are_those_of_the_store_after_a_failure(desk: Desk) -> None:
    first = desk.create()
    lost = desk.offer(create_batch(5))
    desk.scheduler.pump(desk.now)
    desk.fail()
    assert code(lost[0]) == "unavailable"
    (queue,) = desk.scheduler.tasks.registry.by_prefix.values()
    assert (queue.counts["ready"], queue.created) == (1, 1)
    second = desk.create()
    assert second.id > first.id
    assert sum(desk.scheduler.edge_counts()) == 1 + 5 + 1


def test_the_floor_outlives_a_failure(desk: Desk) -> None:
    desk.create()
    desk.scheduler.set_accepts_creates(False)
    desk.offer(claim())
    desk.scheduler.pump(desk.now)
    desk.fail()
    assert code(desk.ask(create())) == "unavailable"


# Watches and time.


def test_a_watch_hears_of_the_end_when_it_is_durable(desk: Desk) -> None:
    desk.create()
    task = desk.one()
    told: list[int] = []
    desk.scheduler.watches.add(task.id, Watch(TENANT, lambda: told.append(desk.read(task).state.status)), desk.now + 10)
    desk.offer(finish(task))
    desk.scheduler.pump(desk.now)
    assert told == []
    desk.land()
    assert told == [COMPLETED]


def test_a_watch_runs_out_with_the_pump(desk: Desk) -> None:
    task = desk.create()
    told: list[int] = []
    desk.scheduler.watches.add(task.id, Watch(TENANT, lambda: told.append(desk.now)), desk.now + 10)
    assert desk.scheduler.next_time() == desk.now + 10
    desk.pass_ms(10)
    assert told == [desk.now]


def test_an_idle_scheduler_has_no_next_time(desk: Desk) -> None:
    assert desk.scheduler.next_time() == NEVER
    desk.create()
    assert desk.scheduler.next_time() == NEVER


def test_the_next_time_is_that_of_the_earliest_timer(desk: Desk) -> None:
    desk.create(delay_ms=70_000)
    assert desk.scheduler.next_time() == desk.now + 70_000
    desk.create()
    desk.one()
    assert desk.scheduler.next_time() == desk.now + 60_000


@pytest.mark.parametrize("quantum", [1, 250])
def test_the_sweep_goes_on_by_itself_over_keys_that_mean_nothing_any_more(
    monkeypatch: pytest.MonkeyPatch, quantum: int
) -> None:
    monkeypatch.setattr(module, "SWEEP_QUANTUM", quantum)
    desk = Desk(TaskSettings(retention_ms=1_000, dead_retention_ms=1_000))
    for _ in range(8):
        desk.create(max_attempts=1)
        task = desk.one()
        desk.ask(nack(task))
        desk.ask(requeue(task))
    desk.create("last")
    desk.ask(finish(desk.one("last")))
    desk.now += 1_000
    desk.settle()
    assert len(desk.store.rows[STATE]) == 8


def test_a_load_that_fills_every_group_leaves_room_for_the_sweep() -> None:
    desk = Desk(TaskSettings(retention_ms=1_000, group_transitions_max=8))
    desk.ask(create_batch(20, max_attempts=1))
    for task in desk.claim(count=20):
        desk.ask(finish(task))
    desk.now += 1_000
    for _ in range(30):
        for _ in range(20):
            desk.offer(create())
        desk.scheduler.pump(desk.now)
        desk.land()
    assert desk.scheduler.inboxes.tenants_waiting
    assert not any(state.status == COMPLETED for state in map(decode_state, desk.store.rows[STATE].values()))


def test_the_sweep_takes_no_more_than_its_share_of_a_group() -> None:
    desk = Desk(TaskSettings(retention_ms=1_000, group_transitions_max=8))
    desk.ask(create_batch(20))
    for task in desk.claim(count=20):
        desk.ask(finish(task))
    desk.now += 1_000
    heard = [desk.offer(create()) for _ in range(6)]
    desk.scheduler.pump(desk.now)
    desk.land()
    assert all(len(each) == 1 for each in heard)
    assert len(desk.store.rows[STATE]) == 20 - 2 + 6


def test_a_batch_larger_than_what_the_sweep_leaves_begins_the_next_group() -> None:
    desk = Desk(TaskSettings(retention_ms=1_000, group_transitions_max=8))
    desk.ask(create_batch(100))
    desk.ask(FinishBatch(TENANT, unheard, [finish(task) for task in desk.claim(count=100)]))
    desk.now += 1_000
    heard, other = desk.offer(create_batch(20)), desk.offer(create(tenant="other"))
    for _ in range(4):
        desk.scheduler.pump(desk.now)
        desk.land()
    assert (len(heard), len(other)) == (1, 1)
    assert len(desk.store.rows[STATE]) > 50


@pytest.mark.parametrize("source", ["inbox", "delays"])
def test_a_small_group_leaves_room_for_claims_that_wait(source: str) -> None:
    desk = Desk(TaskSettings(group_transitions_max=module.GROUP_TRANSITIONS_MIN))
    heard = desk.offer(claim("mail", wait_ms=10_000))
    desk.settle()
    if source == "delays":
        desk.ask(create_batch(1_000, delay_ms=1_000))
        desk.now += 1_000
    else:
        for _ in range(1_000):
            desk.offer(create())
    desk.scheduler.pump(desk.now)
    desk.land()
    assert len(heard) == 1


def test_an_outcome_is_prepared_with_the_decision_and_told_when_it_is_durable(desk: Desk) -> None:
    prepared: list[int] = []

    def prepare(outcomes: list[object]) -> str:
        prepared.append(len(outcomes))
        return "made"

    heard = desk.offer(CreateBatch(TENANT, print, [NewTask("mail", b"1"), NewTask("mail", b"2")], prepare))
    desk.scheduler.pump(desk.now)
    assert (prepared, heard) == ([2], [])
    desk.land()
    assert (prepared, heard) == ([2], ["made"])


def test_an_outcome_that_cannot_be_prepared_is_our_error_and_stops_nobody(desk: Desk) -> None:
    def prepare(outcomes: list[object]) -> str:
        raise ValueError("a mistake")

    heard = desk.offer(CreateBatch(TENANT, print, [NewTask("mail", b"1")], prepare))
    other = desk.offer(CreateBatch(TENANT, print, [NewTask("mail", b"2")]))
    desk.settle()
    assert [outcome.code for outcome in heard] == ["internal"]
    assert len(other[0]) == 1
    assert [str(error) for error in desk.errors] == ["a mistake"]


def test_batches_as_large_as_a_group_leave_room_for_claims_that_wait() -> None:
    desk = Desk(TaskSettings(group_transitions_max=8))
    desk.create()
    desk.claim()
    waiting = claim(wait_ms=FOREVER_MS)
    waiting.answers = 1_000
    heard = desk.offer(waiting)
    for _ in range(40):
        desk.offer(create_batch(8))
    for _ in range(6):
        desk.scheduler.pump(desk.now)
        desk.land()
    assert heard


def test_large_operations_in_a_row_do_not_shut_out_another_tenant() -> None:
    desk = Desk(TaskSettings(group_bytes_max=10_000))
    for _ in range(40):
        desk.offer(create(tenant="noisy", payload=b'"' + b"x" * 9_000 + b'"'))
    outcomes = desk.offer(create(tenant="quiet"))
    for _ in range(4):
        desk.scheduler.pump(desk.now)
        desk.land()
    assert outcomes, "three groups were enough for everybody's first"


def _uneven(settings: TaskSettings | None = None) -> Desk:
    """A desk on which one tenant has filled groups for a period, and another has used little."""
    desk = Desk(settings or TaskSettings())
    for at_ms in (0, PERIOD_MS):
        desk.now += at_ms
        for _ in range(desk.settings.group_transitions_max):
            desk.offer(create(tenant="noisy"))
        desk.offer(create(tenant="quiet"))
        desk.settle()
    return desk


def _pump(desk: Desk) -> None:
    """Turns of the loop, as long as one asks for the next."""
    woken = -1
    while desk.woken != woken:
        woken = desk.woken
        desk.scheduler.pump(desk.now)


def test_beside_a_quiet_tenant_a_noisy_one_gets_small_groups() -> None:
    desk = _uneven()
    assert desk.scheduler.group_limit == SMALL_TRANSITIONS
    for _ in range(3_000):
        desk.offer(create(tenant="noisy"))
    _pump(desk)
    desk.land()
    assert desk.scheduler.overlay.oldest_transitions == SMALL_TRANSITIONS


def test_beside_a_quiet_tenant_a_turn_of_the_loop_decides_little() -> None:
    desk = _uneven()
    for _ in range(1_000):
        desk.offer(create(tenant="noisy"))
    woken = desk.woken
    desk.scheduler.pump(desk.now)
    assert SLICE_TRANSITIONS <= desk.scheduler.overlay.open.transitions <= SLICE_TRANSITIONS + INBOX_QUANTUM
    assert desk.woken > woken, "the rest has its turns"


def test_a_group_without_a_quiet_tenant_waits_for_more_until_it_is_full() -> None:
    desk = _uneven()
    for _ in range(2 * SMALL_TRANSITIONS):
        desk.offer(create(tenant="noisy"))
    while not desk.flights:
        desk.scheduler.pump(desk.now)
    assert desk.scheduler.overlay.oldest_transitions == SMALL_TRANSITIONS
    desk.scheduler.pump(desk.now)
    desk.land()
    assert not desk.flights, "nor is it handed over because the seam is free"


def test_nothing_is_waited_for_when_a_group_that_was_filling_is_lost() -> None:
    desk = _uneven()
    desk.depth = 2
    for _ in range(SMALL_TRANSITIONS + SLICE_TRANSITIONS):
        desk.offer(create(tenant="noisy"))
    desk.offer(claim("nothing", wait_ms=60_000, tenant="noisy"))
    while not desk.flights:
        desk.scheduler.pump(desk.now)
    desk.scheduler.pump(desk.now)
    assert len(desk.flights) == 1
    desk.fail()
    desk.scheduler.pump(desk.now)
    woken = desk.woken
    desk.scheduler.pump(desk.now)
    assert desk.woken == woken


def test_a_group_with_a_quiet_tenant_waits_for_nothing() -> None:
    desk = _uneven()
    for _ in range(2 * SMALL_TRANSITIONS):
        desk.offer(create(tenant="noisy"))
    desk.scheduler.pump(desk.now)
    assert not desk.flights
    heard = desk.offer(create(tenant="quiet"))
    desk.scheduler.hurry(desk.now)
    desk.land()
    assert heard


def test_a_group_waits_for_more_for_a_short_time_only() -> None:
    desk = _uneven()
    for _ in range(2 * SMALL_TRANSITIONS):
        desk.offer(create(tenant="noisy"))
    desk.scheduler.pump(desk.now)
    desk.now += FILLING_MS - 1
    desk.scheduler.pump(desk.now)
    assert not desk.flights
    desk.now += 1
    desk.scheduler.pump(desk.now)
    assert desk.flights


def test_a_group_waits_for_those_who_are_to_be_read_again_and_not_when_they_have_been() -> None:
    desk = _uneven()
    for _ in range(INBOX_OPERATIONS):
        desk.offer(create(tenant="noisy"))
        desk.scheduler.when_room("noisy", lambda: None)
    desk.scheduler.pump(desk.now)
    assert not desk.flights
    _pump(desk)
    assert desk.flights, "nobody brought anything, and no other event was needed"


def test_a_clock_that_goes_back_does_not_make_a_group_wait() -> None:
    desk = _uneven()
    for _ in range(2 * SMALL_TRANSITIONS):
        desk.offer(create(tenant="noisy"))
    desk.scheduler.pump(desk.now)
    desk.now -= 60_000
    desk.scheduler.pump(desk.now)
    assert desk.flights


def test_waiting_claims_are_served_in_slices_too() -> None:
    desk = _uneven()
    heard = [desk.offer(claim("slow", tenant="noisy", wait_ms=10_000)) for _ in range(100)]
    _pump(desk)
    desk.offer(CreateBatch("noisy", unheard, [NewTask("slow", b"{}")] * 100))
    desk.scheduler.pump(desk.now)
    assert desk.scheduler.overlay.open.transitions == 100, "the batch is whole, and the claims have to wait"
    desk.settle()
    assert all(heard)


def test_many_turns_without_transitions_end_too() -> None:
    desk = _uneven()
    for _ in range(SLICE_TURNS * INBOX_QUANTUM + 1):
        desk.offer(claim("empty", tenant="noisy"))
    desk.scheduler.pump(desk.now)
    assert len(desk.scheduler.inboxes) > 0
    _pump(desk)
    assert len(desk.scheduler.inboxes) == 0


def test_writes_without_a_transition_do_not_fill_a_group_for_ever() -> None:
    desk = _uneven()
    desk.scheduler.overlay.open.put(AUDIT, b"entry", b"x" * (SMALL_BYTES + 1))
    heard = desk.offer(create(tenant="noisy"))
    desk.settle()
    assert len(heard) == 1


def test_a_tenant_whose_tasks_all_become_due_at_once_is_noisy() -> None:
    desk = Desk(TaskSettings())
    desk.offer(CreateBatch("noisy", unheard, [NewTask("midnight", b"{}", delay_ms=60_000)] * 5_000))
    desk.settle()
    desk.pass_ms(60_000 - PERIOD_MS)
    for _ in range(2):
        desk.offer(create(tenant="quiet"))
        desk.pass_ms(PERIOD_MS)
    desk.offer(create(tenant="quiet"))
    desk.settle()
    assert desk.scheduler.sliced


def test_a_tenant_alone_gets_whole_groups_again() -> None:
    desk = _uneven()
    for _ in range(HOLDS_MS // PERIOD_MS + 6):
        for _ in range(1_000):
            desk.offer(create(tenant="noisy"))
        desk.pass_ms(PERIOD_MS)
    assert desk.scheduler.group_limit == desk.settings.group_transitions_max


def test_what_a_quiet_tenant_asks_for_goes_into_the_open_group_though_it_is_full() -> None:
    desk = _uneven()
    for _ in range(1_000):
        desk.offer(create(tenant="noisy"))
    _pump(desk)
    assert desk.scheduler.overlay.open.transitions == SMALL_TRANSITIONS
    heard = desk.offer(create(tenant="quiet"))
    desk.scheduler.pump(desk.now)
    desk.land()
    assert heard == [], "the group under way was closed before"
    desk.land()
    assert len(heard) == 1


def test_a_quiet_tenant_finds_room_beside_one_operation_larger_than_a_group() -> None:
    desk = _uneven()
    for _ in range(3):
        desk.offer(create_batch(size=1_000, tenant="noisy"))
    _pump(desk)
    heard = desk.offer(create(tenant="quiet"))
    desk.scheduler.pump(desk.now)
    desk.land()
    desk.land()
    assert len(heard) == 1


def test_quiet_tenants_fill_no_more_than_what_is_kept_for_them() -> None:
    desk = _uneven()
    for _ in range(1_000):
        desk.offer(create(tenant="noisy"))
    _pump(desk)
    for number in range(1_000):
        desk.offer(create(tenant=f"quiet{number % 50}"))
    _pump(desk)
    kept = SMALL_TRANSITIONS // KEPT_DIVISOR
    assert desk.scheduler.overlay.open.transitions == SMALL_TRANSITIONS + kept
    desk.settle()
    assert len(desk.scheduler.inboxes) == 0


def test_a_quiet_tenant_is_decided_and_answered_first() -> None:
    desk = _uneven()
    told: list[str] = []
    for tenant in ("noisy", "noisy", "quiet"):
        operation = create(tenant=tenant)
        operation.sink = partial(_note, told, tenant)
        desk.scheduler.offer(operation)
    desk.settle()
    assert told == ["quiet", "noisy", "noisy"]


def _note(told: list[str], tenant: str, _outcome: object) -> None:
    told.append(tenant)


def test_only_the_answer_to_a_quiet_tenant_is_hurried() -> None:
    desk = _uneven()
    hurried: dict[str, bool] = {}
    for tenant in ("noisy", "quiet"):
        operation = create(tenant=tenant)
        operation.sink = partial(_note_hurry, desk, hurried, tenant)
        desk.scheduler.offer(operation)
    desk.settle()
    assert hurried == {"noisy": False, "quiet": True}


def _note_hurry(desk: Desk, hurried: dict[str, bool], tenant: str, _outcome: object) -> None:
    hurried[tenant] = desk.scheduler.hurried


def test_what_is_durable_is_told_in_slices_and_all_of_it_before_the_next_group() -> None:
    desk = _uneven()
    heard = [desk.offer(create(tenant="noisy")) for _ in range(3 * SLICE_ANSWERS)]
    _pump(desk)
    desk.land()
    first = [each for each in heard if each]
    assert not first
    desk.scheduler.pump(desk.now)
    assert sum(map(len, heard)) == SLICE_ANSWERS
    desk.offer(create(tenant="quiet"))
    desk.scheduler.hurry(desk.now)
    desk.land()
    assert sum(map(len, heard)) > SLICE_ANSWERS, "the older group's are told when the next one is durable"
    desk.settle()
    assert all(len(each) == 1 for each in heard)


def test_the_courier_is_told_at_once_what_is_durable() -> None:
    desk = _uneven()
    creates = [desk.offer(create(tenant="noisy")) for _ in range(10)]
    heard = desk.offer(Settle("noisy", unheard, bytes(16), delivered=True, error="", final=False))
    _pump(desk)
    desk.land()
    assert (len(heard), len(creates[-1])) == (1, 0), "a retry may be due before the next turn of the loop"


def test_a_failure_leaves_nobody_untold_whose_group_was_durable() -> None:
    desk = _uneven()
    heard = [desk.offer(create(tenant="noisy")) for _ in range(100)]
    _pump(desk)
    desk.land()
    lost = desk.offer(create(tenant="quiet"))
    desk.scheduler.pump(desk.now)
    assert desk.flights
    assert not heard[-1]
    desk.fail()
    desk.settle()
    assert all(len(each) == 1 and isinstance(each[0], Created) for each in heard)
    assert isinstance(lost[0], Problem)


def test_a_noisy_tenant_is_read_again_little_by_little() -> None:
    desk = _uneven()
    read: list[int] = []
    for number in range(20):
        operation = create(tenant="noisy")
        assert desk.scheduler.offer(operation) is (number + 1 < INBOX_OPERATIONS)
        desk.scheduler.when_room("noisy", partial(read.append, number))
    assert desk.scheduler.offer(create(tenant="quiet"))
    desk.scheduler.pump(desk.now)
    assert len(read) == RESUMED
    _pump(desk)
    assert read == list(range(20))


def test_nobody_is_read_again_while_the_inbox_is_more_than_half_full() -> None:
    desk = _uneven()
    read: list[int] = []
    for _ in range(3):
        desk.scheduler.offer(create(tenant="noisy"))
        desk.scheduler.when_room("noisy", lambda: _ask_for_much(desk, read))
    desk.scheduler.pump(desk.now)
    assert len(read) == RESUMED
    desk.settle()
    assert len(read) == 3


def test_who_has_gone_takes_nobodys_turn_to_be_read_again() -> None:
    desk = _uneven()
    read: list[int] = []
    desk.scheduler.offer(create(tenant="noisy"))
    for number in range(20):
        desk.scheduler.when_room("noisy", partial(_heard, read, number, there=number % 10 == 0))
    desk.scheduler.offer(create(tenant="quiet"))
    desk.scheduler.pump(desk.now)
    assert read == [0]
    desk.scheduler.pump(desk.now)
    assert read == list(range(11))


def test_a_full_inbox_keeps_nobody_of_another_tenant_from_being_read_again() -> None:
    desk = _uneven()
    read: list[str] = []
    desk.scheduler.offer(create(tenant="noisy"))
    desk.scheduler.when_room("noisy", partial(_ask_for_much, desk, []))
    desk.scheduler.when_room("noisy", partial(read.append, "noisy"))
    desk.scheduler.pump(desk.now)
    desk.scheduler.offer(create(tenant="other"))
    desk.scheduler.when_room("other", partial(read.append, "other"))
    desk.scheduler.pump(desk.now)
    assert read == ["other"]
    desk.settle()
    assert read == ["other", "noisy"]


def _heard(read: list[int], number: int, *, there: bool) -> bool:
    read.append(number)
    return there


def _ask_for_much(desk: Desk, read: list[int]) -> None:
    read.append(len(desk.scheduler.inboxes))
    assert read[-1] * 2 <= INBOX_OPERATIONS
    for _ in range(10 * INBOX_QUANTUM):
        desk.offer(create(tenant="noisy"))


def test_a_large_operation_waits_for_a_free_seam_so_that_small_ones_need_not_share_its_commit() -> None:
    desk = _uneven()
    desk.offer(create(tenant="noisy"))
    _pump(desk)
    large = desk.offer(create(tenant="noisy", payload=b'"' + b"x" * SMALL_BYTES + b'"'))
    _pump(desk)
    assert desk.scheduler.overlay.open.transitions == 0
    small = desk.offer(create(tenant="quiet"))
    _pump(desk)
    desk.land()
    desk.land()
    assert (len(small), len(large)) == (1, 0)
    desk.settle()
    assert len(large) == 1


def test_a_large_operation_has_its_turn_though_a_quiet_tenant_never_pauses() -> None:
    desk = _uneven()
    desk.offer(create(tenant="noisy"))
    _pump(desk)
    large = desk.offer(create(tenant="noisy", payload=b'"' + b"x" * SMALL_BYTES + b'"'))
    for _ in range(GROUPS_PASSED + 3):
        desk.offer(create(tenant="quiet"))
        desk.scheduler.hurry(desk.now)
        _pump(desk)
        desk.land()
    _pump(desk)
    assert large


def test_what_a_quiet_tenant_asks_for_need_not_wait_for_the_pump() -> None:
    desk = _uneven()
    heard = desk.offer(create(tenant="quiet"))
    assert desk.scheduler.quiet_waits
    desk.scheduler.hurry(desk.now)
    desk.land()
    assert len(heard) == 1
    assert not desk.scheduler.quiet_waits


def test_a_claim_that_waits_is_served_without_the_pump_too() -> None:
    desk = _uneven()
    heard = desk.offer(claim("fresh", tenant="quiet", wait_ms=10_000))
    desk.scheduler.hurry(desk.now)
    desk.offer(create("fresh", tenant="quiet"))
    desk.scheduler.hurry(desk.now)
    desk.land()
    assert len(heard) == 1


def test_a_quiet_tenants_waiting_claim_is_served_before_those_of_a_noisy_one_though_the_group_is_full() -> None:
    desk = _uneven()
    waits = desk.offer(claim("fresh", tenant="quiet", wait_ms=10_000))
    for _ in range(10):
        desk.offer(claim("slow", tenant="noisy", count=100, wait_ms=10_000))
    desk.settle()
    for _ in range(10):
        desk.offer(CreateBatch("noisy", unheard, [NewTask("slow", b"{}")] * 100))
    _pump(desk)
    assert desk.scheduler.tasks.woken, "claims of the noisy tenant wait for the next group"
    desk.offer(create("fresh", tenant="quiet"))
    desk.scheduler.hurry(desk.now)
    desk.land()
    desk.land()
    assert len(waits) == 1


def test_a_quiet_tenant_does_not_wait_for_a_group_of_others_because_an_operation_did_not_fit_into_the_last() -> None:
    desk = _uneven()
    for _ in range(3):
        desk.offer(create_batch(size=SMALL_TRANSITIONS // 2 + 1, tenant="noisy"))
    desk.scheduler.pump(desk.now)
    desk.scheduler.pump(desk.now)
    assert desk.scheduler.overlay.open.transitions == 0, "the second one is to begin the next group"
    heard = desk.offer(create(tenant="quiet"))
    desk.scheduler.hurry(desk.now)
    assert desk.scheduler.overlay.open.transitions == 1
    desk.land()
    desk.land()
    assert heard


def test_hurry_leaves_the_beginning_of_a_group_to_what_was_too_large_for_the_one_before() -> None:
    desk = _uneven()
    desk.offer(create(tenant="noisy"))
    large = desk.offer(create_batch(size=SMALL_TRANSITIONS + 1, tenant="noisy"))
    _pump(desk)
    desk.offer(create(tenant="noisy"))
    desk.scheduler.hurry(desk.now)
    desk.settle()
    assert large


def test_a_large_operation_has_its_turn_though_quiet_tenants_never_pause() -> None:
    desk = _uneven()
    heard = desk.offer(create_batch(size=SMALL_TRANSITIONS + 1, tenant="noisy"))
    for _ in range(4):
        for number in range(10):
            desk.offer(create(tenant=f"quiet{number}"))
        desk.scheduler.hurry(desk.now)
        _pump(desk)
        desk.land()
    assert heard, "it began a group after a few at the latest"
