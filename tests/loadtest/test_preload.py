"""Stores filled without a node are what a node would have left."""

from functools import partial
from pathlib import Path

import msgspec
import pytest

from appliance.engine.check import check
from appliance.engine.rows import decode_body, decode_queue, decode_state
from appliance.engine.store import Store
from appliance.engine.tables import BODY, QUEUE, READY, STATE
from appliance.tasks.model import Claim, Create, NewTask, RequeueDead
from loadtest import preload
from loadtest.preload import Decisions, append_backlog, create_exactly, keys

TASKS = 2_500
HIGH = b"\xff" * 64


def silent(_done: int, _count: int) -> None:
    """Nobody watches."""


def assert_clean(directory: Path) -> None:
    report = check(directory, lambda *_: None)
    assert report.clean, [str(finding) for finding in report.findings]


def counters(directory: Path) -> dict[str, int]:
    store = Store.open(directory)
    try:
        ((_, row),) = store.scan(QUEUE, b"", HIGH, 2)
        return msgspec.structs.asdict(decode_queue(row))
    finally:
        store.close()


@pytest.fixture
def backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Several transactions, and a last one that is not full.
    monkeypatch.setattr(preload, "APPEND_TASKS", 1_000)
    append_backlog(tmp_path / "data", "dev", "load", 200, TASKS, silent)
    return tmp_path / "data"


def test_an_appended_backlog_passes_the_check(backlog: Path) -> None:
    assert_clean(backlog)
    assert counters(backlog)["ready"] == TASKS


def test_appended_dead_letters_pass_the_check_and_are_requeued(tmp_path: Path) -> None:
    append_backlog(tmp_path / "data", "dev", "load", 200, 300, silent, dead=True)
    assert_clean(tmp_path / "data")
    with Decisions(tmp_path / "data") as decisions:
        requeue = partial(RequeueDead, "dev", command="load", before=0, limit=1_000)
        assert decisions.ask(requeue).done == 300
    assert_clean(tmp_path / "data")
    assert counters(tmp_path / "data")["ready"] == 300


def test_an_appended_task_has_the_rows_of_a_created_one(backlog: Path) -> None:
    with Decisions(backlog) as decisions:
        payload = b'{"number":0,"text":"'.ljust(198, b"x") + b'"}'
        created = decisions.ask(partial(Create, "dev", task=NewTask("load", payload)))
        body, state = created.task.body, created.task.state
    store = Store.open(backlog)
    try:
        first = store.scan(READY, b"", HIGH, 1)[0][0][-16:]
        rows = store.get(BODY, first), store.get(STATE, first)
    finally:
        store.close()
    assert rows[0] is not None and rows[1] is not None
    assert msgspec.structs.replace(decode_body(rows[0]), created=body.created) == body
    assert decode_state(rows[1]) == state


def test_an_appended_backlog_is_claimed_in_its_order(backlog: Path) -> None:
    with Decisions(backlog) as decisions:
        claim = partial(Claim, "dev", subject="w", worker="", commands=("load",), lease_ms=60_000, count=3)
        tasks = decisions.ask(claim).tasks
    assert [msgspec.json.decode(task.body.payload)["number"] for task in tasks] == [0, 1, 2]
    assert {len(task.body.payload) for task in tasks} == {200}
    assert_clean(backlog)


def test_a_store_that_holds_tasks_is_not_appended_to(backlog: Path) -> None:
    with pytest.raises(ValueError, match="not empty"):
        append_backlog(backlog, "dev", "load", 200, 1, silent)


@pytest.mark.parametrize("kind", ["ordered", "random"])
def test_tasks_created_with_keys_pass_the_check(tmp_path: Path, kind: str) -> None:
    create_exactly(tmp_path / "data", "dev", "load", b"{}", list(keys(kind, 1_500)), silent)
    assert_clean(tmp_path / "data")
    assert counters(tmp_path / "data")["created"] == 1_500


def test_ordered_keys_are_in_order_and_random_ones_are_not() -> None:
    ordered, scattered = list(keys("ordered", 500)), list(keys("random", 500))
    heads = [key[:13] for key in ordered]
    assert heads == sorted(heads)
    assert scattered != sorted(scattered)
    assert len({*ordered, *scattered}) == 1_000
    assert {len(key) for key in ordered + scattered} == {36}
