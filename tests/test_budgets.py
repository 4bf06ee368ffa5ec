"""Budgets of addresses: a burst, a rate, networks that count as one, and a bound on what is remembered."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.budgets import ADDRESSES_MAX, AddressBudgets


def test_a_burst_is_allowed_and_then_a_rate() -> None:
    budgets = AddressBudgets(per_second=2, burst=3)
    assert [budgets.spend("10.0.0.1", 100.0) for _ in range(4)] == [True, True, True, False]
    assert not budgets.spend("10.0.0.1", 100.4)
    assert budgets.spend("10.0.0.1", 100.5)
    assert budgets.left("10.0.0.1", 1_000.0) == 3


def test_addresses_do_not_share_a_budget_but_one_ipv6_network_does() -> None:
    budgets = AddressBudgets(per_second=1, burst=1)
    assert budgets.spend("10.0.0.1", 0.0) and budgets.spend("10.0.0.2", 0.0)
    assert budgets.spend("2001:db8::1", 0.0) and not budgets.spend("2001:db8::ffff:2", 0.0)
    assert budgets.spend("2001:db8:0:1::1", 0.0)
    assert budgets.spend("fe80::1%eth0", 0.0) and not budgets.spend("fe80::2%eth1", 0.0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    budgets = AddressBudgets(per_second=1, burst=1)
    assert budgets.spend("a", 100.0) and not budgets.spend("a", 50.0)


def test_the_number_of_addresses_remembered_is_bounded() -> None:
    budgets = AddressBudgets(per_second=1, burst=1)
    for number in range(ADDRESSES_MAX + 1):
        assert budgets.spend(f"a{number}", 0.0)
    assert len(budgets._buckets) == ADDRESSES_MAX
    assert budgets.spend("a0", 0.0), "the first one was forgotten"
    assert not budgets.spend(f"a{ADDRESSES_MAX}", 0.0)


@given(st.lists(st.floats(0, 5), max_size=50))
def test_no_more_is_spent_than_burst_and_rate_give(pauses: list[float]) -> None:
    budgets = AddressBudgets(per_second=2, burst=5)
    now, spent = 0.0, 0
    for pause in pauses:
        now += pause
        spent += budgets.spend("a", now)
    assert spent <= 5 + 2 * now + 1e-6
