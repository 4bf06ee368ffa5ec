"""What the arguments of many commands have in common: the kinds of values, and commands that load when they are called.

Must not load anything that takes time: every call of `codeq` reads it.
"""

import argparse
import importlib
import re
from collections.abc import Callable
from typing import Final

Command = Callable[[argparse.Namespace], int]

_SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,9})([smhd])")


def call(module: str, function: str = "run") -> Command:
    """The command `function` of `module`, which is loaded when the command is called."""

    def command(arguments: argparse.Namespace) -> int:
        run: Command = getattr(importlib.import_module(module), function)
        return run(arguments)

    return command


def port(text: str) -> int:
    """A TCP port."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
    return int(text)


def count(text: str) -> int:
    """A number from one to what a day has of seconds."""
    return number(1, 86_400)(text)


def number(low: int, high: int) -> Callable[[str], int]:
    """A whole number between two bounds, both allowed."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"a number of {low} to {high}")
        return int(text)

    return parse


def words(text: str) -> tuple[str, ...]:
    """The words of a list `a,b`."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def seconds_of(text: str) -> int | None:
    """The seconds of `90s`, `15m`, `12h` or `30d`; None for anything else."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _SECONDS_OF[match[2]] if match else None


def duration(text: str) -> int:
    """The seconds of a duration as a person writes it."""
    seconds = seconds_of(text)
    if seconds is None:
        raise argparse.ArgumentTypeError("a number and s, m, h or d, for example 30d")
    return seconds


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option that turns what is printed into JSON."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
