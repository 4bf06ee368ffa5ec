"""The fake server, one per test."""

from collections.abc import Iterator

import pytest

from tests.client.fake_server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A fake server without TLS."""
    one = FakeServer()
    yield one
    one.stop()
