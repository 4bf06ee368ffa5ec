"""The check of a whole store: every seal, every index row against its task and back, every counter against a count.

Owns who may be checked and when. Must not know what is compared (see audit), nor repair anything. Reads one snapshot
from front to back, so its memory does not grow with the number of tasks. Runs on a thread or in a process of its own,
never on the loop.
"""

import time
from contextlib import ExitStack
from pathlib import Path

import lmdb

from appliance.engine import datafile
from appliance.engine.audit import Audit
from appliance.engine.disk import DirectoryLock
from appliance.engine.faults import DiskNotTrusted, StoreRefused
from appliance.engine.findings import FILE, KEY, Report
from appliance.engine.stamp import STAMP_KEY, turned_back
from appliance.engine.store import Store, open_read_only
from appliance.engine.tables import TABLE_NAMES
from appliance.engine.walk import Progress, Walk


def check(
    directory: Path,
    progress: Progress,
    *,
    online: Store | None = None,
    deadline_seconds: float | None = None,
) -> Report:
    """Check the store in `directory`, or the open store `online` while its node goes on.

    Damage is in the report and never an exception, but a damaged page can kill the reader: see apart. Raises
    StoreLocked where a node has the directory, StoreRefused where there is no store of this version, DeadlineExceeded
    (an online check holds an old snapshot, so it should have a deadline).
    """
    report = Report()
    deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds
    with ExitStack() as held:
        if online is not None:
            environment = online.environment
        else:
            if not (directory / datafile.DATA_NAME).is_file():
                raise StoreRefused(f"there is no store in {directory}")
            held.callback(DirectoryLock(directory).release)
            try:
                environment = held.enter_context(_open_whole(directory))
            except DiskNotTrusted as damage:
                report.add(FILE, None, b"", str(damage))
                return report
        try:
            databases = _databases(environment, report)
            walk = Walk(environment, databases, report, progress, deadline)
        except lmdb.Error as error:
            report.add(FILE, None, b"", f"the file cannot be read: {error}")
            return report
        held.callback(walk.close)
        Audit(walk).run()
    return report


def _open_whole(directory: Path) -> lmdb.Environment:
    path = directory / datafile.DATA_NAME
    datafile.fill_tail(path, datafile.inspect(path))
    return open_read_only(directory)


def _databases(environment: lmdb.Environment, report: Report) -> "dict[int, lmdb._Database]":
    """The handles of the tables that are there; the others, and tables that nobody knows, are findings."""
    databases = {}
    for table, name in enumerate(TABLE_NAMES):
        try:
            databases[table] = environment.open_db(name.encode(), create=False)
        except lmdb.Error as error:
            report.add(FILE, table, b"", f"the table cannot be opened: {error}")
    known = {STAMP_KEY, *(name.encode() for name in TABLE_NAMES)}
    with environment.begin() as snapshot, snapshot.cursor() as cursor:
        for found in cursor.iternext(keys=True, values=False):
            if found not in known:
                report.add(KEY, None, found, "there is a table of this name, which no part of the store knows")
        wrong = turned_back(snapshot)
        if wrong:
            report.add(FILE, None, STAMP_KEY, wrong)
    return databases
