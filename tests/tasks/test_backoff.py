"""Five policies and the delay of repeated abandons, each within its bounds."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.tasks.backoff import POLICIES, abandon_delay_ms, backoff_ms
from appliance.tasks.settings import TaskSettings

SETTINGS = TaskSettings(backoff_base_ms=5_000, backoff_cap_ms=900_000)


def _delays(policy: str, attempts: int, draws: int = 300) -> list[int]:
    settings = msgspec.structs.replace(SETTINGS, backoff_policy=policy)
    rng = Random(3)
    return [backoff_ms(settings, attempts, rng) for _ in range(draws)]


def test_fixed_is_the_base_each_time() -> None:
    assert {delay for attempts in (1, 2, 50) for delay in _delays("fixed", attempts)} == {5_000}


def test_linear_grows_by_the_base() -> None:
    assert [_delays("linear", attempts, 1)[0] for attempts in (1, 2, 3, 1_000)] == [5_000, 10_000, 15_000, 900_000]


def test_exponential_doubles_up_to_the_cap() -> None:
    delays = [_delays("exponential", attempts, 1)[0] for attempts in (1, 2, 3, 8, 9, 1_000)]
    assert delays == [5_000, 10_000, 20_000, 640_000, 900_000, 900_000]


def test_full_jitter_draws_from_the_whole_interval() -> None:
    delays = _delays("exp_full_jitter", 3)
    assert 0 <= min(delays) < 2_000
    assert 18_000 < max(delays) <= 20_000


def test_equal_jitter_keeps_half_of_the_interval() -> None:
    delays = _delays("exp_equal_jitter", 3)
    assert 10_000 <= min(delays) < 11_000
    assert 19_000 < max(delays) <= 20_000


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(ValueError, match="sometimes"):
        backoff_ms(msgspec.structs.replace(SETTINGS, backoff_policy="sometimes"), 1, Random(1))


@given(
    st.sampled_from(POLICIES), st.integers(1, 10**6), st.integers(1, 10**7), st.integers(0, 2_000), st.integers(0, 99)
)
def test_no_delay_is_negative_or_above_the_cap(policy: str, base: int, cap: int, attempts: int, seed: int) -> None:
    settings = TaskSettings(backoff_policy=policy, backoff_base_ms=base, backoff_cap_ms=cap)
    assert 0 <= backoff_ms(settings, attempts, Random(seed)) <= cap


def test_from_the_third_abandon_in_a_row_a_task_waits_a_second_and_then_twice_as_long() -> None:
    delays = [abandon_delay_ms(SETTINGS, abandons) for abandons in (0, 1, 2, 3, 4, 5, 12, 13, 1_000)]
    assert delays == [0, 0, 0, 1_000, 2_000, 4_000, 512_000, 900_000, 900_000]
