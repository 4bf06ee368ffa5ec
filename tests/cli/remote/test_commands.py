"""The commands that talk to a node: what each asks, what it prints, and how it ends."""

import datetime
import io
import json
from typing import Any

import pytest

from appliance.cli import status
from appliance.cli.main import main
from appliance.cli.remote import session
from appliance.cli.remote.output import age, plain, table
from appliance.cli.remote.top import Screen
from codeq._records import queue
from tests.cli.remote.fake_node import FakeNode

Captured = pytest.CaptureFixture[str]

TASK = {
    "id": "t1", "command": "mail", "payload": {"to": "a"}, "status": "PENDING", "priority": 0, "attempts": 1,
    "maxAttempts": 5, "tenantId": "dev", "workerId": None, "error": None, "createdAt": "2026-01-02T03:04:05.678Z",
    "completedAt": None,
}  # fmt: skip
RESULT = {"taskId": "t1", "status": "COMPLETED", "result": {"n": 1}, "error": None, "completedAt": None}
PENDING = {**RESULT, "status": "PENDING", "result": None}
FAILED = {**RESULT, "status": "FAILED", "result": None, "error": "no\x1b[2J way"}
QUEUE = {
    "command": "mail", "tenantId": "dev", "ready": 1200, "delayed": 2, "inProgress": 3, "dlq": 4,
    "oldestReadyAgeSeconds": 90, "completed": 100, "failed": 1, "settings": {"maxDepth": 6},
    "paused": {"dispatch": True, "intake": False, "dispatchUntil": "2026-01-02T03:04:05Z", "intakeUntil": None},
}  # fmt: skip
HOOK = {
    "deliveryId": "d1", "taskId": "t1", "url": "https://x/", "state": "given-up", "attempts": 5, "lastError": "500",
    "nextAt": None, "givenUpAt": "2026-01-02T03:04:05Z",
}  # fmt: skip
LIMITS = {"restPerSecond": 10, "hellosPerSecond": None, "inFlight": 5, "storedBytes": None}
NODE = {
    "nodeId": "n", "version": "1.2", "formatVersion": 1, "startedAt": None, "uptimeSeconds": 100_000,
    "durability": "fsync", "storeBytes": 1 << 20, "freeBytes": 1 << 30, "certificateDaysLeft": None,
}  # fmt: skip
ENTRY = {
    "at": "2026-01-02T03:04:05Z", "tenantId": "dev", "subject": "ops", "action": "dlq.purge", "target": "mail",
    "detail": {"count": 2},
}  # fmt: skip


def codeq(text: str) -> int:
    return main(text.split())


def test_a_task_is_created_and_its_id_printed(node: FakeNode, capsys: Captured) -> None:
    node.on("POST /tasks", (201, TASK))
    arguments = ["task", "create", "mail", '{"to": "a"}', "--priority", "7", "--delay", "2m", "--key", "k"]
    assert main(arguments) == status.OK
    assert capsys.readouterr().out == "t1\n"
    assert node.asked[0].token == "the-token"
    assert node.asked[0].body == {
        "command": "mail", "payload": {"to": "a"}, "priority": 7, "delaySeconds": 120, "idempotencyKey": "k",
    }  # fmt: skip


def test_a_payload_comes_from_the_input(node: FakeNode, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    node.on("POST /tasks", (201, TASK))
    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2]\n"))
    assert codeq("task create mail - --json") == status.OK
    assert node.asked[0].body["payload"] == [1, 2]
    assert json.loads(capsys.readouterr().out) == TASK
    assert codeq("task create mail {") == status.USAGE
    assert codeq("task create mail NaN") == status.USAGE
    assert len(node.asked) == 1


def test_a_create_may_wait_for_the_result(node: FakeNode, capsys: Captured) -> None:
    node.on("POST /tasks", (201, TASK))
    node.on("GET /tasks/t1/result?waitSeconds=5", RESULT)
    assert codeq("task create mail --wait 5s") == status.OK
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ('{"n": 1}\n', "t1\n")


