"""What decides must not reach for the clock, chance, threads or the network, nor depend on the order of a set."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "appliance"

SANS_IO = (
    "tasks",
    "api/streams",
    "engine/tables.py",
    "engine/rows.py",
    "engine/group.py",
    "engine/overlay.py",
    "mux/sniffer.py",
    "mux/client_hello.py",
    "mux/chunked.py",
    "mux/head.py",
    "mux/target.py",
    "mux/http1.py",
    "mux/http1_response.py",
    "mux/grpc_framing.py",
    "mux/h2_abuse.py",
    "mux/h2_call.py",
    "mux/h2_calls.py",
    "mux/h2_codec.py",
    "mux/h2_send.py",
    "mux/h2_uploads.py",
    "mux/frames.py",
    "service/watchdog.py",
    "webhooks/lanes.py",
    "webhooks/target.py",
)
"""Folders and modules; one that is not there yet is passed over."""

FORBIDDEN_MODULES = frozenset(
    (
        "asyncio",
        "datetime",
        "multiprocessing",
        "os",
        "secrets",
        "select",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "time",
        "uuid",
        "uvloop",
    )
)
FORBIDDEN_NAMES = frozenset(("urandom", "uuid1", "uuid4", "perf_counter", "monotonic", "time_ns"))
RANDOM_ALLOWED = frozenset(("Random",))


def _modules() -> list[Path]:
    found: list[Path] = []
    for name in SANS_IO:
        path = ROOT / name
        found += sorted(path.glob("*.py")) if path.is_dir() else [path] if path.exists() else []
    return found


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], ""
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield (node.module or "").split(".")[0], alias.name


def _is_set(node: ast.expr, sets: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("set", "frozenset")
    if isinstance(node, ast.BinOp):
        return _is_set(node.left, sets) or _is_set(node.right, sets)
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in sets


def _names_of_sets(tree: ast.AST) -> set[str]:
    """Names and attributes that are annotated as sets or get one."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith(("set[", "frozenset[")):
            names.add(_name(node.target))
        elif isinstance(node, ast.Assign) and _is_set(node.value, set()):
            names.update(_name(target) for target in node.targets)
    return names - {""}


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _loops_over_sets(tree: ast.AST) -> Iterator[int]:
    sets = _names_of_sets(tree)
    for node in ast.walk(tree):
        looped: list[ast.expr] = []
        if isinstance(node, ast.For | ast.comprehension):
            looped.append(node.iter)
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("list", "tuple", "iter")
        ):
            looped += node.args[:1]
        for each in looped:
            if _is_set(each, sets):
                yield each.lineno


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_sans_io_module_imports_no_clock_chance_thread_or_socket(path: Path) -> None:
    tree = ast.parse(path.read_text())
    wrong = [
        f"{module} {name}".strip()
        for module, name in _imports(tree)
        if module in FORBIDDEN_MODULES or name in FORBIDDEN_NAMES or (module == "random" and name not in RANDOM_ALLOWED)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_sans_io_module_never_depends_on_the_order_of_a_set_or_of_addresses(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert list(_loops_over_sets(tree)) == []
    calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert {"id", "hash"}.isdisjoint(calls)


def test_the_check_itself_sees_a_loop_over_a_set() -> None:
    text = "class A:\n def __init__(self):\n  self.x: set[int] = set()\n def f(self):\n  return [y for y in self.x]\n"
    assert list(_loops_over_sets(ast.parse(text))) == [5]
    assert list(_loops_over_sets(ast.parse("for x in sorted({1, 2}): pass"))) == []


def test_the_state_machine_knows_no_other_room() -> None:
    for path in sorted((ROOT / "tasks").glob("*.py")):
        imported = {
            node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("appliance.")
        }
        allowed = {f"appliance.engine.{name}" for name in ("group", "overlay", "rows", "tables")} | {"appliance.errors"}
        assert {name for name in imported if not name.startswith("appliance.tasks")} <= allowed, path
