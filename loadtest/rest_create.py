"""Creates over REST: the node against the sketch, the same wrk, alternating.

Many keep-alive connections, HTTP/1.1, one small task per request, every answer after an fsync. The node checks a real
token on each request; the sketch has none to check.
"""

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from appliance.bench.servers import Node, Server, running_node, running_prototype, workspace
from loadtest import arguments, lua, wrk
from loadtest.record import COUNT, MICROSECONDS, MS, PER_SECOND, RATIO, Report, Target, progress

RATIO_TARGET: Final = Target(">=", 0.45)
P99_TARGET: Final = Target("<", 25)
ERRORS_TARGET: Final = Target("<=", 0)

NODE: Final = "node"
SKETCH: Final = "prototype"


class Run:
    """One measured run."""

    def __init__(self, outcome: wrk.Outcome, cpu_seconds: float) -> None:
        self.outcome = outcome
        self.cpu_us = cpu_seconds / outcome.requests * 1e6
        """Of the server, per request."""


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    arguments.add_load(parser, seconds=10, pairs=5)
    parser.add_argument("--prototype", type=Path, required=True, help="server.py of the sketch, or its folder")
    parsed = parser.parse_args(given)
    report = Report("rest_create", parsed)
    runs: dict[str, list[Run]] = {NODE: [], SKETCH: []}
    with workspace(parsed.directory) as folder:
        for pair in range(parsed.pairs):
            progress(f"pair {pair + 1} of {parsed.pairs}")
            # Whoever comes second finds a warmer or a more tired machine, so they take turns in that too.
            for server in (NODE, SKETCH) if pair % 2 == 0 else (SKETCH, NODE):
                run = _run(server, parsed, folder / f"{server}-{pair}")
                runs[server].append(run)
                _note(report, server, run)
    _figures(report, runs[NODE], runs[SKETCH])
    return report.finish()


def _run(name: str, parsed: argparse.Namespace, folder: Path) -> Run:
    server: AbstractContextManager[Server]
    if name == NODE:
        server = running_node(folder, tls=parsed.tls)
    else:
        server = running_prototype(parsed.prototype, folder, tls=parsed.tls)
    with server as running:
        token = running.producer_token if isinstance(running, Node) else ""
        return measured(running, lua.creates(token, arguments.PAYLOAD_BYTES), parsed)


def measured(server: Server, script: str, parsed: argparse.Namespace) -> Run:
    """Warm up, then measure one script against a running server."""
    arguments.warm(server.address.base, script, parsed)
    before = server.cpu_seconds()
    outcome = wrk.run(server.address.base, script, arguments.load(parsed))
    return Run(outcome, server.cpu_seconds() - before)


def _note(report: Report, name: str, run: Run) -> None:
    outcome = run.outcome
    report.run(
        server=name, per_second=outcome.per_second, p50_ms=outcome.p50_ms, p99_ms=outcome.p99_ms,
        max_ms=outcome.max_ms, cpu_us=run.cpu_us, requests=outcome.requests, errors=outcome.errors,
    )  # fmt: skip


def _figures(report: Report, node: list[Run], sketch: list[Run]) -> None:
    ratios = [ours.outcome.per_second / theirs.outcome.per_second for ours, theirs in zip(node, sketch, strict=True)]
    report.figure("creates, node / prototype", RATIO, ratios, RATIO_TARGET)
    report.figure("p99, node", MS, [run.outcome.p99_ms for run in node], P99_TARGET)
    report.figure("errors, node", COUNT, [sum(run.outcome.errors for run in node)], ERRORS_TARGET)
    report.figure("p99, prototype", MS, [run.outcome.p99_ms for run in sketch])
    for name, runs in (("node", node), ("prototype", sketch)):
        report.figure(f"creates, {name}", PER_SECOND, [run.outcome.per_second for run in runs])
        report.figure(f"server CPU per create, {name}", MICROSECONDS, [run.cpu_us for run in runs])


if __name__ == "__main__":
    arguments.main(main)
