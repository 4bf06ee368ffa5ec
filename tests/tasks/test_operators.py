"""What operators do, as decisions of the state machine: steps, pauses, limits, the audit."""

from typing import Any

import pytest

from appliance.engine.rows import PENDING, decode_audit_entry
from appliance.engine.tables import AUDIT, BODY, DEAD, EXPIRE, STATE
from appliance.errors import Problem
from appliance.tasks.model import (
    Changed,
    Claimed,
    Cleanup,
    PurgeDead,
    RequeueDead,
    SetLimits,
    SetQueue,
    Stepped,
)
from appliance.tasks.scheduler import STEP_QUANTUM
from appliance.tasks.settings import TaskSettings
from tests.tasks.desk import TENANT, Desk, claim, code, create, finish, nack, unheard


def dead(desk: Desk, count: int, command: str = "mail") -> list[bytes]:
    """Ids of so many new dead letters."""
    for _ in range(count):
        desk.create(command, max_attempts=1)
    ids = []
    for task in desk.claim(command, count=count):
        desk.ask(nack(task))
        ids.append(task.id)
    return ids


def step(kind: type[Any], limit: int = 1_000, command: str | None = None, before: int = 0) -> Any:
    """A step."""
    return kind(TENANT, unheard, command, before, limit, "ann")


def set_queue(command: str = "mail", **changes: Any) -> SetQueue:
    """A change of what is set for a queue."""
    return SetQueue(TENANT, unheard, command, changes, "ann")


def test_a_purge_in_the_group_that_made_the_task_leaves_nothing() -> None:
    desk = Desk(depth=1)
    desk.create("other")
    desk.offer(claim("mail", wait_ms=60_000, lease_ms=1_000))
    desk.settle()
    desk.scheduler.pump(desk.now)
    blocker = desk.offer(create("other"))
    desk.scheduler.pump(desk.now)
    assert desk.flights and not blocker
    desk.offer(create(max_attempts=1, key="k"))
    desk.scheduler.pump(desk.now)
    desk.now += 2_000
    desk.scheduler.pump(desk.now)
    heard = desk.offer(step(PurgeDead))
    desk.settle()
    assert heard == [Stepped(1)]
    assert len(desk.store.rows[BODY]) == len(desk.store.rows[STATE]) == 2
    assert not desk.store.rows[DEAD]


def test_a_step_takes_a_few_tasks_per_group_beside_everything_else() -> None:
    desk = Desk()
    dead(desk, 100)
    before = desk.scheduler.overlay.open.number
    assert desk.ask(step(RequeueDead)) == Stepped(100)
    assert desk.scheduler.overlay.open.number - before >= 100 // STEP_QUANTUM


def test_a_step_that_a_failed_group_breaks_off_says_so_and_can_be_asked_for_again() -> None:
    desk = Desk()
    ids = dead(desk, 100)
    heard = desk.offer(step(RequeueDead))
    desk.scheduler.pump(desk.now)
    desk.land()
    desk.scheduler.pump(desk.now)
    desk.fail()
    assert code(heard[0]) == "unavailable"
    rest = desk.ask(step(RequeueDead))
    assert 0 < rest.done < 100
    assert all(desk.scheduler.tasks.task(each).state.status == PENDING for each in ids)  # type: ignore[union-attr]


def test_two_steps_take_turns() -> None:
    desk = Desk()
    dead(desk, 60, "one")
    dead(desk, 60, "two")
    first, second = desk.offer(step(RequeueDead, command="one")), desk.offer(step(PurgeDead, command="two"))
    desk.settle()
    assert (first, second) == ([Stepped(60)], [Stepped(60)])


def test_too_many_steps_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.tasks.scheduler.STEPS_MAX", 1)
    desk = Desk()
    dead(desk, 3)
    heard = [desk.offer(step(RequeueDead)) for _ in range(2)]
    desk.settle()
    assert heard[0] == [Stepped(3)]
    assert code(heard[1][0]) == "rate-limited"


def test_a_step_for_a_tenant_without_tasks_changes_nothing() -> None:
    desk = Desk()
    assert desk.ask(step(RequeueDead)) == Stepped(0)
    assert desk.ask(step(Cleanup, before=desk.now)) == Stepped(0)


def test_a_cleanup_drops_index_rows_that_fit_no_task() -> None:
    desk = Desk()
    desk.ask(finish(desk.create() and desk.one()))
    (key,) = desk.store.rows[EXPIRE]
    stale = key[:4] + (1).to_bytes(8, "big") + bytes(16)
    desk.store.rows[EXPIRE][stale] = b""
    desk.store.keys[EXPIRE].insert(0, stale)
    assert desk.ask(step(Cleanup, before=desk.now)) == Stepped(1)
    assert list(desk.store.rows[EXPIRE]) == [key]


