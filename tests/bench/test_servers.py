"""Servers under load are started, found ready, and gone afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.bench.servers import ServerError, metric_sum, running_node, running_prototype, workspace
from loadtest.client import get

SKETCH = Path(__file__).parent.parent / "loadtest" / "sketch.py"
WAIT_SECONDS = 30


@pytest.mark.parametrize("tls", [False, True])
def test_a_node_serves_and_is_measured_until_the_end_of_its_block(tmp_path: Path, tls: bool) -> None:
    with running_node(tmp_path / "node", tls=tls, settings={"TASKS_RETENTION_SECONDS": "7"}) as node:
        assert get(node.address, "/healthz")[0] == 200
        assert 0 < node.ready_seconds < WAIT_SECONDS
        assert node.cpu_seconds() > 0
        assert node.anonymous_bytes() > 1 << 20
        assert node.metric("codeq_process_resident_bytes") > 1 << 20
        assert node.metric("codeq_nobody_knows") == 0
    with pytest.raises(OSError):
        get(node.address, "/healthz")
    with pytest.raises(ServerError, match="ended"):
        node.cpu_seconds()


def test_a_node_that_cannot_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(ServerError, match="did not start, status 78"),
        running_node(tmp_path / "node", settings={"TASKS_RETENTION_SECONDS": "soon"}),
    ):
        pass
    assert "CODEQ_TASKS_RETENTION_SECONDS" in capsys.readouterr().err


def test_a_sketch_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"no server\.py"), running_prototype(tmp_path, tmp_path / "run"):
        pass


def test_a_metric_is_summed_over_its_labels() -> None:
    text = '# HELP a b\na{x="1"} 2.0\na{x="2"} 3.5\nab 9\na_total 4\n'
    assert metric_sum(text, "a") == 5.5
    assert metric_sum(text, "a_total") == 4
    assert metric_sum(text, "b") == 0


def test_a_workspace_is_gone_afterwards_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyError), workspace(tmp_path) as folder:
        (folder / "file").touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_signal_in_the_middle_of_a_start_leaves_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(*arguments: Any, **named: Any) -> "subprocess.Popen[bytes]":
        started.append(real(*arguments, **named))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    # Where the tests run in the background of a shell, it is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), running_node(tmp_path / "node"):
            raise AssertionError("it never gets here")
        assert started[0].poll() is not None
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_is_ended_takes_its_servers_and_folders_with_it(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "loadtest.rest_single", "--prototype", str(SKETCH), "--requests", "1000000000"]
    with subprocess.Popen([*command, "--directory", str(tmp_path)], stderr=subprocess.DEVNULL) as program:
        try:
            _until(lambda: bool(_servers(tmp_path)))
            program.send_signal(number)
            assert program.wait(WAIT_SECONDS) == 128 + number
        finally:
            program.kill()
    assert _servers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _servers(folder: Path) -> list[int]:
    """Processes, other than the program itself, that were started with something in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if entry.name.isdigit() and os.fsencode(folder) + b"/codeq-loadtest-" in line:
            found.append(int(entry.name))
    return found
