"""Subscriptions in the state machine: polls that wait, calls to subscribers, ends and restarts."""

from typing import Any

import pytest

from appliance.engine.rows import Subscription
from appliance.engine.tables import SUBSCRIPTION
from appliance.tasks.model import Due, Poll, Polled, SetQueue, Subscribe, Subscribed
from appliance.tasks.notifier import Notification, Notifier
from appliance.tasks.settings import TaskSettings
from appliance.tasks.subscriptions import FANOUT, GROUP, HASH
from tests.tasks.desk import SUBJECT, TENANT, Desk, claim, code, create, finish, unheard

URL = "https://worker.example/wake"


class Courier:
    """Takes calls to subscribers, and makes none."""

    def __init__(self) -> None:
        self.calls: list[Notification] = []

    def room(self) -> int:
        return 0

    def accept(self, due: Due) -> bool:
        raise AssertionError(due)

    def notify(self, tenant: str, notification: Notification) -> None:
        self.calls.append(notification)


class Office(Desk):
    """A desk with somebody who calls."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(TaskSettings(backoff_policy="fixed", **settings))
        self.courier = Courier()
        self.scheduler.outgoing.courier = self.courier

    def restart(self) -> None:
        """A new process."""
        self.courier.calls.clear()
        self.start().outgoing.courier = self.courier
        self.settle()

    def subscribe(self, *commands: str, callback: str = "", mode: str = FANOUT, group: str = "", **more: Any) -> bytes:
        """A subscription of five minutes; its id."""
        operation = Subscribe(
            more.get("tenant", TENANT), unheard, more.get("subject", SUBJECT), commands or None, callback, mode, group,
            more.get("interval_ms", 5_000), more.get("ttl_ms", 300_000),
        )  # fmt: skip
        outcome = self.ask(operation)
        assert isinstance(outcome, Subscribed), outcome
        return outcome.id

    def called(self, *, heard: bool = True) -> list[tuple[bytes, str]]:
        """Who was called about what since the last look; the calls end."""
        calls, self.courier.calls = self.courier.calls, []
        for each in calls:
            self.scheduler.outgoing.notified(self.now, each, heard=heard)
        self.settle()
        return [(each.subscription, each.command) for each in calls]


def poll(subscription_id: bytes, wait_ms: int = 0, tenant: str = TENANT, subject: str = SUBJECT) -> Poll:
    return Poll(tenant, unheard, subscription_id, subject, wait_ms)


def test_a_poll_says_what_is_ready_and_renews() -> None:
    office = Office()
    own = office.subscribe("mail", "sms")
    office.create("mail")
    office.create("mail")
    office.create("other")
    office.now += 100_000
    outcome = office.ask(poll(own))
    assert outcome == Polled(own, office.now + 300_000, [("mail", 2)])


def test_a_poll_that_waits_is_answered_when_a_create_is_durable() -> None:
    office = Office()
    own = office.subscribe("mail")
    heard = office.offer(poll(own, 30_000))
    office.settle()
    office.create("other")
    assert heard == []
    office.offer(create("mail"))
    office.scheduler.pump(office.now)
    assert heard == []
    office.settle()
    assert heard == [Polled(own, office.now + 300_000, [("mail", 1)])]


def test_a_poll_of_all_commands_hears_of_a_new_one_and_of_what_becomes_due() -> None:
    office = Office()
    own = office.subscribe()
    heard = office.offer(poll(own, 30_000))
    office.create("brand-new", delay_ms=10_000)
    assert heard == []
    office.pass_ms(10_000)
    assert [each.ready for each in heard] == [[("brand-new", 1)]]


def test_a_poll_ends_at_its_deadline_with_nothing() -> None:
    office = Office()
    own = office.subscribe("mail")
    heard = office.offer(poll(own, 30_000))
    office.settle()
    office.pass_ms(29_999)
    assert heard == []
    office.pass_ms(1)
    assert [each.ready for each in heard] == [[]]


def test_work_that_a_waiting_claim_takes_wakes_no_poll() -> None:
    office = Office()
    own = office.subscribe("mail", callback=URL)
    waiting, polled = office.offer(claim("mail", wait_ms=30_000)), office.offer(poll(own, 30_000))
    office.settle()
    office.create("mail")
    assert len(waiting) == 1 and polled == [] and office.courier.calls == []


def test_a_newer_poll_takes_the_place_of_an_older_one() -> None:
    office = Office()
    own = office.subscribe("mail")
    older = office.offer(poll(own, 30_000))
    office.settle()
    newer = office.offer(poll(own, 30_000))
    office.settle()
    assert [each.ready for each in older] == [[]] and newer == []
    assert code(office.ask(poll(own, 30_000, subject="stranger"))) == "permission-denied"
    assert newer == []
    office.create("mail")
    assert len(newer) == 1


def test_a_poll_whose_caller_has_gone_is_forgotten() -> None:
    office = Office()
    own = office.subscribe("mail")
    operation = poll(own, 30_000)
    heard = office.offer(operation)
    office.settle()
    office.scheduler.leave(operation)
    office.create("mail")
    assert heard == []


def test_polls_survive_a_failed_group() -> None:
    office = Office()
    own = office.subscribe("mail")
    heard = office.offer(poll(own, 30_000))
    office.settle()
    office.offer(create("other"))
    office.scheduler.pump(office.now)
    office.fail()
    office.settle()
    assert heard == []
    office.create("mail")
    assert [each.ready for each in heard] == [[("mail", 1)]]


def test_a_subscription_of_others_or_of_nobody_is_not_found() -> None:
    office = Office()
    own = office.subscribe("mail")
    assert code(office.ask(poll(own, tenant="other"))) == "not-found"
    assert code(office.ask(poll(bytes(16)))) == "not-found"
    assert code(office.ask(poll(own, subject="stranger"))) == "permission-denied"


def test_a_subscription_ends_unless_it_is_renewed() -> None:
    office = Office()
    renewed, forgotten = office.subscribe("mail", ttl_ms=10_000), office.subscribe("mail", ttl_ms=10_000)
    office.pass_ms(6_000)
    office.ask(poll(renewed))
    office.pass_ms(4_000)
    assert code(office.ask(poll(forgotten))) == "not-found"
    assert len(office.store.keys[SUBSCRIPTION]) == 1
    office.pass_ms(6_000)
    assert office.store.keys[SUBSCRIPTION] == [] and len(office.scheduler.tasks.subscriptions) == 0
    assert not office.scheduler.tasks.registry.tenants[TENANT].subscribed


def test_a_wait_is_never_longer_than_its_subscription() -> None:
    office = Office()
    own = office.subscribe("mail", ttl_ms=1_000)
    heard = office.offer(poll(own, 30_000))
    office.settle()
    office.pass_ms(30_000)
    assert [each.ready for each in heard] == [[]]


def test_a_tenant_has_a_bounded_number() -> None:
    office = Office(subscriptions_per_tenant_max=2)
    for _ in range(2):
        office.subscribe("mail")
    refused = office.ask(Subscribe(TENANT, unheard, SUBJECT, None, "", FANOUT, "", 0, 1_000))
    assert code(refused) == "rate-limited"
    office.subscribe("mail", tenant="other")


def test_subscriptions_survive_a_restart() -> None:
    office = Office()
    own = office.subscribe("mail", callback=URL)
    office.restart()
    assert isinstance(office.ask(poll(own)), Polled)
    office.create("mail")
    assert office.called() == [(own, "mail")]


def test_everybody_who_fans_out_is_called_when_a_queue_turns_non_empty() -> None:
    office = Office()
    subscribers = {office.subscribe("mail", callback=URL), office.subscribe(callback=URL)}
    office.subscribe("sms", callback=URL)
    office.subscribe("mail")
    office.create("mail")
    assert {each for each, _ in office.called()} == subscribers
    office.pass_ms(10_000)
    office.create("mail")
    assert office.called() == []  # it was not empty


def test_one_of_a_group_is_called_in_turn() -> None:
    office = Office()
    ours = {office.subscribe("mail", callback=URL, mode=GROUP, group="a", interval_ms=0) for _ in range(3)}
    other = office.subscribe("mail", callback=URL, mode=GROUP, group="b", interval_ms=0)
    called: list[bytes] = []
    for _ in range(6):
        office.create("mail")
        called += [each for each, _ in office.called() if each != other]
        office.ask(finish(office.one("mail")))
    assert len(called) == 6 and set(called[:3]) == ours and called[:3] == called[3:]


def test_one_is_chosen_by_hash_and_stays() -> None:
    office = Office()
    members = [office.subscribe(callback=URL, mode=HASH, interval_ms=0) for _ in range(4)]
    first: dict[str, bytes] = {}
    for _ in range(2):
        for number in range(8):
            command = f"command-{number}"
            office.create(command)
            ((chosen, _),) = office.called()
            assert first.setdefault(command, chosen) == chosen and chosen in members
            office.ask(finish(office.one(command)))
    assert len(set(first.values())) > 1


def test_within_its_interval_nobody_is_called_and_afterwards_only_about_what_is_still_there() -> None:
    office = Office()
    own = office.subscribe("mail", "sms", callback=URL)
    office.create("mail")
    assert office.called() == [(own, "mail")]
    office.ask(finish(office.one("mail")))
    office.create("mail")
    office.create("sms")
    office.ask(finish(office.one("sms")))
    office.pass_ms(4_999)
    assert office.called() == []
    office.pass_ms(1)
    assert office.called() == [(own, "mail")]
    office.pass_ms(60_000)
    assert office.called() == []


def test_a_call_that_failed_is_made_again_at_a_falling_pace_while_there_is_work() -> None:
    office = Office()
    own = office.subscribe("mail", callback=URL, ttl_ms=86_400_000)
    office.create("mail")
    for wait_ms in (10_000, 20_000, 40_000):
        assert office.called(heard=False) == [(own, "mail")]
        office.pass_ms(wait_ms - 1)
        assert office.courier.calls == []
        office.pass_ms(1)
    assert office.called() == [(own, "mail")]
    office.pass_ms(1_000_000)
    assert office.called() == []


def test_after_a_restart_what_is_not_empty_is_told_again() -> None:
    office = Office()
    own = office.subscribe("mail", callback=URL)
    office.create("mail")
    office.restart()
    assert office.called() == [(own, "mail")]


def test_nobody_is_called_about_a_create_that_was_lost() -> None:
    office = Office()
    office.subscribe("mail", callback=URL)
    office.offer(create("mail"))
    office.scheduler.pump(office.now)
    office.fail()
    office.settle()
    assert office.courier.calls == []


def test_a_queue_whose_dispatch_is_paused_counts_as_empty_until_it_is_resumed() -> None:
    office = Office()
    own = office.subscribe("mail", callback=URL)
    office.create("mail")
    assert office.called() == [(own, "mail")]
    office.ask(SetQueue(TENANT, unheard, "mail", {"dispatch_paused": True}, "me", "queue.pause"))
    office.pass_ms(10_000)
    heard = office.offer(poll(own, 30_000))
    office.settle()
    assert heard == []
    office.ask(SetQueue(TENANT, unheard, "mail", {"dispatch_paused": False}, "me", "queue.resume"))
    assert [each.ready for each in heard] == [[("mail", 1)]]
    assert office.called() == [(own, "mail")]


def test_the_notifier_remembers_nobody_for_longer_than_it_must() -> None:
    sent: list[Notification] = []
    subscription = Subscription(SUBJECT, None, URL, FANOUT, "", 5_000, 1, 1)
    live = {b"s": subscription}
    notifier = Notifier(sent.append, lambda tenant, each: live.get(each), lambda tenant, command: 1)
    notifier.rose(0, b"t", b"s", "mail")
    for number in range(100):
        notifier.rose(10, b"t", b"s", f"command-{number % 3}")
    notifier.ended(20, sent[0], heard=True)
    assert len(sent) == 1 and notifier.next_time() == 5_000 and len(notifier._times) == 1
    live.clear()
    notifier.run(5_000)
    assert notifier.next_time() is None and not notifier._paces


@pytest.mark.parametrize("commands", [(), ("mail",)])
def test_a_tenant_without_any_task_may_subscribe(commands: tuple[str, ...]) -> None:
    office = Office()
    own = office.subscribe(*commands, tenant="new")
    office.restart()
    assert isinstance(office.ask(poll(own, tenant="new")), Polled)
