"""What owners of leases do."""

from typing import Any

import pytest

from tests.api.limits import MISSING
from tests.api.support import TASKS, Node

RESULTS = TASKS + "/batch/results"
ACTIONS = ["result", "heartbeat", "nack", "abandon"]


def _body(action: str, **fields: Any) -> dict[str, Any]:
    return {"status": "COMPLETED", **fields} if action == "result" else fields


def _claimed(node: Node, **fields: Any) -> dict[str, Any]:
    node.create(maxAttempts=2)
    return node.claim(**fields)


def test_the_curl_line_of_the_documentation_completes_a_task() -> None:
    node = Node()
    task = _claimed(node, workerId="worker-1")
    body = b"""{
"status": "COMPLETED",
"workerId": "worker-1",
"result": {"sentAt": "2026-05-18T12:00:00Z"}
}"""
    answer = node.act(task["id"], "result", body)
    assert answer.status == 200
    assert answer.json == {
        "taskId": task["id"],
        "status": "COMPLETED",
        "result": {"sentAt": "2026-05-18T12:00:00Z"},
        "error": None,
        "artifacts": [],
        "completedAt": "2026-05-28T20:26:40.000Z",
    }


def test_a_failure_keeps_its_error_and_artifacts() -> None:
    node = Node()
    task = _claimed(node)
    artifacts = [{"name": "log", "url": "s3://bucket/log"}]
    body = {"status": "FAILED", "error": "boom", "artifacts": [{**artifacts[0], "size": 5}], "result": [1]}
    record = node.act(task["id"], "result", body).json
    assert (record["status"], record["error"], record["result"]) == ("FAILED", "boom", [1])
    assert record["artifacts"] == artifacts
    found = node.read(task["id"])
    assert (found["status"], found["error"], found["completedAt"]) == ("FAILED", "boom", record["completedAt"])


def test_the_identical_result_again_gets_the_record() -> None:
    node = Node()
    task = _claimed(node)
    first = node.act(task["id"], "result", b'{"status":"COMPLETED","result":{"a":1,"b":2}}')
    node.pass_ms(1000)
    again = node.act(task["id"], "result", b'{"result":{"b":2.0, "a":1},"status":"COMPLETED"}')
    assert (again.status, again.body) == (200, first.body)
    for other in ({"status": "COMPLETED"}, {"status": "FAILED", "result": {"a": 1, "b": 2}}):
        answer = node.act(task["id"], "result", other)
        assert (answer.status, answer.code) == (409, "not-claimed")


def test_a_result_of_null_is_no_result() -> None:
    node = Node()
    task = _claimed(node)
    first = node.act(task["id"], "result", b'{"status":"COMPLETED","result":null,"artifacts":[]}')
    assert first.json["result"] is None
    assert node.act(task["id"], "result", b'{"status":"COMPLETED"}').body == first.body


@pytest.mark.parametrize("action", ACTIONS)
def test_owner_actions_are_judged_in_the_order_of_the_contract(action: str) -> None:
    node = Node()
    task = _claimed(node, workerId="w1", leaseSeconds=60)
    task_id = task["id"]

    def act(token: str = "worker", task_id: str = task_id, **fields: Any) -> tuple[int, str]:
        answer = node.act(task_id, action, _body(action, **fields), token)
        return answer.status, answer.json.get("code", "")

    assert act(task_id=MISSING) == (404, "not-found")
    assert act(task_id="nonsense") == (404, "not-found")
    assert act("other-worker") == (404, "not-found")
    assert act("worker-2") == (403, "permission-denied")
    assert act(workerId="w2") == (403, "permission-denied")
    assert act(workerId="w2", leaseId="old") == (403, "permission-denied")
    assert act(workerId="w1", leaseId=f"{task_id}:2") == (409, "lease-lost")
    assert act(leaseId=f"{MISSING}:1") == (409, "lease-lost")
    assert act(leaseId="") == (409, "lease-lost")
    assert node.read(task_id)["status"] == "CLAIMED"

    node.pass_ms(60_000)
    assert act() == (409, "not-claimed")
    assert act("worker-2") == (409, "not-claimed")
    assert act(leaseId=task["leaseId"]) == (409, "lease-lost")
    node.pass_ms(5_000)

    node.claim(workerId="w1")
    assert act(leaseId=task["leaseId"]) == (409, "lease-lost")
    assert act(workerId="w1", leaseId=f"{task_id}:2") == (200, "")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_finished_task_answers_its_last_owner_and_others_differently(action: str) -> None:
    node = Node()
    task = _claimed(node, workerId="w1")
    node.act(task["id"], "result", {"status": "FAILED", "error": "x"})
    answers = {
        token: node.act(task["id"], action, _body(action), token) for token in ("worker", "worker-2", "other-worker")
    }
    assert {token: (answer.status, answer.code) for token, answer in answers.items()} == {
        "worker": (409, "not-claimed"),
        "worker-2": (403, "permission-denied"),
        "other-worker": (404, "not-found"),
    }


