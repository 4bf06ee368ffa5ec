"""Fuzzing: any bytes to everything that reads bytes from outside. No crash, no hang, no growth.

    python -m tests.fuzz.run [--seconds S] [--inputs N] [--jobs N] [--seed N] [--target NAME]
    python -m tests.fuzz.run --target NAME --input FILE

Each target gets an equal share of the inputs and of the time, in processes of its own. `tests/fuzz/guided.sh` does the
same with a fuzzer that watches which branches are taken, and keeps what takes new ones.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz import engine, targets
from tests.fuzz.engine import Result

FINDINGS_MAX: Final = 3
UNBOUNDED: Final = 1 << 60


class Share(NamedTuple):
    """What one process does."""

    name: str
    seed: int
    start: int
    step: int
    seconds: float
    inputs: int


def work(share: Share) -> tuple[str, Result]:
    """In a process of its own."""
    target = targets.load(share.name)
    return share.name, engine.fuzz(
        target,
        share.seed,
        share.start,
        share.step,
        seconds=share.seconds,
        inputs=share.inputs,
        findings_max=FINDINGS_MAX,
    )


def run(names: Sequence[str], seed: int, jobs: int, seconds: float, inputs: int) -> dict[str, Result]:
    """All of them, `jobs` processes at once. Each process takes its share of one target."""
    rounds = max(1, jobs if len(names) < jobs else 1)
    time_each = seconds * jobs / (len(names) * rounds)
    inputs_each = -(-inputs // (len(names) * rounds))
    shares = [Share(name, seed, start, rounds, time_each, inputs_each) for name in names for start in range(rounds)]
    found: dict[str, Result] = {}
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, maxtasksperchild=1) as pool:
        for name, result in pool.imap_unordered(work, shares):
            before = found.get(name, Result(0, [], 0.0, 0))
            found[name] = Result(
                before.inputs + result.inputs,
                before.findings + result.findings,
                max(before.slowest_seconds, result.slowest_seconds),
                max(before.growth_bytes, result.growth_bytes),
            )
    return found


def main() -> int:
    """Run as the command line says; 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, help="at most so long in all (default 60, or no bound with --inputs)")
    parser.add_argument("--inputs", type=int, help="so many in all")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--target", choices=targets.NAMES, help="only this one")
    parser.add_argument("--input", type=Path, metavar="FILE", help="only this input")
    arguments = parser.parse_args()
    names = [arguments.target] if arguments.target else list(targets.NAMES)
    if arguments.input:
        return _one(names[0], arguments.input)
    seconds = arguments.seconds or (UNBOUNDED if arguments.inputs else 60.0)
    print(f"seed {arguments.seed}", flush=True)
    began = time.monotonic()
    found = run(names, arguments.seed, arguments.jobs, seconds, arguments.inputs or UNBOUNDED)
    _show(found)
    print(f"{time.monotonic() - began:.0f} seconds")
    return any(result.findings for result in found.values())


def _one(name: str, path: Path) -> int:
    wrong, seconds = engine.judge(targets.load(name), path.read_bytes())
    print(wrong or f"nothing wrong, {seconds * 1000:.2f} ms")
    return bool(wrong)


def _show(found: dict[str, Result]) -> None:
    print(f"{'target':<16} {'inputs':>12} {'slowest ms':>11} {'growth KiB':>11}  findings")
    for name, result in sorted(found.items()):
        slowest_ms, growth_kib = result.slowest_seconds * 1000, result.growth_bytes // 1024
        print(f"{name:<16} {result.inputs:>12,} {slowest_ms:>11.1f} {growth_kib:>11,}  {len(result.findings)}")
    print(f"{'all':<16} {sum(result.inputs for result in found.values()):>12,}")
    for name, result in sorted(found.items()):
        for finding in result.findings:
            print(f"\n{name}, input {finding.number}: {finding.wrong}")
            with tempfile.NamedTemporaryFile(prefix=f"codeq-fuzz-{name}-", delete=False) as file:
                file.write(finding.data)
            print(f"python -m tests.fuzz.run --target {name} --input {file.name}")


if __name__ == "__main__":
    sys.exit(main())
