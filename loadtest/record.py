"""What a program measured: figures beside their targets, as a table for people and a record for machines.

Owns statistics and verdicts. Must not know how anything is measured.
"""

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.bench.machine import machine

RATIO: Final = "ratio"
PER_SECOND: Final = "/s"
MS: Final = "ms"
SECONDS: Final = "s"
MICROSECONDS: Final = "µs"
MEGABYTES: Final = "MB"
KIBIBYTES: Final = "KiB"
COUNT: Final = "count"

_FORMATS: Final = {
    RATIO: ".3f", PER_SECOND: ",.0f", MS: ".2f", SECONDS: ".3f", MICROSECONDS: ".1f",
    MEGABYTES: ".1f", KIBIBYTES: ".1f",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """What has to be reached: `relation` is one of `<`, `<=`, `>=`."""

    relation: str
    bound: float

    def met_by(self, value: float) -> bool:
        """Whether a value is good enough."""
        if self.relation == "<":
            return value < self.bound
        return value <= self.bound if self.relation == "<=" else value >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: the median of its samples and their range. `met` is None where nothing was promised."""

    what: str
    unit: str
    median: float
    low: float
    high: float
    samples: int
    target: Target | None
    met: bool | None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


class Report:
    """Collects figures and single runs, shows the former, records both."""

    def __init__(self, program: str, arguments: argparse.Namespace) -> None:
        self._program = program
        self._json: Path | None = arguments.json
        # Paths are one machine's affair and mean nothing to a reader of the record.
        self._arguments = {name: value for name, value in vars(arguments).items() if not isinstance(value, Path | None)}
        self._machine = machine(arguments.directory)
        self._date = datetime.datetime.now(datetime.UTC)
        self._began = time.monotonic()
        self.figures: list[Figure] = []
        self.runs: list[dict[str, Any]] = []

    def run(self, **facts: Any) -> None:
        """Note one run for the record, and print it: the sign of life."""
        self.runs.append(facts)
        words = (
            f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
        )
        progress("  " + ", ".join(words))

    def figure(self, what: str, unit: str, samples: Sequence[float], target: Target | None = None) -> None:
        """Add a figure; its verdict is that of the median."""
        median = statistics.median(samples)
        met = None if target is None else target.met_by(median)
        self.figures.append(Figure(what, unit, median, min(samples), max(samples), len(samples), target, met))

    def finish(self) -> int:
        """Print the table, write the record where one was asked for, and return the exit status: 0."""
        print(self._table(), flush=True)
        if self._json is not None:
            self._json.write_bytes(msgspec.json.format(msgspec.json.encode(self._record())) + b"\n")
        return 0

    def _table(self) -> str:
        head = ("what", "measured", "range", "target", "verdict")
        rows = [head, *(_cells(figure) for figure in self.figures)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        given = ", ".join(f"{name} {value}" for name, value in self._arguments.items())
        return "\n".join((f"\n{self._program}: {given}", lines[0], "-" * len(lines[0]), *lines[1:]))

    def _record(self) -> dict[str, Any]:
        return {
            "program": self._program,
            "date": self._date.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._began, 1),
            "arguments": self._arguments,
            "machine": self._machine,
            "figures": [asdict(figure) for figure in self.figures],
            "runs": self.runs,
        }


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    def shown(value: float) -> str:
        return format(value, _FORMATS.get(figure.unit, ",.0f"))

    unit = "" if figure.unit in (RATIO, COUNT) else f" {figure.unit}".replace(" /s", "/s")
    spread = f"{shown(figure.low)} – {shown(figure.high)}" if figure.samples > 1 else ""
    target = f"{figure.target.relation} {figure.target.bound:g}{unit}" if figure.target else ""
    verdict = "" if figure.met is None else "met" if figure.met else "missed"
    return figure.what, shown(figure.median) + unit, spread, target, verdict


def progress(text: str) -> None:
    """A sign of life on standard error."""
    print(text, file=sys.stderr, flush=True)
