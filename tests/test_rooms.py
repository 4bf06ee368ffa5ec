"""A room imports only its neighbours: the table of docs/architecture.md, held against every import."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parent.parent


class Room(NamedTuple):
    """A folder and what it may import of this project beside itself: modules, or packages with all that is in them."""

    folder: str
    neighbours: frozenset[str]


def _room(folder: str, *neighbours: str) -> Room:
    return Room(folder, frozenset(neighbours))


ROOMS: Final = (
    _room("appliance/mux", "appliance.budgets", "appliance.config", "appliance.errors"),
    _room("appliance/service"),
    _room(
        "appliance/api",
        "appliance.__version__",
        "appliance.auth.caller",
        "appliance.auth.claims",
        "appliance.engine.faults",
        "appliance.engine.rows",
        "appliance.errors",
        "appliance.metrics",
        "appliance.mux.exchange",
        "appliance.mux.grpc_call",
        "appliance.mux.grpc_framing",
        "appliance.tasks",
        "appliance.webhooks.target",
    ),
    _room(
        "appliance/api/streams",
        "appliance.auth.caller",
        "appliance.errors",
        "appliance.mux.grpc_call",
        "appliance.mux.grpc_framing",
        "appliance.api",
        "appliance.tasks.ids",
        "appliance.tasks.model",
        "appliance.tasks.scheduler",
    ),
    _room("appliance/auth", "appliance.addresses", "appliance.budgets", "appliance.config", "appliance.errors"),
    _room(
        "appliance/tasks",
        "appliance.engine.group",
        "appliance.engine.overlay",
        "appliance.engine.rows",
        "appliance.engine.tables",
        "appliance.errors",
    ),
    _room("appliance/engine"),
    _room(
        "appliance/webhooks",
        "appliance.addresses",
        "appliance.api.times",
        "appliance.config",
        "appliance.engine.faults",
        "appliance.engine.rows",
        "appliance.errors",
        "appliance.tasks.ids",
        "appliance.tasks.model",
        "appliance.tasks.notifier",
        "appliance.tasks.scheduler",
    ),
    _room("appliance/cli/remote", "appliance.cli", "codeq"),
    _room("codeq"),
)

KEEPERS: Final = {
    "lmdb": ("appliance/engine",),
    "h2": ("appliance/mux",),
    "httpcore": ("appliance/webhooks",),
    "socket": (
        "appliance/addresses.py",
        "appliance/app.py",
        "appliance/auth/fetch.py",
        "appliance/bench",
        "appliance/cli",
        "appliance/journal.py",
        "appliance/mux",
        "appliance/service",
        "appliance/webhooks",
        "codeq",
    ),
}
"""Who alone may import a module: what it stands for is known in one room."""


def _sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _imports(text: str) -> Iterator[str]:
    """The full names that a module imports; `from a import b` gives `a.b`, since b may be a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _lies_in(name: str, packages: frozenset[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def _strangers(text: str, room: Room) -> list[str]:
    own = room.folder.replace("/", ".")
    allowed = room.neighbours | {own}
    return [
        name for name in _imports(text) if name.split(".")[0] in ("appliance", "codeq") and not _lies_in(name, allowed)
    ]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.folder)
def test_a_room_imports_only_its_neighbours(room: Room) -> None:
    sources = _sources(room.folder)
    assert sources
    found = {str(path.relative_to(ROOT)): _strangers(path.read_text(), room) for path in sources}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("module", KEEPERS)
def test_a_library_is_known_to_its_keepers_only(module: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in [*_sources("appliance"), *_sources("codeq")]
        if any(_lies_in(name, frozenset((module,))) for name in _imports(path.read_text()))
    }
    assert users
    assert {path for path in users if not path.startswith(KEEPERS[module])} == set()


def test_the_check_itself_sees_a_stranger() -> None:
    text = "from appliance.engine import rows\nfrom appliance import tasks\nimport appliance.mux.hub\nimport json\n"
    assert _strangers(text, _room("appliance/mux")) == ["appliance.engine.rows", "appliance.tasks"]
    assert _strangers(text, _room("appliance/mux", "appliance.engine.rows", "appliance.tasks")) == []
