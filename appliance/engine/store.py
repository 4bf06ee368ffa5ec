"""The store: one LMDB environment in one directory, and what decisions read through.

Owns opening (lock, file system, format, damage), the one read transaction that all reads of the loop share, the seal on
every row that is read, and the facts about the file. Must not know what a row means. Reads run on the loop's thread;
writes are the committer's. Exactly one environment exists per file and process: the directory's lock sees to that.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import lmdb

from appliance.engine import crashpoints, datafile
from appliance.engine.crashpoints import reach
from appliance.engine.disk import DirectoryLock, free_bytes, make_directory, refuse_remote, sync, sync_names
from appliance.engine.faults import DiskNotTrusted, StoreRefused, failure
from appliance.engine.rows import DamagedRow, decode_number, encode_row, seal, unseal, unseal_all
from appliance.engine.stamp import turned_back, writing
from appliance.engine.tables import META, TABLE_NAMES
from appliance.engine.upgrade import OLDEST_FORMAT, upgrade

FORMAT_VERSION: Final = 5
"""See upgrade for what each one added."""
FORMAT_KEY: Final = b"format"
MARK_KEY: Final = b"mark"

MAP_BYTES: Final = 4 << 40
"""Address space, not memory and not disk: a map that never has to grow."""

_READERS_NAME: Final = "lock.mdb"
_MAP_BYTES_MIN: Final = 1 << 30
_TABLES_MAX: Final = 32
_READERS_MAX: Final = 32
"""The loop, the reader thread, and a few bounded jobs such as copies."""

_SPARE_TRANSACTIONS: Final = 4
_LIBRARY: Final = 0
"""The bundled LMDB 0.9: the one whose crash behaviour has been measured."""


class StoreStats(NamedTuple):
    """Facts about the file. `used_bytes` are pages that hold rows, `free_bytes` pages that will be used again."""

    readers: int
    map_bytes: int
    file_bytes: int
    used_bytes: int
    free_bytes: int


class Store:
    """An open store. It is the Reader of the overlay; the committer and the reader thread use its environment.

    `get`, `get_all`, `scan` and `release` are for the loop's thread only. They raise DamagedRow for a row that is not
    what was written (`get_all` reports it), and DiskNotTrusted where LMDB itself cannot read on.
    """

    __slots__ = ("_lock", "_snapshot", "databases", "directory", "environment")

    def __init__(self, directory: Path, lock: DirectoryLock, environment: lmdb.Environment) -> None:
        self.directory = directory
        self.environment = environment
        self.databases = databases_of(environment)
        """LMDB's handles, by table number."""
        self._lock = lock
        self._snapshot: lmdb.Transaction[bytes] | None = None

    @classmethod
    def open(cls, directory: Path, *, map_bytes: int = MAP_BYTES, allow_remote: bool = False) -> Self:
        """Open the store in `directory`, or make an empty one there.

        `map_bytes` is tried first and less where the system refuses it. Raises a StoreError that says what to do.
        """
        make_directory(directory)
        if not allow_remote:
            refuse_remote(directory)
        lock = DirectoryLock(directory)
        try:
            reach(crashpoints.LOCKED)
            path = directory / datafile.DATA_NAME
            if not path.exists():
                _make_empty(directory)
            datafile.fill_tail(path, datafile.inspect(path))
            _make_durable(path)
            reach(crashpoints.FILE_WHOLE)
            environment = _open_environment(directory, map_bytes)
            try:
                if is_older(environment):
                    upgrade(environment, FORMAT_KEY, _format_of(environment), FORMAT_VERSION)
                require_sound(environment)
                reach(crashpoints.OPENED)
                return cls(directory, lock, environment)
            except BaseException:
                environment.close()
                raise
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the file and let go of the directory. Nothing may be using the store any more. Harmless repeated."""
        self.release()
        self.environment.close()
        self._lock.release()

    def get(self, table: int, key: bytes) -> bytes | None:
        """The content of one row, or None."""
        try:
            snapshot = self._snapshot
            if snapshot is None:
                snapshot = self._snapshot = self.environment.begin()
            row = snapshot.get(key, None, self.databases[table])
        except lmdb.BadValsizeError as error:
            raise ValueError(f"{key!r} cannot be a key") from error
        except lmdb.Error as error:
            raise unreadable(table, error) from error
        return None if row is None else unseal(table, key, row)

    def get_all(self, table: int, keys: Sequence[bytes], on_damage: Callable[[DamagedRow], None]) -> dict[bytes, bytes]:
        """The contents of the rows that there are, by key; `on_damage` hears of each damaged one, which is left out.

        In the order of the keys, so that neighbours are read from one page without looking for it again.
        """
        try:
            snapshot = self._snapshot
            if snapshot is None:
                snapshot = self._snapshot = self.environment.begin()
            with snapshot.cursor(self.databases[table]) as cursor:
                rows = cursor.getmulti(sorted(keys))
        except lmdb.BadValsizeError as error:
            raise ValueError(f"one of {len(keys)} keys cannot be a key") from error
        except lmdb.Error as error:
            raise unreadable(table, error) from error
        return unseal_all(table, rows, on_damage)

    def scan(self, table: int, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to `limit` rows with low <= key < high, in key order."""
        rows: list[tuple[bytes, bytes]] = []
        if limit <= 0:
            return rows
        try:
            snapshot = self._snapshot
            if snapshot is None:
                snapshot = self._snapshot = self.environment.begin()
            with snapshot.cursor(self.databases[table]) as cursor:
                if cursor.set_range(low):
                    for row in cursor:
                        if row[0] >= high:
                            break
                        rows.append(row)
                        if len(rows) == limit:
                            break
        except lmdb.Error as error:
            raise unreadable(table, error) from error
        contents = unseal_all(table, rows, _raise)
        reach(crashpoints.SCANNED)
        return list(contents.items())

    def release(self) -> None:
        """End the snapshot that reads share; the next read begins a new one."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            snapshot.abort()

    def free_bytes(self) -> int:
        """Bytes that may still be written to the disk under the store."""
        return free_bytes(self.directory)

    def drop_dead_readers(self) -> int:
        """Let go of the snapshots of processes that died while they copied this store; how many there were.

        Each would otherwise keep every page that is freed from then on, and the file would grow.
        """
        dropped: int = self.environment.reader_check()
        return dropped

    def entries(self, table: int) -> int:
        """How many rows a table has; costs one look at its root."""
        with self.environment.begin() as snapshot:
            count: int = snapshot.stat(self.databases[table])["entries"]
        return count

    def stats(self) -> StoreStats:
        """Facts for metrics; costs one look at each table's root."""
        environment = self.environment
        info = environment.info()
        readers = environment.readers()
        with environment.begin() as snapshot:
            page_counts = [environment.stat(), *(snapshot.stat(database) for database in self.databases)]
        pages = 2 + sum(each["branch_pages"] + each["leaf_pages"] + each["overflow_pages"] for each in page_counts)
        page_bytes = page_counts[0]["psize"]
        used = pages * page_bytes
        return StoreStats(
            readers=_readers_in_use(readers),
            map_bytes=info["map_size"],
            file_bytes=(self.directory / datafile.DATA_NAME).stat().st_size,
            used_bytes=used,
            free_bytes=max(0, (info["last_pgno"] + 1) * page_bytes - used),
        )


