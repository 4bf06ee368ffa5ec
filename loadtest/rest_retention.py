"""Full cycles with a short retention, so that the sweep runs beside them, against full cycles without a sweep.

The load before each run lasts longer than the retention: the sweep then has as much to do per second as is finished.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from appliance.bench.servers import running_node, workspace
from loadtest import arguments, lua, wrk
from loadtest.record import COUNT, MICROSECONDS, PER_SECOND, RATIO, SECONDS, Report, Target, progress

RATIO_TARGET: Final = Target(">=", 0.8)
LAG_TARGET: Final = Target("<", 2)
"""A sweep that keeps up is behind by groups, which are milliseconds; one that does not loses seconds in each run."""
ERRORS_TARGET: Final = Target("<=", 0)
WARM_SECONDS: Final = 14
"""Longer than the retention: what is finished in the first second is swept before the run begins."""


class Cycles(NamedTuple):
    """One run: finished tasks per second, how far behind the sweep was at its end, CPU of the server per cycle."""

    per_second: float
    lag_seconds: float
    swept_per_second: float
    cpu_us: float
    errors: int


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    arguments.add_load(parser, seconds=20, pairs=3, warm_seconds=WARM_SECONDS)
    parser.add_argument("--retention", type=int, default=10, help="seconds, fewer than the warm ones (%(default)s)")
    parsed = parser.parse_args(given)
    report = Report("rest_retention", parsed)
    runs: dict[bool, list[Cycles]] = {True: [], False: []}
    with workspace(parsed.directory) as folder:
        for pair in range(parsed.pairs):
            progress(f"pair {pair + 1} of {parsed.pairs}")
            for sweeping in (True, False) if pair % 2 == 0 else (False, True):
                run = _run(parsed, folder / f"node-{pair}-{sweeping}", sweeping=sweeping)
                runs[sweeping].append(run)
                report.run(sweeping=sweeping, **run._asdict())
    _figures(report, runs[True], runs[False])
    return report.finish()


def _run(parsed: argparse.Namespace, folder: Path, *, sweeping: bool) -> Cycles:
    settings = {"TASKS_RETENTION_SECONDS": str(parsed.retention)} if sweeping else {}
    with running_node(folder, tls=parsed.tls, settings=settings) as node:
        script = lua.cycles(node.producer_token, node.worker_token, arguments.PAYLOAD_BYTES)
        arguments.warm(node.address.base, script, parsed)
        before, swept = node.cpu_seconds(), node.metric("codeq_tasks_swept_total")
        outcome = wrk.run(node.address.base, script, arguments.load(parsed))
        cpu_seconds, lag_seconds = node.cpu_seconds() - before, node.metric("codeq_sweep_lag_seconds")
        swept = node.metric("codeq_tasks_swept_total") - swept
        finished = outcome.counters["finished"]
        if finished == 0:
            raise wrk.WrkError(f"no cycle was finished: {outcome}")
        return Cycles(
            finished / outcome.seconds,
            lag_seconds,
            swept / outcome.seconds,
            cpu_seconds / finished * 1e6,
            outcome.errors + outcome.counters["missed"],
        )


def _figures(report: Report, sweeping: list[Cycles], without: list[Cycles]) -> None:
    ratios = [one.per_second / other.per_second for one, other in zip(sweeping, without, strict=True)]
    report.figure("cycles, with sweep / without", RATIO, ratios, RATIO_TARGET)
    report.figure("sweep lag at the end", SECONDS, [run.lag_seconds for run in sweeping], LAG_TARGET)
    report.figure(
        "errors and claims without a task", COUNT, [sum(run.errors for run in sweeping + without)], ERRORS_TARGET
    )
    report.figure("swept", PER_SECOND, [run.swept_per_second for run in sweeping])
    for name, runs in (("with sweep", sweeping), ("without", without)):
        report.figure(f"cycles, {name}", PER_SECOND, [run.per_second for run in runs])
        report.figure(f"server CPU per cycle, {name}", MICROSECONDS, [run.cpu_us for run in runs])


if __name__ == "__main__":
    arguments.main(main)