@pytest.mark.parametrize(
    ("answer", "expected", "says"),
    [
        (RESULT, status.OK, '{"n": 1}'),
        (FAILED, status.FAILURE, "FAILED: no\N{REPLACEMENT CHARACTER}[2J way"),
        (PENDING, status.NOT_THERE, "no result yet"),
        ((404, {"code": "not-found", "message": "no"}), status.NOT_THERE, "not-found: no"),
        ((401, {"code": "unauthenticated", "message": "no"}), status.NOT_ALLOWED, "unauthenticated"),
        ((403, {"code": "permission-denied", "message": "no"}), status.NOT_ALLOWED, "permission-denied"),
        ((503, {"code": "unavailable", "message": "no"}), status.TRY_AGAIN, "unavailable"),
        ((429, {"code": "rate-limited", "message": "no"}), status.TRY_AGAIN, "rate-limited"),
        ((409, {"code": "cancelled", "message": "no"}), status.FAILURE, "cancelled"),
        ((200, []), status.FAILURE, "makes no sense"),
    ],
)
def test_each_answer_has_its_exit_status(
    node: FakeNode, capsys: Captured, answer: Any, expected: int, says: str
) -> None:
    node.on("GET /tasks/t1/result?waitSeconds=0", answer)
    assert codeq("task result t1") == expected
    captured = capsys.readouterr()
    assert says in captured.out + captured.err


def test_a_long_wait_is_asked_for_in_parts(node: FakeNode, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 60.0, 100.0])
    monkeypatch.setattr("appliance.cli.remote.tasks.time.monotonic", lambda: next(now))
    node.on("GET /tasks/t1/result?waitSeconds=60", PENDING)
    node.on("GET /tasks/t1/result?waitSeconds=40", RESULT)
    assert codeq("task result t1 --wait 100s --json") == status.OK
    assert json.loads(capsys.readouterr().out) == RESULT


def test_a_task_is_printed_with_its_history(node: FakeNode, capsys: Captured) -> None:
    history = [{"at": "2026-01-02T03:04:05Z", "event": "created", "detail": "by dev-producer"}]
    node.on("GET /tasks/t1", TASK)
    node.on("GET /admin/tasks/t1", {**TASK, "deliveries": 3, "history": history})
    assert codeq("task get t1") == status.OK
    assert 'payload      {"to": "a"}' in capsys.readouterr().out
    assert codeq("task get t1 --history") == status.OK
    out = capsys.readouterr().out
    assert "2026-01-02 03:04:05Z  created  by dev-producer" in out and "deliveries   3" in out


def test_tasks_are_listed_over_pages_up_to_a_limit(node: FakeNode, capsys: Captured) -> None:
    path = "GET /admin/queues/mail/tasks?status=failed&limit="
    node.on(f"{path}3", {"tasks": [{**TASK, "id": "a"}, {**TASK, "id": "b"}], "cursor": "c1"})
    node.on(f"{path}1&cursor=c1", {"tasks": [], "cursor": "c2"})
    node.on(f"{path}1&cursor=c2", {"tasks": [{**TASK, "id": "c"}], "cursor": "c3"})
    assert codeq("task list mail --status failed --limit 3") == status.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "a", "b", "c"]
    assert codeq("task list mail --status failed --limit 3 --json") == status.OK
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["a", "b", "c"]


def test_tasks_are_cancelled_one_by_one(node: FakeNode, capsys: Captured) -> None:
    node.on("POST /admin/tasks/t1/cancel?tenant=acme", {**TASK, "status": "FAILED"})
    assert codeq("task cancel t1 t2 --reason old --tenant acme") == status.NOT_THERE
    captured = capsys.readouterr()
    assert captured.out == "t1 FAILED\n" and "not-found" in captured.err
    assert node.asked[0].body == {"reason": "old"}


def test_a_watch_prints_each_change_and_ends_with_the_result(node: FakeNode, capsys: Captured) -> None:
    claimed = {**TASK, "status": "CLAIMED", "workerId": "w", "attempts": 2}
    states = iter([TASK, TASK, claimed, {**TASK, "status": "COMPLETED"}])
    node.on("GET /tasks/t1", lambda _: next(states))
    node.on("GET /tasks/t1/result?waitSeconds=2", PENDING)
    node.on("GET /tasks/t1/result?waitSeconds=0", RESULT)
    assert codeq("task watch t1") == status.OK
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "PENDING, attempt 1 of 5", "CLAIMED by w, attempt 2 of 5", "COMPLETED, attempt 1 of 5",
    ]  # fmt: skip
    assert captured.out == '{"n": 1}\n'


