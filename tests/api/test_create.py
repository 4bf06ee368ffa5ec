"""Creating tasks."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.api.app import ApiSettings
from appliance.tasks.settings import TaskSettings
from tests.api.support import START_MS, TASKS, Node
from tests.api.test_canonical import VALUES

BATCH = TASKS + "/batch"


def test_the_curl_line_of_the_documentation_creates_a_task() -> None:
    node = Node()
    body = b"""{
"command": "send-email",
"payload": {"to": "a@b.com"},
"priority": 10,
"maxAttempts": 3
}"""
    answer = node.call("POST", TASKS, body, "producer", headers={b"content-type": b"application/json"})
    assert answer.status == 201
    task = answer.json
    assert answer.headers[b"Location"] == f"/v1/codeq/tasks/{task['id']}".encode()
    assert task == {
        "id": task["id"],
        "command": "send-email",
        "payload": {"to": "a@b.com"},
        "priority": 10,
        "maxAttempts": 3,
        "status": "PENDING",
        "attempts": 0,
        "tenantId": "acme",
        "createdAt": "2026-05-28T20:26:40.000Z",
        "updatedAt": "2026-05-28T20:26:40.000Z",
    }
    assert node.read(task["id"]) == task


def test_every_optional_field_is_shown() -> None:
    node = Node()
    fields = {
        "webhook": "https://example.com/hook",
        "idempotencyKey": 'k\u00e9y\u0000"',
        "runAt": "2026-05-28T22:26:41.500+01:00",
        "traceParent": "00-a-b-01",
        "traceState": "x=y",
    }
    task = node.create(**fields)
    assert {name: task[name] for name in fields} == {**fields, "runAt": "2026-05-28T21:26:41.500Z"}


def test_the_configured_number_of_attempts_is_the_default() -> None:
    assert Node(ApiSettings(max_attempts=9)).create()["maxAttempts"] == 9


def test_nothing_is_answered_before_it_is_durable() -> None:
    node = Node()
    client = node.begin("POST", TASKS, {"command": "a", "payload": 1}, "producer")
    node.scheduler.pump(node.now)
    assert not client.answered
    node.scheduler.durable(node.seam.commit(), node.now)
    assert client.answer_once.status == 201


@settings(max_examples=200)
@given(VALUES, st.sampled_from([None, 0, 3]), st.booleans())
def test_a_payload_comes_back_byte_for_byte(value: Any, indent: int | None, ascii_only: bool) -> None:
    node = Node()
    payload = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    answer = node.call("POST", TASKS, b'{"command":"a" , "payload" : ' + payload + b" }", "producer")
    assert answer.status == 201
    assert b'"payload":' + payload + b"," in answer.body
    claimed = node.call("POST", TASKS + "/claim", b"", "worker")
    assert b'"payload":' + payload + b"," in claimed.body
    task_id = answer.json["id"]
    body = b'{"status":"COMPLETED","result": ' + payload + b"}"
    assert b'"result":' + payload + b"," in node.call("POST", f"{TASKS}/{task_id}/result", body, "worker").body
    assert b'"result":' + payload + b"," in node.call("GET", f"{TASKS}/{task_id}/result", b"", "worker").body


@pytest.mark.parametrize("payload", [b"1.5e400", b'{"a":1,"a":2}', b"-0", b"1E+2", b'"\\u00e9\\/"', b"1" * 5000])
def test_an_odd_payload_is_kept_as_it_came(payload: bytes) -> None:
    answer = Node().call("POST", TASKS, b'{"command":"a","payload":' + payload + b"}", "producer")
    assert b'"payload":' + payload + b"," in answer.body


def test_the_payload_limit_can_be_set() -> None:
    node = Node(ApiSettings(payload_bytes_max=10))
    assert node.call("POST", TASKS, {"command": "a", "payload": "12345678"}, "producer").status == 201
    assert node.call("POST", TASKS, {"command": "a", "payload": "123456789"}, "producer").code == "payload-too-large"


def test_a_delayed_task_is_claimable_when_it_is_due() -> None:
    node = Node()
    task = node.create(delaySeconds=3)
    assert task["runAt"] == "2026-05-28T20:26:43.000Z"
    node.pass_ms(2_999)
    assert node.call("POST", TASKS + "/claim", b"", "worker").status == 204
    node.pass_ms(1)
    assert node.claim()["id"] == task["id"]


def test_run_at_beats_the_delay() -> None:
    node = Node()
    task = node.create(delaySeconds=60, runAt="2020-01-01T00:00:00Z")
    assert node.claim()["id"] == task["id"]


def test_a_second_request_with_the_key_gets_the_first_task() -> None:
    node = Node()
    first = node.create(idempotencyKey="k", priority=0)
    body = b'{"payload":{"a":1.0},"command":"email","idempotencyKey":"k","traceParent":"x","maxAttempts":5}'
    answer = node.call("POST", TASKS, body, "producer")
    assert answer.status == 200
    assert answer.headers[b"Idempotent-Replayed"] == b"true"
    assert answer.json == first
    assert len(node.store.tables[0]) == 1


@pytest.mark.parametrize(
    "change",
    [{"payload": {"a": 2}}, {"priority": 1}, {"maxAttempts": 4}, {"webhook": "http://x/"}, {"delaySeconds": 1}],
)
def test_a_different_request_with_the_key_is_refused(change: dict[str, Any]) -> None:
    node = Node()
    node.create(idempotencyKey="k")
    answer = node.call(
        "POST", TASKS, {"command": "email", "payload": {"a": 1}, "idempotencyKey": "k", **change}, "producer"
    )
    assert (answer.status, answer.code) == (409, "idempotency-conflict")


def test_a_key_belongs_to_its_queue() -> None:
    node = Node()
    ids = {
        node.create("email", idempotencyKey="k")["id"],
        node.create("sms", idempotencyKey="k")["id"],
        node.create("email", "other-producer", idempotencyKey="k")["id"],
    }
    assert len(ids) == 3


def test_concurrent_requests_with_one_key_make_one_task() -> None:
    node = Node()
    body = {"command": "a", "payload": 1, "idempotencyKey": "k"}
    clients = [node.begin("POST", TASKS, body, "producer") for _ in range(5)]
    conflict = node.begin("POST", TASKS, {**body, "payload": 2}, "producer")
    node.settle()
    answers = [client.answer_once for client in clients]
    assert [answer.status for answer in answers] == [201, 200, 200, 200, 200]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert conflict.answer_once.status == 409


def test_a_key_lives_as_long_as_its_task() -> None:
    node = Node(tasks=TaskSettings(retention_ms=1000))
    first = node.create(idempotencyKey="k")
    node.act(node.claim()["id"], "result", {"status": "COMPLETED"})
    again = {"command": "email", "payload": {"a": 1}, "idempotencyKey": "k"}
    assert node.call("POST", TASKS, again, "producer").json["status"] == "COMPLETED"
    node.pass_ms(2000)
    assert node.create(idempotencyKey="k")["id"] != first["id"]
    assert node.call("GET", f"{TASKS}/{first['id']}", token="producer").status == 404


def test_below_the_floor_of_free_space_creates_get_503() -> None:
    node = Node()
    task = node.create()
    node.scheduler.set_accepts_creates(False)
    answer = node.call("POST", TASKS, {"command": "a", "payload": 1}, "producer")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert b"Retry-After" in answer.headers
    assert node.act(node.claim()["id"], "result", {"status": "COMPLETED"}).status == 200
    assert node.read(task["id"])["status"] == "COMPLETED"


def test_a_bad_item_of_a_batch_fails_alone() -> None:
    node = Node(ApiSettings(payload_bytes_max=10))
    items: list[Any] = [
        {"command": "a", "payload": 1},
        {"command": "a b", "payload": 1},
        {"command": "a", "payload": "123456789"},
        {"command": "a", "payload": 1, "priority": True},
        7,
        {"command": "a", "payload": 2},
    ]
    results = node.call("POST", BATCH, {"tasks": items}, "producer").json["results"]
    codes = [result["error"]["code"] if "error" in result else result["task"]["payload"] for result in results]
    assert codes == [1, "validation-error", "payload-too-large", "validation-error", "validation-error", 2]
    assert len(node.store.tables[0]) == 2


def test_a_bare_array_gets_a_bare_array() -> None:
    node = Node()
    answer = node.call("POST", BATCH, [{"command": "a", "payload": 1}, {"command": "a", "payload": 2}], "producer")
    assert [result["task"]["payload"] for result in answer.json] == [1, 2]
    assert node.call("POST", BATCH, [], "producer").json == []
    assert node.call("POST", BATCH, {"tasks": []}, "producer").json == {"results": []}


def test_a_batch_is_one_commit() -> None:
    node = Node()
    client = node.begin("POST", BATCH, [{"command": "a", "payload": 1}] * 1000, "producer")
    node.scheduler.pump(node.now)
    node.scheduler.durable(node.seam.commit(), node.now)
    assert len(client.answer_once.json) == 1000


def test_duplicates_within_a_batch_make_one_task() -> None:
    node = Node()
    item = {"command": "a", "payload": 1, "idempotencyKey": "k"}
    first, second, third = node.call("POST", BATCH, [item, item, {**item, "payload": 2}], "producer").json
    assert "replayed" not in first
    assert second == {"task": first["task"], "replayed": True}
    assert third["error"]["code"] == "idempotency-conflict"


def test_the_number_of_commands_of_a_tenant_is_bounded() -> None:
    node = Node(tasks=TaskSettings(queues_per_tenant_max=1))
    node.create("a")
    answer = node.call("POST", TASKS, {"command": "b", "payload": 1}, "producer")
    assert (answer.status, answer.code) == (400, "validation-error")


def test_a_full_inbox_stops_the_reading_of_its_connection() -> None:
    node = Node(tasks=TaskSettings(inbox_operations_max=2))
    clients = [node.begin("POST", TASKS, {"command": "a", "payload": 1}, "producer") for _ in range(3)]
    assert [client.holds for client in clients] == [0, 1, 1]
    node.settle()
    assert [client.holds for client in clients] == [0, 0, 0]
    assert [client.answer_once.status for client in clients] == [201, 201, 201]


def test_a_failed_group_answers_503_and_the_node_goes_on() -> None:
    node = Node()
    client = node.begin("POST", TASKS, {"command": "a", "payload": 1}, "producer")
    node.scheduler.pump(node.now)
    assert node.seam.held is not None
    number, _ = node.seam.held
    node.seam.held = None
    node.scheduler.failed(number, node.now)
    assert client.answer_once.code == "unavailable"
    assert node.create()["createdAt"] == "2026-05-28T20:26:40.000Z"
    assert node.now == START_MS
