"""Who is quiet beside whom, and what that makes of groups."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.tasks.shares import (
    HOLDS_MS,
    NOISY_GROUPS,
    PERIOD_MS,
    QUIET_DIVISOR,
    SMALL_BYTES,
    SMALL_TRANSITIONS,
    Shares,
)

FULL = 1_000


def _period(shares: Shares, at_ms: int, largest_group: int = FULL, **used: int) -> None:
    """A period in which tenants use so much; `at_ms` is when its last group is closed."""
    for tenant, transitions in used.items():
        shares.took(tenant, transitions, 0)
    shares.closed(at_ms, largest_group, 0)


def test_a_busy_tenant_beside_a_quiet_one_gets_small_groups() -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, noisy=5_000, quiet=100)
    assert shares.limit(FULL) == SMALL_TRANSITIONS
    assert (shares.is_quiet("quiet"), shares.is_quiet("new"), shares.is_quiet("noisy")) == (True, True, False)


def test_a_busy_tenant_alone_gets_whole_groups() -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, busy=5_000)
    assert shares.limit(FULL) == FULL


@given(st.lists(st.integers(2 * FULL, 4 * FULL), min_size=1, max_size=100))
def test_about_equally_busy_tenants_get_whole_groups(used: list[int]) -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, **{f"tenant{number}": each for number, each in enumerate(used)})
    assert shares.limit(FULL) == FULL


def test_tenants_that_fill_no_group_get_whole_groups() -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, SMALL_TRANSITIONS - 1, more=5_000, less=1)
    assert shares.limit(FULL) == FULL


def test_bytes_count_as_transitions_do() -> None:
    shares = Shares()
    shares.took("large", 4, 1 << 20)
    shares.took("small", 4, 400)
    shares.closed(PERIOD_MS, 8, 1 << 20)
    assert shares.uneven
    assert shares.is_quiet("small")
    assert not shares.is_quiet("large")


def test_what_held_in_a_period_holds_for_a_while() -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, noisy=5_000, quiet=1)
    _period(shares, PERIOD_MS + HOLDS_MS - 1, noisy=5_000)
    assert shares.uneven
    assert not shares.is_quiet("noisy")
    _period(shares, 2 * PERIOD_MS + HOLDS_MS, noisy=5_000)
    assert not shares.uneven


def test_small_groups_do_not_make_a_noisy_tenant_one_that_is_not() -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, noisy=5_000, quiet=1)
    for number in range(2, 20):
        _period(shares, number * PERIOD_MS, 50, noisy=NOISY_GROUPS * SMALL_TRANSITIONS, quiet=1)
    assert shares.uneven
    for number in range(20, 40):
        _period(shares, number * PERIOD_MS, 50, noisy=NOISY_GROUPS * SMALL_TRANSITIONS - 1, quiet=1)
    assert not shares.uneven


def test_many_bytes_come_alone_beside_a_quiet_tenant() -> None:
    shares = Shares()
    assert not shares.comes_alone(SMALL_BYTES + 1)
    assert shares.bytes_limit(1 << 20) == 1 << 20
    _period(shares, PERIOD_MS, noisy=5_000, quiet=1)
    assert (shares.comes_alone(SMALL_BYTES), shares.comes_alone(SMALL_BYTES + 1)) == (False, True)
    assert (shares.bytes_limit(1 << 20), shares.bytes_limit(100)) == (SMALL_BYTES, 100)


def test_a_clock_that_goes_back_ends_a_period() -> None:
    shares = Shares()
    _period(shares, 10 * PERIOD_MS, noisy=5_000, quiet=1)
    _period(shares, 5 * PERIOD_MS, noisy=5_000)
    assert not shares.uneven


def test_a_share_just_above_a_quiet_one_is_not_quiet() -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, noisy=QUIET_DIVISOR * 100, quiet=100, other=101)
    assert shares.is_quiet("quiet")
    assert not shares.is_quiet("other")


def test_a_smaller_limit_stays() -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, noisy=5_000, quiet=1)
    assert shares.limit(64) == 64
