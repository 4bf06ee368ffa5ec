"""Operators' routes about queues."""

from typing import Any

import pytest

from appliance.engine.tables import AUDIT
from tests.api.admin.support import audited, dead_letters, get, ids_of, post, put, refused
from tests.api.support import TASKS, Node


def test_a_queue_shows_its_depths_its_pauses_and_its_settings() -> None:
    node = Node()
    for _ in range(3):
        node.create()
    node.create(delaySeconds=60)
    node.claim()
    node.act(node.claim()["id"], "result", {"status": "COMPLETED"})
    node.now += 2_500
    assert get(node, "/queues/email") == {
        "command": "email",
        "tenantId": "acme",
        "ready": 1,
        "delayed": 1,
        "inProgress": 1,
        "dlq": 0,
        "oldestReadyAgeSeconds": 2.5,
        "completed": 1,
        "failed": 0,
        "created": 4,
        "swept": 0,
        "paused": {"dispatch": False, "intake": False, "dispatchUntil": None, "intakeUntil": None},
        "settings": {},
    }
    assert get(node, "/queues")["queues"] == [get(node, "/queues/email")]


def test_queues_come_in_pages() -> None:
    node = Node()
    for number in range(5):
        node.create(f"c{number}")
    seen: list[str] = []
    cursor: Any = ""
    while cursor is not None:
        page = get(node, "/queues", query=f"limit=2&cursor={cursor}")
        seen += [queue["command"] for queue in page["queues"]]
        cursor = page["cursor"]
    assert seen == [f"c{number}" for number in range(5)]


def test_the_oldest_age_is_over_all_priorities() -> None:
    node = Node()
    node.create(priority=1)
    node.now += 1_000
    node.create(priority=9)
    assert get(node, "/queues/email")["oldestReadyAgeSeconds"] == 1.0


def test_tasks_are_listed_by_status() -> None:
    node = Node()
    claimed, completed, failed, ready = (node.create()["id"] for _ in range(4))
    delayed = node.create(delaySeconds=60)["id"]
    node.create("other", delaySeconds=30)
    node.claim()
    for status in ("COMPLETED", "FAILED"):
        node.act(node.claim()["id"], "result", {"status": status})
    (dead,) = dead_letters(node, 1, "dying")
    assert ids_of(get(node, "/queues/email/tasks")) == [ready]
    wanted = {"ready": ready, "delayed": delayed, "claimed": claimed, "completed": completed, "failed": failed}
    for status, task in wanted.items():
        page = get(node, "/queues/email/tasks", query=f"status={status}")
        assert ids_of(page) == [task] and page["cursor"] is None, status
    assert ids_of(get(node, "/queues/dying/tasks", query="status=dlq")) == [dead]
    assert refused(node, "GET", "/queues/email/tasks", query="status=x").code == "validation-error"


