"""The courier between a real scheduler and a sender that does what the test says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from appliance.engine.rows import COMPLETED, DLQ, Letter
from appliance.tasks.ids import id_text
from appliance.tasks.model import Subscribe, Subscribed
from appliance.webhooks.courier import Courier, Parcel, render
from appliance.webhooks.lanes import Lanes
from appliance.webhooks.sender import Attempt
from appliance.webhooks.target import Target
from tests.tasks.desk import SUBJECT, TENANT, Desk, finish, unheard

TASK_ID = bytes(15) + b"\x07"


class Sender:
    """Notes calls; each waits until it is told how it ends."""

    def __init__(self) -> None:
        self.calls: list[tuple[Target, str, str, bytes]] = []
        self.ends: list[asyncio.Future[Attempt]] = []

    async def post(self, target: Target, tenant: str, delivery: str, body: bytes) -> Attempt:
        self.calls.append((target, tenant, delivery, body))
        end: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        return await end


class Office(Desk):
    """A desk with a courier on the running loop."""

    def __init__(self, *, total: int = 4, host: int = 2, allow_private: bool = False, tenant_parked: int = 100) -> None:
        super().__init__()
        self.sender = Sender()
        lanes: Lanes[Parcel] = Lanes(total, host, parked_per_tenant_max=tenant_parked)
        loop = asyncio.get_running_loop()
        self.courier = Courier(
            loop, self.scheduler, self.sender, lanes, allow_private=allow_private, clock=lambda: self.now
        )
        self.scheduler.outgoing.courier = self.courier

    def ended(self, webhook: str = "https://example.com/hook") -> None:
        """A task with a webhook comes to its end."""
        self.create(webhook=webhook)
        self.ask(finish(self.one(), b'{"a":1}'))

    async def turn(self) -> None:
        """Let the loop do what it has to, and the scheduler too."""
        for _ in range(6):
            await asyncio.sleep(0)
        self.settle()
        for _ in range(6):
            await asyncio.sleep(0)

    async def end(self, attempt: Attempt, call: int = 0) -> None:
        """A call ends."""
        self.sender.ends[call].set_result(attempt)
        await self.turn()


def with_office(test: Callable[[Office], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        office = Office(**settings)
        try:
            await test(office)
        finally:
            office.courier.stop()

    asyncio.run(run())


def test_a_delivery_is_sent_and_forgotten() -> None:
    async def test(office: Office) -> None:
        office.ended()
        await office.turn()
        ((target, tenant, delivery, body),) = office.sender.calls
        assert target.host == "example.com" and tenant == "acme" and len(delivery) == 36
        assert body.startswith(b'{"taskId":"') and b'"result":{"a":1}' in body
        await office.end(Attempt(True))
        assert office.courier.figures.sent == 1 and office.courier.lanes.under_way == 0
        assert not office.scheduler.tasks.outbox.in_flight

    with_office(test)


def test_a_failure_is_tried_again_later_under_the_same_id() -> None:
    async def test(office: Office) -> None:
        office.ended()
        await office.turn()
        await office.end(Attempt(False, "answered 500"))
        assert (office.courier.figures.failed, office.courier.figures.given_up) == (1, 0)
        office.pass_ms(30_000)
        await office.turn()
        assert office.sender.calls[0][2] == office.sender.calls[1][2]

    with_office(test)


def test_a_refused_target_is_given_up_and_counted_by_its_reason() -> None:
    async def test(office: Office) -> None:
        office.ended()
        await office.turn()
        await office.end(Attempt(False, "refused: private", final=True, refused="private-address"))
        assert office.courier.figures.given_up == 1
        assert office.courier.figures.refused == {"private-address": 1}

    with_office(test)


def test_a_url_that_is_not_allowed_any_more_is_given_up_without_a_call() -> None:
    async def test(office: Office) -> None:
        office.ended("http://127.0.0.1/")
        await office.turn()
        assert office.sender.calls == []
        assert office.courier.figures.refused == {"bad-url": 1} and office.courier.figures.given_up == 1

    with_office(test)


def test_a_slow_host_holds_its_own_calls_only() -> None:
    async def test(office: Office) -> None:
        for _ in range(5):
            office.ended("https://slow.example/")
        office.ended("https://quick.example/")
        await office.turn()
        hosts = [call[0].host for call in office.sender.calls]
        assert sorted(hosts) == ["quick.example", "slow.example", "slow.example"]
        await office.end(Attempt(True), hosts.index("slow.example"))
        assert len(office.sender.calls) == 4

    with_office(test, total=8)


def test_a_tenant_goes_on_when_half_of_what_it_had_waiting_is_gone() -> None:
    async def test(office: Office) -> None:
        for _ in range(12):
            office.ended()
        await office.turn()
        assert office.courier.lanes.parked <= 5
        for number in range(12):
            await office.end(Attempt(True), number)
        assert office.courier.figures.sent == 12

    with_office(test, tenant_parked=4)


def test_a_mistake_of_ours_is_a_failed_attempt_and_keeps_no_place() -> None:
    async def test(office: Office) -> None:
        office.ended()
        await office.turn()
        office.sender.ends[0].set_exception(RuntimeError("a bug"))
        await office.turn()
        assert office.courier.figures.failed == 1 and office.courier.lanes.under_way == 0

    with_office(test)


def test_a_place_is_kept_until_the_outcome_is_durable() -> None:
    async def test(office: Office) -> None:
        office.ended()
        await office.turn()
        office.sender.ends[0].set_result(Attempt(True))
        for _ in range(6):
            await asyncio.sleep(0)
        assert office.courier.lanes.under_way == 1
        office.settle()
        assert office.courier.lanes.under_way == 0

    with_office(test)


def _subscribed(office: Office, url: str = "https://worker.example/wake") -> bytes:
    outcome = office.ask(Subscribe(TENANT, unheard, SUBJECT, None, url, "fanout", "", 5_000, 300_000))
    assert isinstance(outcome, Subscribed)
    return outcome.id


def test_a_subscriber_is_told_what_there_is() -> None:
    async def test(office: Office) -> None:
        _subscribed(office)
        office.create("resize")
        office.create("resize")
        await office.turn()
        ((target, tenant, notification, body),) = office.sender.calls
        assert (target.host, tenant) == ("worker.example", "acme")
        assert msgspec.json.decode(body) == {
            "eventType": "resize", "available": True, "queueDepth": 2, "claimUrl": "/v1/codeq/tasks/claim",
            "sentAt": "2027-01-15T08:00:00.000Z", "notificationId": notification,
        }  # fmt: skip
        await office.end(Attempt(True))
        assert office.courier.figures.notified == 1 and office.courier.lanes.under_way == 0

    with_office(test)


def test_a_subscriber_that_does_not_answer_is_called_again_later() -> None:
    async def test(office: Office) -> None:
        _subscribed(office)
        office.create("resize")
        await office.turn()
        await office.end(Attempt(False, "refused"))
        office.pass_ms(10_000)
        await office.turn()
        assert len(office.sender.calls) == 2 and office.courier.figures.notifications_failed == 1

    with_office(test)


def test_a_callback_that_is_not_allowed_any_more_is_never_called() -> None:
    async def test(office: Office) -> None:
        _subscribed(office, "http://127.0.0.1/")
        office.create("resize")
        await office.turn()
        assert office.sender.calls == [] and office.courier.figures.refused == {"bad-url": 1}

    with_office(test)


def test_the_body_says_how_the_task_ended() -> None:
    artifacts = b'[{"name":"a","url":"b"}]'
    done = Letter(TASK_ID, "mail", COMPLETED, 1_800_000_000_000, result=b'{"x": 1.0}', artifacts=artifacts)
    assert render(done) == (
        b'{"taskId":"' + id_text(TASK_ID).encode() + b'","eventType":"mail","status":"COMPLETED","result":{"x": 1.0},'
        b'"error":null,"artifacts":[{"name":"a","url":"b"}],"completedAt":"2027-01-15T08:00:00.000Z"}'
    )
    dead = render(Letter(TASK_ID, "mail", DLQ, 1_800_000_000_000, error="lease expired"))
    assert b'"status":"DLQ","result":null,"error":"lease expired","artifacts":[]' in dead
