"""The arguments that the programs share, and how each of them is run.

Owns the names of options and the way out: whatever ends a program, its servers stop and its folders go.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from appliance.bench.measure import BenchError
from appliance.bench.servers import ServerError
from loadtest.wrk import Load, WrkError, run

PAYLOAD_BYTES: Final = 120


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with what every program takes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="for stores, on a real disk")
    made.add_argument("--json", type=Path, help="also write a record of everything here")
    return made


def add_load(made: argparse.ArgumentParser, *, seconds: float, pairs: int, warm_seconds: float = 2) -> None:
    """The options of a program that runs wrk."""
    made.add_argument("--seconds", type=float, default=seconds, help="of each run (%(default)s)")
    made.add_argument("--warm-seconds", type=float, default=warm_seconds, help="of load before each run (%(default)s)")
    made.add_argument("--pairs", type=int, default=pairs, help="alternating runs of each (%(default)s)")
    made.add_argument("--connections", type=int, default=64)
    made.add_argument("--threads", type=int, default=2, help="of wrk (%(default)s)")
    made.add_argument("--tls", action="store_true")


def load(parsed: argparse.Namespace, share: float = 1.0) -> Load:
    """The measured load that these options ask for, or the same for a part of the time."""
    return Load(parsed.connections, parsed.threads, parsed.seconds * share)


def warm(base: str, script: str, parsed: argparse.Namespace) -> None:
    """The load before it, whose outcome nobody looks at."""
    if parsed.warm_seconds > 0:
        run(base, script, Load(parsed.connections, parsed.threads, parsed.warm_seconds))


def main(program: Callable[[Sequence[str] | None], int]) -> None:
    """Run a program as the process's main one."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # `nohup` has switched it off, and it stays off.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _end)
    try:
        sys.exit(program(None))
    except (WrkError, ServerError, BenchError, ConnectionError) as error:
        sys.exit(f"loadtest: {error}")


def _end(number: int, _frame: FrameType | None) -> None:
    # As an exception, so that every `with` on the way out stops its server and removes its folder. Once is enough: a
    # second one would interrupt just that.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
