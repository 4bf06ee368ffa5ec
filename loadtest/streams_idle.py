"""Worker streams that wait: what a thousand of them cost a node, and how soon a create reaches one of them.

Each round takes a fresh node over TLS twice: once with a connection for each stream, once with all streams on ten
connections. Everything is warmed up before memory is read for the first time. Then the streams are opened with one
Ready each, nothing happens for a while, and at last tasks are created one by one.
"""

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from appliance.bench.measure import Crew, Server, crew, measure
from appliance.bench.plan import ProcessPlan, ProducerPlan, WorkerPlan
from appliance.bench.plan import Target as Place
from appliance.bench.scenario import Scenario, plans
from appliance.bench.servers import ServerError, running_node, workspace
from appliance.bench.tally import Distribution, Tally
from loadtest import arguments
from loadtest.record import COUNT, KIBIBYTES, MS, RATIO, Report, Target, progress

CONNECTION_TARGET: Final = Target("<", 48)
STREAM_TARGET: Final = Target("<", 8)
CPU_TARGET: Final = Target("<", 0.01)
"""Of a core: one per cent is where the timers of an empty node are."""
DELIVERY_TARGET: Final = Target("<", 5)

COMMAND: Final = "bench-0"
TENANT: Final = "bench-0"
WARM_SECONDS: Final = 2
EMPTY_SECONDS: Final = 5
IN_FLIGHT: Final = 512
SETTLE_SECONDS: Final = 2
SPARE_DESCRIPTORS: Final = 200


class Idle(NamedTuple):
    """One run. Memory is for each stream, with its share of the connections; shares are of a core."""

    kib_each: float
    empty_share: float
    idle_share: float
    delivery_p50_ms: float
    delivery_p99_ms: float
    delivered: int


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=10, help="of the second kind of run (%(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="of silence, and of creates (%(default)s)")
    parser.add_argument("--rate", type=float, default=100, help="creates per second (%(default)s)")
    parser.add_argument("--pairs", type=int, default=3, help="rounds of both kinds (%(default)s)")
    parsed = parser.parse_args(given)
    _allow_descriptors(parsed.streams + SPARE_DESCRIPTORS)
    report = Report("streams_idle", parsed)
    kinds = {"a connection each": parsed.streams, f"on {parsed.connections} connections": parsed.connections}
    runs: dict[str, list[Idle]] = {kind: [] for kind in kinds}
    with workspace(parsed.directory) as folder:
        for number in range(parsed.pairs):
            progress(f"round {number + 1} of {parsed.pairs}")
            for place, (kind, connections) in enumerate(kinds.items()):
                run = _run(parsed, folder / f"node-{number}-{place}", connections)
                runs[kind].append(run)
                report.run(kind=kind, **run._asdict())
    for (kind, made), target in zip(runs.items(), (CONNECTION_TARGET, STREAM_TARGET), strict=True):
        report.figure(f"memory of each stream, {kind}", KIBIBYTES, [run.kib_each for run in made], target)
        extra = [max(run.idle_share - run.empty_share, 0.0) for run in made]
        report.figure(f"CPU of silence, over an empty node, {kind}", RATIO, extra, CPU_TARGET)
        report.figure(f"CPU of silence, {kind}", RATIO, [run.idle_share for run in made])
        report.figure(f"create to delivery p99, {kind}", MS, [run.delivery_p99_ms for run in made], DELIVERY_TARGET)
        report.figure(f"create to delivery p50, {kind}", MS, [run.delivery_p50_ms for run in made])
        report.figure(f"delivered, {kind}", COUNT, [run.delivered for run in made])
    return report.finish()


def _run(parsed: argparse.Namespace, folder: Path, connections: int) -> Idle:
    with running_node(folder, tls=True) as node:
        target, tokens = node.address.target, node.tokens(TENANT)
        warm = Scenario(streams=2, in_flight=4, slots=4)
        measure(Server(target, node.pid), plans(warm, target, [tokens]), WARM_SECONDS, 1, _ignored)
        began = node.cpu_seconds()
        time.sleep(EMPTY_SECONDS)
        empty_share = (node.cpu_seconds() - began) / EMPTY_SECONDS
        before_bytes = node.anonymous_bytes()
        with crew([_workers(parsed, target, tokens[1], connections), _producer(parsed, target, tokens[0])]) as load:
            load.begin()
            _pass(load, SETTLE_SECONDS)
            kib_each = (node.anonymous_bytes() - before_bytes) / 1024 / parsed.streams
            began = node.cpu_seconds()
            _pass(load, parsed.seconds)
            idle_share = (node.cpu_seconds() - began) / parsed.seconds
            deliveries = _pass(load, parsed.seconds)
            load.stop()
    return Idle(
        kib_each,
        empty_share,
        idle_share,
        deliveries.percentile_ms(50),
        deliveries.percentile_ms(99),
        deliveries.count,
    )


def _workers(parsed: argparse.Namespace, target: Place, token: str, connections: int) -> ProcessPlan:
    streams = tuple(WorkerPlan(token, (COMMAND,), f"idle-{number}", slots=1) for number in range(parsed.streams))
    return ProcessPlan(target, connections, workers=streams)


def _producer(parsed: argparse.Namespace, target: Place, token: str) -> ProcessPlan:
    """Silent at first, then at a fixed rate; every task is timed."""
    stream = ProducerPlan(
        token, (COMMAND,), in_flight=IN_FLIGHT, interval_seconds=1 / parsed.rate,
        phase_seconds=SETTLE_SECONDS + parsed.seconds, sample_every=1,
    )  # fmt: skip
    return ProcessPlan(target, 1, producers=(stream,))


def _pass(load: Crew, seconds: int) -> Distribution:
    """Let so many seconds pass; how long tasks took to be delivered in them."""
    deliveries = Distribution()
    for _ in range(seconds):
        deliveries.add(load.second(_nothing).deliveries)
    return deliveries


def _allow_descriptors(count: int) -> None:
    """For this process and those it starts. Raises ServerError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise ServerError(f"{count} open files are needed, {hard} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _nothing() -> None:
    """Where nothing is looked at."""


def _ignored(_number: int, _tally: Tally) -> None:
    """Warming up is nobody's business."""


if __name__ == "__main__":
    arguments.main(main)
