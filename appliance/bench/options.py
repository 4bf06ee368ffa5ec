"""The options of `codeq bench`. Loads nothing but the scenarios, since every call of the command reads it."""

import argparse
import tempfile
from pathlib import Path
from typing import Any, Final

from appliance.bench.scenario import SCENARIOS, WARM_SECONDS

CHANGES: Final = (
    "batch", "ready", "in_flight", "slots", "payload_bytes", "queues", "priorities", "tenants", "rate", "backlog",
    "retention_seconds", "processes", "connections", "streams",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    described = "; ".join(f"{name}: {scenario.what}" for name, scenario in SCENARIOS.items())
    parser.add_argument("scenario", nargs="?", default="cycle", choices=SCENARIOS, metavar="SCENARIO", help=described)
    _add_server(parser.add_argument_group("the server, a node started here where nothing else is said"))
    changes = parser.add_argument_group("what to change in the scenario")
    for name in CHANGES:
        kind = float if name == "rate" else int
        changes.add_argument(
            f"--{name.replace('_', '-').removesuffix('-seconds')}",
            dest=name,
            type=kind,
            metavar="N",
            help="instead of the scenario's own",
        )
    changes.add_argument("--keys", action="store_true", default=None, help="an idempotency key for each create")
    parser.add_argument("--seconds", type=_positive, default=20, metavar="N", help="measured (%(default)s)")
    parser.add_argument(
        "--warm-seconds", type=_positive, default=WARM_SECONDS, metavar="N", help="before (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw throughput and latency over time, as SVG")


def _add_server(group: Any) -> None:
    group.add_argument("--target", metavar="HOST:PORT", help="a node that runs already")
    group.add_argument("--tls", action="store_true", help="speak TLS; of a node started here: have it serve TLS")
    group.add_argument("--ca", type=Path, metavar="FILE", help="the certificates that a target's is checked against")
    group.add_argument(
        "--producer-token-file", type=Path, action="append", default=[], metavar="FILE", help="of a target"
    )
    group.add_argument(
        "--worker-token-file", type=Path, action="append", default=[], metavar="FILE", help="each once per tenant"
    )
    group.add_argument("--server-pid", type=int, metavar="N", help="of a target on this machine: its CPU is measured")
    group.add_argument("--prototype", type=Path, metavar="PROGRAM", help="start this sketch of a server instead")
    group.add_argument(
        "--directory", type=Path, default=Path(tempfile.gettempdir()), metavar="DIR",
        help="where a server started here keeps its store, on a real disk (default: the system's for temporary files)",
    )  # fmt: skip


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 86_400):
        raise argparse.ArgumentTypeError("a number of 1 to 86400")
    return int(text)