def test_a_heartbeat_extends_the_lease_and_never_shortens_it() -> None:
    node = Node()
    task = _claimed(node, leaseSeconds=60)
    node.pass_ms(1000)
    longer = node.act(task["id"], "heartbeat", {"extendSeconds": 120})
    assert longer.json == {"ok": True, "leaseUntil": "2026-05-28T20:28:41.000Z"}
    assert node.act(task["id"], "heartbeat", {"extendSeconds": 1}).json == longer.json
    assert node.read(task["id"])["leaseUntil"] == "2026-05-28T20:28:41.000Z"


def test_a_nack_gives_the_task_back_after_its_delay() -> None:
    node = Node()
    task = _claimed(node)
    answer = node.act(task["id"], "nack", {"delaySeconds": 7, "reason": "busy"})
    assert answer.json == {"status": "requeued", "delaySeconds": 7, "attempts": 1}
    found = node.read(task["id"])
    assert (found["status"], found["error"]) == ("PENDING", "busy")
    assert "workerId" not in found
    assert "leaseUntil" not in found
    node.pass_ms(7000)
    assert node.claim()["attempts"] == 2


def test_a_nack_without_delay_waits_for_the_backoff() -> None:
    node = Node()
    assert node.act(_claimed(node)["id"], "nack").json["delaySeconds"] == 5


def test_a_nack_with_a_delay_of_0_is_claimable_at_once() -> None:
    node = Node()
    task = _claimed(node)
    assert node.act(task["id"], "nack", {"delaySeconds": 0}).json["delaySeconds"] == 0
    assert node.claim()["id"] == task["id"]


def test_the_last_nack_ends_in_the_dead_letters() -> None:
    node = Node()
    task = _claimed(node)
    node.act(task["id"], "nack", {"delaySeconds": 0})
    node.claim()
    answer = node.act(task["id"], "nack", {"reason": "no use"})
    assert answer.json == {"status": "dlq", "delaySeconds": 0, "attempts": 2}
    found = node.call("GET", f"{TASKS}/{task['id']}/result", token="producer").json
    assert (found["status"], found["error"], found["task"]["status"]) == ("DLQ", "no use", "DLQ")


def test_an_abandon_gives_the_attempt_back() -> None:
    node = Node()
    task = _claimed(node)
    assert node.act(task["id"], "abandon").json == {"status": "requeued"}
    assert node.read(task["id"])["attempts"] == 0
    assert node.claim()["attempts"] == 1


def test_a_bad_item_of_a_batch_fails_alone() -> None:
    node = Node()
    first, second = _claimed(node)["id"], _claimed(node)["id"]
    items: list[Any] = [
        {"taskId": first, "status": "COMPLETED", "result": [1]},
        {"taskId": first, "status": "COMPLETED", "result": [1]},
        {"taskId": MISSING, "status": "COMPLETED"},
        {"taskId": second, "status": "DONE"},
        {"taskId": "nonsense", "status": "FAILED"},
        {"taskId": second, "status": "FAILED", "error": "e" * 4097},
        {"taskId": 5, "status": "FAILED"},
        7,
        {"taskId": second.upper(), "status": "FAILED", "error": "e"},
    ]
    results = node.call("POST", RESULTS, {"results": items}, "worker").json["results"]
    assert [result["taskId"] for result in results] == [
        first, first, MISSING, second, "nonsense", second, None, None, second
    ]  # fmt: skip
    assert [result["error"]["code"] if "error" in result else result["result"]["status"] for result in results] == [
        "COMPLETED",
        "COMPLETED",
        "not-found",
        "validation-error",
        "not-found",
        "validation-error",
        "validation-error",
        "validation-error",
        "FAILED",
    ]


def test_a_bare_array_gets_a_bare_array() -> None:
    node = Node()
    task = _claimed(node)
    results = node.call("POST", RESULTS, [{"taskId": task["id"], "status": "COMPLETED"}], "worker").json
    assert results[0]["result"]["taskId"] == task["id"]
    assert node.call("POST", RESULTS, [], "worker").json == []


def test_a_result_too_large_in_a_batch_fails_alone() -> None:
    node = Node()
    task = _claimed(node)
    items = [{"taskId": task["id"], "status": "COMPLETED", "result": "x" * 262_143}]
    assert node.call("POST", RESULTS, items, "worker").json[0]["error"]["code"] == "payload-too-large"
