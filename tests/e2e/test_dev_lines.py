"""What a user pastes: the lines that `codeq dev` prints, those of the documents, and what happens on a wrong start."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.node import Node, clean_environment, codeq, free_port

REPORT = """\
curl() { command curl -w '%{stderr}%{http_version} %{http_code}\\n' CURL_OPTION "$@"; }
set -e
"""
"""Put in front of pasted lines: each call also says on standard error which protocol it spoke and what came back."""


def paste(lines: str, option: str = "", **environ: str) -> tuple[list[Any], list[str]]:
    """Run lines in bash; the values that they print, and what each call of curl reported."""
    script = REPORT.replace("CURL_OPTION", option) + lines
    done = subprocess.run(
        ["bash", "-c", script],
        env=clean_environment(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return list(_values(done.stdout)), done.stderr.splitlines()


def _values(text: str) -> Iterator[Any]:
    """The JSON objects in a text, and the words between them."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        if text.startswith("{"):
            value, end = decoder.raw_decode(text)
        else:
            value = re.split(r"[\s{]", text)[0]
            end = len(value)
        yield value
        text = text[end:]


def printed_lines(node: Node) -> str:
    """The commands among what `codeq dev` printed."""
    return "\n".join(line for line in node.printed.splitlines() if line.startswith(("curl ", "TASK_ID=")))


@pytest.mark.parametrize(("option", "version"), [("", "2"), ("--http1.1", "1.1"), ("--http2", "2")])
def test_the_printed_lines_work_as_pasted_over_https(tls_node: Node, option: str, version: str) -> None:
    values, reports = paste(printed_lines(tls_node), option)
    created, task_id, record = values
    assert reports == [f"{version} 201", f"{version} 200", f"{version} 200"]
    assert created["id"] == task_id == record["taskId"]
    assert (created["status"], created["tenantId"]) == ("PENDING", "dev")
    assert (record["status"], record["result"]) == ("COMPLETED", {"sent": True})


@pytest.mark.parametrize(
    ("option", "version"), [("", "1.1"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2"), ("--http2", "1.1")]
)
def test_the_printed_lines_work_as_pasted_over_plaintext(plain_node: Node, option: str, version: str) -> None:
    values, reports = paste(printed_lines(plain_node), option)
    assert reports == [f"{version} 201", f"{version} 200", f"{version} 200"]
    assert values[2]["status"] == "COMPLETED"


DOCUMENTED_CREATE = r"""
curl -X POST http://localhost:8080/v1/codeq/tasks \
  -H "Authorization: Bearer $PRODUCER_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "command": "send-email",
    "payload": {"to": "a@b.com"},
    "priority": 10,
    "maxAttempts": 3
  }'
"""
DOCUMENTED_CLAIM = r"""
curl -X POST http://localhost:8080/v1/codeq/tasks/claim \
  -H "Authorization: Bearer $WORKER_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "commands": ["send-email"],
    "leaseSeconds": 60,
    "workerId": "worker-1"
  }'
"""
DOCUMENTED_RESULT = r"""
curl -X POST "http://localhost:8080/v1/codeq/tasks/${TASK_ID}/result" \
  -H "Authorization: Bearer $WORKER_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "status": "COMPLETED",
    "workerId": "worker-1",
    "result": {"sentAt": "2026-05-18T12:00:00Z"}
  }'
"""


def test_the_documented_lines_work_against_plaintext(plain_node: Node) -> None:
    environ = {"PRODUCER_TOKEN": plain_node.token("producer"), "WORKER_TOKEN": plain_node.token("worker")}

    def run(lines: str) -> Any:
        (value,), _ = paste(lines.replace(":8080", f":{plain_node.port}"), "-sS", **environ)
        return value

    created = run(DOCUMENTED_CREATE)
    assert (created["priority"], created["maxAttempts"], created["payload"]) == (10, 3, {"to": "a@b.com"})
    claimed = run(DOCUMENTED_CLAIM)
    assert claimed["id"] == created["id"]
    assert {"id", "command", "payload", "priority", "attempts", "maxAttempts", "tenantId", "leaseUntil"} <= set(claimed)
    environ["TASK_ID"] = claimed["id"]
    record = run(DOCUMENTED_RESULT)
    assert (record["status"], record["result"]) == ("COMPLETED", {"sentAt": "2026-05-18T12:00:00Z"})


def test_the_printed_exports_give_the_tokens(plain_node: Node) -> None:
    exports = "\n".join(line for line in plain_node.printed.splitlines() if line.startswith("export "))
    values, _ = paste(exports + '\necho "$PRODUCER_TOKEN"\necho "$WORKER_TOKEN"')
    assert values == [plain_node.token("producer"), plain_node.token("worker")]


def test_a_second_start_reuses_what_is_there(own_node: Node) -> None:
    def kept() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in own_node.folder.iterdir() if path.suffix in (".pem", ".token")}

    own_node.up().stop()
    first = kept()
    assert {"ca.pem", "producer.token", "worker.token"} <= set(first)
    own_node.up()
    values, _ = paste(printed_lines(own_node))
    assert values[2]["status"] == "COMPLETED"
    own_node.stop()
    assert kept() == first


def test_a_second_node_on_the_same_directory_is_turned_away(tls_node: Node) -> None:
    second = Node(tls_node.folder.parent / "other", port=free_port())
    second.folder.mkdir()
    done = codeq("dev", "--dir", str(tls_node.folder), "--port", str(second.port))
    try:
        assert done.returncode == 75, done.stderr
        assert f"in use by process {tls_node.process.pid}" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        # The second start wrote its own port into the shared configuration, which the first reads no more.
        assert tls_node.answers_ready()


def test_a_port_in_use_is_told_and_can_be_tried_again(tls_node: Node, tmp_path: Path) -> None:
    done = codeq("dev", "--dir", str(tmp_path / "node"), "--port", str(tls_node.port))
    assert done.returncode == 75, done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "place", "key"),
    [
        ("listen:\n  - 127.0.0.1:8443\ntasks:\n  maxAttempts: many\n", ":4:", "tasks.maxAttempts"),
        ("listen:\n  - 127.0.0.1:8443\ntasks:\n  maxAttempts: 1001\n", ":4:", "tasks.maxAttempts"),
        ("tasks:\n  unheard: 1\n", ":2:", "tasks.unheard"),
        ('listen: [{address: "127.0.0.1:1", plaintext: true}]\n', ":1:", "listen[0]"),
        ("listen: [127.0.0.1:1\n", ":2:", ""),
    ],
)
def test_a_wrong_configuration_is_told_with_key_and_line(tmp_path: Path, text: str, place: str, key: str) -> None:
    path = tmp_path / "codeq.yml"
    path.write_text(text)
    for command in (("serve",), ("config", "check")):
        done = codeq(*command, "--config", str(path))
        assert done.returncode == 78, done.stdout + done.stderr
        assert f"{path}{place}" in done.stderr and key in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_a_wrong_setting_in_the_environment_is_told_with_its_name(tmp_path: Path) -> None:
    done = codeq("dev", "--dir", str(tmp_path / "node"), environ={"CODEQ_TASKS_MAX_ATTEMPTS": "none"})
    assert done.returncode == 78, done.stderr
    assert "CODEQ_TASKS_MAX_ATTEMPTS" in done.stderr