def test_a_claim_prints_the_task_or_that_there_is_none(node: FakeNode, capsys: Captured) -> None:
    node.on("POST /tasks/claim", {**TASK, "leaseId": "l1"})
    assert codeq("claim mail sms --lease 1m --wait 10s") == status.OK
    assert "leaseId      l1" in capsys.readouterr().out
    assert node.asked[0].body == {"commands": ["mail", "sms"], "leaseSeconds": 60, "waitSeconds": 10}
    node.on("POST /tasks/claim", (204, None))
    assert codeq("claim") == status.NOT_THERE


def test_a_claimed_task_is_finished_or_given_back(node: FakeNode, capsys: Captured) -> None:
    node.on("POST /tasks/t1/result", RESULT)
    node.on("POST /tasks/t1/abandon", {"status": "requeued"})
    assert codeq("task finish t1 --result [1] --lease-id l") == status.OK
    assert codeq("task finish t1 --error broken") == status.OK
    assert codeq("task abandon t1 --lease-id l") == status.OK
    node.on("POST /tasks/t1/nack", {"status": "dlq", "delaySeconds": 0, "attempts": 1})
    assert codeq("task nack t1 --reason broken --delay 5s --json") == status.OK
    assert [asked.body for asked in node.asked] == [
        {"status": "COMPLETED", "result": [1], "leaseId": "l"}, {"status": "FAILED", "error": "broken"},
        {"leaseId": "l"}, {"reason": "broken", "delaySeconds": 5},
    ]  # fmt: skip
    assert capsys.readouterr().out == 't1 COMPLETED\nt1 COMPLETED\nt1 requeued\n{"taskId":"t1","status":"dlq"}\n'


def test_queues_are_listed_and_shown(node: FakeNode, capsys: Captured) -> None:
    node.on("GET /admin/queues?tenant=%2A", {"queues": [QUEUE]})
    node.on("GET /admin/queues/mail", QUEUE)
    assert codeq("queue list --tenant *") == status.OK
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "mail", "dev", "1,200", "2", "3", "4", "2m", "dispatch",
    ]  # fmt: skip
    assert codeq("queue show mail") == status.OK
    out = capsys.readouterr().out
    assert "dispatch      paused until 2026-01-02 03:04:05Z" in out and "maxDepth      6" in out
    assert codeq("queue show none") == status.NOT_THERE


def test_queues_are_paused_resumed_and_set(node: FakeNode, capsys: Captured) -> None:
    for request in (
        "POST /admin/queues/mail/pause",
        "POST /admin/queues/mail/resume",
        "PUT /admin/queues/mail/settings",
    ):
        node.on(request, QUEUE)
    assert codeq("queue pause mail --what both --until 2026-01-02T03:04:05+01:00") == status.OK
    assert codeq("queue pause mail --for 10m") == status.OK
    assert codeq("queue resume mail --json") == status.OK
    assert codeq("queue set mail --max-depth default --max-attempts 3 --backoff fixed --backoff-base-seconds 1") == 0
    assert codeq("queue set mail --backoff default") == status.OK
    assert codeq("queue set mail") == status.USAGE
    first, second, third, fourth, fifth = (asked.body for asked in node.asked)
    assert first == {"what": "both", "until": "2026-01-02T02:04:05.000Z"}
    left = datetime.datetime.fromisoformat(second["until"]) - datetime.datetime.now(datetime.UTC)
    assert 500 < left.total_seconds() <= 600
    assert third == {"what": "both"}
    assert fourth == {"maxDepth": None, "maxAttempts": 3, "backoff": {"policy": "fixed", "baseSeconds": 1}}
    assert fifth == {"backoff": None}


