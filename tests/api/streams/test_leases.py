"""What a stream remembers of its leases."""

from appliance.api.streams.leases import Leases
from appliance.api.streams.settings import HELD_MAX, SETTLED_KEPT


def test_the_last_lease_is_found_whether_held_or_settled() -> None:
    leases = Leases()
    leases.received([("a", (b"a", 1))])
    leases.settled("a", 1)
    assert leases.find("a") == (b"a", 1)
    assert not leases.held
    leases.received([("a", (b"a", 2))])
    assert leases.find("a") == (b"a", 2)
    assert leases.find("b") is None


def test_an_older_lease_that_is_settled_leaves_the_newer_one_held() -> None:
    leases = Leases()
    leases.received([("a", (b"a", 2))])
    leases.settled("a", 1)
    assert leases.held == {"a": (b"a", 2)}
    leases.settled("b", 1)
    leases.settled("a")
    assert not leases.held


def test_settled_leases_are_kept_for_a_while_and_then_forgotten() -> None:
    leases = Leases()
    for number in range(5 * SETTLED_KEPT):
        leases.received([(str(number), (b"", number))])
        leases.settled(str(number), number)
        assert leases.find(str(max(0, number - SETTLED_KEPT + 1))) is not None
    known = [number for number in range(5 * SETTLED_KEPT) if leases.find(str(number))]
    assert SETTLED_KEPT <= len(known) <= 2 * SETTLED_KEPT


def test_past_the_bound_the_oldest_is_held_no_longer() -> None:
    leases = Leases()
    for number in range(HELD_MAX + 10):
        leases.received([(str(number), (b"", number))])
    assert len(leases.held) == HELD_MAX
    assert next(iter(leases.held)) == "10"
    assert leases.find("9") == (b"", 9)
