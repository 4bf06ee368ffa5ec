"""The reader thread: it reads rows that the loop is about to need, so that their pages are in memory by then.

Owns a bounded line of jobs, a thread, and a short read transaction per job. Must not know what a row means. It changes
nothing and returns nothing: whoever is refused, or finds a page cold again, goes on without and waits for the disk.

LMDB's binding reads a value's pages while the interpreter's lock is let go, and hands out a view instead of a copy, so
a cold page stops this thread and not the loop.

Each row costs the loop a moment of that lock, though. So of many rows a sample is read first, and the rest only where
that had to wait for the disk. Neighbours lie on one page, so that a sample of them meets nearly every page.
"""

import queue
import resource
import threading
from collections.abc import Callable, Sequence
from typing import Final

import lmdb

from appliance.engine.store import Store

JOBS_MAX: Final = 64
"""More waiting jobs than this would be answered long after the loop has read the rows itself."""

SAMPLED: Final = 16
"""One row of so many is read first."""

Row = tuple[int, bytes]
"""A table and a key."""

Range = tuple[int, bytes, bytes, int]
"""A table, the lowest key, the key to stop before, and the most rows to read."""

_Job = tuple[Sequence[Row], Sequence[Range], Callable[[], None]]


class Toucher:
    """Reads rows ahead of the loop. `touch` and `stop` are for the loop; `loop_call` must be safe from any thread."""

    __slots__ = ("_databases", "_environment", "_jobs", "_loop_call", "_stopped", "_thread", "errors")

    def __init__(self, store: Store, loop_call: Callable[..., object]) -> None:
        self.errors = 0
        """Jobs that LMDB could not read to their end. The loop meets the same error when it reads, and reports it."""
        self._environment = store.environment
        self._databases = store.databases
        self._loop_call = loop_call
        self._jobs: queue.Queue[_Job | None] = queue.Queue(JOBS_MAX + 1)
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="toucher", daemon=True)
        self._thread.start()

    def touch(self, rows: Sequence[Row], ranges: Sequence[Range], done: Callable[[], None]) -> bool:
        """Read these rows and ranges in the background as far as they may be cold, then call `done` on the loop.

        False where the line is full or the thread was stopped: nothing happens, and `done` is never called.
        """
        # One place stays for the end mark, so that `stop` never waits for room.
        if self._stopped or self._jobs.qsize() >= JOBS_MAX:
            return False
        self._jobs.put_nowait((rows, ranges, done))
        return True

    def stop(self) -> None:
        """End the thread after the job under way; waiting jobs are dropped and their `done` is not called."""
        if not self._stopped:
            self._stopped = True
            self._jobs.put_nowait(None)
            self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopped:
            rows, ranges, done = job
            try:
                self._read(rows, ranges)
            except lmdb.Error:
                self.errors += 1
            self._loop_call(done)

    def _read(self, rows: Sequence[Row], ranges: Sequence[Range]) -> None:
        with self._environment.begin(buffers=True) as snapshot:
            before = _major_faults()
            self._read_rows(snapshot, rows[::SAMPLED])
            if _major_faults() != before:
                self._read_rows(snapshot, rows)
            for table, low, high, limit in ranges:
                self._read_range(snapshot, table, low, high, limit)

    def _read_rows(self, snapshot: "lmdb.Transaction[memoryview]", rows: Sequence[Row]) -> None:
        for table, key in rows:
            snapshot.get(key, None, self._databases[table])

    def _read_range(
        self, snapshot: "lmdb.Transaction[memoryview]", table: int, low: bytes, high: bytes, limit: int
    ) -> None:
        with snapshot.cursor(self._databases[table]) as cursor:
            found = limit > 0 and cursor.set_range(low)
            while found and bytes(cursor.key()) < high:
                limit -= 1
                found = limit > 0 and cursor.next()


def _major_faults() -> int:
    """How often this thread has waited for the disk to read a page."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
