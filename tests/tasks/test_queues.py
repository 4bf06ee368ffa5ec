"""Tenants and queues: numbers and names, bounds, heads over many queues, and lines."""

from random import Random

import pytest

from appliance.engine.rows import QueueRow, decode_queue
from appliance.engine.tables import QUEUE
from appliance.errors import Problem
from appliance.tasks.queues import Registry
from appliance.tasks.settings import TaskSettings
from tests.tasks.desk import TENANT, Desk, claim, code, create


def test_a_queue_keeps_its_number_over_a_restart() -> None:
    desk = Desk()
    desk.create("mail", "a")
    desk.create("print", "a")
    desk.create("mail", "b")
    before = {prefix: (queue.tenant.name, queue.command) for prefix, queue in _registry(desk).by_prefix.items()}
    desk.start()
    after = {prefix: (queue.tenant.name, queue.command) for prefix, queue in _registry(desk).by_prefix.items()}
    assert before == after
    assert len(after) == 3
    desk.create("mail", "c")
    assert len({queue.prefix for queue in _registry(desk).by_prefix.values()}) == 4
    assert len({tenant.prefix for tenant in _registry(desk).by_number.values()}) == 3


def _registry(desk: Desk) -> Registry:
    return desk.scheduler.tasks.registry


def test_counters_are_written_with_the_group_that_changed_them() -> None:
    desk = Desk()
    desk.create("mail")
    desk.create("mail", delay_ms=5_000)
    desk.one("mail")
    (content,) = desk.store.rows[QUEUE].values()
    assert decode_queue(content) == QueueRow(ready=0, delayed=1, claimed=1, created=2, stored_bytes=4)


def test_a_tenant_has_so_many_commands_and_no_more() -> None:
    desk = Desk(TaskSettings(queues_per_tenant_max=2))
    desk.create("one")
    desk.create("two")
    assert code(desk.ask(create("three"))) == "validation-error"
    desk.create("two")
    desk.create("three", "another")


def test_the_bound_is_a_problem() -> None:
    desk = Desk(TaskSettings(queues_per_tenant_max=0))
    with pytest.raises(Problem):
        _registry(desk).queue(desk.scheduler.overlay.open, _registry(desk).tenant("a"), "one")


def test_over_all_queues_the_highest_priority_comes_first_and_then_the_oldest() -> None:
    rng = Random(5)
    desk = Desk(TaskSettings(window_keys_max=8))
    made = []
    for number in range(300):
        desk.now += rng.randint(0, 1)
        priority = rng.randrange(4)
        made.append((-priority, desk.create(f"command-{number % 7}", priority=priority).id))
        if rng.random() < 0.3:
            (task,) = desk.claim()
            assert task.id == min(made)[1]
            made.remove(min(made))
    while made:
        tasks = desk.claim(count=9)
        for task in tasks:
            assert task.id == min(made)[1]
            made.remove(min(made))
    assert desk.claim() == []


def test_lines_for_commands_that_nobody_creates_do_not_pile_up() -> None:
    desk = Desk()
    for number in range(2_000):
        desk.scheduler.offer(claim(f"unheard-of-{number}", wait_ms=1))
        desk.pass_ms(2)
    assert len(_registry(desk).tenants[TENANT]._lines) <= 200


def test_many_lines_in_which_somebody_stands_stay() -> None:
    desk = Desk()
    for number in range(500):
        desk.scheduler.offer(claim(f"command-{number}", wait_ms=60_000))
    desk.settle()
    heard = desk.offer(claim("command-0", wait_ms=60_000))
    desk.create("command-0")
    desk.create("command-0")
    assert len(heard) == 1