def _raise(damage: DamagedRow) -> None:
    raise damage


def unreadable(table: int, error: lmdb.Error) -> DiskNotTrusted:
    """What it means when LMDB fails to read."""
    return DiskNotTrusted(f"cannot read table {TABLE_NAMES[table]}: {error}")


def databases_of(environment: lmdb.Environment) -> list["lmdb._Database"]:
    """The handles of all tables, by table number; raises DiskNotTrusted where one is missing."""
    try:
        return [environment.open_db(name.encode(), create=False) for name in TABLE_NAMES]
    except lmdb.Error as error:
        raise DiskNotTrusted(f"the store at {environment.path()} is damaged: {error}") from error


def require_sound(environment: lmdb.Environment) -> None:
    """Raise StoreRefused where the file is no store, or one of another version; DiskNotTrusted where it is damaged, or
    its rows are older than its newest transaction."""
    path = environment.path()
    version = _format_of(environment)
    if version < FORMAT_VERSION:
        raise StoreRefused(
            f"the store at {path} has format version {version}, this program reads version {FORMAT_VERSION}: "
            "start the node on it once, which brings it up"
        )
    if version > FORMAT_VERSION:
        raise StoreRefused(
            f"the store at {path} has format version {version}, this program reads version {FORMAT_VERSION}: "
            "install the release that wrote it, or a newer one"
        )
    try:
        with environment.begin() as snapshot:
            wrong = turned_back(snapshot)
    except lmdb.Error as error:
        raise DiskNotTrusted(f"the store at {path} cannot be read: {error}") from error
    if wrong:
        raise DiskNotTrusted(f"the store at {path} is damaged: {wrong}; restore it from a copy")


def is_older(environment: lmdb.Environment) -> bool:
    """Whether the file is a store of an older format that opening it brings up. Raises as `require_sound` does."""
    return OLDEST_FORMAT <= _format_of(environment) < FORMAT_VERSION


def _format_of(environment: lmdb.Environment) -> int:
    path = environment.path()
    try:
        meta = environment.open_db(TABLE_NAMES[META].encode(), create=False)
        with environment.begin() as snapshot:
            row = snapshot.get(FORMAT_KEY, None, meta)
    except (lmdb.NotFoundError, lmdb.IncompatibleError):
        row = None
    except lmdb.Error as error:
        raise DiskNotTrusted(f"the store at {path} cannot be read: {error}") from error
    if row is None:
        raise StoreRefused(f"{path} holds an LMDB file that is not a store of this program: choose another directory")
    try:
        return decode_number(unseal(META, FORMAT_KEY, row))
    except (DamagedRow, ValueError) as error:
        raise DiskNotTrusted(f"the store at {path} is damaged: its format row cannot be read") from error


