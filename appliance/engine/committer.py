"""The committer: one thread that makes groups durable and does nothing else.

Owns the hand-over between the loop and its thread, the write transaction, and what an error of the disk means. Must not
know what a row means, nor whom a group answers. `submit` and `stop` run on the loop; `_work` is the thread.

LMDB wants begin and commit on one thread, and its binding lets go of the interpreter's lock around every single put,
so puts beside a running loop would wait for the loop each time. Therefore the loop parks: it waits blocked until the
puts and deletes are done. The commit itself, with its flushes, runs without the interpreter's lock, beside the loop.

    loop    submit ─ parked ────────┐ runs on ……………………………………┌ completion
    thread          begin, puts ────┴ commit (write, flush) ──┘
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple

import lmdb

from appliance.engine import crashpoints
from appliance.engine.crashpoints import reach
from appliance.engine.faults import FULL_DISK_BYTES, DiskNotTrusted, StoreError, failure
from appliance.engine.group import TableWrites
from appliance.engine.stamp import stamp
from appliance.engine.store import Store

_NS_PER_MS: Final = 1_000_000


class CommitTimes(NamedTuple):
    """How long the loop was parked and how long the commit took, in milliseconds, and how many rows it wrote."""

    parked_ms: float
    commit_ms: float
    rows: int


class Committer:
    """Makes one group at a time durable.

    Every submitted group comes back exactly once, on the loop, through `loop_call` (which must be safe to call from
    another thread): `on_durable(number, times)` or `on_failed(number, error)`. The error is NoSpace where the group
    failed whole and the store is intact, and DiskNotTrusted for all else; after the latter no group is taken any more
    and the process has to end.
    """

    __slots__ = (
        "_applied",
        "_came_back",
        "_databases",
        "_environment",
        "_fatal",
        "_given",
        "_job",
        "_loop_call",
        "_on_durable",
        "_on_failed",
        "_store",
        "_thread",
        "busy",
    )

    def __init__(
        self,
        store: Store,
        loop_call: Callable[..., object],
        on_durable: Callable[[int, CommitTimes], None],
        on_failed: Callable[[int, StoreError], None],
    ) -> None:
        self.busy = False
        """Whether a group has been submitted and has not come back. Changes on the loop only."""
        self._store = store
        self._environment = store.environment
        self._databases = store.databases
        self._loop_call = loop_call
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._fatal: StoreError | None = None
        self._job: tuple[int, list[TableWrites]] | None = None
        self._came_back: Callable[[], None] | None = None
        # Both locks are held from the start; each is let go by one side and taken by the other.
        self._given = threading.Lock()
        self._applied = threading.Lock()
        self._given.acquire()
        self._applied.acquire()
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)
        self._thread.start()

    @property
    def group(self) -> int | None:
        """The number of the group that was submitted and has not come back."""
        job = self._job
        return job[0] if self.busy and job is not None else None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        """Hand over a closed group and wait, blocked, until its rows are in the transaction.

        Raises RuntimeError where a group is under way or the committer was stopped, DiskNotTrusted after a fatal error.
        """
        if self._fatal is not None:
            raise self._fatal
        if self.busy or not self._thread.is_alive():
            raise RuntimeError(f"group {number} was submitted while the committer is busy or stopped")
        self.busy = True
        self._job = (number, writes)
        self._given.release()
        self._applied.acquire()

    def look(self) -> None:
        """If the group has come back, say so now. It is looked for in the next turn of the loop anyway; a long turn may
        look before."""
        came_back = self._came_back
        if came_back is not None:
            self._came_back = None
            came_back()

    def stop(self) -> None:
        """End the thread after the commit that is under way, whose completion still comes if the loop turns again.

        Harmless when repeated.
        """
        if self._thread.is_alive():
            self._job = None
            self._given.release()
            self._thread.join()

    def _work(self) -> None:
        while True:
            self._given.acquire()
            job = self._job
            if job is None:
                return
            number, writes = job
            try:
                times = self._commit(writes)
            except BaseException as error:  # noqa: BLE001  # it travels with the group; the thread stays to be stopped
                self._came_back = partial(self._failed, number, failure(error, self._disk_free_bytes()))
            else:
                reach(crashpoints.BEFORE_COMPLETION)
                self._came_back = partial(self._durable, number, times)
            self._loop_call(self.look)

    def _commit(self, writes: list[TableWrites]) -> CommitTimes:
        began_ns = time.perf_counter_ns()
        with ExitStack() as transaction:
            try:
                reach(crashpoints.BEFORE_BEGIN)
                txn = transaction.enter_context(self._environment.begin(write=True))
                reach(crashpoints.BEGUN)
                rows = self._apply(txn, writes)
                applied_ns = time.perf_counter_ns()
            finally:
                self._applied.release()
            reach(crashpoints.BEFORE_COMMIT)
        done_ns = time.perf_counter_ns()
        return CommitTimes((applied_ns - began_ns) / _NS_PER_MS, (done_ns - applied_ns) / _NS_PER_MS, rows)

    def _apply(self, txn: "lmdb.Transaction[bytes]", writes: list[TableWrites]) -> int:
        rows = 0
        for table, deletes, puts in writes:
            database = self._databases[table]
            for key in deletes:
                txn.delete(key, b"", database)
            if deletes:
                reach(crashpoints.DELETED[table])
            if puts:
                with txn.cursor(database) as cursor:
                    cursor.putmulti(puts)
            rows += len(deletes) + len(puts)
            reach(crashpoints.APPLIED[table])
        if rows:
            stamp(txn)
        return rows

    def _disk_free_bytes(self) -> int:
        try:
            return self._store.free_bytes()
        except OSError:
            # Unknown is not full: the error of the group keeps its own meaning.
            return FULL_DISK_BYTES

    def _durable(self, number: int, times: CommitTimes) -> None:
        reach(crashpoints.AT_COMPLETION)
        self.busy = False
        self._on_durable(number, times)

    def _failed(self, number: int, error: StoreError) -> None:
        self.busy = False
        if isinstance(error, DiskNotTrusted):
            self._fatal = error
        self._on_failed(number, error)