def test_dead_letters_are_listed_by_command_and_age(node: FakeNode, capsys: Captured) -> None:
    request = "GET /admin/dlq?command=mail&before=2026-01-02T00%3A00%3A00.000Z&limit=100"
    node.on(request, {"tasks": [{**TASK, "status": "DLQ", "error": "broken"}], "cursor": None})
    assert codeq("dlq list --command mail --before 2026-01-02T00:00:00Z") == status.OK
    assert capsys.readouterr().out.splitlines()[1].endswith("broken")


def test_all_dead_letters_are_requeued_in_steps(
    node: FakeNode, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(
        [
            {"requeued": 10_000, "more": True},
            (429, {"code": "rate-limited", "message": "slowly"}),
            {"requeued": 10_000, "more": True},
            {"requeued": 5, "more": False},
        ]
    )
    monkeypatch.setattr(session, "PAUSE_SECONDS", 0.0)
    node.on("POST /admin/dlq/requeue", lambda _: next(steps))
    assert codeq("dlq requeue --command mail") == status.OK
    captured = capsys.readouterr()
    assert captured.out == "20,005 requeued\n" and "requeued: 10,000" in captured.err
    assert [asked.body for asked in node.asked] == [{"command": "mail", "limit": 10_000}] * 4


def test_a_limit_bounds_the_steps(node: FakeNode, capsys: Captured) -> None:
    node.on("POST /admin/dlq/requeue", lambda body: {"requeued": body["limit"], "more": True})
    assert codeq("dlq requeue --all --limit 12000 --json") == status.OK
    assert json.loads(capsys.readouterr().out) == {"requeued": 12_000}
    assert [asked.body for asked in node.asked] == [{"limit": 10_000}, {"limit": 2_000}]


def test_dead_letters_by_id(node: FakeNode, capsys: Captured) -> None:
    node.on("POST /admin/tasks/t1/requeue", TASK)
    node.on("POST /admin/tasks/t1/purge", {"purged": 1})
    assert codeq("dlq requeue t1") == status.OK
    assert codeq("dlq purge t1 --yes --json") == status.OK
    assert capsys.readouterr().out == 't1 requeued\n{"taskId":"t1","status":"purged"}\n'


@pytest.mark.parametrize("text", ["dlq requeue", "dlq purge --yes", "dlq requeue t1 --all", "webhook retry d --all"])
def test_long_work_says_which(node: FakeNode, text: str) -> None:
    assert codeq(text) == status.USAGE
    assert not node.asked


def test_a_purge_without_a_terminal_needs_a_yes(
    node: FakeNode, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    node.on("POST /admin/dlq/purge", {"purged": 2, "more": False})
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert codeq("dlq purge --all") == status.FAILURE
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert codeq("dlq purge --all") == status.FAILURE
    assert not node.asked
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert codeq("dlq purge --all --older-than 2d") == status.OK
    assert capsys.readouterr().out == "2 purged\n"
    before = datetime.datetime.fromisoformat(node.asked[0].body["before"])
    assert datetime.datetime.now(datetime.UTC) - before > datetime.timedelta(days=1, hours=23)


def test_webhooks_are_listed_and_sent_again(node: FakeNode, capsys: Captured) -> None:
    node.on("GET /admin/webhooks?state=given-up&limit=100", {"deliveries": [HOOK], "cursor": None})
    node.on("POST /admin/webhooks/d1/retry", {"retried": 1})
    node.on("POST /admin/webhooks/retry", {"retried": 3, "more": False})
    assert codeq("webhook list") == status.OK
    assert codeq("webhook retry d1") == status.OK
    assert codeq("webhook retry --all") == status.OK
    assert node.asked[-1].body == {"limit": 1_000}
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("d1") and lines[2:] == ["d1 retried", "3 retried"]


def test_limits_of_a_tenant_are_printed_and_changed(node: FakeNode, capsys: Captured) -> None:
    node.on("GET /admin/tenants/acme/limits", LIMITS)
    node.on("PUT /admin/tenants/acme/limits", LIMITS)
    assert codeq("tenant limits acme") == status.OK
    assert "streams opened per second    none" in capsys.readouterr().out
    assert codeq("tenant limits acme --in-flight none --stored-bytes 100 --json") == status.OK
    assert json.loads(capsys.readouterr().out) == LIMITS
    assert node.asked[-1].body == {"restPerSecond": 10, "hellosPerSecond": None, "inFlight": None, "storedBytes": 100}


def test_the_audit_log_is_printed(node: FakeNode, capsys: Captured) -> None:
    node.on("GET /admin/audit?limit=100", {"entries": [ENTRY], "cursor": None})
    assert codeq("audit") == status.OK
    assert capsys.readouterr().out.splitlines()[1].endswith('mail    {"count": 2}')


def test_top_prints_the_node_and_its_queues_once(node: FakeNode, capsys: Captured) -> None:
    node.on("GET /admin/queues", {"queues": [QUEUE]})
    assert codeq("top --once") == status.OK
    assert "not-found" in capsys.readouterr().out
    node.on("GET /admin/node", NODE)
    assert codeq("top --once") == status.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"codeq 1.2 at {node.url}, up 1d, store 1.0 MiB, free 1.0 GiB"
    assert lines[1].startswith("1 queues: 1,200 ready")
    assert codeq("top --once --json") == status.OK
    assert json.loads(capsys.readouterr().out) == QUEUE


def test_top_counts_what_ended_between_two_looks() -> None:
    screen = Screen()
    idle = queue({**QUEUE, "command": "idle", "ready": 0, "inProgress": 0})
    screen.lines("", [idle, queue(QUEUE)], 10.0)
    lines = screen.lines("", [idle, queue({**QUEUE, "completed": 130, "failed": 0})], 12.0)
    assert lines[4].split()[:9] == ["mail", "dev", "1,200", "2", "3", "4", "2m", "15.0", "0.0"]
    assert lines[5].split()[0] == "idle"


def test_top_ends_quietly_with_an_interrupt(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("appliance.cli.remote.top.time.sleep", interrupt)
    node.on("GET /admin/queues", {"queues": []})
    assert codeq("top") == status.OK


@pytest.mark.parametrize(
    ("arguments", "expected", "says"),
    [
        ("--url http://127.0.0.1:1", status.TRY_AGAIN, "is the node running"),
        ("--url nonsense", status.CONFIGURATION, "not a target"),
        ("--url https://127.0.0.1:1 --ca /nowhere", status.CONFIGURATION, "/nowhere"),
        ("--token-file /nowhere", status.CONFIGURATION, "/nowhere"),
        ("--profile none", status.CONFIGURATION, "profiles"),
    ],
)
def test_a_node_that_cannot_be_asked_is_explained(
    node: FakeNode, capsys: Captured, arguments: str, expected: int, says: str
) -> None:
    assert codeq(f"task get t1 {arguments}") == expected
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "task", "task get", "task create mail --priority 256", "task create mail --delay 5", "task finish t1",
        "task create mail --delay 5s --run-at 2026-01-01T00:00:00Z", "task create mail --run-at 2026-01-01T00:00:00",
        "task list mail --status done", "queue pause mail --what all", "tenant limits a --in-flight -1",
        "top --interval 0",
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_not_sent(node: FakeNode, text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        codeq(text)
    assert caught.value.code == status.USAGE and not node.asked


def test_nothing_from_outside_moves_the_cursor() -> None:
    assert plain("a\x1b[2J\nb\x9b\u202e") == "a\N{REPLACEMENT CHARACTER}[2J" + "\N{REPLACEMENT CHARACTER}".join(
        ["", "b", "", ""]
    )
    assert plain("x" * 100).endswith("…") and len(plain("x" * 100)) == 60
    assert [plain(value) for value in (None, True, 1_000, 1.25)] == ["-", "yes", "1,000", "1.2"]


def test_columns_are_aligned_and_numbers_to_the_right() -> None:
    assert table(("A", "N"), [("x", 1), ("yyy", 1_000)]) == ["A        N", "x        1", "yyy  1,000"]
    assert table(("A",), []) == ["A"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (90, "2m"), (7_200, "2h"), (864_000, "10d"), (None, "-")]
)
def test_ages_are_short(seconds: float | None, text: str) -> None:
    assert age(seconds) == text
