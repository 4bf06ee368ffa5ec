"""A node under a service manager: what it says, the port that stays open, the watchdog."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import QUICK
from tests.e2e.manager import ManagedNode
from tests.e2e.node import codeq
from tests.e2e.user import User

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[ManagedNode]:
    node = ManagedNode(tmp_path / "node", QUICK)
    yield node
    node.close()


def test_the_manager_hears_of_start_reload_and_stop(managed: ManagedNode) -> None:
    managed.start()
    heard = managed.hear("READY=1")
    assert "STATUS=opening the store" in heard and "EXTEND_TIMEOUT_USEC=60000000" in heard
    assert managed.answers_ready(), "ready means ready"
    managed.hear("STATUS=serving 0 connections")
    managed.signal(signal.SIGHUP)
    assert "RELOADING=1" in managed.hear("READY=1")
    managed.signal(signal.SIGTERM)
    heard = managed.hear("STOPPING=1")
    managed.hear("STATUS=draining for at most 30 seconds")
    assert managed.wait() == os.EX_OK


def test_connections_that_come_while_the_node_restarts_wait_and_are_served(managed: ManagedNode) -> None:
    managed.start()
    managed.hear("READY=1")
    with User(managed, "kept") as user:
        task = user.created("keep", 1)["id"]
    managed.signal(signal.SIGTERM)
    assert managed.wait() == os.EX_OK
    with socket.create_connection(("127.0.0.1", managed.port), timeout=30) as plain:
        managed.start()
        managed.hear("READY=1")
        with managed.trust().wrap_socket(plain, server_hostname="localhost") as early:
            early.sendall(HEALTH)
            assert early.recv(100).startswith(b"HTTP/1.1 200 ")
    with User(managed, "kept") as user:
        assert user.claimed("keep")["id"] == task
    managed.stop()


def test_the_watchdog_is_fed_while_the_node_moves(managed: ManagedNode) -> None:
    managed.start({"WATCHDOG_USEC": "400000"})
    managed.hear("READY=1")
    with User(managed, "busy") as user:
        for number in range(3):
            user.created("keep", number)
            managed.hear("WATCHDOG=1")
    managed.stop()


def test_a_socket_that_can_not_be_served_is_a_wrong_configuration(managed: ManagedNode) -> None:
    managed.start({"LISTEN_FDNAMES": "plaintext"})
    assert managed.wait() == os.EX_CONFIG
    managed.wait_for_log("allowPlaintext")
    managed.start({"LISTEN_FDS": "9"})
    assert managed.wait() == os.EX_CONFIG
    managed.wait_for_log("from the service manager is no")


def test_a_credential_without_a_service_manager_is_a_wrong_configuration(tmp_path: Path) -> None:
    file = tmp_path / "codeq.yml"
    file.write_text("tls: {certificate: a.pem, key: 'credential:codeq.tls.key'}\n")
    done = codeq("serve", "--config", str(file))
    assert done.returncode == os.EX_CONFIG
    assert f"{file}:1: tls.key: is a credential" in done.stderr
