"""How answers are printed: JSON for programs, aligned columns and plain words for people.

Owns the forms of times, ages and columns. What comes from outside never reaches the terminal as control characters.
"""

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

Row = Sequence[object]

NOTHING: Final = "-"
CELL_CHARACTERS_MAX: Final = 60
"""Longer cells are cut: `--json` has the whole value."""

_STEPS: Final = ((60, "s"), (60, "m"), (24, "h"))


def print_json(value: object) -> None:
    """One line of JSON."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def print_table(heads: Row, rows: Iterable[Row]) -> None:
    """Columns, as wide as they need to be; numbers to the right."""
    for line in table(heads, rows):
        print(line)


def table(heads: Row, rows: Iterable[Row]) -> list[str]:
    """The lines of a table, the heads first."""
    todo = [list(row) for row in rows]
    cells = [[plain(head) for head in heads], *([plain(cell) for cell in row] for row in todo)]
    numbers = [bool(todo) and all(isinstance(row[at], int | float) for row in todo) for at in range(len(heads))]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    ]


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """One line for each name and value, with nothing cut."""
    todo = list(fields)
    width = max((len(name) for name, _ in todo), default=0)
    for name, value in todo:
        print(f"{name.ljust(width)}  {plain(value, cut=False)}")


def plain(value: object, *, cut: bool = True) -> str:
    """A value on one line, without anything that a terminal would act on."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    text = value if isinstance(value, str) else compact(value)
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= CELL_CHARACTERS_MAX or not cut else text[: CELL_CHARACTERS_MAX - 1] + "…"


def compact(value: Any) -> str:
    """A value as short JSON."""
    return json.dumps(value, ensure_ascii=False)


def age(seconds: float | None) -> str:
    """A span of time in its largest unit."""
    if seconds is None:
        return NOTHING
    left = float(seconds)
    for step, unit in _STEPS:
        if left < step:
            return f"{left:.0f}{unit}"
        left /= step
    return f"{left:.0f}d"
