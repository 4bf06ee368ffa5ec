"""Webhooks in the state machine: on every way to an end one delivery, until it is delivered or given up."""

from collections.abc import Callable
from typing import Any

import pytest

from appliance.engine.rows import COMPLETED, DLQ, FAILED
from appliance.engine.tables import LAPSED, LETTER, OUTBOX, POST
from appliance.tasks.model import Due, FinishBatch, Resend, ResendAll, Resent, Settle, Task
from appliance.tasks.notifier import Notification
from appliance.tasks.outbox import listed
from appliance.tasks.settings import TaskSettings
from tests.tasks.desk import TENANT, Desk, abandon, cancel, code, finish, nack, requeue, unheard

URL = "https://example.com/hook"
SETTINGS = TaskSettings(
    backoff_policy="fixed",
    backoff_base_ms=1_000,
    max_deliveries=1,
    webhook_backoff_base_ms=10_000,
    webhook_backoff_cap_ms=100_000,
    given_up_retention_ms=1_000_000,
)


class Courier:
    """Takes what fits, and attempts nothing by itself."""

    def __init__(self, room: int = 100, tenant_max: int = 100) -> None:
        self.room_max = room
        self.tenant_max = tenant_max
        self.held: list[Due] = []

    def room(self) -> int:
        return self.room_max - len(self.held)

    def accept(self, due: Due) -> bool:
        self.held.append(due)
        return sum(each.tenant == due.tenant for each in self.held) < self.tenant_max

    def notify(self, tenant: str, notification: Notification) -> None:
        raise AssertionError(notification)


class Office(Desk):
    """A desk with a courier."""

    def __init__(self, courier: Courier | None = None, settings: TaskSettings = SETTINGS) -> None:
        self.courier = courier or Courier()
        super().__init__(settings)
        self.scheduler.outgoing.courier = self.courier

    def restart(self) -> None:
        """A new process."""
        self.courier.held.clear()
        self.start().outgoing.courier = self.courier
        self.settle()

    def claimed(self, **fields: Any) -> Task:
        """A claimed task with a webhook."""
        self.create(webhook=URL, **fields)
        return self.one()

    def ended(self) -> Due:
        """The delivery of a task that has come to its end."""
        self.ask(finish(self.claimed()))
        (due,) = self.courier.held
        return due

    def attempted(self, due: Due, delivered: bool = False, *, final: bool = False) -> bool:
        """An attempt has ended; whether the delivery was given up."""
        self.courier.held.remove(due)
        error = "" if delivered else "refused"
        outcome = self.ask(Settle(due.tenant, unheard, due.id, delivered, error, final))
        self.scheduler.outgoing.landed(due.id, settled=True)
        self.settle()
        assert isinstance(outcome, bool)
        return outcome

    def rows(self) -> list[int]:
        """How many rows each of the tables has."""
        return [len(self.store.keys[table]) for table in (LETTER, OUTBOX, POST, LAPSED)]


def _expired(office: Office, task: Task) -> None:
    office.pass_ms(60_000)


