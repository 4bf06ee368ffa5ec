"""The connection's state: pauses, targets, the leader's hint, and the ends that are for good."""

import pytest

from codeq._core.keys import Keys
from codeq._core.link import BACKOFF_CAP_SECONDS, HELLO_SECONDS, REDIRECTS_MAX, STABLE_SECONDS, Link, State
from codeq.errors import PermissionDenied, Unavailable


def make(*targets: str, token_changes: bool = False) -> Link:
    return Link(targets or ("a:1",), token_changes=token_changes, jitter=lambda: 1.0)


def fail(link: Link, now: float, status: str = "UNAVAILABLE", leader: str = "") -> float:
    """One attempt that fails; the pause after it, in seconds."""
    link.connecting(now)
    link.ended(now, status, "", leader)
    return link.pause_until - now


def test_pauses_double_up_to_a_cap() -> None:
    link = make()
    pauses = [fail(link, 0.0) for _ in range(12)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == BACKOFF_CAP_SECONDS


def test_a_connection_that_lived_makes_the_next_pause_small_again() -> None:
    link = make()
    for _ in range(5):
        fail(link, 0.0)
    link.connecting(0.0)
    link.greeted(0.0)
    link.ended(STABLE_SECONDS / 2, "UNAVAILABLE", "", "")
    assert link.pause_until - STABLE_SECONDS / 2 == pytest.approx(0.8)
    link.connecting(10.0)
    link.greeted(10.0)
    link.ended(10.0 + STABLE_SECONDS, "UNAVAILABLE", "", "")
    assert link.pause_until - (10.0 + STABLE_SECONDS) == pytest.approx(0.1)


def test_targets_are_tried_in_turn() -> None:
    link = make("a:1", "b:2")
    assert link.target == "a:1"
    fail(link, 0.0)
    assert link.target == "b:2"
    fail(link, 0.0)
    assert link.target == "a:1"


def test_the_leader_is_tried_at_once_and_dropped_when_it_fails() -> None:
    link = make("a:1", "b:2")
    assert fail(link, 0.0, leader="c:3") == 0.0
    assert link.target == "c:3"
    assert fail(link, 0.0) > 0
    assert link.target == "a:1"


def test_leaders_that_name_each_other_are_not_followed_for_ever() -> None:
    link = make()
    pauses = [fail(link, 0.0, leader="c:3") for _ in range(REDIRECTS_MAX + 1)]
    assert pauses[-2:] == [0.0, pytest.approx(0.1)]


@pytest.mark.parametrize("leader", ["evil", "a b:1", "http://c:3", "c:3/path", "c:123456", "[zz]:1"])
def test_a_leader_that_is_no_address_is_ignored(leader: str) -> None:
    link = make()
    assert fail(link, 0.0, leader=leader) > 0
    assert link.target == "a:1"


def test_an_attempt_without_an_answer_to_hello_is_overdue() -> None:
    link = make()
    link.connecting(0.0)
    assert link.wake_at() == HELLO_SECONDS
    assert not link.overdue(HELLO_SECONDS - 0.1)
    assert link.overdue(HELLO_SECONDS)
    link.greeted(HELLO_SECONDS)
    assert link.wake_at() is None


def test_some_ends_are_for_good() -> None:
    link = make()
    fail(link, 0.0, "PERMISSION_DENIED")
    assert link.state is State.CLOSED
    assert isinstance(link.fatal, PermissionDenied)
    link.close(Unavailable("later"))
    assert isinstance(link.fatal, PermissionDenied)


def test_a_refused_token_is_for_good_unless_it_can_change() -> None:
    fixed, changing = make(), make(token_changes=True)
    fail(fixed, 0.0, "UNAUTHENTICATED")
    fail(changing, 0.0, "UNAUTHENTICATED")
    assert fixed.state is State.CLOSED
    assert changing.state is State.PAUSED
    expired = make()
    expired.connecting(0.0)
    expired.greeted(0.0)
    expired.ended(100.0, "UNAUTHENTICATED", "expired", "")
    assert expired.state is State.PAUSED, "the next Hello tells whether it is the token"


def test_keys_grow_when_the_clock_stands_still_or_goes_back() -> None:
    times = iter([5, 5, 5, 3, 6])
    draws = iter([b"\xff" * 10, b"\x00" * 10, b"\x01" * 10, b"\x00" * 10, b"\x00" * 10])
    keys = Keys(lambda: next(times), lambda _size: next(draws))
    made = [keys.next() for _ in range(5)]
    assert made == sorted(set(made))
    assert all(key[14] == "7" and key[19] in "89ab" for key in made)
