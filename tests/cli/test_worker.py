"""`codeq worker run`: programs as workers, against the fake server."""

import asyncio
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import codeq
from appliance.cli import status, worker
from appliance.cli.main import main
from tests.client.fake_server import TOKEN, WAIT_SECONDS, FakeServer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, os, signal, subprocess, sys, time
task = json.load(sys.stdin)
match task["payload"]:
    case "echo": print(json.dumps({"id": task["id"], "trace": os.environ.get("TRACEPARENT"), "n": task["attempts"]}))
    case "nothing": pass
    case "no json": print("hello")
    case "leaves a child": subprocess.Popen(["sleep", "4"]); print(1)
    case "fail": sys.exit("no such address") if task["attempts"] > 1 else (print("gone", file=sys.stderr), sys.exit(65))
    case "temporary": print("the API is down", file=sys.stderr); sys.exit(75)
    case "broken": print("x" * 10_000 + "the end", file=sys.stderr); sys.exit(3)
    case "killed": os.kill(os.getpid(), signal.SIGKILL)
    case "endless":
        while True: sys.stdout.write("x" * 65536)
    case "slow": open(os.environ["MARK"], "w").close(); time.sleep(60)
    case "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN); open(os.environ["MARK"], "w").close(); time.sleep(60)
"""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    one = FakeServer()
    yield one
    one.stop()


@pytest.fixture
def process(server: FakeServer, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker for the command "work"; it is told to stop at the end and must do so."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = [sys.executable, "-m", "appliance.cli.main", "worker", "run", "--commands", "work,other"]
    arguments += ["--url", f"http://{server.target}", "--token-file", str(tmp_path / "token"), "--concurrency", "4"]
    arguments += ["--lease-seconds", "1", "--drain-seconds", "1", "--", sys.executable, str(tmp_path / "script.py")]
    one = subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, "MARK": str(tmp_path / "mark")})
    try:
        yield one
        one.send_signal(signal.SIGTERM)
        assert one.wait(WAIT_SECONDS) == status.OK
    finally:
        one.kill()
        one.wait()


def make_task(payload_json: bytes) -> codeq.Task:
    return codeq.Task(
        id="t",
        command="work",
        payload_json=payload_json,
        priority=3,
        attempts=1,
        max_attempts=5,
        tenant_id="dev",
        worker_id="w",
        lease_id="l",
        webhook="",
        trace_parent="",
        trace_state="",
        created_at=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    )


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_exit_status_of_a_program_decides(server: FakeServer, process: subprocess.Popen[bytes]) -> None:
    names = ("echo", "nothing", "no json", "fail", "temporary", "broken", "killed")
    tasks = {name: server.add("work", json.dumps(name).encode(), trace_parent="00-a-b-01") for name in names}
    server.wait_for(lambda: all(task.status not in ("PENDING", "CLAIMED") for task in tasks.values()))
    assert json.loads(tasks["echo"].result) == {"id": tasks["echo"].id, "trace": "00-a-b-01", "n": 1}
    assert (tasks["nothing"].status, tasks["nothing"].result) == ("COMPLETED", b"null")
    assert tasks["no json"].status == "FAILED" and "no JSON" in tasks["no json"].error
    assert (tasks["fail"].status, tasks["fail"].error) == ("FAILED", "gone")
    assert tasks["temporary"].nacks == [(0, "the API is down")]
    [(_, reason)] = tasks["broken"].nacks
    assert reason.startswith("exit status 3: x") and len(reason) <= 4_096
    assert tasks["killed"].nacks == [(0, "signal 9")]


def test_a_program_whose_task_is_lost_is_ended(
    server: FakeServer, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    task = server.add("work", b'"slow"')
    wait_for_file(tmp_path / "mark")
    server.wait_for(lambda: task.heartbeats)
    server.take_lease(task)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + WAIT_SECONDS
    while children.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert task.nacks == [] and server.seen["result"] == 0


def test_a_program_that_leaves_a_child_with_its_pipes_gives_its_result_all_the_same() -> None:
    started = time.monotonic()
    runner = worker.Runner([sys.executable, "-c", SCRIPT])
    assert asyncio.run(runner.handle(make_task(b'"leaves a child"'))) == b"1"
    assert time.monotonic() - started < 3.5


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


def test_a_program_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker, "TERM_SECONDS", 0.1)
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    runner = worker.Runner([sys.executable, "-c", SCRIPT])

    before = children()

    async def lose() -> None:
        running = asyncio.create_task(runner.handle(make_task(b'"stubborn"')))
        await asyncio.to_thread(wait_for_file, tmp_path / "mark")
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(lose())
    assert children() <= before


def test_a_worker_that_stops_gives_back_what_does_not_end_in_time(
    server: FakeServer, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    task = server.add("work", b'"slow"')
    wait_for_file(tmp_path / "mark")
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_SECONDS) == status.OK
    assert (task.status, task.abandons) == ("PENDING", 1)


def test_endless_output_is_bounded(server: FakeServer, process: subprocess.Popen[bytes]) -> None:
    task = server.add("work", b'"endless"')
    server.wait_for(lambda: task.heartbeats >= 2)
    server.take_lease(task)
    resident = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    assert int(resident) * os.sysconf("SC_PAGE_SIZE") < 200 * 1024 * 1024


def test_too_much_output_is_a_failure() -> None:
    with pytest.raises(codeq.Fail, match="more than"):
        worker.judge(0, b"1", "", too_long=True)
    with pytest.raises(codeq.Fail, match="no JSON"):
        worker.judge(0, b"NaN", "", too_long=False)
    assert worker.judge(0, b' {"a": 1}\n', "", too_long=False) == b'{"a": 1}'


def test_a_payload_reaches_the_program_byte_for_byte() -> None:
    text = worker.describe(make_task(b'{"n":  1e2}'))
    assert b'"payload": {"n":  1e2}}\n' in text
    assert json.loads(text)["createdAt"] == "2026-01-02T00:00:00Z"


def run(*arguments: str) -> int:
    return main(["worker", "run", "--commands", "a", *arguments])


def test_what_can_not_work_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    assert run("--url", "localhost:1", "--token-file", str(token), "--", "true") == status.CONFIGURATION
    token.write_text("x")
    assert run("--url", "localhost", "--token-file", str(token), "--", "true") == status.CONFIGURATION
    assert "host:port" in capsys.readouterr().err
    assert run("--url", "localhost:1", "--token-file", str(token), "--", "no-such-program") == status.FAILURE
    assert "no-such-program" in capsys.readouterr().err


def test_without_grpcio_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name == "codeq" or name.startswith("codeq.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)
    (tmp_path / "token").write_text("x")
    assert run("--url", "localhost:1", "--token-file", str(tmp_path / "token"), "--", "true") == status.FAILURE
    assert "pip install 'codeq[client]'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["", "--url a:1", "--url a:1 --token-file f", "--url a:1 --token-file f --"])
def test_arguments_that_are_missing_are_a_usage_error(arguments: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments.split())
    assert caught.value.code == status.USAGE
