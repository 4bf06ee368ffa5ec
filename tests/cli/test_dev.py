"""`codeq dev`: the directory, what is reused, and the lines a user pastes."""

import http.server
import json
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.auth.caller import WORKER_SCOPES
from appliance.auth.mint import Grant, mint, signing_key
from appliance.auth.service import Authenticator
from appliance.cli import dev, status
from appliance.config import ConfigError, Settings

DAY_SECONDS = 86_400


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"PATH": "/usr/bin:/bin"})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def token(folder: Path, kind: str) -> str:
    return (folder / f"{kind}.token").read_text().strip()


def test_the_directory_holds_all_that_a_node_and_its_users_need(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "dev"
    settings = dev.prepare(folder, 1_234, plaintext=False)
    assert set(contents(folder)) == {
        "ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "producer-key.pem", "producer-key.pub",
        "worker-key.pem", "worker-key.pub", "producer.token", "worker.token", "codeq.yml", "webhook.secret",
    }  # fmt: skip
    for name in ("producer.token", "worker.token", "webhook.secret", "producer-key.pem", "server-key.pem"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert settings.listen[0].address == "127.0.0.1:1234"
    assert {listen.host for listen in settings.listen} <= {"127.0.0.1", "::1"}
    assert not any(listen.plaintext for listen in settings.listen)
    assert settings.store.directory == str(folder / "data")


def test_the_tokens_are_an_admin_and_a_worker_of_one_tenant(tmp_path: Path) -> None:
    validator = Authenticator(dev.prepare(tmp_path, 1_234, plaintext=False).auth)
    producer = validator.validate(token(tmp_path, "producer"), time.time())
    worker = validator.validate(token(tmp_path, "worker"), time.time())
    assert (producer.kind, producer.tenant, producer.admin, producer.operator) == ("producer", "dev", True, False)
    assert (worker.kind, worker.tenant, worker.commands) == ("worker", "dev", None)
    assert worker.scopes == frozenset(WORKER_SCOPES)
    assert producer.expires > time.time() + 364 * DAY_SECONDS


def test_a_second_start_reuses_what_is_there(tmp_path: Path) -> None:
    dev.prepare(tmp_path, 1_234, plaintext=False)
    before = contents(tmp_path)
    dev.prepare(tmp_path, 1_234, plaintext=False)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("days", [-1, 29])
def test_a_token_that_is_about_to_end_is_made_again(tmp_path: Path, days: int) -> None:
    dev.prepare(tmp_path, 1_234, plaintext=False)
    worker_before = token(tmp_path, "worker")
    key = signing_key((tmp_path / "producer-key.pem").read_bytes())
    now_seconds = time.time() - 40 * DAY_SECONDS
    grant = Grant("producer", "p", "dev", (40 + days) * DAY_SECONDS)
    (tmp_path / "producer.token").write_text(mint(key, grant, now_seconds))
    validator = Authenticator(dev.prepare(tmp_path, 1_234, plaintext=False).auth)
    assert validator.validate(token(tmp_path, "producer"), time.time() + 300 * DAY_SECONDS).admin
    assert token(tmp_path, "worker") == worker_before


def test_a_token_of_another_key_is_made_again(tmp_path: Path) -> None:
    dev.prepare(tmp_path, 1_234, plaintext=False)
    (tmp_path / "worker-key.pem").unlink()
    (tmp_path / "producer.token").write_text(token(tmp_path, "worker"))
    validator = Authenticator(dev.prepare(tmp_path, 1_234, plaintext=False).auth)
    for kind in ("producer", "worker"):
        assert validator.validate(token(tmp_path, kind), time.time()).kind == kind


def test_plaintext_is_on_loopback_and_keeps_tls_beside_it(tmp_path: Path) -> None:
    settings = dev.prepare(tmp_path, 8_080, plaintext=True)
    assert settings.allow_plaintext and all(listen.plaintext for listen in settings.listen)
    assert settings.tls.certificate == str(tmp_path / "server.pem")


def test_the_environment_can_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"CODEQ_LOG_LEVEL": "debug", "CODEQ_AUTH_MAX_LIFETIME_DAYS": "7"})
    settings = dev.prepare(tmp_path, 1_234, plaintext=False)
    assert settings.log.level == "debug"
    assert Authenticator(settings.auth).validate(token(tmp_path, "producer"), time.time())
    monkeypatch.setattr("os.environ", {"CODEQ_LOG_LEVEL": "loud"})
    with pytest.raises(ConfigError):
        dev.prepare(tmp_path, 1_234, plaintext=False)


def with_app(monkeypatch: pytest.MonkeyPatch, result: int) -> list[Settings]:
    """Stand in for the node; the settings that it was started with."""
    started: list[Settings] = []

    def run(settings: Settings, *_: object) -> int:
        started.append(settings)
        return result

    app = types.ModuleType("appliance.app")
    app.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "appliance.app", app)
    return started


@pytest.mark.parametrize(("plaintext", "port"), [(False, 8_443), (True, 8_080)])
def test_the_command_prints_how_to_use_the_node_and_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], plaintext: bool, port: int
) -> None:
    started = with_app(monkeypatch, 75)
    assert dev.run(str(tmp_path), None, plaintext=plaintext) == 75
    assert started[0].listen[0].port == port
    assert f"://localhost:{port}/v1/codeq/tasks" in capsys.readouterr().out


def test_a_directory_that_can_not_be_made_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert dev.run(str(tmp_path / "file"), None, plaintext=False) == status.FAILURE
    assert "file" in capsys.readouterr().err


TASK_ID = "018f0000-0000-7000-8000-000000000001"


class _Node(http.server.BaseHTTPRequestHandler):
    """Answers as the contract says, and keeps what it was asked."""

    seen: list[tuple[str, str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, self.headers["Authorization"], body))
        task = {"id": TASK_ID, "command": "send-email", "payload": {"id": "not this"}, "leaseId": "nor this"}
        answer = json.dumps(task, separators=(",", ":")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def node() -> Iterator[tuple[int, list[tuple[str, str, Any]]]]:
    seen: list[tuple[str, str, Any]] = []
    handler = type("Handler", (_Node,), {"seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port, seen
        finally:
            server.shutdown()
            thread.join()


def test_the_printed_lines_work_as_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    with node() as (port, seen):
        dev.prepare(folder, port, plaintext=True)
        lines = dev.instructions(folder, port, plaintext=True).splitlines()
        script = "\n".join(line for line in lines if line.startswith(("curl", "TASK_ID", "export")))
        script += '\n[[ "$PRODUCER_TOKEN" == *.*.* && "$WORKER_TOKEN" == *.*.* ]] || exit 9\n'
        done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    producer, worker = (f"Bearer {token(folder, kind)}" for kind in ("producer", "worker"))
    assert [(path, header) for path, header, _ in seen] == [
        ("/v1/codeq/tasks", producer),
        ("/v1/codeq/tasks/claim", worker),
        (f"/v1/codeq/tasks/{TASK_ID}/result", worker),
    ]
    assert seen[0][2]["command"] in seen[1][2]["commands"]
    assert seen[1][2]["workerId"] == seen[2][2]["workerId"]


def test_the_lines_for_https_trust_the_development_authority_only(tmp_path: Path) -> None:
    text = dev.instructions(tmp_path, 8_443, plaintext=False)
    assert text.count(f"--cacert {tmp_path}/ca.pem -X POST") == 3
    assert "http://" not in text
