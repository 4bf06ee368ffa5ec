"""Runs one seed and says what came of it: for the command, for the tests and for the deliberate errors."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from appliance.engine.rows import DamagedRow
from tests.simulation.driver import Simulation
from tests.simulation.plan import OPERATIONS_MIN


class Outcome(msgspec.Struct):
    """What a seed's run came to. `error` is empty where everything held."""

    seed: int
    digest: str
    calls: int
    crashes: int
    groups: int
    virtual_ms: int
    edges: list[int]
    error: str = ""
    tail: list[str] = []


def run_seed(seed: int, operations: int = OPERATIONS_MIN) -> Outcome:
    """Run a seed of so many operations to its end, or to the first thing that does not hold."""
    simulation = Simulation(seed, operations)
    world = simulation.world
    error = ""
    try:
        with _no_collector():
            simulation.run()
    except (DamagedRow, AssertionError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    outcome = Outcome(
        seed,
        world.digest(),
        len(world.history.calls),
        world.crashes,
        world.ledger.changes,
        world.now,
        world.edge_counts(),
        error,
        list(world.tail) if error else [],
    )
    # Operations are not tracked by the collector, and hold their calls: a process runs many seeds.
    for call in world.history.calls:
        call.operation = None
    return outcome


@contextmanager
def _no_collector() -> Iterator[None]:
    """A run keeps nearly all it makes, for its history: the collector would look at all of that again and again."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
