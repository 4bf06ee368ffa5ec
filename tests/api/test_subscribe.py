"""Subscriptions over REST: fields, limits, renewal, the long poll."""

from typing import Any

import pytest

from tests.api.support import Node

PATH = "/v1/codeq/workers/subscriptions"
URL = "https://worker.example/wake"


def subscribe(node: Node, token: str = "worker", **fields: Any) -> str:
    answer = node.call("POST", PATH, fields, token)
    assert answer.status == 200, answer.body
    return str(answer.json["subscriptionId"])


def test_a_subscription_has_an_id_and_an_end() -> None:
    node = Node()
    answer = node.call("POST", PATH, b"", "worker")
    assert answer.status == 200 and answer.json.keys() == {"subscriptionId", "expiresAt"}
    assert answer.json["expiresAt"] == "2026-05-28T20:31:40.000Z"


def test_a_heartbeat_renews_and_says_where_work_is() -> None:
    node = Node()
    own = subscribe(node, eventTypes=["email"], ttlSeconds=60)
    node.create()
    node.create("sms")
    node.pass_ms(30_000)
    answer = node.call("POST", f"{PATH}/{own}/heartbeat", b"", "worker")
    assert answer.json == {
        "subscriptionId": own, "expiresAt": "2026-05-28T20:28:10.000Z", "ready": [{"command": "email", "depth": 1}],
    }  # fmt: skip


def test_a_heartbeat_that_waits_is_answered_by_a_create() -> None:
    node = Node()
    own = subscribe(node)
    client = node.begin("POST", f"{PATH}/{own}/heartbeat", {"waitSeconds": 30}, "worker")
    node.settle()
    assert not client.answered
    node.create()
    assert client.answer_once.json["ready"] == [{"command": "email", "depth": 1}]


def test_a_caller_that_leaves_is_forgotten() -> None:
    node = Node()
    own = subscribe(node)
    client = node.begin("POST", f"{PATH}/{own}/heartbeat", {"waitSeconds": 30}, "worker")
    node.settle()
    client.leave()
    node.create()
    assert not client.answered


def test_only_what_the_token_allows_can_be_followed() -> None:
    node = Node()
    refused = node.call("POST", PATH, {"commands": ["sms"]}, "email-worker")
    assert (refused.status, refused.code) == (403, "permission-denied")
    own = subscribe(node, "email-worker")
    node.create("sms")
    assert node.call("POST", f"{PATH}/{own}/heartbeat", b"", "email-worker").json["ready"] == []


def test_it_takes_a_worker_with_the_scope_and_the_subject_that_made_it() -> None:
    node = Node()
    own = subscribe(node)
    assert node.call("POST", PATH, b"", "producer").status == 401
    assert node.call("POST", PATH, b"", "powerless").status == 403
    assert node.call("POST", f"{PATH}/{own}/heartbeat", b"", "worker-2").status == 403
    assert node.call("POST", f"{PATH}/{own}/heartbeat", b"", "other-worker").status == 404
    assert node.call("POST", f"{PATH}/nonsense/heartbeat", b"", "worker").status == 404
    assert node.call("GET", f"{PATH}/{own}/heartbeat", b"", "worker").status == 405
    assert node.call("POST", f"{PATH}/{own}/other", b"", "worker").status == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"ttlSeconds": 0}, {"ttlSeconds": 86_401}, {"minIntervalSeconds": -1}, {"minIntervalSeconds": 3_601},
        {"deliveryMode": "all"}, {"deliveryMode": "group"}, {"groupId": ""}, {"groupId": "g" * 129},
        {"commands": ["a b"]}, {"commands": ["a"], "eventTypes": ["a"]}, {"commands": ["a"] * 101},
        {"callbackUrl": ""}, {"callbackUrl": "ftp://x.example/"}, {"callbackUrl": "http://127.0.0.1/"},
        {"callbackUrl": "https://user@x.example/"},
    ],
)  # fmt: skip
def test_a_field_out_of_its_limits_is_refused(fields: dict[str, Any]) -> None:
    answer = Node().call("POST", PATH, fields, "worker")
    assert (answer.status, answer.code) == (400, "validation-error"), answer.body


def test_every_field_may_be_named() -> None:
    subscribe(
        Node(), commands=["a"], callbackUrl=URL, ttlSeconds=86_400, deliveryMode="hash", groupId="g" * 128,
        minIntervalSeconds=3_600,
    )  # fmt: skip


@pytest.mark.parametrize("wait", [-1, 31, "1"])
def test_a_wait_out_of_its_limits_is_refused(wait: Any) -> None:
    node = Node()
    own = subscribe(node)
    assert node.call("POST", f"{PATH}/{own}/heartbeat", {"waitSeconds": wait}, "worker").status == 400
