"""One scenario from start to end: a server, a backlog if there is to be one, the load, the row.

Owns the order of things, and which server it is. Prints progress to standard error.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.bench import row as rows
from appliance.bench.measure import BenchError, Server, create_until, measure
from appliance.bench.plan import Target
from appliance.bench.scenario import WARM_SECONDS, Scenario, Tokens, plans, preload_plans
from appliance.bench.servers import running_node, running_prototype
from appliance.bench.tally import Tally

_SWEEP_SPARE_SECONDS: Final = 4
"""Warming up goes on for so much longer than the retention, so that as much is swept as finished."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A server and the tokens to use with it, one pair for each tenant."""

    name: str
    server: Server
    tokens: list[Tokens]


@contextmanager
def node(folder: Path, scenario: Scenario, *, tls: bool) -> Iterator[Subject]:
    """A node of its own in `folder`, every commit synced to disk. Raises ServerError."""
    settings = {"TASKS_RETENTION_SECONDS": str(scenario.retention_seconds)} if scenario.retention_seconds else {}
    with running_node(folder, tls=tls, settings=settings) as running:
        tokens = [running.tokens(f"bench-{number}") for number in range(scenario.tenants)]
        yield Subject("node", Server(running.address.target, running.pid), tokens)


@contextmanager
def prototype(program: Path, folder: Path, scenario: Scenario, *, tls: bool) -> Iterator[Subject]:
    """The sketch at `program`. Raises ServerError, and BenchError where it cannot do what is asked for."""
    if max(scenario.queues, scenario.priorities, scenario.tenants) > 1 or scenario.retention_seconds:
        raise BenchError("a sketch has one queue, one tenant, no priorities and no sweep")
    with running_prototype(program, folder, tls=tls) as running:
        yield Subject("prototype", Server(running.address.target, running.pid, metrics=False), [("none", "none")])


def elsewhere(
    scenario: Scenario, target: Target, pid: int | None, producer_files: list[Path], worker_files: list[Path]
) -> Subject:
    """A node that runs already. Raises BenchError and OSError."""
    if scenario.retention_seconds:
        raise BenchError("the retention is a setting of the node: --retention needs one that is started here")
    needed = {"producer": producer_files, "worker": worker_files if scenario.cycles else producer_files}
    for kind, files in needed.items():
        if len(files) != scenario.tenants:
            raise BenchError(f"{scenario.tenants} tenants need as many --{kind}-token-file, not {len(files)}")
    tokens = [
        (producer.read_text().strip(), worker.read_text().strip())
        for producer, worker in zip(needed["producer"], needed["worker"], strict=True)
    ]
    return Subject(target.authority, Server(target, pid), tokens)


def run(
    name: str,
    scenario: Scenario,
    subject: Subject,
    seconds: int,
    directory: Path,
    warm_seconds: int = WARM_SECONDS,
    told: Callable[[str], None] | None = None,
) -> rows.Row:
    """Measure one scenario. Raises BenchError."""
    told = told or progress
    complaint = scenario.complaint()
    if complaint:
        raise BenchError(complaint)
    if scenario.retention_seconds:
        warm_seconds = max(warm_seconds, scenario.retention_seconds + _SWEEP_SPARE_SECONDS)
    target = subject.server.target
    if scenario.backlog:
        told(f"creating a backlog of {scenario.backlog:,} tasks")
        create_until(
            preload_plans(scenario, target, subject.tokens),
            scenario.backlog,
            lambda done, tasks: told(f"  {done:,} of {tasks:,}"),
        )
        # What is still on its way to the disk would be written beside the load.
        os.sync()

    def on_second(number: int, tally: Tally) -> None:
        told(rows.second(number, tally, scenario) + ("  (warming up)" if number < warm_seconds else ""))

    window = measure(subject.server, plans(scenario, target, subject.tokens), warm_seconds, seconds, on_second)
    return rows.row(
        name, subject.name, scenario, window, tls=target.tls, warm_seconds=warm_seconds, directory=directory
    )


def progress(text: str) -> None:
    """A sign of life on standard error."""
    print(text, file=sys.stderr, flush=True)
