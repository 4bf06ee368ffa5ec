"""Backup and restore: copies of a store that were checked before they got their name.

Owns the order: room, copy, check, name; and the names of a series of backups. Must not know how a copy is made (copy)
or what a check looks for (check), nor where anything is printed. Never replaces or changes what is there.

A backup is a directory with one file, `data.mdb`: one moment of the store. It is made beside a running node, by another
process, through LMDB's own table of readers.
"""

import datetime
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.engine import datafile
from appliance.engine.apart import check_apart
from appliance.engine.copy import copy
from appliance.engine.disk import (
    LOCK_NAME,
    DirectoryLock,
    free_bytes,
    in_use,
    make_directory,
    sync_names,
)
from appliance.engine.faults import DiskNotTrusted, NoSpace, StoreError, StoreLocked, StoreRefused
from appliance.engine.findings import Report
from appliance.engine.store import Store, is_older, open_beside, open_read_only
from appliance.engine.tables import BODY, TABLE_NAMES
from appliance.engine.walk import Progress

STATUS_DAMAGED: Final = 1

_RESTORING_NAME: Final = "restore.partial"
_RESTORE_SECONDS_MAX: Final = 7 * 86_400
"""Nobody waits for the snapshot of a backup, so this bounds nothing but a mistake."""

_STAMP: Final = "%Y%m%dT%H%M%SZ"
_BLOCK_BYTES: Final = 512
"""The unit of st_blocks, whatever the file system's own is."""

_STAMPED: Final = re.compile(r"\d{8}T\d{6}Z")


