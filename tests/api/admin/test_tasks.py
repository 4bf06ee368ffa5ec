"""Operators' routes about single tasks and dead letters."""

from typing import Any

import pytest

from tests.api.admin.support import audited, dead_letters, get, ids_of, post, refused
from tests.api.support import TASKS, Node

FAR = "00000000-0000-7000-8000-000000000001"


def test_a_pending_and_a_claimed_task_are_cancelled() -> None:
    node = Node()
    waiting, claimed = node.create(delaySeconds=60), node.create()
    lease = node.claim()
    for task in (waiting, claimed):
        shown = post(node, f"/tasks/{task['id']}/cancel", {"reason": "wrong address"})
        assert (shown["status"], shown["error"]) == ("FAILED", "cancelled")
    for action in ("heartbeat", "nack", "abandon", "result"):
        body = {"status": "COMPLETED"} if action == "result" else {}
        answer = node.act(lease["id"], action, {**body, "leaseId": lease["leaseId"]})
        assert (answer.status, answer.code) == (409, "cancelled"), action
    assert refused(node, "POST", f"/tasks/{claimed['id']}/cancel").code == "not-claimed"
    assert audited(node)[0] == ("ann", "task.cancel", claimed["id"], "wrong address")


def test_a_task_shows_its_history() -> None:
    node = Node()
    (dead,) = dead_letters(node, 1)
    post(node, f"/tasks/{dead}/requeue")
    node.now += 1
    task = node.claim(workerId="w1")
    node.act(dead, "result", {"status": "COMPLETED", "result": {"ok": True}})
    shown = get(node, f"/tasks/{dead}")
    assert (shown["status"], shown["deliveries"], shown["result"]) == ("COMPLETED", 1, {"ok": True})
    assert task["attempts"] == 1
    events = [(each["event"], each["detail"]) for each in shown["history"]]
    assert events == [
        ("created", ""),
        ("task.requeue", "by ann"),
        ("claimed", "delivery 1, by worker/w1"),
        ("completed", ""),
    ]


def test_a_dead_letter_is_requeued_with_its_id_and_a_new_count() -> None:
    node = Node()
    (dead,) = dead_letters(node, 1)
    shown = post(node, f"/tasks/{dead}/requeue")
    assert (shown["id"], shown["status"], shown["attempts"]) == (dead, "PENDING", 0)
    assert refused(node, "POST", f"/tasks/{dead}/requeue").code == "not-claimed"
    assert get(node, "/dlq")["tasks"] == []
    assert node.claim()["id"] == dead


def test_a_dead_letter_is_purged() -> None:
    node = Node()
    (dead,) = dead_letters(node, 1)
    live = node.create()["id"]
    assert post(node, f"/tasks/{dead}/purge") == {"purged": 1}
    assert node.call("GET", f"{TASKS}/{dead}", token="producer").status == 404
    assert refused(node, "POST", f"/tasks/{live}/purge").json["message"] == "the task is not a dead letter"
    assert get(node, "/queues/email")["dlq"] == 0


@pytest.mark.parametrize("name", ["x", FAR])
@pytest.mark.parametrize("action", ["", "/cancel", "/requeue", "/purge"])
def test_an_unknown_task_is_not_found(name: str, action: str) -> None:
    assert refused(Node(), "POST" if action else "GET", f"/tasks/{name}{action}").code == "not-found"


def test_dead_letters_are_listed_oldest_first_by_queue_and_age() -> None:
    node = Node()
    emails = dead_letters(node, 3)
    middle = node.now
    calls = dead_letters(node, 2, "call")
    assert ids_of(get(node, "/dlq")) == emails + calls
    assert ids_of(get(node, "/dlq", query="command=call")) == calls
    assert ids_of(get(node, "/dlq", query="command=none")) == []
    before = f"before=2026-05-28T20:26:40.{middle % 1000:03d}Z"
    assert ids_of(get(node, "/dlq", query=before)) == emails
    seen: list[str] = []
    cursor: Any = ""
    while cursor is not None:
        page = get(node, "/dlq", query=f"limit=2&cursor={cursor}")
        seen += ids_of(page)
        cursor = page["cursor"]
    assert seen == emails + calls


@pytest.mark.parametrize(("action", "word"), [("requeue", "requeued"), ("purge", "purged")])
def test_dead_letters_go_in_bounded_steps(action: str, word: str) -> None:
    node = Node()
    dead_letters(node, 3)
    dead_letters(node, 2, "call")
    assert post(node, f"/dlq/{action}", {"command": "call", "limit": 1}) == {word: 1, "more": True}
    assert post(node, f"/dlq/{action}", {"limit": 3}) == {word: 3, "more": True}
    assert post(node, f"/dlq/{action}", {"limit": 3}) == {word: 1, "more": False}
    assert post(node, f"/dlq/{action}") == {word: 0, "more": False}
    ready = sum(queue["ready"] for queue in get(node, "/queues")["queues"])
    assert ready == (5 if action == "requeue" else 0)
    assert audited(node)[0] == ("ann", f"dlq.{action}", "*", "1 of at most 3")


def test_a_large_step_goes_over_many_groups_and_is_one_entry_in_the_audit() -> None:
    node = Node()
    dead_letters(node, 90)
    client = node.begin("POST", "/v1/codeq/admin/dlq/requeue", {"limit": 100}, "admin")
    node.scheduler.pump(node.now)
    node.scheduler.durable(node.seam.commit(), node.now)
    assert not client.answered
    node.settle()
    assert client.answer_once.json == {"requeued": 90, "more": False}
    assert audited(node) == [("ann", "dlq.requeue", "*", "90 of at most 100")]


def test_a_step_knows_age() -> None:
    node = Node()
    dead_letters(node, 3)
    node.now += 1_000
    before = "2026-05-28T20:26:41Z"
    dead_letters(node, 1)
    assert post(node, "/dlq/requeue", {"before": before}) == {"requeued": 3, "more": False}


@pytest.mark.parametrize(
    "body",
    [
        {"before": ""},
        {"command": ""},
        {"limit": 0},
        {"limit": 10_001},
        {"before": "x"},
        {"command": "a b"},
        {"limit": "1"},
    ],
)
def test_a_senseless_step_is_refused(body: dict[str, object]) -> None:
    for action in ("requeue", "purge"):
        assert refused(Node(), "POST", f"/dlq/{action}", body).code == "validation-error"


def test_a_cleanup_sweeps_what_has_expired_and_never_a_live_task() -> None:
    node = Node()
    task = node.create()
    live = node.create()["id"]
    node.act(node.claim()["id"], "result", {"status": "COMPLETED"})
    assert post(node, "/tasks/cleanup")["deleted"] == 0
    node.now += 25 * 3_600_000
    answer = post(node, "/tasks/cleanup", {"limit": 10})
    assert answer["limit"] == 10 and answer["before"] == "2026-05-29T21:26:40.000Z"
    assert node.call("GET", f"{TASKS}/{task['id']}", token="producer").status == 404
    assert node.read(live)["status"] == "PENDING"
    assert refused(node, "POST", "/tasks/cleanup", {"before": "2030-01-01T00:00:00Z"}).code == "validation-error"
