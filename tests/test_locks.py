"""The locked requirements: complete, exact, and free of any particular index."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
DEVELOPMENT = RUNTIME + PROJECT["project"]["optional-dependencies"]["dev"]


def name(requirement: str) -> str:
    """The normalised name at the start of a requirement."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def locked(file: str) -> dict[str, str]:
    """The locked entries by name, each with its hashes."""
    without_remarks = re.sub(r"(?m)^#.*\n", "", (ROOT / file).read_text())
    entries = [entry.rstrip() for entry in re.split(r"(?m)^(?=[a-zA-Z])", without_remarks)]
    return {name(entry): entry for entry in entries if "==" in entry}


@pytest.mark.parametrize(("file", "needed"), [("requirements.lock", RUNTIME), ("requirements-dev.lock", DEVELOPMENT)])
def test_every_requirement_is_locked_with_hashes_and_without_an_index(file: str, needed: list[str]) -> None:
    entries = locked(file)
    assert {name(requirement) for requirement in needed} <= entries.keys()
    assert all("--hash=sha256:" in entry for entry in entries.values())
    assert not re.search(r"://|--index|--extra-index|--find-links|--trusted-host", (ROOT / file).read_text())


def test_what_a_node_runs_on_is_the_same_under_development() -> None:
    development = locked("requirements-dev.lock")
    for package, entry in locked("requirements.lock").items():
        assert development[package] == entry