def test_a_list_goes_on_where_it_ended() -> None:
    node = Node()
    ids = [node.create()["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: Any = ""
    while cursor is not None:
        page = get(node, "/queues/email/tasks", query=f"limit=3&cursor={cursor}")
        seen += ids_of(page)
        cursor = page["cursor"]
    assert seen == ids


def test_a_page_is_bounded_by_looks_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    ids = [node.create(payload="x" * 600, delaySeconds=9)["id"] for _ in range(4)]
    monkeypatch.setattr("appliance.tasks.lists.PAGE_BYTES_MAX", 1_000)
    page = get(node, "/queues/email/tasks", query="status=delayed")
    assert ids_of(page) == ids[:2]
    assert ids_of(get(node, "/queues/email/tasks", query=f"status=delayed&cursor={page['cursor']}")) == ids[2:]
    node.create("other", delaySeconds=20)
    monkeypatch.setattr("appliance.tasks.lists.LOOKS_MAX", 4)
    page = get(node, "/queues/other/tasks", query="status=delayed")
    assert page["tasks"] == [] and page["cursor"]
    assert len(get(node, "/queues/other/tasks", query=f"status=delayed&cursor={page['cursor']}")["tasks"]) == 1


def test_a_paused_dispatch_looks_empty_to_claims() -> None:
    node = Node()
    node.create()
    assert post(node, "/queues/email/pause")["paused"]["dispatch"] is True
    assert node.call("POST", TASKS + "/claim", {}, "worker").status == 204
    assert node.call("POST", TASKS + "/claim", {"commands": ["email"]}, "worker").status == 204
    node.create("sms")
    assert node.claim()["command"] == "sms"
    assert post(node, "/queues/email/resume")["paused"]["dispatch"] is False
    assert node.claim()["command"] == "email"


def test_a_waiting_claim_is_served_at_the_resume() -> None:
    node = Node()
    node.create()
    post(node, "/queues/email/pause")
    waiting = node.begin("POST", TASKS + "/claim", {"waitSeconds": 30}, "worker")
    node.create()
    node.settle()
    assert not waiting.answered
    post(node, "/queues/email/resume")
    assert waiting.answer_once.status == 200


def test_a_paused_intake_refuses_creates_and_says_when_to_come_again() -> None:
    node = Node()
    keyed = node.create(idempotencyKey="k")
    until = "2026-05-28T20:26:45Z"
    shown = post(node, "/queues/email/pause", {"what": "intake", "until": until})
    assert shown["paused"]["intakeUntil"] == "2026-05-28T20:26:45.000Z"
    answer = node.call("POST", TASKS, {"command": "email", "payload": 1}, "producer")
    assert (answer.status, answer.code, answer.headers[b"Retry-After"]) == (503, "queue-paused", b"5")
    batch = node.call("POST", TASKS + "/batch", [{"command": "email", "payload": 1}], "producer").json
    assert batch[0]["error"]["code"] == "queue-paused"
    body = {"command": "email", "payload": {"a": 1}, "idempotencyKey": "k"}
    assert node.call("POST", TASKS, body, "producer").json["id"] == keyed["id"]
    assert node.claim()["id"] == keyed["id"]
    node.pass_ms(5_000)
    node.create()
    assert audited(node)[0] == ("codeq", "queue.resume", "email", "intake: the time was over")


def test_a_pause_ends_by_itself_also_after_a_restart() -> None:
    node = Node()
    node.create()
    post(node, "/queues/email/pause", {"what": "both", "until": "2026-05-28T20:26:50Z"})
    node.restart()
    assert get(node, "/queues/email")["paused"]["intake"] is True
    node.pass_ms(9_000)
    assert node.call("POST", TASKS + "/claim", {}, "worker").status == 204
    node.pass_ms(1_000)
    assert node.claim()["command"] == "email"
    assert get(node, "/queues/email")["paused"] == {
        "dispatch": False, "intake": False, "dispatchUntil": None, "intakeUntil": None,
    }  # fmt: skip


@pytest.mark.parametrize("body", [{"what": "all"}, {"until": "2020-01-01T00:00:00Z"}, {"until": "soon"}, []])
def test_a_senseless_pause_is_refused(body: object) -> None:
    node = Node()
    node.create()
    assert refused(node, "POST", "/queues/email/pause", body).code == "validation-error"


def test_what_was_never_seen_is_not_found() -> None:
    node = Node()
    for method, path in (("POST", "pause"), ("POST", "resume"), ("PUT", "settings"), ("GET", "tasks")):
        assert refused(node, method, f"/queues/none/{path}", b"{}" if method != "GET" else b"").code == "not-found"


def test_settings_are_set_kept_and_taken_back() -> None:
    node = Node()
    node.create()
    settings = {
        "maxDepth": 2,
        "retentionSeconds": 60,
        "deadRetentionSeconds": 120,
        "maxAttempts": 1,
        "backoff": {"policy": "fixed", "baseSeconds": 7, "capSeconds": 9},
    }
    assert put(node, "/queues/email/settings", settings)["settings"] == settings
    node.restart()
    assert get(node, "/queues/email")["settings"] == settings
    node.create()
    full = node.call("POST", TASKS, {"command": "email", "payload": 1}, "producer")
    assert (full.status, full.code) == (429, "rate-limited") and full.headers[b"Retry-After"] == b"1"
    changed = put(node, "/queues/email/settings", {"maxDepth": None, "backoff": None})["settings"]
    assert changed == {"retentionSeconds": 60, "deadRetentionSeconds": 120, "maxAttempts": 1}
    assert node.create()["maxAttempts"] == 1
    assert node.create(maxAttempts=3)["maxAttempts"] == 3


def test_a_queue_has_its_own_backoff_and_retention() -> None:
    node = Node()
    node.create()
    put(node, "/queues/email/settings", {"backoff": {"baseSeconds": 7}, "retentionSeconds": 60})
    task = node.claim()
    assert node.act(task["id"], "nack").json["delaySeconds"] == 7
    node.pass_ms(7_000)
    node.act(node.claim()["id"], "result", {"status": "COMPLETED"})
    node.pass_ms(61_000)
    assert node.call("GET", f"{TASKS}/{task['id']}", token="producer").status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"maxDepth": 0},
        {"retentionSeconds": -1},
        {"deadRetentionSeconds": 1 << 40},
        {"maxAttempts": 1001},
        {"backoff": {"policy": "none"}},
        {"backoff": {"baseSeconds": 9, "capSeconds": 8}},
        {"backoff": 5},
    ],
)
def test_settings_out_of_range_are_refused(body: dict[str, object]) -> None:
    node = Node()
    node.create()
    assert refused(node, "PUT", "/queues/email/settings", body).code == "validation-error"
    assert get(node, "/queues/email")["settings"] == {}


