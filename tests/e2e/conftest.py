"""Nodes that tests share: one per mode for the whole run, so that only tests about starting pay for a start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.node import Node
from tests.e2e.user import User

QUICK = {"CODEQ_TASKS_BACKOFF_BASE_SECONDS": "0"}
"""A lease that expires or a nack makes the task claimable at once, so that no test waits for a backoff."""


def _shared(folder: Path, *, plaintext: bool) -> Iterator[Node]:
    node = Node(folder, plaintext=plaintext, environ=QUICK).up()
    try:
        yield node
        node.stop()
        checked = node.check()
        assert checked.returncode == 0, checked.stdout + checked.stderr
    finally:
        node.kill()


@pytest.fixture(scope="session")
def tls_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with TLS; its store is checked at the end."""
    yield from _shared(tmp_path_factory.mktemp("tls"), plaintext=False)


@pytest.fixture(scope="session")
def plain_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that takes plaintext; its store is checked at the end."""
    yield from _shared(tmp_path_factory.mktemp("plain"), plaintext=True)


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    """A node with TLS for one test alone, not started."""
    node = Node(tmp_path / "node", environ=QUICK)
    yield node
    node.kill()


@pytest.fixture
def user(tls_node: Node, request: pytest.FixtureRequest) -> Iterator[User]:
    """A tenant of the test's own, over TLS and HTTP/1.1."""
    with User(tls_node, request.node.name[:100]) as one:
        yield one
