"""Who is quiet beside whom, and what that makes of groups."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.tasks.shares import PERIOD_MS, QUIET_DIVISOR, SMALL_TRANSITIONS, Shares

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


def test_what_held_in_a_period_holds_until_the_end_of_the_next() -> None:
    shares = Shares()
    _period(shares, PERIOD_MS, noisy=5_000, quiet=1)
    _period(shares, 2 * PERIOD_MS - 1, noisy=5_000)
    assert shares.uneven
    _period(shares, 2 * PERIOD_MS)
    assert not shares.uneven


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
