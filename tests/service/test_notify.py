"""What the service manager hears, on a socket like its own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.service.notify import STATUS_CHARS_MAX, Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(4_096).decode().split("\n")


def test_each_word_is_one_datagram(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.ready()
    assert heard(manager) == ["READY=1"]
    notifier.alive()
    assert heard(manager) == ["WATCHDOG=1"]
    notifier.stopping(31.5)
    assert heard(manager) == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=31500000"]
    notifier.extend(60, "opening the store")
    assert heard(manager) == ["EXTEND_TIMEOUT_USEC=60000000", "STATUS=opening the store"]


def test_a_reload_carries_the_time_at_which_it_began(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.reloading()
    word, time = heard(manager)
    assert word == "RELOADING=1" and time.startswith("MONOTONIC_USEC=")
    assert int(time.partition("=")[2]) > 0


def test_a_status_stays_one_line_of_bounded_length(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.status("one\nREADY=1 " + "x" * 1_000)
    (line,) = heard(manager)
    assert line.startswith("STATUS=one READY=1 x") and len(line) == len("STATUS=") + STATUS_CHARS_MAX


def test_a_socket_in_the_abstract_namespace_is_reached() -> None:
    name = f"codeq-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        Notifier("@" + name).ready()
        assert sock.recv(100) == b"READY=1"


def test_the_variables_leave_the_environment(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7", "PATH": "x"}
    notifier = Notifier.taken_from(environ, 7)
    assert environ == {"PATH": "x"}
    assert notifier.enabled and notifier.watchdog_seconds == 20.0


@pytest.mark.parametrize("watchdog", [{"WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "-1"}, {"WATCHDOG_USEC": "soon"}])
def test_a_watchdog_for_another_process_or_without_a_time_is_not_fed(watchdog: dict[str, str]) -> None:
    environ = {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7", **watchdog}
    assert Notifier.taken_from(environ, 7).watchdog_seconds == 0


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier.taken_from({}, 7)
    assert not notifier.enabled
    notifier.ready()
    notifier.close()


@pytest.mark.parametrize("address", ["vsock:2:1234", "/nowhere/at/all"])
def test_a_manager_that_can_not_be_reached_does_not_stop_the_node(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(address)
    assert not notifier.enabled and "service manager" in caplog.text
    notifier.ready()


def test_a_manager_that_is_gone_is_reported_once(manager: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(manager.getsockname())
    manager.close()
    for _ in range(3):
        notifier.alive()
    assert caplog.text.count("could not be told WATCHDOG=1") == 1