def open_read_only(directory: Path, *, older: bool = False) -> lmdb.Environment:
    """A store's file for reading only, for one who holds the directory's lock or made the file just now.

    Raises a StoreError as `Store.open` does; changes nothing in the directory. With `older` a store of an older format
    is opened too.
    """
    datafile.inspect(directory / datafile.DATA_NAME)
    environment = _open_environment(directory, MAP_BYTES, readonly=True)
    try:
        if not (older and is_older(environment)):
            require_sound(environment)
    except BaseException:
        environment.close()
        raise
    return environment


def open_beside(directory: Path) -> lmdb.Environment:
    """A store's file for reading only, in another process than the node that may have it open.

    Takes part in LMDB's own table of readers, so the node keeps the pages that a snapshot here refers to. Raises a
    StoreError as `Store.open` does. Where the readers' file is missing it is made, for the owner of the data.
    """
    path = directory / datafile.DATA_NAME
    if not path.is_file():
        raise StoreRefused(f"there is no store in {directory}")
    datafile.inspect(path)
    _make_readers_file(directory, path.stat())
    environment = _open_environment(directory, MAP_BYTES, readonly=True, beside=True)
    try:
        require_sound(environment)
    except BaseException:
        environment.close()
        raise
    return environment


def _make_readers_file(directory: Path, data: os.stat_result) -> None:
    """So that a file made by root does not keep a node that runs as another user from starting."""
    path = directory / _READERS_NAME
    try:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                if os.geteuid() == 0:
                    os.fchown(descriptor, data.st_uid, data.st_gid)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise StoreRefused(f"cannot make {path}: {error.strerror}") from error
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreRefused(f"{path} is not readable and writable for this user: run this as the node's user or root")


def _map_sizes(wanted_bytes: int, file_bytes: int) -> Iterator[int]:
    """Sizes to try, falling: never below the file, and below the minimum only where that was asked for."""
    size = max(wanted_bytes, file_bytes)
    yield size
    while size // 2 >= max(_MAP_BYTES_MIN, 2 * file_bytes):
        size //= 2
        yield size


def _open_environment(
    directory: Path, map_bytes: int, *, readonly: bool = False, beside: bool = False
) -> lmdb.Environment:
    refused: lmdb.Error | None = None
    for size in _map_sizes(map_bytes, (directory / datafile.DATA_NAME).stat().st_size):
        try:
            return lmdb.open(
                str(directory),
                map_size=size,
                readonly=readonly,
                lock=beside or not readonly,
                mode=0o600,
                create=False,
                readahead=readonly,
                max_readers=_READERS_MAX,
                max_dbs=_TABLES_MAX,
                max_spare_txns=_SPARE_TRANSACTIONS,
                lib_version=_LIBRARY,
            )
        except lmdb.MemoryError as error:
            refused = error
        except lmdb.ReadonlyError as error:
            raise StoreRefused(f"cannot open the store in {directory}: {error}") from error
        except lmdb.Error as error:
            raise DiskNotTrusted(f"cannot open the store in {directory}: {error}") from error
    raise StoreRefused(f"the system refuses the address space for the store in {directory}: {refused}")


def _make_empty(directory: Path) -> None:
    """Make an empty store beside its final name and move it there, so that a data file that exists was once whole."""
    path = directory / f"{datafile.DATA_NAME}.new"
    lock_path = directory / f"{datafile.DATA_NAME}.new-lock"
    _remove(path, lock_path)
    try:
        with (
            lmdb.open(
                str(path), map_size=_MAP_BYTES_MIN, subdir=False, mode=0o600, max_dbs=_TABLES_MAX, lib_version=_LIBRARY
            ) as environment,
            writing(environment) as txn,
        ):
            databases = [environment.open_db(name.encode(), txn=txn) for name in TABLE_NAMES]
            txn.put(FORMAT_KEY, seal(META, FORMAT_KEY, encode_row(FORMAT_VERSION)), db=databases[META])
        reach(crashpoints.EMPTY_WRITTEN)
        path.rename(directory / datafile.DATA_NAME)
        reach(crashpoints.EMPTY_NAMED)
    except (lmdb.Error, OSError) as error:
        raise failure(error, free_bytes(directory)) from error
    finally:
        _remove(path, lock_path)


def _make_durable(path: Path) -> None:
    """Flush what a start has found or made: a process that was killed may have left it in the system's memory only.

    What is read from it is answered to clients, and none of that may vanish with the power.
    """
    try:
        sync(path)
        sync_names(path.parent)
    except OSError as error:
        raise failure(error, free_bytes(path.parent)) from error


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _readers_in_use(readers: str) -> int:
    """Slots with a snapshot, from LMDB's table of process, thread and transaction ("-" where none is under way)."""
    lines = [line.split() for line in readers.splitlines()]
    return sum(1 for fields in lines if len(fields) == 3 and fields[0].isdecimal() and fields[2] != "-")
