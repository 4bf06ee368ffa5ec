"""Operators' routes about webhooks."""

import pytest

from appliance.tasks.model import Settle
from appliance.tasks.notifier import Notification
from tests.api.admin.support import audited, get, post, refused
from tests.api.support import Node

PATH = "/webhooks"


class Courier:
    """Fails at everything, for good."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.final = True

    def room(self) -> int:
        return 1

    def accept(self, due: object) -> bool:
        delivery_id, tenant = due.id, due.tenant  # type: ignore[attr-defined]

        def settled(_outcome: object) -> None:
            self.node.scheduler.outgoing.landed(delivery_id, settled=True)

        self.node.scheduler.offer(Settle(tenant, settled, delivery_id, False, "answered 500", self.final))
        return True

    def notify(self, tenant: str, notification: Notification) -> None:
        raise AssertionError(notification)


def failed(node: Node, count: int = 1, *, final: bool = True) -> list[str]:
    """Ids of so many tasks whose webhook failed."""
    courier = Courier(node)
    courier.final = final
    node.scheduler.outgoing.courier = courier
    ids = []
    for _ in range(count):
        ids.append(node.create(webhook="https://example.com:8443/hook/a?token=secret")["id"])
        node.act(node.claim()["id"], "result", {"status": "COMPLETED"})
        node.settle()
        node.now += 1
    node.scheduler.outgoing.courier = None
    return ids


def test_what_was_given_up_is_listed_without_the_secrets_in_its_url() -> None:
    node = Node()
    (task,) = failed(node)
    (shown,) = get(node, PATH)["deliveries"]
    assert len(shown.pop("deliveryId")) == 36 and shown.pop("givenUpAt")
    assert shown == {
        "taskId": task, "url": "https://example.com:8443/hook/a", "state": "given-up", "attempts": 1,
        "lastError": "answered 500", "nextAt": None,
    }  # fmt: skip


def test_what_waits_is_listed_too() -> None:
    node = Node()
    failed(node, final=False)
    (shown,) = get(node, PATH, query="state=waiting")["deliveries"]
    assert shown["state"] == "waiting" and shown["nextAt"] and shown["givenUpAt"] is None
    assert get(node, PATH)["deliveries"] == []


def test_pages_follow_each_other() -> None:
    node = Node()
    tasks = failed(node, 5)
    seen: list[str] = []
    query = "limit=2"
    while True:
        page = get(node, PATH, query=query)
        seen += [each["taskId"] for each in page["deliveries"]]
        if page["cursor"] is None:
            break
        query = f"limit=2&cursor={page['cursor']}"
    assert seen == tasks


def test_one_is_sent_again_and_audited() -> None:
    node = Node()
    failed(node)
    (shown,) = get(node, PATH)["deliveries"]
    path = f"{PATH}/{shown['deliveryId']}/retry"
    assert post(node, path) == {"retried": 1, "more": False}
    assert audited(node)[0] == ("ann", "webhook.retry", shown["deliveryId"], "")
    again = refused(node, "POST", path)
    assert (again.status, again.code) == (409, "not-claimed")
    (waiting,) = get(node, PATH, query="state=waiting")["deliveries"]
    assert (waiting["deliveryId"], waiting["attempts"]) == (shown["deliveryId"], 0)


def test_many_are_sent_again_in_steps() -> None:
    node = Node()
    failed(node, 3)
    assert post(node, f"{PATH}/retry", {"limit": 2}) == {"retried": 2, "more": True}
    assert post(node, f"{PATH}/retry", {"before": "2020-01-01T00:00:00Z"}) == {"retried": 0, "more": False}
    assert post(node, f"{PATH}/retry") == {"retried": 1, "more": False}
    assert audited(node)[0] == ("ann", "webhook.retry", "", "1 webhooks")


def test_a_tenant_sees_its_own_and_an_operator_any() -> None:
    node = Node()
    failed(node)
    (shown,) = get(node, PATH)["deliveries"]
    assert get(node, PATH, "other-admin")["deliveries"] == []
    assert refused(node, "POST", f"{PATH}/{shown['deliveryId']}/retry", token="other-admin").code == "not-found"
    assert len(get(node, PATH, "operator", "tenant=acme")["deliveries"]) == 1


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "cursor=%21"])
def test_a_query_that_makes_no_sense_is_refused(query: str) -> None:
    assert refused(Node(), "GET", PATH, query=query).status == 400


def test_a_delivery_of_nobody_is_not_found() -> None:
    assert refused(Node(), "POST", f"{PATH}/nonsense/retry").code == "not-found"