WAYS: dict[str, tuple[Callable[[Office, Task], object], int, str]] = {
    "completed": (lambda office, task: office.ask(finish(task)), COMPLETED, ""),
    "failed": (lambda office, task: office.ask(finish(task, b"", completed=False, error="bad")), FAILED, "bad"),
    "in a batch": (lambda office, task: office.ask(FinishBatch(TENANT, unheard, [finish(task)])), COMPLETED, ""),
    "nacked": (lambda office, task: office.ask(nack(task, reason="no")), DLQ, "no"),
    "expired": (_expired, DLQ, "lease expired"),
    "abandoned": (lambda office, task: office.ask(abandon(task)), DLQ, "abandoned at delivery 2"),
    "cancelled": (lambda office, task: office.ask(cancel(task)), FAILED, "cancelled"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_an_end_makes_one_delivery(way: str) -> None:
    office = Office()
    attempts = 1 if way in ("nacked", "expired") else 5
    task = office.claimed(max_attempts=attempts)
    if way == "abandoned":
        # Twice the attempts are the bound where that is more than the configured one.
        office = Office()
        task = office.claimed(max_attempts=1)
        office.ask(abandon(task))
        task = office.one()
    end, status, error = WAYS[way]
    end(office, task)
    (due,) = office.courier.held
    assert (due.url, due.tenant, due.attempts, due.at) == (URL, TENANT, 0, office.now)
    letter = office.scheduler.reads.letter(due.id)
    assert letter is not None
    assert (letter.task, letter.command, letter.status, letter.error) == (task.id, "mail", status, error)
    assert letter.result == (b"1" if status == COMPLETED else b"")


def test_a_task_without_a_webhook_makes_none() -> None:
    office = Office()
    office.create()
    office.ask(finish(office.one()))
    assert office.courier.held == [] and office.rows() == [0, 0, 0, 0]


def test_a_delivery_is_handed_out_only_when_its_group_is_durable() -> None:
    office = Office()
    task = office.claimed()
    office.offer(finish(task))
    office.scheduler.pump(office.now)
    office.scheduler.pump(office.now)
    assert office.courier.held == []
    office.land()
    office.scheduler.pump(office.now)
    assert len(office.courier.held) == 1


def test_an_end_that_was_lost_makes_none() -> None:
    office = Office()
    task = office.claimed()
    office.offer(finish(task))
    office.scheduler.pump(office.now)
    office.fail()
    office.settle()
    assert office.courier.held == [] and office.rows() == [0, 0, 0, 0]


def test_what_is_delivered_is_forgotten() -> None:
    office = Office()
    assert not office.attempted(office.ended(), delivered=True)
    assert office.rows() == [0, 0, 0, 0] and office.courier.held == []


def test_five_attempts_with_growing_waits_and_then_it_is_given_up() -> None:
    office = Office()
    due = office.ended()
    for attempt, most_ms in enumerate((10_000, 40_000, 100_000, 100_000), 1):
        assert not office.attempted(due)
        office.pass_ms(most_ms // 2 - 1)
        assert office.courier.held == []
        office.pass_ms(most_ms - most_ms // 2 + 1)
        (due,) = office.courier.held
        assert due.attempts == attempt
    assert office.attempted(due)
    assert office.rows() == [1, 1, 0, 1]


def test_an_attempt_in_vain_gives_up_at_once() -> None:
    office = Office()
    assert office.attempted(office.ended(), final=True)
    assert office.rows() == [1, 1, 0, 1]


def test_what_was_given_up_is_sent_again_with_all_its_attempts_and_the_same_id() -> None:
    office = Office()
    first = office.ended()
    office.attempted(first, final=True)
    assert code(office.ask(Resend("other", unheard, first.id))) == "not-found"
    assert office.ask(Resend(TENANT, unheard, first.id)) == Resent(1, False)
    (again,) = office.courier.held
    assert (again.id, again.attempts) == (first.id, 0)
    assert code(office.ask(Resend(TENANT, unheard, first.id))) == "not-claimed"


def test_all_that_was_given_up_before_a_time_is_sent_again_in_steps() -> None:
    office = Office()
    for _ in range(5):
        office.attempted(office.ended(), final=True)
        office.now += 1_000
    before = office.now - 1_000
    assert office.ask(ResendAll("nobody", unheard, before, 10)) == Resent(0, False)
    assert office.ask(ResendAll(TENANT, unheard, before, 3)) == Resent(3, True)
    assert office.ask(ResendAll(TENANT, unheard, before, 3)) == Resent(1, False)
    assert office.rows() == [5, 5, 4, 1]


def test_what_was_given_up_is_forgotten_when_its_retention_is_over() -> None:
    office = Office()
    office.attempted(office.ended(), final=True)
    office.pass_ms(999_999)
    assert office.rows() == [1, 1, 0, 1]
    office.pass_ms(1)
    assert office.rows() == [0, 0, 0, 0]


def test_after_a_restart_what_was_in_flight_is_handed_out_again() -> None:
    office = Office()
    due = office.ended()
    office.restart()
    (again,) = office.courier.held
    assert again.id == due.id


def test_an_attempt_whose_group_was_lost_is_made_again() -> None:
    office = Office()
    due = office.courier.held[0] if office.courier.held else office.ended()
    office.courier.held.clear()
    heard = office.offer(Settle(TENANT, unheard, due.id, True))
    office.scheduler.pump(office.now)
    office.fail()
    office.settle()
    assert code(heard[0]) == "unavailable" and office.courier.held == []
    office.scheduler.outgoing.landed(due.id, settled=False)
    office.settle()
    assert [each.id for each in office.courier.held] == [due.id]


def test_a_tenant_whose_share_is_full_keeps_nobody_else_waiting() -> None:
    office = Office(Courier(tenant_max=2))
    for tenant in (TENANT, TENANT, TENANT, TENANT, "other"):
        office.create(tenant=tenant, webhook=URL)
        (task,) = office.claim(tenant=tenant)
        office.ask(finish(task, tenant=tenant))
    assert [due.tenant for due in office.courier.held] == [TENANT, TENANT, "other"]
    office.courier.held.clear()
    office.scheduler.outgoing.resume_deliveries(TENANT)
    office.settle()
    assert [due.tenant for due in office.courier.held] == [TENANT, TENANT]


def test_a_courier_without_room_gets_nothing_until_it_has_some() -> None:
    office = Office(Courier(room=0))
    office.ask(finish(office.claimed()))
    assert office.courier.held == [] and office.scheduler.next_time() > office.now
    office.courier.room_max = 1
    office.settle()
    assert len(office.courier.held) == 1


def test_a_clock_that_went_back_shortens_waits() -> None:
    office = Office()
    office.attempted(office.ended())
    office.now -= 10_000_000
    office.restart()
    office.pass_ms(100_000)
    assert len(office.courier.held) == 1


def test_a_task_that_lives_again_is_delivered_again_under_another_id() -> None:
    office = Office()
    task = office.claimed(max_attempts=1)
    office.ask(nack(task))
    first = office.courier.held[0]
    office.attempted(first, delivered=True)
    office.ask(requeue(task))
    office.ask(finish(office.one()))
    (second,) = office.courier.held
    assert second.id != first.id
    letter = office.scheduler.reads.letter(second.id)
    assert letter is not None and letter.status == COMPLETED


def test_deliveries_are_listed_page_by_page() -> None:
    office = Office()
    for _ in range(5):
        office.attempted(office.ended(), final=True)
        office.now += 1
    tenant = office.scheduler.tasks.registry.tenants[TENANT].prefix
    first, after = listed(office.store, tenant, given_up=True, after=b"", limit=3)
    assert after is not None
    rest, end = listed(office.store, tenant, given_up=True, after=after, limit=3)
    assert end is None and len(first) == 3 and len(rest) == 2
    assert [each.delivery.error for each in first + rest] == ["refused"] * 5
    assert listed(office.store, tenant, given_up=False, after=b"", limit=3) == ([], None)
