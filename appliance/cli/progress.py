"""Progress of long work on standard error: enough to see life, little enough for a log.

Owns how often a line appears. Must not know what the work is.
"""

import sys
import time
from typing import Final

PROGRESS_SECONDS: Final = 1.0

_STEP: Final = 1024
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


class Progress:
    """Lines at most one a second, and one at the end of each step; none where it is `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._shown_seconds = float("-inf")

    def checked(self, table: str, done: int, total: int) -> None:
        """So many rows of a table were checked."""
        self._show(f"checking {table}: {done:,} of {total:,}", last=done >= total)

    def copied(self, done_bytes: int, total_bytes: int) -> None:
        """So much was copied."""
        self._show(f"copying: {size(done_bytes)} of {size(total_bytes)}", last=done_bytes >= total_bytes)

    def counted(self, what: str, done: int) -> None:
        """So many of an unknown number are done."""
        self._show(f"{what}: {done:,}", last=False)

    def _show(self, line: str, *, last: bool) -> None:
        now_seconds = time.monotonic()
        if self._quiet or (not last and now_seconds - self._shown_seconds < PROGRESS_SECONDS):
            return
        self._shown_seconds = now_seconds
        print(line, file=sys.stderr)


def size(count_bytes: float) -> str:
    """A number of bytes as people read it."""
    if count_bytes < _STEP:
        return f"{count_bytes:,.0f} bytes"
    for unit in _UNITS:
        count_bytes /= _STEP
        if count_bytes < _STEP or unit == _UNITS[-1]:
            break
    return f"{count_bytes:,.1f} {unit}"
