"""The cache of hot rows keeps to its budget and never shows an old state."""

from appliance.engine.rows import CLAIMED, PENDING, Body, State
from appliance.tasks.hot import Hot

QUEUE = bytes(8)
PENDING_STATE = State(PENDING, QUEUE, 0, 5, 1)
CLAIMED_STATE = State(CLAIMED, QUEUE, 0, 5, 2)


def _id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_new_task_is_kept_while_there_is_room() -> None:
    hot = Hot(3_100)
    for number in range(5):
        hot.add(_id(number), PENDING_STATE, Body("c", b"x" * 100, 1))
    assert len(hot) == 2
    assert hot.bytes_count == 1_600
    assert hot.get(_id(0)) == (PENDING_STATE, Body("c", b"x" * 100, 1))
    assert hot.get(_id(2)) is None


def test_new_tasks_leave_room_for_those_that_are_delivered() -> None:
    hot = Hot(2_800)
    for number in range(5):
        hot.add(_id(number), PENDING_STATE, Body("c", b"", 1))
    assert len(hot) == 3
    hot.claimed(_id(7), CLAIMED_STATE)
    hot.claimed(_id(8), CLAIMED_STATE)
    assert hot.get(_id(7)) == (CLAIMED_STATE, None)
    assert hot.get(_id(8)) is None


def test_a_delivered_task_keeps_its_state_and_lets_its_body_go() -> None:
    hot = Hot(10_000)
    hot.add(_id(1), PENDING_STATE, Body("c", b"x" * 100, 1))
    hot.claimed(_id(1), CLAIMED_STATE)
    hot.claimed(_id(1), CLAIMED_STATE)
    assert hot.get(_id(1)) == (CLAIMED_STATE, None)
    assert hot.bytes_count == 700


def test_a_delivered_task_that_was_not_here_is_taken_up_if_there_is_room() -> None:
    hot = Hot(700)
    hot.claimed(_id(1), CLAIMED_STATE)
    hot.claimed(_id(2), CLAIMED_STATE)
    assert hot.get(_id(1)) == (CLAIMED_STATE, None)
    assert hot.get(_id(2)) is None


def test_an_update_changes_only_what_is_here() -> None:
    hot = Hot(10_000)
    hot.add(_id(1), PENDING_STATE, Body("c", b"", 1))
    hot.update(_id(1), CLAIMED_STATE)
    hot.update(_id(2), CLAIMED_STATE)
    assert hot.get(_id(1)) == (CLAIMED_STATE, Body("c", b"", 1))
    assert len(hot) == 1


def test_all_room_is_given_back() -> None:
    hot = Hot(10_000)
    for number in range(5):
        hot.add(_id(number), PENDING_STATE, Body("c", b"x" * number, 1))
    hot.claimed(_id(4), CLAIMED_STATE)
    for number in range(6):
        hot.drop(_id(number))
    assert (len(hot), hot.bytes_count) == (0, 0)
