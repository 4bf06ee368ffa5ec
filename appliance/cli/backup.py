"""`codeq backup` and `codeq restore`: copies of a store that were checked, put where they were wanted."""

import argparse
import datetime
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from appliance.cli import status
from appliance.cli.installed import service_environ
from appliance.cli.progress import Progress, size
from appliance.config import ConfigError, load
from appliance.engine import backup
from appliance.engine.faults import StoreError


def run(arguments: argparse.Namespace) -> int:
    """Make a backup; the exit status."""
    directory = _directory(arguments)
    if directory is None:
        return status.CONFIGURATION
    target: Path = arguments.target
    if arguments.keep:
        target = backup.stamped(target, datetime.datetime.now(datetime.UTC))
    progresses = _progresses(arguments)

    def work() -> tuple[backup.Copied, list[Path]]:
        made = backup.backup(
            directory,
            target,
            progresses,
            deadline_seconds=arguments.deadline_seconds,
            compact=arguments.compact,
            accept_damage=arguments.accept_damage,
        )
        return made, backup.prune(target.parent, arguments.keep) if arguments.keep else []

    return _do(arguments, work)


def run_restore(arguments: argparse.Namespace) -> int:
    """Put a backup in place; the exit status."""
    directory = _directory(arguments)
    if directory is None:
        return status.CONFIGURATION
    progresses = _progresses(arguments)

    def work() -> tuple[backup.Copied, list[Path]]:
        made = backup.restore(arguments.source, directory, progresses, accept_damage=arguments.accept_damage)
        return made, []

    return _do(arguments, work)


def _directory(arguments: argparse.Namespace) -> Path | None:
    """The data directory that is meant, or None after the error was printed."""
    if arguments.directory is not None:
        return Path(arguments.directory)
    try:
        return Path(load(arguments.config, service_environ(os.environ)).store.directory)
    except ConfigError as error:
        print(f"codeq: {error}; --directory names a data directory without a configuration", file=sys.stderr)
        return None


def _progresses(arguments: argparse.Namespace) -> backup.Progresses:
    progress = Progress(quiet=arguments.quiet)
    return backup.Progresses(progress.copied, progress.checked)


def _do(arguments: argparse.Namespace, work: Callable[[], tuple[backup.Copied, list[Path]]]) -> int:
    # A service manager ends a backup with SIGTERM; what it made so far has to go.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        made, removed = work()
    except StoreError as error:
        for finding in error.report.findings if isinstance(error, backup.CopyDamaged) else ():
            print(finding, file=sys.stderr)
        print(f"codeq: {error}", file=sys.stderr)
        return error.exit_status
    finally:
        signal.signal(signal.SIGTERM, before)
    for finding in made.report.findings:
        print(finding, file=sys.stderr)
    _print(made, removed, as_json=arguments.json)
    return status.OK if made.report.clean else status.FAILURE


def _print(made: backup.Copied, removed: list[Path], *, as_json: bool) -> None:
    if as_json:
        facts = {
            "directory": str(made.directory),
            "bytes": made.size_bytes,
            "tasks": made.tasks,
            "copySeconds": round(made.copy_seconds, 3),
            "checkSeconds": round(made.check_seconds, 3),
            "findings": sum(made.report.counts.values()),
            "removed": [str(path) for path in removed],
        }
        print(json.dumps(facts))
        return
    verdict = "clean" if made.report.clean else "NOT clean"
    print(
        f"{made.directory}: {made.tasks:,} tasks, {size(made.size_bytes)}, "
        f"copied in {made.copy_seconds:.1f} s, checked in {made.check_seconds:.1f} s: {verdict}"
    )
    for path in removed:
        print(f"{path} removed")


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
