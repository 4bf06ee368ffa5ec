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

_Job = tuple[Sequence[int], Sequence[bytes], Callable[[], None]]


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

    def touch(self, tables: Sequence[int], keys: Sequence[bytes], done: Callable[[], None]) -> bool:
        """Read the rows with these keys in each of the tables in the background, as far as they may be cold, then call
        `done` on the loop.

        False where the line is full or the thread was stopped: nothing happens, and `done` is never called.
        """
        # One place stays for the end mark, so that `stop` never waits for room.
        if self._stopped or self._jobs.qsize() >= JOBS_MAX:
            return False
        self._jobs.put_nowait((tables, keys, done))
        return True

    def stop(self) -> None:
        """End the thread after the job under way; waiting jobs are dropped and their `done` is not called."""
        if not self._stopped:
            self._stopped = True
            self._jobs.put_nowait(None)
            self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopped:
            tables, keys, done = job
            try:
                self._read(tables, keys)
            except lmdb.Error:
                self.errors += 1
            self._loop_call(done)

    def _read(self, tables: Sequence[int], keys: Sequence[bytes]) -> None:
        with self._environment.begin(buffers=True) as snapshot:
            before = _major_faults()
            self._read_rows(snapshot, tables, keys[::SAMPLED])
            if _major_faults() != before:
                self._read_rows(snapshot, tables, keys)

    def _read_rows(
        self, snapshot: "lmdb.Transaction[memoryview]", tables: Sequence[int], keys: Sequence[bytes]
    ) -> None:
        for table in tables:
            database = self._databases[table]
            for key in keys:
                snapshot.get(key, None, database)


def _major_faults() -> int:
    """How often this thread has waited for the disk to read a page."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
