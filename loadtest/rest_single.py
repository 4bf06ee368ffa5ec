"""One client, one create at a time, an idle server: the node against the sketch, alternating.

Nothing is grouped here: each create is a commit of its own, so the figure is the latency of the path.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from appliance.bench.servers import Node, Server, running_node, running_prototype, workspace
from loadtest import arguments, lua
from loadtest.client import Connection, post
from loadtest.record import MS, RATIO, Report, Target, percentile, progress
from loadtest.rest_create import NODE, SKETCH

P50_TARGET: Final = Target("<", 2.5)
WARM_SHARE: Final = 0.1


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--requests", type=int, default=3_000, help="in each run (%(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="alternating runs of each (%(default)s)")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--prototype", type=Path, required=True, help="server.py of the sketch, or its folder")
    parsed = parser.parse_args(given)
    report = Report("rest_single", parsed)
    runs: dict[str, list[list[float]]] = {NODE: [], SKETCH: []}
    with workspace(parsed.directory) as folder:
        for pair in range(parsed.pairs):
            progress(f"pair {pair + 1} of {parsed.pairs}")
            for server in (NODE, SKETCH) if pair % 2 == 0 else (SKETCH, NODE):
                times_ms = _run(server, parsed, folder / f"{server}-{pair}")
                runs[server].append(times_ms)
                report.run(server=server, p50_ms=statistics.median(times_ms), p99_ms=percentile(times_ms, 99))
    p50 = {server: [statistics.median(each) for each in times] for server, times in runs.items()}
    ratios = [ours / theirs for ours, theirs in zip(p50[NODE], p50[SKETCH], strict=True)]
    report.figure("p50, node / prototype", RATIO, ratios, P50_TARGET)
    for server in (NODE, SKETCH):
        report.figure(f"p50, {server}", MS, p50[server])
        report.figure(f"p99, {server}", MS, [percentile(each, 99) for each in runs[server]])
    return report.finish()


def _run(name: str, parsed: argparse.Namespace, folder: Path) -> list[float]:
    """The times of all creates but the first tenth, in ms."""
    server: AbstractContextManager[Server]
    if name == NODE:
        server = running_node(folder, tls=parsed.tls)
    else:
        server = running_prototype(parsed.prototype, folder, tls=parsed.tls)
    times_ms = []
    with server as running, Connection(running.address) as connection:
        token = running.producer_token if isinstance(running, Node) else ""
        request = post(lua.PATH, token, lua.create_body(arguments.PAYLOAD_BYTES))
        clock = time.perf_counter
        for _ in range(parsed.requests):
            began = clock()
            status, body = connection.exchange(request)
            times_ms.append((clock() - began) * 1000)
            if status != 201:
                raise ConnectionError(f"a create got {status}: {body[:200]!r}")
    return times_ms[int(parsed.requests * WARM_SHARE) :]


if __name__ == "__main__":
    arguments.main(main)
