"""`codeq check`: verify a whole store and say what is wrong with it."""

import sys
import time
from pathlib import Path
from typing import Final

from appliance.cli import status
from appliance.engine.faults import StoreError

PROGRESS_SECONDS: Final = 1.0
"""How often a line about progress appears: often enough to see life, seldom enough for a log."""


def run(directory: str) -> int:
    """Print progress and findings; 0 when the store is clean, 1 when it is not."""
    from appliance.engine.apart import check_apart

    try:
        report = check_apart(Path(directory), _Progress().show)
    except StoreError as error:
        print(f"codeq: {error}", file=sys.stderr)
        return error.exit_status
    for finding in report.findings:
        print(finding)
    if report.clean:
        print(f"{directory} is clean")
        return status.OK
    print(f"{directory} is NOT clean: " + ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items()))
    return status.FAILURE


class _Progress:
    """Lines on standard error, at most one a second and one at the end of each table."""

    def __init__(self) -> None:
        self._shown_seconds = float("-inf")

    def show(self, what: str, done: int, total: int) -> None:
        now_seconds = time.monotonic()
        if done < total and now_seconds - self._shown_seconds < PROGRESS_SECONDS:
            return
        self._shown_seconds = now_seconds
        print(f"checking {what}: {done:,} of {total:,}", file=sys.stderr)
