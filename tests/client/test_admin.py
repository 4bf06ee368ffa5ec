"""Reading tasks over REST: answers that make sense and answers that don't."""

import asyncio
import datetime
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

import codeq
from codeq import Admin, Page, Step

TASK = {
    "id": "t1", "command": "a", "payload": {"n": 1}, "status": "COMPLETED", "priority": 0, "attempts": 1,
    "maxAttempts": 5, "tenantId": "dev", "createdAt": "2026-01-02T03:04:05.678Z", "completedAt": None, "more": 1,
}  # fmt: skip
QUEUE = {
    "command": "a b", "tenantId": "dev", "ready": 1, "delayed": 2, "inProgress": 3, "dlq": 4,
    "oldestReadyAgeSeconds": 5, "settings": {"maxDepth": 6},
    "paused": {"dispatch": True, "intake": False, "dispatchUntil": "2026-01-02T03:04:05.678Z", "intakeUntil": None},
}  # fmt: skip
LIMITS = {"restPerSecond": 10, "hellosPerSecond": None, "inFlight": 5, "storedBytes": None}
HISTORY = {**TASK, "deliveries": 2, "history": [{"at": "2026-01-02T03:04:05Z", "event": "created", "detail": None}]}
ENTRY = {"at": "2026-01-02T03:04:05Z", "tenantId": "dev", "subject": "ops", "action": "purge", "target": "t1"}
HOOK = {"deliveryId": "d", "taskId": "t1", "url": "https://x/", "state": "given-up", "attempts": 5, "givenUpAt": None}
NODE = {
    "nodeId": "n", "version": "1", "formatVersion": 1, "startedAt": "2026-01-02T03:04:05Z", "uptimeSeconds": 1,
    "durability": "fsync", "storeBytes": 2, "freeBytes": 3, "certificateDaysLeft": None,
}  # fmt: skip
NOON = datetime.datetime(2026, 1, 2, 13, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
RESULT = {"taskId": "t1", "status": "COMPLETED", "result": [1], "error": None, "completedAt": "2026-01-02T03:04:05Z"}


class Handler(BaseHTTPRequestHandler):
    """Answers what the test put there."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")
    seen: ClassVar[list[tuple[str, str | None]]] = []
    asked: ClassVar[list[tuple[str, str, Any]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"]))
        length = int(self.headers["Content-Length"] or 0)
        self.asked.append((self.command, self.path, json.loads(self.rfile.read(length)) if length else None))
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET  # noqa: N815 - the base class names them

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Handler.seen.clear()
    Handler.asked.clear()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def answer(status: int, value: object) -> None:
    Handler.answer = (status, value if isinstance(value, bytes) else json.dumps(value).encode())


def test_a_task_is_read_with_its_times(port: int) -> None:
    answer(200, TASK)
    task = Admin(f"127.0.0.1:{port}", "tok", plaintext=True).task("t/1")
    assert (task.id, task.payload, task.created_at.microsecond) == ("t1", {"n": 1}, 678_000)
    assert task.fields["more"] == 1
    assert Handler.seen == [("/v1/codeq/tasks/t%2F1", "Bearer tok")]


def test_a_result_is_waited_for(port: int) -> None:
    answer(200, RESULT)
    result = asyncio.run(codeq.aio.Admin(f"127.0.0.1:{port}", "tok", plaintext=True).result("t1", wait_seconds=3))
    assert result.finished and result.result == [1]
    assert Handler.seen[0][0].endswith("/t1/result?waitSeconds=3")


@pytest.mark.parametrize(
    ("status", "value", "error"),
    [
        (404, {"code": "not-found", "message": "no"}, codeq.NotFound),
        (429, {"code": "rate-limited", "message": "no"}, codeq.RateLimited),
        (503, {"code": "unavailable", "message": "no"}, codeq.Unavailable),
        (418, {"code": "brand-new", "message": "no"}, codeq.CodeqError),
        (502, b"<html>", codeq.InternalError),
        (500, [], codeq.InternalError),
        (200, {"id": "t1"}, codeq.InternalError),
        (200, {**TASK, "createdAt": "yesterday"}, codeq.InternalError),
    ],
)
def test_errors_and_nonsense_are_typed(port: int, status: int, value: object, error: type[Exception]) -> None:
    answer(status, value)
    with pytest.raises(error):
        Admin(f"http://127.0.0.1:{port}", "tok").task("t1")


def test_the_next_target_is_asked_when_one_cannot_be_reached(port: int) -> None:
    answer(200, TASK)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{closed.getsockname()[1]}"
        assert Admin([dead, f"127.0.0.1:{port}"], "tok", plaintext=True).task("t1").id == "t1"
        with pytest.raises(codeq.Unavailable):
            Admin(dead, "tok", plaintext=True).task("t1")


PAGE = {"tasks": [TASK], "cursor": "c"}
CALLS: list[tuple[Callable[[Any], Any], str, str, Any, Any, Callable[[Any], bool]]] = [
    (lambda a: a.create("a", [1], priority=3, run_at=NOON), "POST", "/tasks",
     {"command": "a", "payload": [1], "priority": 3, "runAt": "2026-01-02T12:00:00.000Z"}, TASK,
     lambda t: t.id == "t1"),
    (lambda a: a.claim(["a"], wait_seconds=2, worker_id="w"), "POST", "/tasks/claim",
     {"commands": ["a"], "leaseSeconds": 300, "waitSeconds": 2, "workerId": "w"}, {**TASK, "leaseId": "l"},
     lambda t: t.lease_id == "l"),
    (lambda a: a.finish("t1", None, lease_id="l"), "POST", "/tasks/t1/result",
     {"status": "COMPLETED", "result": None, "leaseId": "l"}, RESULT, lambda r: r.finished),
    (lambda a: a.finish("t1", error="no"), "POST", "/tasks/t1/result", {"status": "FAILED", "error": "no"}, RESULT,
     lambda r: r.fields == RESULT),
    (lambda a: a.nack("t1", delay_seconds=0, reason="r", lease_id="l"), "POST", "/tasks/t1/nack",
     {"reason": "r", "leaseId": "l", "delaySeconds": 0}, {"status": "dlq"}, lambda s: s == "dlq"),
    (lambda a: a.abandon("t1"), "POST", "/tasks/t1/abandon", {}, {"status": "requeued"}, lambda s: s == "requeued"),
    (lambda a: a.history("t1", tenant="x"), "GET", "/admin/tasks/t1?tenant=x", None, HISTORY,
     lambda h: h.deliveries == 2 and h.history[0].event == "created" and h.task.id == "t1"),
    (lambda a: a.cancel("t1", reason="old"), "POST", "/admin/tasks/t1/cancel", {"reason": "old"}, TASK,
     lambda t: t.id == "t1"),
    (lambda a: a.requeue_task("t1"), "POST", "/admin/tasks/t1/requeue", {}, TASK, lambda t: t.id == "t1"),
    (lambda a: a.purge_task("t1"), "POST", "/admin/tasks/t1/purge", {}, {"purged": 1}, lambda s: s == Step(1, False)),
    (lambda a: a.cleanup(limit=7), "POST", "/admin/tasks/cleanup", {"limit": 7}, {"deleted": 7, "limit": 7},
     lambda s: s == Step(7, True)),
    (lambda a: a.queues(tenant="*"), "GET", "/admin/queues?tenant=%2A", None, {"queues": [QUEUE]},
     lambda q: q[0].dispatch_paused and not q[0].intake_paused and q[0].dispatch_until.microsecond == 678_000),
    (lambda a: a.queue("a b"), "GET", "/admin/queues/a%20b", None, QUEUE, lambda q: q.settings == {"maxDepth": 6}),
    (lambda a: a.pause("a", until=NOON), "POST", "/admin/queues/a/pause",
     {"what": "dispatch", "until": "2026-01-02T12:00:00.000Z"}, QUEUE, lambda q: q.in_progress == 3),
    (lambda a: a.resume("a"), "POST", "/admin/queues/a/resume", {"what": "both"}, QUEUE, lambda q: q.ready == 1),
    (lambda a: a.set_queue("a", {"maxDepth": None}), "PUT", "/admin/queues/a/settings", {"maxDepth": None}, QUEUE,
     lambda q: q.dlq == 4),
    (lambda a: a.tasks("a", "dlq", cursor="x"), "GET", "/admin/queues/a/tasks?status=dlq&limit=100&cursor=x", None,
     PAGE, lambda p: p.items[0].id == "t1" and p.cursor == "c"),
    (lambda a: a.dead_letters(command="a", before=NOON, limit=5), "GET",
     "/admin/dlq?command=a&before=2026-01-02T12%3A00%3A00.000Z&limit=5", None, {"tasks": [], "cursor": None},
     lambda p: p == Page((), "")),
    (lambda a: a.requeue(command="a", limit=9), "POST", "/admin/dlq/requeue", {"command": "a", "limit": 9},
     {"requeued": 9, "more": True}, lambda s: s == Step(9, True)),
    (lambda a: a.purge(before=NOON), "POST", "/admin/dlq/purge", {"before": "2026-01-02T12:00:00.000Z"},
     {"purged": 0, "more": False}, lambda s: s == Step(0, False)),
    (lambda a: a.webhooks(), "GET", "/admin/webhooks?state=given-up&limit=100", None, {"deliveries": [HOOK]},
     lambda p: p.items[0].delivery_id == "d" and p.cursor == ""),
    (lambda a: a.retry_webhook("d"), "POST", "/admin/webhooks/d/retry", {}, {"retried": 1}, lambda s: s.count == 1),
    (lambda a: a.retry_webhooks(limit=2), "POST", "/admin/webhooks/retry", {"limit": 2},
     {"retried": 2, "more": True}, lambda s: s.more),
    (lambda a: a.limits("x/y"), "GET", "/admin/tenants/x%2Fy/limits", None, LIMITS,
     lambda found: found == codeq.TenantLimits(rest_per_second=10, in_flight=5)),
    (lambda a: a.set_limits("x", codeq.TenantLimits(10, None, 5)), "PUT", "/admin/tenants/x/limits", LIMITS, LIMITS,
     lambda found: found.fields == LIMITS),
    (lambda a: a.audit(limit=1), "GET", "/admin/audit?limit=1", None, {"entries": [ENTRY]},
     lambda p: p.items[0].action == "purge"),
    (lambda a: a.node(), "GET", "/admin/node", None, NODE, lambda n: n.free_bytes == 3 and n.fields == NODE),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[1]} {call[2]}")
def test_each_method_asks_as_the_contract_says_and_reads_the_answer(port: int, call: Any) -> None:
    ask, method, path, body, answered, holds = call
    answer(200, answered)
    found = ask(Admin(f"http://127.0.0.1:{port}", "tok"))
    assert Handler.asked == [(method, f"/v1/codeq{path}", body)]
    assert holds(found)


def test_each_method_is_there_for_an_event_loop(port: int) -> None:
    admin = codeq.aio.Admin(f"http://127.0.0.1:{port}", "tok")
    for ask, method, path, body, answered, holds in CALLS:
        answer(200, answered)
        Handler.asked.clear()
        assert holds(asyncio.run(ask(admin)))
        assert Handler.asked == [(method, f"/v1/codeq{path}", body)]


def test_queues_are_asked_for_until_there_are_no_more(port: int) -> None:
    answers = iter([{"queues": [QUEUE], "cursor": "c/1"}, {"queues": [], "cursor": "c2"}, {"queues": [QUEUE]}])

    class Pages(Handler):
        def do_GET(self) -> None:
            answer(200, next(answers))
            super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert len(Admin(f"http://127.0.0.1:{server.server_port}", "tok").queues()) == 2
        server.shutdown()
        thread.join()
    paths = [path for _, path, _ in Handler.asked]
    assert paths == [f"/v1/codeq/admin/queues{query}" for query in ("", "?cursor=c%2F1", "?cursor=c2")]


def test_a_claim_of_an_empty_queue_is_none(port: int) -> None:
    Handler.answer = (204, b"")
    assert Admin(f"http://127.0.0.1:{port}", "tok").claim() is None


def test_a_time_without_a_zone_and_a_payload_that_is_no_json_are_not_sent(port: int) -> None:
    admin = Admin(f"http://127.0.0.1:{port}", "tok")
    for call in (lambda: admin.purge(before=datetime.datetime(2026, 1, 1)), lambda: admin.create("a", {1, 2})):
        with pytest.raises(codeq.ValidationError):
            call()
    assert not Handler.asked


def test_a_change_without_an_answer_may_have_happened_and_is_not_sent_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = f"127.0.0.1:{server.getsockname()[1]}"
        taken: list[bytes] = []

        def hang_up() -> None:
            connection, _ = server.accept()
            taken.append(connection.recv(65_536))
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(codeq.DeadlineExceeded, match="may have happened"):
            Admin([target, target], "tok", plaintext=True).purge()
        thread.join()
    assert len(taken) == 1
