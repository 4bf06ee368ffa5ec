"""The operator's command line against a real node."""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

import codeq as client
from appliance.cli.main import main
from tests.e2e.node import Node, clean_environment, codeq
from tests.e2e.user import User

DEAD = 7


@pytest.fixture
def dev(tls_node: Node) -> User:
    """The tenant of the node's own tokens, whose producer is its admin."""
    return User(tls_node, "dev")


def environ(node: Node, token: str = "") -> dict[str, str]:
    return {
        "CODEQ_URL": node.url,
        "CODEQ_CA": str(node.folder / "ca.pem"),
        "CODEQ_TOKEN": token or node.token("producer"),
    }


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def done(node: Node, *words: str, status: int = 0, token: str = "") -> Done:
    """One command that must end with `status`; in this process, as starting one takes most of the time."""
    out, err = io.StringIO(), io.StringIO()
    variables = clean_environment(environ(node, token))
    with (
        patch.dict(os.environ, variables, clear=True),
        patch("sys.stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        ended = main(words)
    assert ended == status, (words, out.getvalue(), err.getvalue())
    return Done(out.getvalue(), err.getvalue())


def said(node: Node, *words: str, token: str = "") -> list[dict[str, Any]]:
    """What a command prints with `--json`."""
    return [json.loads(line) for line in done(node, *words, "--json", token=token).stdout.splitlines()]


def make_dead(user: User, command: str, count: int) -> list[str]:
    """So many dead letters of a command, which nothing else may be in."""
    items = [{"command": command, "payload": number, "maxAttempts": 1} for number in range(count)]
    user.post("/tasks/batch", items, token=user.producer)
    ids = []
    for _ in range(count):
        task = user.claimed(command)
        assert user.act("nack", task["id"], reason="broken", leaseId=task["leaseId"]).json()["status"] == "dlq"
        ids.append(task["id"])
    return ids


def test_a_task_lives_from_create_to_result(tls_node: Node) -> None:
    worker = tls_node.token("worker")
    task = done(tls_node, "task", "create", "op.life", '{"a": [1, "ü"]}', "--priority", "9").stdout.strip()
    claimed = said(tls_node, "claim", "op.life", "--wait", "5s", "--worker-id", "w1", token=worker)[0]
    assert (claimed["id"], claimed["payload"], claimed["priority"]) == (task, {"a": [1, "ü"]}, 9)
    done(tls_node, "task", "finish", task, "--result", "1", "--lease-id", "old", token=worker, status=1)
    owner = ("--lease-id", claimed["leaseId"], "--worker-id", "w1")
    assert said(tls_node, "task", "nack", task, "--delay", "1s", *owner, token=worker)[0]["status"] == "requeued"
    again = said(tls_node, "claim", "op.life", "--wait", "10s", token=worker)[0]
    done(tls_node, "task", "finish", task, "--result", '{"ok": true}', "--lease-id", again["leaseId"], token=worker)
    assert json.loads(done(tls_node, "task", "result", task).stdout) == {"ok": True}
    assert done(tls_node, "task", "watch", task).stderr.startswith("COMPLETED")
    history = said(tls_node, "task", "get", task, "--history")[0]
    assert history["deliveries"] == 2 and history["history"][0]["event"] == "created"


def test_a_task_is_cancelled_whoever_holds_it(tls_node: Node, dev: User) -> None:
    waiting = dev.created("op.cancel")["id"]
    held = dev.claimed("op.cancel")
    done(tls_node, "task", "cancel", held["id"], "--reason", "not wanted")
    assert dev.act("heartbeat", held["id"], leaseId=held["leaseId"]).json()["code"] == "cancelled"
    assert "cancelled" in done(tls_node, "task", "result", waiting, status=1).stderr
    done(tls_node, "task", "cancel", waiting, status=1)
    done(tls_node, "task", "cancel", "018f0000-0000-7000-8000-000000000001", status=66)
    assert any(entry["detail"] == "not wanted" for entry in said(tls_node, "audit"))


def test_a_queue_is_paused_resumed_and_set(tls_node: Node, dev: User) -> None:
    dev.created("op.pause")
    done(tls_node, "queue", "pause", "op.pause", "--what", "both", "--for", "10m")
    done(tls_node, "claim", "op.pause", token=tls_node.token("worker"), status=66)
    refused = done(tls_node, "task", "create", "op.pause", status=75)
    assert "queue-paused" in refused.stderr
    shown = said(tls_node, "queue", "resume", "op.pause")[0]
    assert shown["paused"] == {"dispatch": False, "intake": False, "dispatchUntil": None, "intakeUntil": None}
    assert dev.claim("op.pause").status_code == 200
    settings = ("--max-depth", "5", "--max-attempts", "2", "--backoff", "fixed", "--backoff-base-seconds", "1")
    assert said(tls_node, "queue", "set", "op.pause", *settings)[0]["settings"] == {
        "maxDepth": 5, "maxAttempts": 2, "backoff": {"policy": "fixed", "baseSeconds": 1},
    }  # fmt: skip
    assert said(tls_node, "task", "create", "op.pause")[0]["maxAttempts"] == 2
    undone = said(tls_node, "queue", "set", "op.pause", "--max-depth", "default", "--backoff", "default")[0]
    assert undone["settings"] == {"maxAttempts": 2}
    done(tls_node, "queue", "show", "op.never", status=66)
    listed = {queue["command"]: queue for queue in said(tls_node, "queue", "list")}
    assert listed["op.pause"]["ready"] == 1 and listed["op.pause"]["inProgress"] == 1


def test_dead_letters_are_listed_requeued_and_purged(tls_node: Node, dev: User) -> None:
    ids = make_dead(dev, "op.dead", DEAD)
    listed = said(tls_node, "dlq", "list", "--command", "op.dead", "--limit", "3")
    assert [task["id"] for task in listed] == ids[:3] and listed[0]["error"] == "broken"
    assert len(said(tls_node, "task", "list", "op.dead", "--status", "dlq")) == DEAD
    assert said(tls_node, "dlq", "list", "--command", "op.dead", "--older-than", "1h") == []
    done(tls_node, "dlq", "requeue", ids[6])
    done(tls_node, "dlq", "requeue", ids[6], status=1)
    assert said(tls_node, "dlq", "requeue", "--command", "op.dead", "--limit", "2") == [{"requeued": 2}]
    done(tls_node, "dlq", "purge", ids[5], "--yes")
    done(tls_node, "task", "get", ids[5], status=66)
    assert "say --yes" in done(tls_node, "dlq", "purge", "--command", "op.dead", status=1).stderr
    assert said(tls_node, "dlq", "purge", "--command", "op.dead", "--yes") == [{"purged": 3}]
    queue = said(tls_node, "queue", "show", "op.dead")[0]
    assert (queue["ready"], queue["dlq"]) == (3, 0)
    again = dev.claimed("op.dead")
    assert again["id"] == ids[0] and again["attempts"] == 1


def test_an_operator_sees_all_tenants_and_sets_their_limits(tls_node: Node, dev: User) -> None:
    key = ("--key", str(tls_node.folder / "producer-key.pem"), "--kind", "producer", "--tenant", "ops")
    token = codeq("token", "mint", *key, "--subject", "root", "--scopes", "codeq:operator").stdout.strip()
    dev.created("op.all")
    done(tls_node, "queue", "list", "--tenant", "*", status=77)
    assert "op.all" in done(tls_node, "queue", "list", "--tenant", "*", token=token).stdout
    assert said(tls_node, "queue", "show", "op.all", "--tenant", "dev", token=token)[0]["tenantId"] == "dev"
    done(tls_node, "tenant", "limits", "limited", "--in-flight", "5", status=77)
    assert said(tls_node, "tenant", "limits", "limited", "--in-flight", "5", token=token)[0]["inFlight"] == 5
    limits = said(tls_node, "tenant", "limits", "limited", "--stored-bytes", "1000000", token=token)[0]
    assert (limits["inFlight"], limits["storedBytes"], limits["restPerSecond"]) == (5, 1_000_000, None)
    assert "op.all" in done(tls_node, "top", "--once", "--tenant", "*", token=token).stdout


def test_top_and_doctor_look_at_a_running_node(tls_node: Node, dev: User) -> None:
    dev.created("op.top")
    top = done(tls_node, "top", "--once").stdout.splitlines()
    assert top[0].startswith("codeq ") and any(line.startswith("op.top") for line in top)
    doctor = codeq("doctor", "--config", str(tls_node.folder / "codeq.yml"), "--json")
    found = {finding["check"]: finding for finding in map(json.loads, doctor.stdout.splitlines())}
    assert f"process {tls_node.process.pid}" in found["store"]["found"]
    assert found["configuration"]["level"] == found["certificate"]["level"] == "ok"


def test_a_profile_names_the_node(tls_node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "codeq"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'default = "dev"\n[profiles.dev]\nurl = "{tls_node.url}"\nca = "{tls_node.folder / "ca.pem"}"\n'
        f'token_file = "{tls_node.folder / "producer.token"}"\n'
    )
    listed = codeq("queue", "list", environ={"XDG_CONFIG_HOME": str(tmp_path)})
    assert listed.returncode == 0, listed.stderr
    without = codeq("queue", "list", "--profile", "dev", "--ca", "", environ={"XDG_CONFIG_HOME": str(tmp_path)})
    assert without.returncode == 0
    other = codeq("queue", "list", environ={"CODEQ_URL": tls_node.url, "CODEQ_TOKEN": tls_node.token("producer")})
    assert other.returncode == 75 and "--ca" in other.stderr


def test_the_client_administers_as_the_command_line_does(tls_node: Node, dev: User) -> None:
    dead = make_dead(dev, "op.client", 3)
    admin = client.Admin(tls_node.url, tls_node.token("producer"), ca=tls_node.folder / "ca.pem")
    page = admin.dead_letters(command="op.client", limit=2)
    assert [task.id for task in page.items] == dead[:2] and page.cursor
    rest = admin.dead_letters(command="op.client", limit=2, cursor=page.cursor)
    assert [task.id for task in rest.items] == dead[2:]
    assert admin.requeue(command="op.client", limit=2) == client.Step(2, True)
    assert admin.purge_task(dead[2]).count == 1
    assert admin.history(dead[0]).task.status == "PENDING"
    assert admin.cancel(dead[1], reason="old").error == "cancelled"
    assert admin.pause("op.client").dispatch_paused and not admin.resume("op.client").dispatch_paused
    assert admin.set_queue("op.client", {"maxAttempts": 4}).settings == {"maxAttempts": 4}
    assert "op.client" in {queue.command for queue in admin.queues()}
    assert admin.limits("dev") == client.TenantLimits()
    assert {entry.subject for entry in admin.audit(limit=3).items} == {"dev-producer"}
    assert admin.node().free_bytes > 0
    assert admin.cleanup(limit=10).count >= 0
    assert admin.tasks("op.client", "failed").items[0].id == dead[1]
    with pytest.raises(client.PermissionDenied):
        admin.set_limits("dev", client.TenantLimits())


def test_webhooks_that_wait_are_listed_and_none_that_was_given_up(tls_node: Node, dev: User) -> None:
    task = dev.created("op.hook", webhook="https://receiver.invalid/path?key=secret")["id"]
    claimed = dev.claimed("op.hook")
    dev.act("result", task, status="COMPLETED", leaseId=claimed["leaseId"])
    waiting = [each for each in said(tls_node, "webhook", "list", "--state", "waiting") if each["taskId"] == task]
    assert waiting[0]["url"] == "https://receiver.invalid/path"
    assert said(tls_node, "webhook", "list") == []
    assert said(tls_node, "webhook", "retry", "--all") == [{"retried": 0}]
    done(tls_node, "webhook", "retry", "018f0000-0000-7000-8000-000000000001", status=66)
