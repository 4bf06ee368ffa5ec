"""Tasks that are not in memory: a claim reads their rows together and takes what it would have taken one by one."""

from random import Random

import pytest

from appliance.engine.rows import PENDING, DamagedRow
from appliance.engine.tables import BODY, READY, STATE, ready_key
from appliance.tasks.model import Claim, Claimed, Task
from appliance.tasks.settings import TaskSettings
from tests.tasks.desk import SUBJECT, TENANT, Desk, cancel, claim, unheard
from tests.tasks.test_damage import DamagedStore

ALL = ("one", "two", "three")


def _cold(store: DamagedStore | None = None) -> Desk:
    """Nothing of a task stays in memory but its place in line."""
    return Desk(TaskSettings(hot_bytes_max=0, window_keys_max=8), store=store)


def _order(tasks: list[Task]) -> list[bytes]:
    return [task.id for task in sorted(tasks, key=lambda task: (-task.state.priority, task.id))]


@pytest.mark.parametrize("commands", [(), ("one",), ALL])
def test_claims_of_cold_tasks_come_in_order(commands: tuple[str, ...]) -> None:
    desk, rng = _cold(), Random(3)
    made = [desk.create(rng.choice(commands or ALL), priority=rng.randrange(3)) for _ in range(200)]
    gone = set(rng.sample(range(200), 20))
    for number in gone:
        desk.ask(cancel(made[number]))
    left = _order([task for number, task in enumerate(made) if number not in gone])
    while left:
        count = rng.randrange(1, 90)
        assert [task.id for task in desk.claim(*commands, count=count)] == left[:count]
        del left[:count]
    assert desk.claim(*commands, count=9) == []


@pytest.mark.parametrize("commands", [None, ("one",), ALL])
def test_what_is_more_than_enough_is_left_in_its_place(commands: tuple[str, ...] | None) -> None:
    desk = _cold()
    made = [desk.create((commands or ALL)[number % len(commands or ALL)], payload=b"1" * 400) for number in range(40)]
    left = [task.id for task in made]
    while left:
        outcome = desk.ask(Claim(TENANT, unheard, SUBJECT, "", commands, 60_000, 30, enough_bytes=1_000))
        assert isinstance(outcome, Claimed)
        assert [task.id for task in outcome.tasks] == left[:3]
        del left[:3]


def test_no_more_bodies_are_read_than_are_enough() -> None:
    desk = _cold()
    made = [desk.create("one", payload=b"1" * 400) for _ in range(40)]
    asked: list[tuple[int, int]] = []
    real = desk.store.get_all

    def get_all(table: int, keys: list[bytes], on_damage: object) -> dict[bytes, bytes]:
        asked.append((table, len(keys)))
        return real(table, keys, on_damage)  # type: ignore[arg-type]

    desk.store.get_all = get_all  # type: ignore[method-assign,assignment]
    outcome = desk.ask(Claim(TENANT, unheard, SUBJECT, "", ("one",), 60_000, 30, enough_bytes=1_000))
    assert [task.id for task in outcome.tasks] == [task.id for task in made[:3]]
    assert asked == [(STATE, 30), (BODY, 3)]


def test_states_that_are_alike_are_one_value_in_memory_too() -> None:
    desk = Desk()
    made = [desk.create() for _ in range(3)]
    desk.start()
    tasks = desk.claim(count=3)
    assert [task.id for task in tasks] == [task.id for task in made]
    assert len({id(task.state) for task in tasks}) == 1
    assert all(task.state.updated == desk.now and task.state.attempts == 1 for task in tasks)


def test_damaged_rows_among_those_read_together_are_passed_over() -> None:
    store = DamagedStore()
    desk = _cold(store)
    state, body, *good = [desk.create() for _ in range(9)]
    store.damaged |= {(STATE, state.id), (BODY, body.id)}
    assert [task.id for task in desk.claim(count=9)] == [task.id for task in good]
    assert [type(error) for error in desk.errors] == [DamagedRow, DamagedRow]
    assert desk.ask(claim(count=9)).tasks == []


def test_tasks_behind_a_damaged_one_are_read_too_where_it_does_not_fill_the_answer() -> None:
    store = DamagedStore()
    desk = _cold(store)
    bad, *good = [desk.create("one", payload=b"1" * 400) for _ in range(9)]
    store.damaged.add((BODY, bad.id))
    left = [task.id for task in good]
    while left:
        outcome = desk.ask(Claim(TENANT, unheard, SUBJECT, "", ("one",), 60_000, 30, enough_bytes=1_000))
        assert [task.id for task in outcome.tasks] == left[:3]
        del left[:3]


def test_a_queue_whose_index_is_damaged_keeps_nobody_from_the_others() -> None:
    store = DamagedStore()
    desk = _cold(store)
    bad = [desk.create("one") for _ in range(9)]
    good = desk.create("two")
    desk.start()
    store.damaged.add((READY, ready_key(bad[0].state.queue, 0, bad[0].id)))
    assert [task.id for task in desk.claim("one", "two", count=9)] == [good.id]
    assert desk.errors
    assert desk.read(bad[0]).state.status == PENDING
