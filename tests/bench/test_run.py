"""Each scenario runs against a real node: what it measures is not looked at, that it measures is."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.bench import row, run
from appliance.bench.measure import BenchError, Server
from appliance.bench.plan import Target
from appliance.bench.scenario import SCENARIOS, Scenario
from appliance.bench.servers import Node, free_port, running_node

TENANTS = 4


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("bench") / "node") as running:
        yield running


def subject(node: Node, scenario: Scenario) -> run.Subject:
    tokens = [node.tokens(f"t{number}") for number in range(scenario.tenants)]
    return run.Subject("node", Server(node.address.target, node.pid), tokens)


def quiet(_text: str) -> None:
    pass


SHORT = {
    "latency": {"rate": 200.0},
    "backlog": {"backlog": 1_000},
    "queues": {"tenants": TENANTS},
}


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "retention"])
def test_a_scenario_is_measured(node: Node, tmp_path: Path, name: str) -> None:
    scenario = dataclasses.replace(SCENARIOS[name], **SHORT.get(name, {}))  # type: ignore[arg-type]
    made = run.run(name, scenario, subject(node, scenario), 1, tmp_path, warm_seconds=0, told=quiet)
    assert made.refused == 0
    assert made.per_second > 0
    assert made.counted_by == "server"
    assert made.ack["samples"] > 0
    assert (made.finish["samples"] > 0) is scenario.cycles
    assert made.server_cpu_us is not None and made.server_cpu_us > 0
    assert made.client_bound is not None
    assert len(made.over_time) == 1
    text = row.text(made)
    assert "durability fsync" in text and "refused" in text


def test_what_is_finished_is_swept_in_a_node_of_its_own(tmp_path: Path) -> None:
    scenario = dataclasses.replace(SCENARIOS["retention"], retention_seconds=1, in_flight=512, slots=1_024)
    with run.node(tmp_path / "node", scenario, tls=True) as own:
        made = run.run("retention", scenario, own, 1, tmp_path, warm_seconds=0, told=quiet)
    assert made.refused == 0
    assert made.finished > 0
    assert made.tls


def test_several_processes_count_as_one_load(node: Node, tmp_path: Path) -> None:
    scenario = dataclasses.replace(SCENARIOS["cycle"], processes=2, connections=1)
    made = run.run("cycle", scenario, subject(node, scenario), 1, tmp_path, warm_seconds=0, told=quiet)
    assert made.finished > 0


def test_a_token_that_is_refused_ends_the_run_with_the_servers_words(node: Node, tmp_path: Path) -> None:
    scenario = SCENARIOS["cycle"]
    wrong = dataclasses.replace(subject(node, scenario), tokens=[("none", "none")])
    with pytest.raises(BenchError, match="gRPC status 16"):
        run.run("cycle", scenario, wrong, 1, tmp_path, told=quiet)


def test_a_server_that_is_not_there_ends_the_run(tmp_path: Path) -> None:
    nobody = run.Subject("nobody", Server(Target("127.0.0.1", free_port())), [("none", "none")])
    with pytest.raises(BenchError, match="refused"):
        run.run("cycle", SCENARIOS["cycle"], nobody, 1, tmp_path, told=quiet)


def test_a_scenario_that_makes_no_sense_is_not_run(node: Node, tmp_path: Path) -> None:
    scenario = Scenario(batch=0)
    with pytest.raises(BenchError, match="batch"):
        run.run("odd", scenario, subject(node, scenario), 1, tmp_path)


def test_each_tenant_of_a_running_node_needs_its_tokens(tmp_path: Path) -> None:
    target = Target("127.0.0.1", 1)
    with pytest.raises(BenchError, match="4 tenants need as many --producer-token-file, not 1"):
        run.elsewhere(SCENARIOS["tenants"], target, None, [tmp_path / "a"], [tmp_path / "b"])
    with pytest.raises(BenchError, match="retention"):
        run.elsewhere(SCENARIOS["retention"], target, None, [], [])


def test_a_sketch_has_one_queue_only(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match="one queue"),
        run.prototype(tmp_path, tmp_path, SCENARIOS["queues"], tls=False),
    ):
        pass
