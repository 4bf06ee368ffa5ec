"""Claiming tasks."""

from typing import Any

import pytest

from appliance.tasks.settings import TaskSettings
from tests.api.support import TASKS, Answer, Client, Node

CLAIM = TASKS + "/claim"


def _begin(node: Node, token: str = "worker", **fields: Any) -> Client:
    return node.begin("POST", CLAIM, fields, token)


def _claim(node: Node, token: str = "worker", **fields: Any) -> Answer:
    return node.call("POST", CLAIM, fields, token)


def test_the_curl_line_of_the_documentation_claims_a_task() -> None:
    node = Node()
    created = node.create("send-email", priority=10, maxAttempts=3)
    body = b"""{
"commands": ["send-email"],
"leaseSeconds": 60,
"workerId": "worker-1"
}"""
    answer = node.call("POST", CLAIM, body, "worker", headers={b"content-type": b"application/json"})
    assert answer.status == 200
    assert answer.json == {
        **created,
        "status": "CLAIMED",
        "attempts": 1,
        "workerId": "worker-1",
        "leaseId": created["id"] + ":1",
        "leaseUntil": "2026-05-28T20:27:40.000Z",
    }


def test_the_lease_id_is_only_in_the_answer_to_a_claim() -> None:
    node = Node()
    node.create()
    task = node.claim()
    assert task.pop("leaseId") == task["id"] + ":1"
    assert node.read(task["id"]) == task


def test_an_empty_queue_gets_204() -> None:
    answer = _claim(Node())
    assert (answer.status, answer.body) == (204, b"")


def test_a_body_is_not_needed() -> None:
    node = Node()
    node.create()
    answer = node.call("POST", CLAIM, b"", "worker")
    assert answer.json["leaseUntil"] == "2026-05-28T20:31:40.000Z"


def test_null_is_the_same_as_absent() -> None:
    node = Node()
    node.create()
    assert _claim(node, commands=None, leaseSeconds=None, waitSeconds=None, workerId=None).status == 200


def test_priority_comes_before_age_over_all_named_commands() -> None:
    node = Node()
    for command, priority in (("a", 1), ("b", 2), ("a", 2), ("c", 9), ("b", 1)):
        node.create(command, priority=priority)
    claimed = [node.claim(commands=["a", "b", "a"]) for _ in range(4)]
    assert [(task["command"], task["priority"]) for task in claimed] == [("b", 2), ("a", 2), ("a", 1), ("b", 1)]
    assert _claim(node, commands=["a", "b"]).status == 204


def test_a_batch_claims_up_to_its_count() -> None:
    node = Node()
    ids = [node.create()["id"] for _ in range(3)]
    first = node.call("POST", CLAIM + "/batch", {"count": 2, "leaseSeconds": 60}, "worker")
    assert [task["id"] for task in first.json["tasks"]] == ids[:2]
    assert all(task["leaseId"] == task["id"] + ":1" for task in first.json["tasks"])
    second = node.call("POST", CLAIM + "/batch", {"count": 100}, "worker")
    assert [task["id"] for task in second.json["tasks"]] == ids[2:]
    assert node.call("POST", CLAIM + "/batch", {"count": 1}, "worker").status == 204


def test_a_token_limits_what_may_be_claimed() -> None:
    node = Node()
    node.create("sms")
    email = node.create("email")
    assert _claim(node, "email-worker").json["id"] == email["id"]
    assert _claim(node, "email-worker", commands=[]).status == 204
    refused = _claim(node, "email-worker", commands=["email", "sms"])
    assert (refused.status, refused.code) == (403, "permission-denied")
    assert "sms" in refused.json["message"]


def test_a_token_without_event_types_may_claim_nothing() -> None:
    node = Node()
    node.create()
    for commands in ([], ["email"]):
        assert _claim(node, "idle", commands=commands).code == "permission-denied"


def test_a_tenant_gets_its_own_tasks_only() -> None:
    node = Node()
    node.create()
    assert _claim(node, "other-worker").status == 204
    mine = node.create(token="other-producer")
    task = node.claim("other-worker")
    assert (task["id"], task["tenantId"]) == (mine["id"], "other")


def test_a_waiting_claim_is_answered_when_work_is_there() -> None:
    node = Node()
    client = _begin(node, waitSeconds=30, commands=["email"])
    node.pass_ms(10_000)
    assert not client.answered
    node.create("sms")
    assert not client.answered
    task = node.create("email")
    assert client.answer_once.json["id"] == task["id"]


def test_a_wait_ends_with_204() -> None:
    node = Node()
    client = _begin(node, waitSeconds=30)
    node.pass_ms(29_999)
    assert not client.answered
    node.pass_ms(1)
    assert client.answer_once.status == 204


def test_a_waiting_claim_whose_caller_left_takes_nothing() -> None:
    node = Node()
    client = _begin(node, waitSeconds=30)
    node.settle()
    client.leave()
    task = node.create()
    assert not client.answered
    assert node.claim()["leaseId"] == task["id"] + ":1"


@pytest.mark.parametrize("path", [CLAIM, CLAIM + "/batch"])
@pytest.mark.parametrize("wait", [0, 30])
def test_a_lease_that_its_caller_never_heard_of_is_given_back(path: str, wait: int) -> None:
    node = Node()
    task = node.create()
    client = node.begin("POST", path, {"count": 5, "waitSeconds": wait, "workerId": "w"}, "worker")
    node.scheduler.pump(node.now)
    client.leave()
    node.scheduler.durable(node.seam.commit(), node.now)
    node.settle()
    assert not client.answered
    found = node.read(task["id"])
    assert (found["status"], found["attempts"]) == ("PENDING", 0)
    assert node.claim()["id"] == task["id"]


def test_the_number_of_waiting_claims_of_a_tenant_is_bounded() -> None:
    node = Node(tasks=TaskSettings(waiting_per_tenant_max=2))
    clients = [_begin(node, waitSeconds=30) for _ in range(3)]
    node.settle()
    assert [client.answered for client in clients] == [False, False, True]
    answer = clients[2].answer_once
    assert (answer.status, answer.code, answer.headers[b"Retry-After"]) == (429, "rate-limited", b"1")


def test_an_expired_lease_is_delivered_again_after_the_backoff() -> None:
    node = Node()
    node.create()
    first = node.claim(leaseSeconds=1)
    node.pass_ms(1000)
    assert _claim(node).status == 204
    found = node.read(first["id"])
    assert (found["status"], found["error"], found["runAt"]) == ("PENDING", "lease expired", "2026-05-28T20:26:46.000Z")
    node.pass_ms(5000)
    second = node.claim()
    assert (second["id"], second["attempts"], second["leaseId"]) == (first["id"], 2, first["id"] + ":2")
