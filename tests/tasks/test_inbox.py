"""Inboxes: bounded, in turn, and open again when half empty."""

from typing import Any

from appliance.tasks.inbox import Inboxes
from tests.tasks.desk import claim, create


def _take(inboxes: Inboxes, quantum: int) -> list[Any]:
    """One turn, as the pump takes it."""
    inbox = inboxes.turn()
    assert inbox is not None
    taken: list[Any] = []
    while inbox.operations and len(taken) < quantum:
        operation, _, size_bytes = inbox.operations.popleft()
        inbox.bytes_count -= size_bytes
        taken.append(operation)
    for resume in inboxes.done(inbox):
        resume()
    return taken


def test_tenants_take_turns_and_each_keeps_its_order() -> None:
    inboxes = Inboxes(100, 1 << 20)
    many = [create(tenant="a") for _ in range(5)]
    one = create(tenant="b")
    for operation in [*many, one]:
        assert inboxes.offer(operation)
    assert (len(inboxes), inboxes.tenants_waiting) == (6, 2)
    turns = [_take(inboxes, 2) for _ in range(4)]
    assert [len(turn) for turn in turns] == [2, 1, 2, 1]
    assert turns[1][0] is one
    assert [id(each) for turn in (turns[0], turns[2], turns[3]) for each in turn] == [id(each) for each in many]
    assert inboxes.turn() is None


def test_a_full_inbox_says_so_and_takes_what_was_parsed_already() -> None:
    inboxes = Inboxes(3, 1 << 20)
    assert [inboxes.offer(create()) for _ in range(4)] == [True, True, False, False]
    assert len(inboxes) == 4


def test_an_inbox_is_full_by_bytes_too() -> None:
    inboxes = Inboxes(1_000, 5_000)
    assert inboxes.offer(create(payload=b"x" * 3_000))
    assert not inboxes.offer(create(payload=b"x" * 3_000))
    assert inboxes.offer(create(tenant="other"))


def test_whoever_was_held_is_told_once_when_the_inbox_is_half_empty() -> None:
    inboxes = Inboxes(4, 1 << 20)
    told: list[int] = []
    for _ in range(4):
        inboxes.offer(create())
    inboxes.when_room("acme", lambda: told.append(1))
    _take(inboxes, 1)
    assert told == []
    _take(inboxes, 1)
    assert told == [1]
    _take(inboxes, 2)
    assert told == [1]


def test_whoever_asks_for_room_in_an_empty_inbox_is_told_at_once() -> None:
    told: list[int] = []
    Inboxes(4, 100).when_room("nobody", lambda: told.append(1))
    assert told == [1]


def test_operations_that_are_put_back_come_before_all_others() -> None:
    inboxes = Inboxes(100, 1 << 20)
    later = create()
    inboxes.offer(later)
    before = [claim(), claim()]
    inboxes.put_back(list(before))
    taken = _take(inboxes, 3)
    assert [id(each) for each in taken] == [id(each) for each in [*before, later]]


def test_an_operation_that_comes_while_the_last_one_is_decided_has_one_turn() -> None:
    inboxes = Inboxes(100, 1 << 20)
    inboxes.offer(create())
    inbox = inboxes.turn()
    assert inbox is not None
    inbox.operations.popleft()
    inboxes.offer(create())  # the answer to the first brought the next request of its connection
    inboxes.done(inbox)
    assert inboxes.tenants_waiting == 1
    assert len(_take(inboxes, 10)) == 1
    assert inboxes.turn() is None