CONFIGURATION = """\
listen:
  - 127.0.0.1:{tls}
  - {{address: "127.0.0.1:{plain}", plaintext: true}}
allowPlaintext: true
tls: {{certificate: server.pem, key: server-key.pem}}
store: {{directory: data, freeFloorBytes: 0}}
auth:
  producer: [{{algorithm: ES256, file: producer-key.pub}}]
  worker: [{{algorithm: ES256, file: worker-key.pub}}]
"""


def test_a_configured_node_serves_all_of_its_addresses(own_node: Node) -> None:
    own_node.up().stop()
    plain_port = free_port()
    config = own_node.folder / "own.yml"
    config.write_text(CONFIGURATION.format(tls=own_node.port, plain=plain_port))
    checked = codeq("config", "check", "--config", str(config))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    own_node.start(config=config)
    own_node.wait_ready()
    headers = {"Authorization": f"Bearer {own_node.token('producer')}"}
    with own_node.client() as client:
        for base in ("", f"http://127.0.0.1:{plain_port}"):
            body = {"command": "served", "payload": base}
            assert client.post(f"{base}/v1/codeq/tasks", json=body, headers=headers).status_code == 201
    last = json.loads(own_node.log.splitlines()[-1])
    assert last, "logs are JSON unless configured"
    own_node.stop()
