"""What the C library's allocator does with memory that is freed.

Owns two of its thresholds. By default it gives freed memory at the end of a heap back to the system once that is about
twice as large as its largest block. Groups with payloads of hundreds of kilobytes free and ask for a megabyte each,
which then comes back by one page fault for each of its pages, many of them while the loop is parked.
"""

import ctypes
from typing import Final

KEPT_BYTES: Final = 16 << 20
"""What each heap keeps at its end: a few of the largest messages and of the largest groups. Idle, it's swapped like any
other memory."""

LARGE_BYTES: Final = 8 << 20
"""Blocks of more than this are the system's own, and go back to it at once: no message is that large. A message is put
together in a block that grows, and is copied when it's whole."""

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Of malloc.h. To set one of them ends the adjustment of both."""


def keep_freed_memory() -> bool:
    """For the whole process. False where the C library has no such thresholds."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGE_BYTES) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
