"""Walks the tables of one snapshot, and turns everything that cannot be read into findings.

Owns the seal, the layout and the order of keys, whether each leads to its row, the progress, and the deadline of a
check. Must not know what rows mean to each other.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import lmdb

from appliance.engine.faults import DeadlineExceeded
from appliance.engine.findings import FILE, KEY, ROW, SEAL, Report
from appliance.engine.rows import DamagedRow, unseal
from appliance.engine.tables import (
    AUDIT,
    AUDIT_KEY_BYTES,
    BODY,
    CONTROL,
    DEAD,
    DEAD_KEY_BYTES,
    DUE,
    EXPIRE,
    ID_BYTES,
    IDEM,
    IDEM_PLAIN_BYTES,
    KEY_BYTES_MAX,
    LAPSED,
    LEASE,
    LETTER,
    META,
    NAME,
    OUTBOX,
    POST,
    QUEUE,
    QUEUE_BYTES,
    READY,
    READY_KEY_BYTES,
    STATE,
    SUBSCRIPTION,
    TABLE_NAMES,
    TENANT_BYTES,
    TIME_KEY_BYTES,
)

Progress = Callable[[str, int, int], None]
"""Called with a table's name, rows done, rows in all."""

_STEP_ROWS: Final = 1 << 16
"""Rows between two calls of the progress: a few times per second."""

_RENEWALS_MAX: Final = 1000
"""Damaged pages after which the rest counts as unreadable: a damaged order of keys must not lead round for ever."""

_LENGTHS: Final[dict[int, tuple[int, int]]] = {
    BODY: (ID_BYTES, ID_BYTES),
    STATE: (ID_BYTES, ID_BYTES),
    READY: (READY_KEY_BYTES, READY_KEY_BYTES),
    LEASE: (TIME_KEY_BYTES, TIME_KEY_BYTES),
    DUE: (TIME_KEY_BYTES, TIME_KEY_BYTES),
    EXPIRE: (TIME_KEY_BYTES, TIME_KEY_BYTES),
    IDEM: (QUEUE_BYTES + 1, QUEUE_BYTES + IDEM_PLAIN_BYTES + 1),
    QUEUE: (QUEUE_BYTES, QUEUE_BYTES),
    NAME: (2, KEY_BYTES_MAX),
    META: (1, KEY_BYTES_MAX),
    LETTER: (ID_BYTES, ID_BYTES),
    OUTBOX: (ID_BYTES, ID_BYTES),
    POST: (TIME_KEY_BYTES, TIME_KEY_BYTES),
    LAPSED: (TIME_KEY_BYTES, TIME_KEY_BYTES),
    DEAD: (DEAD_KEY_BYTES, DEAD_KEY_BYTES),
    CONTROL: (TENANT_BYTES, QUEUE_BYTES),
    AUDIT: (AUDIT_KEY_BYTES, AUDIT_KEY_BYTES),
    SUBSCRIPTION: (TENANT_BYTES + ID_BYTES, TENANT_BYTES + ID_BYTES),
}

_Row = TypeVar("_Row")


class Walk:
    """One snapshot of a store under check. `broken` holds the tables that could not be read to their end.

    LMDB gives a snapshot up when it meets a damaged page, so the walk then begins another one and goes on behind the
    last key. Without a writer they are the same; beside one, findings after a damaged page may come from its writes.
    """

    def __init__(
        self,
        environment: lmdb.Environment,
        databases: "dict[int, lmdb._Database]",
        report: Report,
        progress: Progress,
        deadline: float | None,
    ) -> None:
        self.report = report
        self.broken: set[int] = set()
        self._environment = environment
        self._snapshot = environment.begin()
        self._renewals = 0
        self._databases = databases
        self._progress = progress
        self._deadline = deadline

    def close(self) -> None:
        """End the snapshot."""
        self._snapshot.abort()

    def rows(self, table: int) -> Iterator[tuple[bytes, bytes | None]]:
        """Every row of a table in key order; None in place of a content that is damaged.

        Raises DeadlineExceeded.
        """
        done = 0
        try:
            for done, (key, row) in enumerate(self._raw_rows(table), 1):
                yield key, self._unsealed(table, key, row)
                if not self.has(table, key):
                    self.report.add(KEY, table, key, "the row is there and cannot be found by its key")
                if done % _STEP_ROWS == 0:
                    self._step(table, done)
        except lmdb.Error as error:
            self.broken.add(table)
            self.report.add(FILE, table, b"", f"the table cannot be read beyond row {done}: {error}")
            self._renew()
        self.report.rows[TABLE_NAMES[table]] = done
        self._progress(TABLE_NAMES[table], done, done)

    def has(self, table: int, key: bytes) -> bool:
        """Whether a row is there; its seal is the walk's affair. True where that cannot be told."""
        if table not in self._databases:
            return True
        try:
            return self._snapshot.get(key, None, self._databases[table]) is not None
        except lmdb.Error as error:
            self._unreadable(table, key, error)
            return True

    def value(self, table: int, key: bytes, decode: Callable[[bytes], _Row]) -> tuple[bool, _Row | None]:
        """Whether a row is there (True where that cannot be told), and its value where it is sound."""
        try:
            row = self._snapshot.get(key, None, self._databases[table]) if table in self._databases else b""
            return (True, decode(unseal(table, key, row))) if row is not None else (table in self.broken, None)
        except lmdb.Error as error:
            self._unreadable(table, key, error)
            return True, None
        except (DamagedRow, ValueError):
            # The walk over that table reports it.
            return True, None

    def decoded(self, table: int, key: bytes, content: bytes | None, decode: Callable[[bytes], _Row]) -> _Row | None:
        """The value of a row that was walked; None, and a finding, where it makes none."""
        if content is None:
            return None
        try:
            return decode(content)
        except ValueError as error:
            self.report.add(ROW, table, key, f"cannot be decoded: {error}")
            return None

    def _raw_rows(self, table: int) -> Iterator[tuple[bytes, bytes]]:
        if table not in self._databases:
            return
        shortest, longest = _LENGTHS[table]
        before = b""
        snapshot = None
        while snapshot is not self._snapshot:
            snapshot = self._snapshot
            with snapshot.cursor(self._databases[table]) as cursor:
                if not cursor.set_range(before + b"\0" if before else b""):
                    return
                for key, row in cursor:
                    if not shortest <= len(key) <= longest:
                        self.report.add(KEY, table, key, f"a key of {len(key)} bytes does not belong here")
                    elif key <= before:
                        self.report.add(KEY, table, key, "the key is out of order")
                    before = key
                    yield key, row
                    if self._snapshot is not snapshot:
                        break

    def _unsealed(self, table: int, key: bytes, row: bytes) -> bytes | None:
        try:
            return unseal(table, key, row)
        except DamagedRow:
            self.report.add(SEAL, table, key, "the checksum does not match")
            return None

    def _unreadable(self, table: int, key: bytes, error: lmdb.Error) -> None:
        if table not in self.broken:
            self.report.add(FILE, table, key, f"cannot be read: {error}")
        self._renew()

    def _renew(self) -> None:
        if self._renewals < _RENEWALS_MAX:
            self._renewals += 1
            self._snapshot.abort()
            self._snapshot = self._environment.begin()

    def _step(self, table: int, done: int) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise DeadlineExceeded(f"the check was given up at its deadline, in table {TABLE_NAMES[table]}")
        self._progress(TABLE_NAMES[table], done, self._snapshot.stat(self._databases[table])["entries"])
