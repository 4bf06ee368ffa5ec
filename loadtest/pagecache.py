"""A file's place in the page cache: brought in, thrown out, and how much of it is there.

Owns the system calls. Linux only.
"""

import ctypes
import mmap
import os
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 16 << 20
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


def read_through(path: Path) -> None:
    """Read a whole file, so that as much of it as memory holds is in the cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(_CHUNK_BYTES):
            pass


def drop(path: Path) -> None:
    """Ask for a file to be thrown out; nobody may have it mapped. `resident_share` tells what came of it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident_share(path: Path) -> float:
    """The part of a file's pages that is in memory now, 0 to 1. Raises OSError."""
    size = path.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    library.mincore.argtypes = library.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    library.mincore.argtypes += (ctypes.c_char_p,)
    with path.open("rb") as file:
        start = library.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if start == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), f"{path} cannot be mapped")
    held = ctypes.create_string_buffer(pages)
    failed = library.mincore(start, size, held)
    number = ctypes.get_errno()
    library.munmap(start, size)
    if failed:
        raise OSError(number, "mincore failed")
    return sum(each & 1 for each in held.raw) / pages
