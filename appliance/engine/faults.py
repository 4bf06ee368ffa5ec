"""What can be wrong with a store as a whole, in one place.

Owns the exceptions that the engine raises beyond a single damaged row, the exit status that each one gives a process
which cannot go on, and what an error of LMDB or the system means. Must not know who catches them.

    StoreError                  exit status
    ├── StoreLocked             75   another process has the directory: try again later
    ├── NoSpace                 75   disk or map is full: the group failed, the store is intact, room helps
    ├── DeadlineExceeded        75   a bounded job on the store took too long and was given up
    ├── StoreRefused            78   the configuration points at something this node must not use
    └── DiskNotTrusted          74   the disk failed or the file is damaged: nothing more may be acknowledged
"""

import errno
from typing import Final

import lmdb

STATUS_DISK_NOT_TRUSTED: Final = 74
STATUS_TRY_AGAIN: Final = 75
STATUS_CONFIGURATION: Final = 78

FULL_DISK_BYTES: Final = 4 << 20
"""With less than this free, a disk counts as full: file systems keep a little that they report and do not give."""

_NO_SPACE_CODES: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


class StoreError(Exception):
    """The store cannot be used; the message says why and what to do, `exit_status` is for a process that ends."""

    exit_status: int = STATUS_CONFIGURATION


class StoreLocked(StoreError):
    """Another process, or another part of this one, has the directory open."""

    exit_status = STATUS_TRY_AGAIN


class NoSpace(StoreError):
    """No room on the disk or in the map. The group failed as a whole and the store is as it was before it."""

    exit_status = STATUS_TRY_AGAIN


class DeadlineExceeded(StoreError):
    """A job that holds an old snapshot took longer than it was allowed, because a long reader makes the file grow."""

    exit_status = STATUS_TRY_AGAIN


class StoreRefused(StoreError):
    """The directory is on a network file system, or holds something that is not a store of this version."""


class DiskNotTrusted(StoreError):
    """Reading, writing or syncing failed, or the file is damaged. A process that meets this ends."""

    exit_status = STATUS_DISK_NOT_TRUSTED


def failure(error: BaseException, disk_free_bytes: int) -> StoreError:
    """What an error while writing means: NoSpace, or DiskNotTrusted, with the error as its cause.

    LMDB reports a write that was cut short as EIO, and that is how most full disks show. On a full disk EIO therefore
    counts as no space. That is safe even where it came from a flush: pages of a failed group are never referred to and
    are written anew before they are, and after a failed write of a meta page LMDB refuses every later group.
    """
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    # DiskError is the name that LMDB's binding gives to ENOSPC, and to nothing else.
    full = isinstance(error, lmdb.MapFullError | lmdb.DiskError) or code in _NO_SPACE_CODES
    if full or (code == errno.EIO and disk_free_bytes < FULL_DISK_BYTES):
        meaning: StoreError = NoSpace(f"no space left for the store: {error}")
    else:
        meaning = DiskNotTrusted(f"the store could not be written: {type(error).__name__}: {error}")
    meaning.__cause__ = error
    return meaning