def test_every_change_is_in_the_audit() -> None:
    node = Node()
    node.create()
    post(node, "/queues/email/pause", {"what": "both"})
    post(node, "/queues/email/resume")
    put(node, "/queues/email/settings", {"maxDepth": 5})
    assert audited(node) == [
        ("ann", "queue.set", "email", "depth_max 5"),
        ("ann", "queue.resume", "email", "both"),
        ("ann", "queue.pause", "email", "both"),
    ]
    first = get(node, "/audit", query="limit=2")
    assert len(first["entries"]) == 2
    assert len(get(node, "/audit", query=f"limit=2&cursor={first['cursor']}")["entries"]) == 1


def test_the_audit_is_bounded_by_count_and_by_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.tasks.operators.AUDIT_ENTRIES_MAX", 5)
    node = Node()
    node.create()
    for _ in range(9):
        post(node, "/queues/email/pause")
    assert len(audited(node)) == 5
    node.now += 91 * 86_400_000
    assert audited(node) == []
    post(node, "/queues/email/resume")
    post(node, "/queues/email/resume")
    assert len(audited(node)) == 2
    assert len(node.store.tables[AUDIT]) == 2


def test_a_limit_in_flight_holds_claims_back_until_one_ends() -> None:
    node = Node()
    for _ in range(3):
        node.create()
    put(node, "/tenants/acme/limits", {"inFlight": 1}, "operator")
    task = node.claim()
    waiting = node.begin("POST", TASKS + "/claim", {"waitSeconds": 30}, "worker")
    node.settle()
    assert not waiting.answered
    node.act(task["id"], "result", {"status": "COMPLETED"})
    assert waiting.answer_once.status == 200
    assert node.call("POST", TASKS + "/claim/batch", {"count": 5}, "worker").status == 204
    put(node, "/tenants/acme/limits", {"inFlight": None}, "operator")
    assert node.claim()


def test_a_limit_of_stored_bytes_refuses_creates_until_there_is_room() -> None:
    node = Node()
    put(node, "/tenants/acme/limits", {"storedBytes": 10}, "operator")
    node.create(payload=1234567)
    answer = node.call("POST", TASKS, {"command": "new", "payload": 1234567}, "producer")
    assert (answer.status, answer.code) == (429, "rate-limited")
    assert len(get(node, "/queues")["queues"]) == 1
    node.create(payload=123)
    node.act(node.claim()["id"], "result", {"status": "COMPLETED"})
    node.pass_ms(25 * 3_600_000)
    node.create(payload=1234567)
