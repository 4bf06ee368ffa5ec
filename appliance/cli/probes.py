"""What the machine says when it is asked: the time of a flush, the clock, limits of processes, address space.

Owns the questions. Must not know which answers are good: that is the doctor's.
"""

import ctypes
import mmap
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

FLUSHES: Final = 40
_FLUSH_BYTES: Final = 4_096
_TIMEX_BYTES: Final = 512
"""Room for the kernel's struct timex, which has 208 bytes."""
_TIME_ERROR: Final = 5


class Flush(NamedTuple):
    """How long small durable writes took, in milliseconds."""

    median_ms: float
    worst_ms: float


def flush(directory: Path) -> Flush:
    """Measure durable writes in an existing directory, in a file without a name. Raises OSError."""
    took_ms = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for number in range(FLUSHES):
            os.pwrite(file.fileno(), bytes(_FLUSH_BYTES), number * _FLUSH_BYTES)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - began) * 1_000)
    return Flush(statistics.median(took_ms), max(took_ms))


def clock_is_synchronized() -> bool | None:
    """Whether the kernel believes that something keeps its clock right; None where it does not say."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def address_space(wanted_bytes: int) -> bool:
    """Whether this process gets that much address space for reading."""
    try:
        mmap.mmap(-1, wanted_bytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def open_files_max(pid: int) -> int:
    """How many files a process may open: that one, or this one for 0."""
    if not pid:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
