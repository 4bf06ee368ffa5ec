"""A task's whole life over REST, against a real node: one test per promise that a client relies on."""

import asyncio
import contextlib
import datetime
import json
import os
import signal
import socket
import ssl
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
import pytest

from appliance.cli import pki
from tests.e2e.bad_http2 import good
from tests.e2e.frames import Outcome, Peer
from tests.e2e.node import Node
from tests.e2e.raw import read_answer
from tests.e2e.user import BASE, User, parsed, refusal

T = TypeVar("T")
SLACK_SECONDS = 3.0
"""How late something may be on a machine that is busy with other things."""


def eventually(look: Callable[[], T], seconds: float = SLACK_SECONDS) -> T:
    """The first true value of `look`, which must come in time."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.02)
    return found


@pytest.fixture(params=[False, True], ids=["http1", "http2"])
def either(tls_node: Node, request: pytest.FixtureRequest) -> Any:
    """The same user over either protocol."""
    with User(tls_node, request.node.name, http2=request.param) as one:
        yield one


# One task.


def test_a_task_lives_from_create_to_result(either: User) -> None:
    payload = {"to": "a@b.com", "n": 1.50, "text": "grüße"}
    response = either.create("mail", payload, priority=7, maxAttempts=3, traceParent="00-ab-cd-01")
    assert response.status_code == 201
    created = parsed(response)
    assert response.headers["location"] == f"{BASE}/tasks/{created['id']}"
    assert response.http_version == ("HTTP/2" if "http2" in either.tenant else "HTTP/1.1")
    assert created["status"] == "PENDING" and created["attempts"] == 0 and created["tenantId"] == either.tenant
    claimed = either.claimed("mail", leaseSeconds=60, workerId="w1")
    assert claimed["id"] == created["id"] and claimed["payload"] == payload
    assert (claimed["status"], claimed["attempts"], claimed["workerId"]) == ("CLAIMED", 1, "w1")
    assert claimed["traceParent"] == "00-ab-cd-01"
    beat = either.act("heartbeat", created["id"], extendSeconds=120, workerId="w1", leaseId=claimed["leaseId"])
    assert beat.status_code == 200 and parsed(beat)["ok"] is True
    assert parsed(beat)["leaseUntil"] > claimed["leaseUntil"]
    body = {"status": "COMPLETED", "workerId": "w1", "leaseId": claimed["leaseId"], "result": {"sent": True}}
    record = parsed(either.act("result", created["id"], **body))
    assert record["taskId"] == created["id"] and record["status"] == "COMPLETED"
    assert record["result"] == {"sent": True} and record["artifacts"] == [] and record["completedAt"]
    again = either.act("result", created["id"], **body)
    assert (again.status_code, parsed(again)) == (200, record)
    assert either.task(created["id"])["status"] == "COMPLETED"
    read = parsed(either.get(f"/tasks/{created['id']}/result"))
    assert read["task"]["id"] == created["id"] and read["result"] == {"sent": True}
    assert either.claim("mail").status_code == 204


def test_payloads_and_results_come_back_byte_for_byte(user: User) -> None:
    text = b'{ "a":1.0,"b" : 1e2, "c":"\\u00e9\xc3\xa9", "a":2,\t"d":[ ] }'
    created = parsed(user.post("/tasks", b'{"command":"raw","payload":' + text + b"}", token=user.producer))
    claim = user.claim("raw")
    assert text in claim.content
    result = b'{"status":"COMPLETED","result":' + text + b"}"
    assert text in user.post(f"/tasks/{created['id']}/result", result).content
    assert user.get(f"/tasks/{created['id']}/result").content.count(text) == 2


def test_priority_goes_first_and_then_age(user: User) -> None:
    low, high, second = (user.created("order", name, priority=p)["id"] for name, p in [("a", 0), ("b", 9), ("c", 9)])
    assert [user.claimed("order")["id"] for _ in range(3)] == [high, second, low]


def test_a_failed_task_stays_failed(user: User) -> None:
    task = user.created("fail")["id"]
    user.claimed("fail")
    record = parsed(user.act("result", task, status="FAILED", error="no route"))
    assert (record["status"], record["error"]) == ("FAILED", "no route")
    assert user.task(task)["error"] == "no route"
    assert refusal(user.act("result", task, status="COMPLETED")) == (409, "not-claimed")


# Batches.


@pytest.mark.parametrize("bare", [True, False])
def test_batches_answer_item_by_item(either: User, bare: bool) -> None:
    command = f"batch-{bare}"
    tasks: list[Any] = [{"command": command, "payload": n} for n in range(5)]
    tasks[2] = {"command": "not a command", "payload": 2}
    answer = parsed(either.post("/tasks/batch", tasks if bare else {"tasks": tasks}, token=either.producer))
    items = answer if bare else answer["results"]
    assert [("task" in item, "error" in item) for item in items] == [(n != 2, n == 2) for n in range(5)]
    assert items[2]["error"]["code"] == "validation-error"
    claimed = parsed(either.post("/tasks/claim/batch", {"count": 100, "commands": [command]}))["tasks"]
    assert [task["payload"] for task in claimed] == [0, 1, 3, 4]
    results = [{"taskId": task["id"], "status": "COMPLETED", "result": task["payload"]} for task in claimed]
    results.append({"taskId": "no-such-task", "status": "COMPLETED"})
    answer = parsed(either.post("/tasks/batch/results", results if bare else {"results": results}))
    items = answer if bare else answer["results"]
    assert [item["taskId"] for item in items] == [result["taskId"] for result in results]
    assert [item["result"]["result"] for item in items[:4]] == [0, 1, 3, 4]
    assert items[4]["error"]["code"] == "not-found"
    assert either.post("/tasks/claim/batch", {"count": 10, "commands": [command]}).status_code == 204


# Waiting.


def test_a_waiting_claim_is_woken_by_a_create(either: User) -> None:
    delays_ms = []
    with ThreadPoolExecutor() as pool, User(either.node, either.tenant) as other:
        for _ in range(7):
            waiting = pool.submit(either.claimed, "wake", waitSeconds=20)
            time.sleep(0.1)
            assert not waiting.done()
            began = time.monotonic()
            task = other.created("wake")["id"]
            assert waiting.result()["id"] == task
            delays_ms.append((time.monotonic() - began) * 1000)
    assert statistics.median(delays_ms) < 50, delays_ms


def test_a_waiting_claim_ends_with_204_when_its_time_is_over(user: User) -> None:
    began = time.monotonic()
    assert user.claim("never", waitSeconds=1).status_code == 204
    assert 0.9 < time.monotonic() - began < 1 + SLACK_SECONDS


def test_a_waiting_read_ends_the_moment_the_result_lands(either: User) -> None:
    task = either.created("answer")["id"]
    either.claimed("answer")
    with ThreadPoolExecutor() as pool, User(either.node, either.tenant) as other:
        before = parsed(either.get(f"/tasks/{task}/result"))
        assert (before["status"], before["result"]) == ("PENDING", None)
        waiting = pool.submit(either.get, f"/tasks/{task}/result?waitSeconds=30")
        time.sleep(0.1)
        began = time.monotonic()
        other.act("result", task, status="COMPLETED", result=[1])
        record = parsed(waiting.result())
        assert time.monotonic() - began < SLACK_SECONDS
    assert (record["status"], record["result"]) == ("COMPLETED", [1])


def test_a_worker_that_left_while_waiting_gets_nothing(tls_node: Node, user: User) -> None:
    body = json.dumps({"commands": ["left"], "waitSeconds": 30}).encode()
    head = f"POST {BASE}/tasks/claim HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.worker}\r\n"
    with tls_node.connect() as sock:
        sock.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.2)
    time.sleep(0.1)
    task = user.created("left")
    claimed = user.claimed("left", waitSeconds=5)
    assert (claimed["id"], claimed["attempts"]) == (task["id"], 1)


# Going back.


def test_a_nack_counts_an_attempt_and_the_last_one_ends_in_the_dead_letters(user: User) -> None:
    task = user.created("nack", maxAttempts=2)["id"]
    user.claimed("nack")
    first = parsed(user.act("nack", task, delaySeconds=0, reason="busy"))
    assert (first["status"], first["delaySeconds"], first["attempts"]) == ("requeued", 0, 1)
    assert user.claimed("nack")["attempts"] == 2
    assert parsed(user.act("nack", task, delaySeconds=0, reason="still busy"))["status"] == "dlq"
    dead = user.task(task)
    assert (dead["status"], dead["attempts"]) == ("DLQ", 2)
    assert "still busy" in dead["error"]
    assert user.claim("nack").status_code == 204


def test_an_abandon_gives_the_attempt_back(user: User) -> None:
    task = user.created("abandon")["id"]
    user.claimed("abandon")
    assert parsed(user.post(f"/tasks/{task}/abandon"))["status"] == "requeued"
    assert user.task(task)["attempts"] == 0
    assert user.claimed("abandon")["attempts"] == 1


def test_a_lease_that_expires_frees_the_task_and_is_worth_nothing(user: User) -> None:
    task = user.created("expire")["id"]
    old = user.claimed("expire", leaseSeconds=1)
    began = time.monotonic()
    new = user.claimed("expire", waitSeconds=10)
    assert 0.8 < time.monotonic() - began < 1 + SLACK_SECONDS
    assert new["id"] == task and new["attempts"] == 2 and new["leaseId"] != old["leaseId"]
    for action, fields in (("heartbeat", {}), ("nack", {}), ("abandon", {}), ("result", {"status": "COMPLETED"})):
        assert refusal(user.act(action, task, leaseId=old["leaseId"], **fields)) == (409, "lease-lost")
    assert user.act("result", task, status="COMPLETED", leaseId=new["leaseId"]).status_code == 200


def test_a_heartbeat_keeps_a_lease_alive(user: User) -> None:
    task = user.created("beat")["id"]
    lease = user.claimed("beat", leaseSeconds=1)
    user.act("heartbeat", task, extendSeconds=30, leaseId=lease["leaseId"])
    assert user.claim("beat", waitSeconds=2).status_code == 204
    assert user.act("result", task, status="COMPLETED", leaseId=lease["leaseId"]).status_code == 200


def test_a_delayed_task_becomes_claimable_when_it_is_due(user: User) -> None:
    task = user.created("later", delaySeconds=1)["id"]
    assert user.claim("later").status_code == 204
    began = time.monotonic()
    assert user.claimed("later", waitSeconds=10)["id"] == task
    assert 0.7 < time.monotonic() - began < 1 + SLACK_SECONDS


# Idempotency.


def test_the_same_key_and_request_make_one_task(either: User) -> None:
    fields = {"idempotencyKey": "k1", "priority": 3}
    first = either.create("once", {"b": 1, "a": 2}, **fields)
    again = either.create("once", {"a": 2, "b": 1.0}, traceParent="00-other", **fields)
    assert (first.status_code, again.status_code) == (201, 200)
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"
    assert parsed(first)["id"] == parsed(again)["id"]
    assert refusal(either.create("once", {"a": 3}, **fields)) == (409, "idempotency-conflict")
    assert either.create("twice", {"a": 3}, **fields).status_code == 201, "a key belongs to its queue"
    batch = [{"command": "once", "payload": {"a": 2, "b": 1}, **fields}]
    assert parsed(either.post("/tasks/batch", batch, token=either.producer))[0]["replayed"] is True


def test_concurrent_creates_with_one_key_make_one_task(user: User) -> None:
    for round_number in range(5):
        with ThreadPoolExecutor(8) as pool:
            creates = [pool.submit(user.create, "race", None, idempotencyKey=f"race-{round_number}") for _ in range(8)]
        responses = [create.result() for create in creates]
        assert len({parsed(response)["id"] for response in responses}) == 1
        assert sorted(response.status_code for response in responses) == [200] * 7 + [201]


# Who may.


def test_tenants_do_not_see_each_other(tls_node: Node, user: User) -> None:
    task = user.created("secret")["id"]
    with User(tls_node, "stranger") as stranger:
        assert stranger.claim("secret").status_code == 204
        assert stranger.post("/tasks/claim", {}).status_code == 204
        for token in (stranger.producer, stranger.worker):
            assert refusal(stranger.get(f"/tasks/{task}", token=token)) == (404, "not-found")
            assert refusal(stranger.get(f"/tasks/{task}/result", token=token)) == (404, "not-found")
        user.claimed("secret")
        for action, fields in (("heartbeat", {}), ("nack", {}), ("abandon", {}), ("result", {"status": "FAILED"})):
            assert refusal(stranger.act(action, task, **fields)) == (404, "not-found")
        same_key = [one.create("keyed", 1, idempotencyKey="same").status_code for one in (user, stranger)]
        assert same_key == [201, 201]
    assert user.task(task)["status"] == "CLAIMED"


def test_a_lease_belongs_to_its_subject_and_worker(tls_node: Node, user: User) -> None:
    task = user.created("mine")["id"]
    user.claimed("mine", workerId="w1")
    other = tls_node.worker(user.tenant, "another subject")
    assert refusal(user.post(f"/tasks/{task}/heartbeat", {}, token=other)) == (403, "permission-denied")
    assert refusal(user.act("heartbeat", task, workerId="w2")) == (403, "permission-denied")
    assert user.act("heartbeat", task).status_code == 200


# The wire.


def test_a_hundred_streams_share_one_connection(tls_node: Node, user: User) -> None:
    def connections() -> float:
        return tls_node.metrics().get('codeq_connections_total{kind="h2-tls"}', 0)

    async def claim_all() -> list[httpx.Response]:
        headers = {"Authorization": f"Bearer {user.worker}"}
        async with httpx.AsyncClient(
            base_url=tls_node.url, verify=tls_node.trust(), http1=False, http2=True, timeout=30, trust_env=False
        ) as client:
            body = {"commands": ["many"], "waitSeconds": 20}
            claims = [
                asyncio.ensure_future(client.post(f"{BASE}/tasks/claim", json=body, headers=headers))
                for _ in range(100)
            ]
            await asyncio.sleep(0.5)
            assert not any(claim.done() for claim in claims)
            tasks = [{"command": "many", "payload": number} for number in range(100)]
            await asyncio.to_thread(user.post, "/tasks/batch", tasks, token=user.producer)
            return await asyncio.gather(*claims)

    before = connections()
    responses = asyncio.run(claim_all())
    assert {response.status_code for response in responses} == {200}
    assert sorted(response.json()["payload"] for response in responses) == list(range(100))
    assert connections() == before + 1


def test_pipelined_requests_are_answered_in_order(tls_node: Node, user: User) -> None:
    def request(number: int) -> bytes:
        body = b'{"command":"pipe","payload":%d}' % number
        head = f"POST {BASE}/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.producer}\r\n".encode()
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    with contextlib.closing(tls_node.connect()) as sock, sock.makefile("rb") as stream:
        sock.sendall(b"".join(request(number) for number in range(50)))
        found = [read_answer(stream) for _ in range(50)]
    assert [json.loads(each.body)["payload"] for each in found if each is not None] == list(range(50))


def test_a_body_may_come_in_chunks_and_wait_to_be_asked_for(tls_node: Node, user: User) -> None:
    head = (
        f"POST {BASE}/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.producer}\r\n"
        "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    )
    with contextlib.closing(tls_node.connect()) as sock:
        sock.sendall(head.encode())
        assert sock.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in (b'{"command":"chunks",', b'"payload":[1,2,', b"3]}"):
            sock.sendall(b"%x;note=x\r\n%b\r\n" % (len(piece), piece))
        sock.sendall(b"0\r\nX-Trailer: ignored\r\n\r\n")
        with sock.makefile("rb") as stream:
            answer = read_answer(stream)
    assert answer is not None and answer.status == 201 and json.loads(answer.body)["payload"] == [1, 2, 3]


def test_head_is_get_without_a_body(user: User) -> None:
    path = f"{BASE}/tasks/{user.created('head')['id']}"
    headers = {"Authorization": f"Bearer {user.producer}"}
    got, looked = (user.client.request(method, path, headers=headers) for method in ("GET", "HEAD"))
    assert looked.status_code == 200 and looked.content == b""
    assert looked.headers["content-length"] == got.headers["content-length"] == str(len(got.content))


def test_request_ids_are_taken_or_made(either: User) -> None:
    given = either.post("/tasks/claim", {}, headers={"X-Request-Id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    made = [either.get("/raft/status").headers["x-request-id"] for _ in range(3)]
    assert len(set(made)) == 3 and all(made)
    odd = either.post("/tasks/claim", {}, headers={"X-Request-Id": 'a "b" c'})
    assert odd.headers["x-request-id"] != 'a "b" c'


def test_the_probes_need_no_token(either: User) -> None:
    for path in ("/healthz", "/readyz"):
        assert either.client.get(path).json() == {"status": "ok"}
    assert either.client.head("/healthz").content == b""
    assert parsed(either.get("/raft/status")) == {"enabled": False, "numGroups": 0, "groups": []}


NAMED_METRICS = (
    "codeq_tasks",
    "codeq_oldest_ready_age_seconds",
    "codeq_tasks_created_total",
    "codeq_tasks_replayed_total",
    "codeq_tasks_claimed_total",
    "codeq_tasks_finished_total",
    "codeq_leases_expired_total",
    "codeq_tasks_swept_total",
    "codeq_transitions_total",
    "codeq_task_wait_seconds_bucket",
    "codeq_task_run_seconds_bucket",
    "codeq_task_total_seconds_bucket",
    "codeq_sweep_lag_seconds",
    "codeq_clock_jumps_total",
    "codeq_group_transitions_bucket",
    "codeq_group_parked_seconds_bucket",
    "codeq_group_commit_seconds_bucket",
    "codeq_store_used_bytes",
    "codeq_store_free_bytes",
    "codeq_store_readers",
    "codeq_connections_open",
    "codeq_connections_total",
    "codeq_responses_total",
    "codeq_request_seconds_bucket",
    "codeq_buffered_bytes",
    "codeq_tokens_cached",
    "codeq_token_verifications_total",
    "codeq_token_refusals_total",
    "codeq_certificate_days_left",
    "codeq_loop_delay_seconds_bucket",
    "codeq_loop_delay_max_seconds",
    "codeq_process_resident_bytes",
)


def test_metrics_are_there_and_move(own_node: Node) -> None:
    own_node.up()
    before = own_node.metrics()
    with User(own_node, "measured") as user:
        ids = [user.created("count", n, idempotencyKey=f"k{n}")["id"] for n in range(4)]
        user.created("count", 0, idempotencyKey="k0")
        user.claimed("count")
        user.act("result", ids[0], status="COMPLETED")
        user.claimed("count")
        user.act("result", ids[1], status="FAILED")
        user.created("count", delaySeconds=60)
        user.claimed("count", leaseSeconds=1)
        user.get("/tasks/x", token="wrong")
    after = own_node.metrics()
    names = {sample.partition("{")[0] for sample in after}
    assert set(NAMED_METRICS) <= names, set(NAMED_METRICS) - names

    def moved(sample: str) -> float:
        return after[sample] - before.get(sample, 0)

    assert moved("codeq_tasks_created_total") == 5
    assert moved("codeq_tasks_replayed_total") == 1
    assert moved("codeq_tasks_claimed_total") == 3
    assert moved('codeq_tasks_finished_total{outcome="completed"}') == 1
    assert moved('codeq_tasks_finished_total{outcome="failed"}') == 1
    assert moved("codeq_task_wait_seconds_count") == 3
    assert moved("codeq_task_run_seconds_count") == 2
    assert moved("codeq_task_total_seconds_count") == 2
    assert moved("codeq_group_commit_seconds_count") > 0
    assert moved("codeq_token_refusals_total") == 1
    assert moved('codeq_responses_total{status="4xx"}') == 1
    states = {"ready": 1, "delayed": 1, "claimed": 1, "completed": 1, "failed": 1, "dlq": 0}
    for state, count in states.items():
        assert after[f'codeq_tasks{{command="count",state="{state}",tenant="measured"}}'] == count, state
    eventually(lambda: own_node.metrics()["codeq_leases_expired_total"] == 1)
    own_node.stop()


# Stop and start.


def test_a_restart_keeps_everything(own_node: Node) -> None:
    own_node.up()
    with User(own_node, "kept") as user:
        done, held, waiting = (user.created("keep", name, idempotencyKey=name)["id"] for name in "abc")
        user.claimed("keep")
        user.act("result", done, status="COMPLETED", result={"by": 1})
        lease = user.claimed("keep", leaseSeconds=300)
        before = [user.task(task) for task in (done, held, waiting)]
        record = parsed(user.get(f"/tasks/{done}/result"))
    own_node.stop()
    checked = own_node.check()
    assert checked.returncode == 0, checked.stdout + checked.stderr
    own_node.up()
    with User(own_node, "kept") as user:
        assert [user.task(task) for task in (done, held, waiting)] == before
        assert parsed(user.get(f"/tasks/{done}/result")) == record
        assert user.create("keep", "a", idempotencyKey="a").headers["idempotent-replayed"] == "true"
        assert user.claimed("keep")["id"] == waiting, "what was leased stays leased"
        assert user.act("result", held, status="COMPLETED", leaseId=lease["leaseId"]).status_code == 200
    own_node.stop()
    assert own_node.check().returncode == 0


def _serial(sock: ssl.SSLSocket) -> bytes:
    certificate = sock.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def _secure(node: Node) -> ssl.SSLSocket:
    sock = node.connect()
    assert isinstance(sock, ssl.SSLSocket)
    return sock


def _alive(sock: socket.socket) -> bool:
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return sock.recv(4096).startswith(b"HTTP/1.1 200 ")


def _new_server_certificate(node: Node) -> None:
    names = ("ca.pem", "ca-key.pem", "server.pem", "server-key.pem")
    authority, authority_key, certificate, key = (node.folder / name for name in names)
    certificate.unlink()
    key.unlink()
    pki.ensure_server_certificate(authority, authority_key, certificate, key, datetime.datetime.now(datetime.UTC))


def test_a_new_certificate_serves_new_connections_and_a_broken_one_changes_nothing(own_node: Node) -> None:
    own_node.up()
    with contextlib.closing(_secure(own_node)) as old:
        first = _serial(old)
        assert _alive(old)
        _new_server_certificate(own_node)
        own_node.signal(signal.SIGHUP)
        own_node.wait_for_log("certificate reloaded")
        assert _alive(old), "an open connection stays"
        with contextlib.closing(_secure(own_node)) as new:
            second = _serial(new)
            assert second != first and _alive(new)
        (own_node.folder / "server-key.pem").write_bytes(own_node.key("producer"))
        own_node.signal(signal.SIGHUP)
        own_node.wait_for_log("the certificate was not reloaded")
        with contextlib.closing(_secure(own_node)) as still:
            assert _serial(still) == second and _alive(still)
        assert _alive(old)
    _new_server_certificate(own_node)
    own_node.stop()


def test_a_drain_answers_what_is_in_flight(own_node: Node) -> None:
    own_node.up()
    with User(own_node, "drained") as user:
        body = b'{"command":"slow","payload":"' + b"x" * 1000 + b'"}'
        head = f"POST {BASE}/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.producer}\r\n".encode()
        with (
            ThreadPoolExecutor() as pool,
            own_node.connect() as upload,
            own_node.connect() as idle,
            contextlib.closing(Peer(own_node.connect(alpn=("h2",)))) as peer,
        ):
            assert _alive(idle)
            peer.request(1, good(user.worker, "/v1/codeq/tasks/claim"), b'{"commands":["none"],"waitSeconds":2}')
            upload.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:500])
            claim = pool.submit(user.claim, "none", waitSeconds=2)
            time.sleep(0.3)
            own_node.signal(signal.SIGTERM)
            own_node.wait_for_log("draining")
            time.sleep(0.2)
            with pytest.raises(OSError):
                own_node.connect(seconds=1.0).close()
            assert idle.recv(100) == b"", "an idle connection is closed"
            upload.sendall(body[500:])
            answer = b""
            while piece := upload.recv(65_536):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 201 ") and b"connection: close" in answer.lower()
            assert claim.result().status_code == 204
            assert peer.outcome(1) == Outcome("status", 204, "")
            assert peer.outcome(0) == Outcome("goaway", 0) and peer.goaways[-1] == (1, 0)
    assert own_node.wait() == os.EX_OK
    assert own_node.check().returncode == 0


def test_a_drain_does_not_wait_for_clients_that_only_keep_a_connection(own_node: Node) -> None:
    own_node.up()
    with contextlib.ExitStack() as stack:
        for alpn in ((), ("h2",)):
            sock = stack.enter_context(own_node.connect(alpn=alpn))
            if alpn:
                peer = Peer(sock)
                peer.request(1, [(":method", "GET"), (":scheme", "https"), (":path", "/healthz"), (":authority", "x")])
                assert peer.outcome(1) == Outcome("status", 200, "")
            else:
                assert _alive(sock)
        began = time.monotonic()
        own_node.stop()
        assert time.monotonic() - began < 10, "far less than a drain may take"
