"""A consistent copy of a live store, made while writes go on.

Owns the copy's directory until it is whole, and its deadline. Must not know tables or rows. Runs on a thread of its
own, never on the loop; the store must stay open until it returns.

LMDB streams one snapshot into a pipe, without the interpreter's lock, and this thread moves it to the disk. The pipe
is what makes a deadline possible: when its reading end closes, LMDB stops and lets go of the snapshot, which would
otherwise keep every page freed meanwhile and let the file grow. A timer closes it, since this thread may be stuck in a
write to a disk that does not answer.
"""

import contextlib
import errno
import fcntl
import os
import select
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb

from appliance.engine import crashpoints
from appliance.engine.crashpoints import reach
from appliance.engine.datafile import DATA_NAME
from appliance.engine.disk import sync, sync_names
from appliance.engine.faults import DeadlineExceeded, DiskNotTrusted, NoSpace, StoreError, StoreRefused
from appliance.engine.store import databases_of, open_read_only

_PIPE_BYTES: Final = 1 << 20
"""The most that an unprivileged process gets by default: few wake-ups per megabyte."""

_MS_PER_SECOND: Final = 1000


def copy(
    environment: lmdb.Environment,
    target: Path,
    deadline_seconds: float,
    progress: Callable[[int, int], None],
    *,
    compact: bool = False,
    judge: Callable[[Path], None] | None = None,
) -> int:
    """Copy the store behind `environment` into the new directory `target`; returns the size of the copy in bytes.

    `progress(bytes_done, bytes_expected)` is called about once per megabyte. `compact` leaves free pages out, for more
    processor time. The copy is on the disk when this returns, and `judge` has had the directory that it lies in, after
    the end of the snapshot and before the copy got its name; without one the copy is opened and each table touched. On
    any error, also one that `judge` raises, nothing is left: StoreRefused where the target exists or cannot be made,
    DeadlineExceeded, NoSpace, or DiskNotTrusted.
    """
    if target.exists():
        raise StoreRefused(f"the target {target} exists already: choose a new directory")
    partial = target.with_name(target.name + ".partial")
    try:
        partial.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise StoreRefused(f"cannot make {partial}: {error.strerror}; remove it if a copy was interrupted") from error
    reach(crashpoints.COPY_BEGUN)
    try:
        size = _stream(environment, partial / DATA_NAME, time.monotonic() + deadline_seconds, progress, compact)
        reach(crashpoints.COPY_WRITTEN)
        sync(partial)
        (judge or _verify)(partial)
        reach(crashpoints.COPY_VERIFIED)
        partial.rename(target)
        reach(crashpoints.COPY_NAMED)
        sync_names(target.parent)
    except OSError as error:
        raise _meaning(error, target) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return size


def _stream(
    environment: lmdb.Environment,
    path: Path,
    deadline: float,
    progress: Callable[[int, int], None],
    compact: bool,
) -> int:
    source = _Source(environment, compact, deadline)
    try:
        with open(path, "xb", buffering=0, opener=_private) as file:
            size = _move(source.reading_end, file.fileno(), deadline, progress, source.bytes_expected)
            os.fsync(file.fileno())
    finally:
        source.close()
    if source.error is not None:
        raise DiskNotTrusted(f"the store could not be read while it was copied: {source.error}") from source.error
    return size


class _Source:
    """A thread in which LMDB writes one snapshot into a pipe."""

    def __init__(self, environment: lmdb.Environment, compact: bool, deadline: float) -> None:
        self.error: lmdb.Error | None = None
        info = environment.info()
        self.bytes_expected = (info["last_pgno"] + 1) * environment.stat()["psize"]
        self.reading_end, self._writing_end = os.pipe()
        # A user with many pipes gets smaller ones: slower, not wrong.
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(self.reading_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._thread = threading.Thread(target=self._write, args=(environment, compact), name="copy", daemon=True)
        self._thread.start()
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        """Put an empty file in the place of the pipe: its reader finds the end, and LMDB that nobody reads."""
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), self.reading_end, inheritable=False)

    def _write(self, environment: lmdb.Environment, compact: bool) -> None:
        try:
            environment.copyfd(self._writing_end, compact=compact)
        except lmdb.Error as error:
            self.error = error
        finally:
            os.close(self._writing_end)

    def close(self) -> None:
        """Stop the thread, at the latest with its next write, and so end the snapshot."""
        self._timer.cancel()
        self._timer.join()
        os.close(self.reading_end)
        self._thread.join()


def _move(pipe: int, file: int, deadline: float, progress: Callable[[int, int], None], bytes_expected: int) -> int:
    arrival = select.poll()
    arrival.register(pipe, select.POLLIN)
    done = 0
    while True:
        left_seconds = deadline - time.monotonic()
        if left_seconds <= 0 or not arrival.poll(left_seconds * _MS_PER_SECOND):
            raise DeadlineExceeded(f"the copy was given up at its deadline, after {done} of {bytes_expected} bytes")
        chunk = os.read(pipe, _PIPE_BYTES)
        if not chunk and time.monotonic() < deadline:
            return done
        done += len(chunk)
        while chunk:
            chunk = chunk[os.write(file, chunk) :]
        progress(done, max(done, bytes_expected))


def _verify(directory: Path) -> None:
    with open_read_only(directory) as environment:
        databases = databases_of(environment)
        with environment.begin() as snapshot:
            for database in databases:
                with snapshot.cursor(database) as cursor:
                    cursor.first()
                    cursor.last()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _meaning(error: OSError, target: Path) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"no space for the copy at {target}")
    return DiskNotTrusted(f"the copy at {target} could not be written: {error.strerror}")
