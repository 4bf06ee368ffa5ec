"""A fake node that the environment names, for every test here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.remote.fake_node import FakeNode, fake_node


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without files or variables."""
    for name in ("CODEQ_URL", "CODEQ_TOKEN", "CODEQ_CA", "CODEQ_PROFILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def node(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    """The node that commands talk to."""
    with fake_node() as one:
        monkeypatch.setenv("CODEQ_URL", one.url)
        monkeypatch.setenv("CODEQ_TOKEN", "the-token")
        yield one