def test_a_dead_letter_can_die_again() -> None:
    desk = Desk()
    (task_id,) = dead(desk, 1)
    for _ in range(3):
        assert desk.ask(step(RequeueDead)) == Stepped(1)
        (task,) = desk.claim("mail")
        assert task.id == task_id
        desk.ask(nack(task))
    assert len(desk.store.rows[DEAD]) == 1


def test_a_requeued_task_wakes_a_claim_that_waits() -> None:
    desk = Desk()
    dead(desk, 1)
    heard = desk.offer(claim("mail", wait_ms=60_000))
    desk.settle()
    desk.ask(step(RequeueDead))
    assert [type(outcome) for outcome in heard] == [Claimed] and heard[0].tasks


def test_a_pause_holds_for_claims_of_any_command_and_survives_a_failure() -> None:
    desk = Desk()
    desk.create()
    desk.create("other")
    assert desk.ask(set_queue(dispatch_paused=True)) == Changed()
    assert [task.body.command for task in desk.claim(count=5)] == ["other"]
    desk.create("other")
    desk.scheduler.pump(desk.now)
    desk.offer(set_queue(dispatch_paused=False))
    desk.scheduler.pump(desk.now)
    desk.fail()
    desk.settle()
    assert desk.claim("mail") == []


def test_pauses_of_dispatch_and_intake_end_each_at_its_time() -> None:
    desk = Desk()
    desk.create()
    until = desk.now + 1_000
    desk.ask(set_queue(dispatch_paused=True, dispatch_until=until, intake_paused=True, intake_until=until + 1_000))
    desk.pass_ms(999)
    assert desk.claim() == []
    desk.pass_ms(1)
    assert len(desk.claim()) == 1
    assert code(desk.ask(create())) == "queue-paused"
    desk.pass_ms(1_000)
    desk.create()
    assert desk.scheduler.tasks.pauses.next_time() is None


def test_a_replay_is_answered_while_intake_is_paused() -> None:
    desk = Desk()
    task = desk.create(key="k")
    desk.ask(set_queue(intake_paused=True))
    assert desk.ask(create(key="k")).task.id == task.id


def test_a_limit_in_flight_is_kept_over_a_restart() -> None:
    desk = Desk()
    for _ in range(3):
        desk.create()
    desk.ask(SetLimits(TENANT, unheard, {"in_flight_max": 2}, "olga"))
    assert len(desk.claim(count=5)) == 2
    desk.start()
    assert desk.claim() == []
    desk.ask(SetLimits(TENANT, unheard, {"in_flight_max": 3}, "olga"))
    assert len(desk.claim(count=5)) == 1


def test_limits_for_a_tenant_that_has_no_task_yet_are_kept() -> None:
    desk = Desk()
    desk.ask(SetLimits("new", unheard, {"stored_bytes_max": 3}, "olga"))
    desk.start()
    assert code(desk.ask(create(tenant="new", payload=b"1234"))) == "rate-limited"
    desk.create(tenant="new", payload=b"123")
    desk.create(payload=b"1234")


def test_stored_bytes_are_those_of_the_tasks_that_are_there() -> None:
    desk = Desk(TaskSettings(retention_ms=1_000, dead_retention_ms=1_000, backoff_policy="fixed"))
    desk.create(payload=b"12345")
    desk.ask(finish(desk.one(), b'"abc"'))
    dead(desk, 1)
    tenant = desk.scheduler.tasks.registry.tenants[TENANT]
    assert tenant.stored_bytes == 5 + 5 + 2
    desk.start()
    assert desk.scheduler.tasks.registry.tenants[TENANT].stored_bytes == 12
    desk.pass_ms(2_000)
    assert desk.scheduler.tasks.registry.tenants[TENANT].stored_bytes == 0


def test_an_entry_stands_in_the_group_of_what_it_tells() -> None:
    desk = Desk()
    desk.create()
    desk.offer(set_queue(depth_max=1))
    desk.scheduler.pump(desk.now)
    assert not desk.store.rows[AUDIT]
    desk.land()
    (entry,) = (decode_audit_entry(row) for row in desk.store.rows[AUDIT].values())
    assert (entry.subject, entry.action, entry.target) == ("ann", "queue.set", "mail")
    assert isinstance(desk.ask(create()), Problem)


def test_a_refused_operation_is_not_in_the_audit() -> None:
    desk = Desk()
    assert code(desk.ask(set_queue("none"))) == "not-found"
    assert not desk.store.rows[AUDIT]