class CopyDamaged(StoreError):
    """The copy is whole but the store in it is not sound; `report` says what was found. Nothing was kept."""

    exit_status = STATUS_DAMAGED

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that is in place: its directory, its size, how many tasks it holds, and how long each step took."""

    directory: Path
    size_bytes: int
    tasks: int
    copy_seconds: float
    check_seconds: float
    report: Report


@dataclass(frozen=True, slots=True)
class Progresses:
    """Who hears of progress: of the copy (bytes done, bytes in all), and of the check (table, rows done, rows)."""

    copy: Callable[[int, int], None]
    check: Progress


def backup(
    directory: Path,
    target: Path,
    progresses: Progresses,
    *,
    deadline_seconds: float,
    compact: bool = False,
    accept_damage: bool = False,
) -> Copied:
    """Copy the store in `directory`, whether a node has it open or not, into the new directory `target`, and check it.

    Beside a running node the copy holds an old snapshot, so it is given up after `deadline_seconds`; the check comes
    after that, on the copy. Raises CopyDamaged where the check finds something, unless that is accepted, and what
    `copy` raises; nothing is left then.
    """
    if target.exists():
        raise StoreRefused(f"the target {target} exists already: choose a new directory")
    verdict = _Verdict(progresses.check, accept_damage=accept_damage)
    with open_beside(directory) as environment:
        expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        # A compact copy may need much less, and nobody knows before.
        if not compact:
            _require_room(target, expected)
        started = time.monotonic()
        size = copy(environment, target, deadline_seconds, progresses.copy, compact=compact, judge=verdict.judge)
    copy_seconds = time.monotonic() - started - verdict.seconds
    return Copied(target, size, verdict.tasks, copy_seconds, verdict.seconds, verdict.report)


def restore(source: Path, directory: Path, progresses: Progresses, *, accept_damage: bool = False) -> Copied:
    """Put the backup `source` into `directory`, which must not hold a store yet, and check it there first.

    The file belongs to the owner of `directory`, and a store of an older format is brought up. Raises StoreLocked where
    a node has either of them open, StoreRefused where there is a store already or none in `source`, NoSpace,
    DiskNotTrusted, or CopyDamaged as `backup` does, and leaves nothing then.
    """
    origin = source / datafile.DATA_NAME
    if not origin.is_file():
        raise StoreRefused(f"there is no backup in {source}: it has no {datafile.DATA_NAME}")
    if in_use(source):
        raise StoreLocked(f"{source} is the directory of a running node: make a backup of it first")
    datafile.inspect(origin)
    make_directory(directory)
    owner = directory.stat()
    lock = DirectoryLock(directory)
    try:
        if (directory / datafile.DATA_NAME).exists():
            raise StoreRefused(f"{directory} holds a store already, which is never overwritten: move it away first")
        return _restore(origin, directory, owner, progresses, accept_damage=accept_damage)
    finally:
        lock.release()


def stamped(parent: Path, now: datetime.datetime) -> Path:
    """The directory in `parent` for a backup made at `now` (UTC): names in the order of time."""
    return parent / now.strftime(_STAMP)


def prune(parent: Path, keep: int) -> list[Path]:
    """Remove the oldest backups in `parent`, but not the latest `keep`; what was removed.

    Only directories that `stamped` named and that hold a store are touched. Raises StoreRefused where one can't be.
    """
    series = sorted(
        path
        for path in parent.iterdir()
        if _STAMPED.fullmatch(path.name) and path.is_dir() and (path / datafile.DATA_NAME).is_file()
    )
    old = series[:-keep]
    for path in old:
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise StoreRefused(f"cannot remove the old backup {path}: {error.strerror}") from error
    return old


class _Verdict:
    """The check of a copy before it gets its name."""

    def __init__(self, progress: Progress, *, accept_damage: bool) -> None:
        self.report = Report()
        self.seconds = 0.0
        self._progress = progress
        self._accept_damage = accept_damage

    @property
    def tasks(self) -> int:
        """How many tasks the copy holds."""
        return self.report.rows.get(TABLE_NAMES[BODY], 0)

    def bring_up_and_judge(self, directory: Path) -> None:
        """The same for a store of an older format."""
        Store.open(directory, allow_remote=True).close()
        self.judge(directory)

    def judge(self, directory: Path) -> None:
        """Check the copy in `directory` and leave only the data there. Raises CopyDamaged."""
        started = time.monotonic()
        self.report = check_apart(directory, self._progress)
        (directory / LOCK_NAME).unlink(missing_ok=True)
        self.seconds = time.monotonic() - started
        if not self.report.clean and not self._accept_damage:
            raise CopyDamaged("the check of the copy found damage, so it was not kept", self.report)


def _restore(
    origin: Path, directory: Path, owner: os.stat_result, progresses: Progresses, *, accept_damage: bool
) -> Copied:
    _require_room(directory / datafile.DATA_NAME, origin.stat().st_blocks * _BLOCK_BYTES)
    partial = directory / _RESTORING_NAME
    # The lock is ours, so whoever left this there is gone.
    shutil.rmtree(partial, ignore_errors=True)
    verdict = _Verdict(progresses.check, accept_damage=accept_damage)
    try:
        with open_read_only(origin.parent, older=True) as environment:
            judge = verdict.bring_up_and_judge if is_older(environment) else verdict.judge
            started = time.monotonic()
            copy(environment, partial, _RESTORE_SECONDS_MAX, progresses.copy, judge=judge)
            copy_seconds = time.monotonic() - started - verdict.seconds
        size = (partial / datafile.DATA_NAME).stat().st_size
        _give(partial / datafile.DATA_NAME, owner)
        (partial / datafile.DATA_NAME).rename(directory / datafile.DATA_NAME)
        sync_names(directory)
    except OSError as error:
        raise DiskNotTrusted(f"the store could not be put into {directory}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Copied(directory, size, verdict.tasks, copy_seconds, verdict.seconds, verdict.report)


def _require_room(path: Path, wanted_bytes: int) -> None:
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    free = free_bytes(existing)
    if free < wanted_bytes:
        raise NoSpace(f"the copy needs {wanted_bytes} bytes and {existing} has {free} left")


def _give(path: Path, owner: os.stat_result) -> None:
    """Let the owner of the directory have what root made in it."""
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
