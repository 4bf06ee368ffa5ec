"""Claims and results over REST beside creates: what a request of each kind costs the server.

Three phases on one node, the same wrk with the same connections: creates only, claims only against that backlog, then
results only for what was claimed. The later phases are shorter, so that each finds enough to work on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from appliance.bench.servers import Node, running_node, workspace
from loadtest import arguments, lua, wrk
from loadtest.record import COUNT, MICROSECONDS, MS, PER_SECOND, RATIO, Report, Target, progress

COST_TARGET: Final = Target("<=", 1.5)
MISSES_TARGET: Final = Target("<=", 0)

CLAIM_SHARE: Final = 0.6
RESULT_SHARE: Final = 0.35
"""Parts of the creates' time: claims may be 1.6 times as fast as creates, results 1.7 times as fast as claims."""

PHASES: Final = ("create", "claim", "result")


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    arguments.add_load(parser, seconds=12, pairs=5)
    parsed = parser.parse_args(given)
    report = Report("rest_cycle", parsed)
    rounds = []
    with workspace(parsed.directory) as folder:
        for number in range(parsed.pairs):
            progress(f"round {number + 1} of {parsed.pairs}")
            place = folder / f"node-{number}"
            with running_node(place, tls=parsed.tls) as node:
                rounds.append(_round(report, node, place, parsed))
    _figures(report, rounds)
    return report.finish()


def _round(report: Report, node: Node, folder: Path, parsed: argparse.Namespace) -> dict[str, dict[str, Any]]:
    creates = lua.creates(node.producer_token, arguments.PAYLOAD_BYTES)
    arguments.warm(node.address.base, creates, parsed)
    scripts = {
        "create": (creates, 1.0),
        "claim": (lua.claims(node.worker_token, folder), CLAIM_SHARE),
        "result": (lua.results(node.worker_token, folder), RESULT_SHARE),
    }
    phases = {}
    for phase, (script, share) in scripts.items():
        before = node.cpu_seconds()
        outcome = wrk.run(node.address.base, script, arguments.load(parsed, share))
        cpu_us = (node.cpu_seconds() - before) / outcome.requests * 1e6
        facts = {
            "phase": phase, "per_second": outcome.per_second, "p99_ms": outcome.p99_ms, "cpu_us": cpu_us,
            "requests": outcome.requests, "missed": outcome.counters["missed"], "errors": outcome.errors,
            "ran_dry": outcome.counters["exhausted"],
        }  # fmt: skip
        report.run(**facts)
        phases[phase] = facts
    return phases


def _figures(report: Report, rounds: list[dict[str, dict[str, Any]]]) -> None:
    for phase in ("claim", "result"):
        costs = [each[phase]["cpu_us"] / each["create"]["cpu_us"] for each in rounds]
        report.figure(f"server CPU, {phase} / create", RATIO, costs, COST_TARGET)
    misses = sum(each[phase][what] for each in rounds for phase in PHASES for what in ("missed", "errors"))
    report.figure("claims without a task, and errors", COUNT, [misses], MISSES_TARGET)
    for phase in PHASES:
        report.figure(f"server CPU per {phase}", MICROSECONDS, [each[phase]["cpu_us"] for each in rounds])
    for phase in PHASES:
        # Where threads ran out of ids they stood still, and requests per second mean nothing.
        steady = [each[phase] for each in rounds if not each[phase]["ran_dry"]]
        if steady:
            report.figure(f"{phase} requests", PER_SECOND, [each["per_second"] for each in steady])
            report.figure(f"p99, {phase}", MS, [each["p99_ms"] for each in steady])


if __name__ == "__main__":
    arguments.main(main)
