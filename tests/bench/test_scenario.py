"""A load is dealt fairly, and one that makes no sense is refused."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bench.plan import Target
from appliance.bench.scenario import SCENARIOS, Scenario, commands, plans, preload_plans

TARGET = Target("127.0.0.1", 1)


def test_every_scenario_makes_sense() -> None:
    for scenario in SCENARIOS.values():
        assert scenario.complaint() == ""
        assert scenario.what


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 0}, "batch"),
        ({"ready": 101}, "Ready"),
        ({"payload_bytes": 10}, "payload"),
        ({"priorities": 257}, "priorities"),
        ({"tenants": 0}, "tenant"),
        ({"queues": 10_001}, "queues"),
        ({"batch": 1_000, "payload_bytes": 10_000}, "2 MiB"),
        ({"processes": 17}, "process"),
        ({"tenants": 3}, "multiple"),
        ({"in_flight": 3}, "in flight"),
        ({"slots": 3}, "slots"),
        ({"rate": -1.0}, "negative"),
    ],
)
def test_what_makes_no_sense_is_said(change: dict[str, Any], words: str) -> None:
    assert words in dataclasses.replace(Scenario(), **change).complaint()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_streams_are_dealt_to_processes_and_tenants(processes: int, share: int, tenants: int) -> None:
    scenario = Scenario(processes=processes, streams=processes * share * tenants, tenants=tenants)
    tokens = [(f"p{number}", f"w{number}") for number in range(tenants)]
    made = plans(scenario, TARGET, tokens)
    assert len(made) == processes
    for kind, letter in (("producers", "p"), ("workers", "w")):
        streams = [stream for plan in made for stream in getattr(plan, kind)]
        assert len(streams) == scenario.streams
        for number in range(tenants):
            assert sum(stream.token == f"{letter}{number}" for stream in streams) == scenario.streams // tenants
    assert sum(each.in_flight for plan in made for each in plan.producers) <= scenario.in_flight


def test_an_offered_load_is_spread_over_time_and_streams() -> None:
    (plan,) = plans(Scenario(rate=1_000, streams=4), TARGET, [("p", "w")])
    assert [each.interval_seconds for each in plan.producers] == [0.004] * 4
    assert [each.phase_seconds for each in plan.producers] == [0, 0.001, 0.002, 0.003]


def test_many_queues_are_asked_for_by_naming_none() -> None:
    (plan,) = plans(Scenario(queues=101), TARGET, [("p", "w")])
    assert plan.workers[0].commands == ()
    assert len(plan.producers[0].commands) == 101
    (plan,) = plans(Scenario(queues=100), TARGET, [("p", "w")])
    assert plan.workers[0].commands == commands(Scenario(queues=100))


@given(st.integers(1, 5_000))
def test_a_backlog_is_created_in_full(tasks: int) -> None:
    made = preload_plans(Scenario(backlog=tasks), TARGET, [("p", "w")])
    assert sum(each.limit for plan in made for each in plan.producers) == tasks
    assert all(not plan.workers for plan in made)
