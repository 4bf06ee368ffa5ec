"""Latencies and their percentiles."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from appliance.bench.tally import LATENCY_US_MAX, REFUSALS_MAX, Distribution, Tally, microseconds


@given(st.lists(st.integers(0, LATENCY_US_MAX), min_size=1), st.sampled_from([1.0, 50.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[int], percent: float) -> None:
    distribution = Distribution()
    distribution.add(array("I", values))
    rank = next(at for at in range(1, len(values) + 1) if at * 100 >= len(values) * percent)
    exact_ms = sorted(values)[rank - 1] / 1_000
    assert exact_ms * 0.999 <= distribution.percentile_ms(percent) <= exact_ms


def test_nothing_has_a_percentile_of_0() -> None:
    assert Distribution().summary() == {"p50_ms": 0, "p99_ms": 0, "p99_9_ms": 0, "max_ms": 0}


def test_latencies_stay_within_what_is_counted() -> None:
    assert [microseconds(each) for each in (-1, 0.0015, 1e9)] == [0, 1_500, LATENCY_US_MAX]


def test_tallies_add_up_and_keep_few_words() -> None:
    total = Tally()
    for number in range(3):
        each = Tally(created=2, delivered=3, finished=4, acks=array("I", [number]), cpu_seconds=0.5)
        each.refuse(f"word {at % 30}" for at in range(number * 100))
        total.add(each)
    assert (total.created, total.delivered, total.finished, total.refused) == (6, 9, 12, 300)
    assert list(total.acks) == [0, 1, 2]
    assert total.cpu_seconds == 1.5
    assert len(total.refusals) == REFUSALS_MAX
