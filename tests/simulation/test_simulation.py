"""The simulation in continuous integration: many seeds, the same log twice, every edge, every deliberate error."""

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.pool import Pool

import pytest

from appliance.tasks.table import EDGES
from tests.simulation.mutants import MUTANTS, SEEDS_MAX, Mutant, catch
from tests.simulation.plan import CRASHES_MIN, OPERATIONS_MIN
from tests.simulation.run import Tally
from tests.simulation.runner import Outcome, run_seed

SEEDS = int(os.environ.get("CODEQ_SIM_SEEDS", "200"))
SEEDS_TWICE = 10
LONG_OPERATIONS = 8_000


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    # A new interpreter for each process: another order of hashes must not change a run.
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as made:
        yield made


@pytest.fixture(scope="module")
def outcomes(pool: Pool) -> list[Outcome]:
    return pool.map(run_seed, range(SEEDS), 4)


@pytest.mark.timeout(600)
def test_every_invariant_holds_for_every_seed(outcomes: list[Outcome]) -> None:
    failed = [f"seed {outcome.seed}: {outcome.error}" for outcome in outcomes if outcome.error]
    assert not failed, "\n".join([*failed, "repeat with: python -m tests.simulation.run --seeds 1 --first SEED"])


def test_every_seed_is_large_enough(outcomes: list[Outcome]) -> None:
    assert min(outcome.calls for outcome in outcomes) >= OPERATIONS_MIN
    assert min(outcome.crashes for outcome in outcomes) >= CRASHES_MIN


def test_every_edge_of_the_state_table_is_taken(outcomes: list[Outcome]) -> None:
    counts = [sum(column) for column in zip(*(outcome.edges for outcome in outcomes), strict=True)]
    assert [edge.name for edge, count in zip(EDGES, counts, strict=True) if not count] == []


def test_a_longer_life_holds_too(pool: Pool) -> None:
    lives = pool.starmap(run_seed, [(seed, LONG_OPERATIONS) for seed in range(2)], 1)
    assert [life.error for life in lives] == ["", ""]
    assert min(life.calls for life in lives) >= LONG_OPERATIONS


def test_a_run_that_was_stopped_says_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(first=5, seeds=4, operations=OPERATIONS_MIN)
    edges = [1] * len(EDGES)
    tally.take(Outcome(seed, "", 1, 0, 0, 0, edges, error="it broke" * (seed == 8)) for seed in (6, 5, 8))
    tally.sum_up()
    assert not tally.complete
    printed = capsys.readouterr().out
    assert "goes on with --first 7 --seeds 2" in printed
    assert "--first 8 --seeds 1\n" in printed


def test_two_runs_of_a_seed_give_the_same_log(outcomes: list[Outcome], pool: Pool) -> None:
    again = pool.map(run_seed, range(min(SEEDS, SEEDS_TWICE)), 1)
    assert [outcome.digest for outcome in again] == [outcome.digest for outcome in outcomes[: len(again)]]
    here = run_seed(0)
    assert here.digest == outcomes[0].digest


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_deliberate_error_is_caught(mutant: Mutant) -> None:
    took, how = catch(mutant)
    assert 0 < took <= SEEDS_MAX, how
