"""Reading tasks and results."""

import logging
from typing import Any

import pytest

from appliance.api.app import ApiSettings
from appliance.engine.faults import DiskNotTrusted
from appliance.engine.rows import DamagedRow
from tests.api.support import TASKS, Client, Node


def _wait(node: Node, task_id: str, seconds: int = 10, token: str = "producer") -> Client:
    return node.begin("GET", f"{TASKS}/{task_id}/result", token=token, query=f"waitSeconds={seconds}")


def _finish(node: Node, **fields: Any) -> None:
    node.act(node.claim()["id"], "result", {"status": "COMPLETED", "result": [1], **fields})


@pytest.mark.parametrize("token", ["producer", "worker", "powerless"])
def test_any_token_of_the_tenant_may_read(token: str) -> None:
    node = Node()
    task = node.create()
    assert node.read(task["id"], token) == task


def test_the_task_of_another_tenant_is_not_found() -> None:
    node = Node()
    task_id = node.create()["id"]
    node.create(token="other-producer")
    for path in (f"{TASKS}/{task_id}", f"{TASKS}/{task_id}/result"):
        for token in ("other-producer", "other-worker"):
            answer = node.call("GET", path, token=token)
            assert (answer.status, answer.code) == (404, "not-found")


def test_a_read_sees_what_is_durable_only() -> None:
    node = Node()
    task = node.create()
    node.begin("POST", TASKS + "/claim", b"", "worker")
    node.scheduler.pump(node.now)
    assert node.begin("GET", f"{TASKS}/{task['id']}", token="worker").answer_once.json == task
    node.settle()
    assert node.read(task["id"])["status"] == "CLAIMED"


def test_head_is_answered_as_get() -> None:
    node = Node()
    task_id = node.create()["id"]
    for path in (f"{TASKS}/{task_id}", f"{TASKS}/{task_id}/result"):
        assert node.call("HEAD", path, token="worker").body == node.call("GET", path, token="worker").body


def test_a_result_is_pending_until_it_is_there() -> None:
    node = Node()
    task = node.create()
    path = f"{TASKS}/{task['id']}/result"
    pending = {"taskId": task["id"], "status": "PENDING", "result": None, "error": None, "artifacts": []}
    assert node.call("GET", path, token="producer").json == {**pending, "completedAt": None, "task": task}
    claimed = node.claim()
    found = node.call("GET", path, token="producer").json
    assert (found["status"], found["task"]["status"]) == ("PENDING", "CLAIMED")
    record = node.act(claimed["id"], "result", {"status": "COMPLETED", "result": "done"}).json
    assert node.call("GET", path, token="producer").json == {**record, "task": node.read(task["id"])}


def test_the_error_of_a_delivery_is_no_result() -> None:
    node = Node()
    task = node.create()
    node.act(node.claim()["id"], "nack", {"reason": "busy"})
    found = node.call("GET", f"{TASKS}/{task['id']}/result", token="producer").json
    assert (found["status"], found["error"], found["task"]["error"]) == ("PENDING", None, "busy")


def test_a_wait_ends_the_moment_that_the_result_is_durable() -> None:
    node = Node()
    task = node.create()
    client = _wait(node, task["id"])
    claimed = node.claim()
    finish = node.begin("POST", f"{TASKS}/{claimed['id']}/result", {"status": "COMPLETED", "result": [1]}, "worker")
    node.scheduler.pump(node.now)
    assert not client.answered
    node.scheduler.durable(node.seam.commit(), node.now)
    assert finish.answer_once.status == 200
    assert client.answer_once.json["result"] == [1]


def test_a_wait_that_runs_out_answers_pending() -> None:
    node = Node()
    client = _wait(node, node.create()["id"], 10)
    node.pass_ms(9_999)
    assert not client.answered
    node.pass_ms(1)
    assert client.answer_once.json["status"] == "PENDING"


def test_a_wait_wakes_the_driver_so_that_its_end_is_not_slept_through() -> None:
    node = Node()
    task_id = node.create()["id"]
    before = node.wakes
    _wait(node, task_id)
    assert node.wakes > before


def test_a_wait_for_what_is_there_is_no_wait() -> None:
    node = Node()
    task = node.create()
    _finish(node)
    assert _wait(node, task["id"]).answer_once.json["status"] == "COMPLETED"


def test_a_wait_whose_caller_left_is_forgotten() -> None:
    node = Node()
    client = _wait(node, node.create()["id"])
    assert node.scheduler.watches.watching("acme") == 1
    client.leave()
    assert node.scheduler.watches.watching("acme") == 0
    _finish(node)
    assert not client.answered


def test_the_number_of_waits_of_a_tenant_is_bounded() -> None:
    node = Node(ApiSettings(waiting_per_tenant_max=2))
    task_id = node.create()["id"]
    clients = [_wait(node, task_id) for _ in range(3)]
    assert [client.answered for client in clients] == [False, False, True]
    answer = clients[2].answer_once
    assert (answer.status, answer.code, answer.headers[b"Retry-After"]) == (429, "rate-limited", b"1")
    _finish(node)
    assert [client.answer_once.status for client in clients[:2]] == [200, 200]


def test_a_wait_survives_a_failed_group() -> None:
    node = Node()
    task = node.create()
    client = _wait(node, task["id"])
    node.begin("POST", TASKS, {"command": "a", "payload": 1}, "producer")
    node.scheduler.pump(node.now)
    assert node.seam.held is not None
    number, _ = node.seam.held
    node.seam.held = None
    node.scheduler.failed(number, node.now)
    _finish(node)
    assert client.answer_once.json["status"] == "COMPLETED"


@pytest.mark.parametrize("path", ["", "/result"])
def test_a_damaged_row_is_reported_and_never_served(path: str, caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    task = node.create()
    node.store.fail_with = DamagedRow(1, bytes.fromhex(task["id"].replace("-", "")), "checksum does not match")
    with caplog.at_level(logging.ERROR, logger="codeq.api"):
        answer = node.call("GET", f"{TASKS}/{task['id']}{path}", token="producer")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert task["id"].replace("-", "") in caplog.text


@pytest.mark.parametrize("path", ["", "/result"])
def test_a_store_that_cannot_be_read_is_503(path: str) -> None:
    node = Node()
    task = node.create()
    node.store.fail_with = failure = DiskNotTrusted("cannot read table state")
    answer = node.begin("GET", f"{TASKS}/{task['id']}{path}", token="producer").answer_once
    assert (answer.status, answer.code) == (503, "unavailable")
    assert node.errors == [failure], "what ends the node"


def test_a_damaged_row_at_the_end_of_a_wait_is_answered_too() -> None:
    node = Node()
    task = node.create()
    client = _wait(node, task["id"], 1)
    node.store.fail_with = DamagedRow(1, b"k", "checksum does not match")
    node.now += 1000
    node.scheduler.watches.run_out(node.now)
    assert client.answer_once.code == "unavailable"


def test_a_failed_store_is_not_one_requests_affair() -> None:
    node = Node()
    client = _wait(node, node.create()["id"], 1)
    node.store.fail_with = DiskNotTrusted("the disk is gone")
    node.now += 1000
    with pytest.raises(DiskNotTrusted):
        node.scheduler.watches.run_out(node.now)
    assert not client.answered


def test_a_node_that_stands_alone_says_so() -> None:
    answer = Node().call("GET", "/v1/codeq/raft/status", token="worker")
    assert answer.json == {"enabled": False, "numGroups": 0, "groups": []}
