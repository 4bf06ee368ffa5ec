"""Opening a store, reading through it, and every way in which it must refuse."""

import errno
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from appliance.engine import disk
from appliance.engine.datafile import DATA_NAME, SHORT_TAIL_BYTES_MAX, inspect
from appliance.engine.faults import DiskNotTrusted, NoSpace, StoreLocked, StoreRefused
from appliance.engine.rows import DamagedRow, encode_row, seal
from appliance.engine.stamp import writing
from appliance.engine.store import FORMAT_KEY, FORMAT_VERSION, Store, open_read_only
from appliance.engine.tables import BODY, META, READY, STATE, TABLE_NAMES

PAGE_BYTES = 4096


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "data")
    yield opened
    opened.close()


def write(store: Store, table: int, rows: dict[bytes, bytes]) -> None:
    with writing(store.environment) as txn:
        for key, content in rows.items():
            txn.put(key, seal(table, key, content), db=store.databases[table])


def _raise(damage: DamagedRow) -> None:
    raise damage


def write_raw(store: Store, table: int, key: bytes, row: bytes) -> None:
    with writing(store.environment) as txn:
        txn.put(key, row, db=store.databases[table])


def closed_store(directory: Path) -> Path:
    """A store with some rows in it, closed; returns its data file."""
    store = Store.open(directory)
    write(store, STATE, {b"%016d" % number: bytes(100) for number in range(500)})
    store.close()
    return directory / DATA_NAME


def test_a_new_store_is_private_and_empty(store: Store) -> None:
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.directory / DATA_NAME).stat().st_mode) == 0o600
    assert all(store.scan(table, b"", b"\xff", 10) == [] for table in range(len(TABLE_NAMES)) if table != META)
    assert store.scan(META, b"", b"\xff", 10) == [(FORMAT_KEY, encode_row(FORMAT_VERSION))]


def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    for number in range(3):
        store = Store.open(tmp_path)
        assert store.get(BODY, b"key") == (b"content" if number else None)
        write(store, BODY, {b"key": b"content"})
        store.close()
        store.close()


def test_a_scan_gives_rows_from_low_to_before_high_in_order(store: Store) -> None:
    write(store, READY, {bytes([letter]): b"" for letter in b"dacb"})
    assert [key for key, _ in store.scan(READY, b"b", b"d", 10)] == [b"b", b"c"]
    assert [key for key, _ in store.scan(READY, b"", b"\xff", 3)] == [b"a", b"b", b"c"]
    assert store.scan(READY, b"a", b"z", 0) == []
    assert store.scan(READY, b"e", b"z", 10) == []
    assert store.scan(READY, b"c", b"a", 10) == []


def test_reads_share_one_snapshot_until_it_is_released(store: Store) -> None:
    assert store.get(BODY, b"key") is None
    write(store, BODY, {b"key": b"new"})
    assert store.get(BODY, b"key") is None
    assert store.scan(BODY, b"", b"z", 10) == []
    store.release()
    assert store.get(BODY, b"key") == b"new"


def test_a_damaged_row_is_reported_and_never_served(store: Store) -> None:
    write_raw(store, BODY, b"key", seal(BODY, b"other", b"content"))
    with pytest.raises(DamagedRow):
        store.get(BODY, b"key")
    with pytest.raises(DamagedRow):
        store.scan(BODY, b"", b"z", 10)


def test_many_rows_are_read_together_without_the_damaged_ones(store: Store) -> None:
    write(store, BODY, {b"a": b"1", b"c": b"3", b"d": b""})
    write_raw(store, BODY, b"b", seal(BODY, b"other", b"content"))
    write_raw(store, BODY, b"e", b"abc")
    damages: list[DamagedRow] = []
    assert store.get_all(BODY, [b"d", b"c", b"b", b"e", b"a", b"x", b"c"], damages.append) == {
        b"a": b"1",
        b"c": b"3",
        b"d": b"",
    }
    assert [(damage.table, damage.key) for damage in damages] == [(BODY, b"b"), (BODY, b"e")]
    assert store.get_all(BODY, [], damages.append) == {}


def test_a_key_that_no_table_can_hold_is_absent_or_refused_and_no_disk_error(store: Store) -> None:
    assert store.get(BODY, b"x" * 600) is None
    with pytest.raises(ValueError, match="cannot be a key"):
        store.get(BODY, b"")
    assert store.get_all(BODY, [b"x" * 600], _raise) == {}
    with pytest.raises(ValueError, match="cannot be a key"):
        store.get_all(BODY, [b"k", b""], _raise)


def test_an_error_of_the_library_while_reading_means_that_the_disk_is_not_trusted(store: Store) -> None:
    class Broken:
        def begin(self) -> None:
            raise lmdb.CorruptedError("page")

        def close(self) -> None: ...

    environment, store.environment = store.environment, Broken()  # type: ignore[assignment]
    with pytest.raises(DiskNotTrusted, match="table body"):
        store.get(BODY, b"key")
    with pytest.raises(DiskNotTrusted, match="table state"):
        store.get_all(STATE, [b"key"], _raise)
    with pytest.raises(DiskNotTrusted, match="table ready"):
        store.scan(READY, b"", b"z", 1)
    store.environment = environment


def test_the_facts_tell_readers_and_bytes(store: Store) -> None:
    write(store, BODY, {b"%04d" % number: bytes(1000) for number in range(1000)})
    before = store.stats()
    store.get(BODY, b"0000")
    assert store.stats().readers == before.readers + 1
    store.release()
    with writing(store.environment) as txn:
        for number in range(900):
            txn.delete(b"%04d" % number, db=store.databases[BODY])
    after = store.stats()
    assert before.used_bytes > 1_000_000 > after.used_bytes > 100_000
    assert after.free_bytes > 800_000
    assert after.file_bytes >= before.file_bytes
    assert after.map_bytes == 4 << 40
    assert store.free_bytes() > 0


def test_a_second_opening_names_the_directory_and_the_first_stays_usable(store: Store) -> None:
    with pytest.raises(StoreLocked, match=str(store.directory)):
        Store.open(store.directory)
    write(store, BODY, {b"key": b"content"})
    assert store.get(BODY, b"key") == b"content"


def test_a_network_file_system_is_refused_unless_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "filesystem_of", lambda _path: "nfs4")
    with pytest.raises(StoreRefused, match="nfs4"):
        Store.open(tmp_path)
    Store.open(tmp_path, allow_remote=True).close()


def test_a_newer_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    write(store, META, {FORMAT_KEY: encode_row(FORMAT_VERSION + 1)})
    store.close()
    with pytest.raises(
        StoreRefused, match=rf"format version {FORMAT_VERSION + 1}.*reads version {FORMAT_VERSION}"
    ) as refusal:
        Store.open(tmp_path)
    assert refusal.value.exit_status == 78
    with pytest.raises(StoreRefused):
        Store.open(tmp_path)


@pytest.mark.parametrize("row", [b"", b"short", seal(META, FORMAT_KEY, b"\xc1"), seal(META, b"other", encode_row(1))])
def test_a_damaged_format_row_is_damage(tmp_path: Path, row: bytes) -> None:
    store = Store.open(tmp_path)
    write_raw(store, META, FORMAT_KEY, row)
    store.close()
    with pytest.raises(DiskNotTrusted) as damage:
        Store.open(tmp_path)
    assert damage.value.exit_status == 74


def test_a_missing_table_is_damage(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with writing(store.environment) as txn:
        txn.drop(store.databases[STATE])
    store.close()
    with pytest.raises(DiskNotTrusted, match="damaged"):
        Store.open(tmp_path)


@pytest.mark.parametrize("named", [True, False])
def test_an_lmdb_file_of_another_program_is_refused_and_unchanged(tmp_path: Path, named: bool) -> None:
    with lmdb.open(str(tmp_path), max_dbs=2, lib_version=0) as foreign:
        database = foreign.open_db(b"theirs" if named else None)
        with foreign.begin(write=True) as txn:
            txn.put(b"meta", b"not a table", db=database)
    before = (tmp_path / DATA_NAME).read_bytes()
    with pytest.raises(StoreRefused, match="not a store of this program"):
        Store.open(tmp_path)
    assert (tmp_path / DATA_NAME).read_bytes() == before


def test_a_file_that_is_no_lmdb_file_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / DATA_NAME).write_bytes(b"text" * 5000)
    with pytest.raises(StoreRefused, match="not a data file"):
        Store.open(tmp_path)
    assert (tmp_path / DATA_NAME).read_bytes() == b"text" * 5000


@pytest.mark.parametrize("pages", [(0,), (1,), (0, 1)])
def test_a_zeroed_meta_page_is_damage(tmp_path: Path, pages: tuple[int, ...]) -> None:
    path = closed_store(tmp_path)
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE_BYTES)
            file.write(bytes(PAGE_BYTES))
    with pytest.raises(DiskNotTrusted, match="meta page"):
        Store.open(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 100, PAGE_BYTES, PAGE_BYTES + 50])
def test_a_file_cut_off_in_its_meta_pages_is_damage(tmp_path: Path, length: int) -> None:
    os.truncate(closed_store(tmp_path), length)
    with pytest.raises(DiskNotTrusted, match="cut off"):
        Store.open(tmp_path)


def test_a_file_cut_off_behind_its_meta_pages_is_never_served(tmp_path: Path) -> None:
    os.truncate(closed_store(tmp_path), 2 * PAGE_BYTES)
    program = (
        "import sys; from pathlib import Path\n"
        "from appliance.engine.store import Store; from appliance.engine.faults import DiskNotTrusted\n"
        "try: Store.open(Path(sys.argv[1])).scan(1, b'', b'\\xff', 1000)\n"
        "except DiskNotTrusted: sys.exit(74)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 74


def test_a_file_that_lost_more_than_a_groups_pages_is_damage(tmp_path: Path) -> None:
    path = closed_store(tmp_path)
    page = bytearray(path.read_bytes()[:PAGE_BYTES])
    last_page_at, transaction_at = 16 + 120, 16 + 128
    page[last_page_at:transaction_at] = (SHORT_TAIL_BYTES_MAX // PAGE_BYTES + 1000).to_bytes(8, sys.byteorder)
    newest = inspect(path).transaction
    page[transaction_at : transaction_at + 8] = (newest + newest % 2).to_bytes(8, sys.byteorder)
    with path.open("r+b") as file:
        file.write(page)
    with pytest.raises(DiskNotTrusted, match="bytes long"):
        Store.open(tmp_path)


@pytest.mark.parametrize("page", [0, 1])
@pytest.mark.parametrize("bit", [0, 2, 5, 30, 63])
def test_meta_pages_that_do_not_follow_each_other_are_damage(tmp_path: Path, page: int, bit: int) -> None:
    """The older one would be taken, and the store turned back, or the next commit would overwrite the newest."""
    path = closed_store(tmp_path)
    data = bytearray(path.read_bytes())
    at = page * PAGE_BYTES + 16 + 128
    flipped = int.from_bytes(data[at : at + 8], sys.byteorder) ^ 1 << bit
    data[at : at + 8] = flipped.to_bytes(8, sys.byteorder)
    path.write_bytes(data)
    with pytest.raises(DiskNotTrusted, match="do not follow each other"):
        Store.open(tmp_path)


def test_the_head_of_a_store_can_be_read_while_it_is_written(store: Store) -> None:
    stopping = threading.Event()

    def commit() -> None:
        while not stopping.is_set():
            write(store, BODY, {b"key": b"content"})

    writer = threading.Thread(target=commit)
    writer.start()
    try:
        seen = [inspect(store.directory / DATA_NAME).transaction for _ in range(2_000)]
    finally:
        stopping.set()
        writer.join()
    assert seen == sorted(seen)


def test_another_lmdb_version_is_refused(tmp_path: Path) -> None:
    path = closed_store(tmp_path)
    with path.open("r+b") as file:
        for page in (0, 1):
            file.seek(page * PAGE_BYTES + 16 + 4)
            file.write((3).to_bytes(4, sys.byteorder))
    with pytest.raises(StoreRefused, match="LMDB data version 3"):
        Store.open(tmp_path)


def test_a_short_tail_that_was_never_written_is_no_damage(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    write(store, STATE, {os.urandom(2): bytes(100) for _ in range(500)})
    with writing(store.environment) as txn, txn.cursor(store.databases[STATE]) as cursor:
        while cursor.first():
            cursor.delete()
    expected = inspect(tmp_path / DATA_NAME).bytes_expected
    store.close()
    os.truncate(tmp_path / DATA_NAME, min(expected, (tmp_path / DATA_NAME).stat().st_size))
    opened = Store.open(tmp_path)
    assert (tmp_path / DATA_NAME).stat().st_size >= expected
    assert opened.scan(STATE, b"", b"\xff", 10) == []
    opened.close()


def test_a_directory_in_place_of_the_data_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATA_NAME).mkdir()
    with pytest.raises(StoreRefused, match=DATA_NAME):
        Store.open(tmp_path)


def test_a_refused_opening_leaves_the_directory_free(tmp_path: Path) -> None:
    (tmp_path / DATA_NAME).write_bytes(b"text" * 5000)
    for _ in range(2):
        with pytest.raises(StoreRefused):
            Store.open(tmp_path)


def test_a_first_start_without_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("appliance.engine.store.sync_names", fail)
    with pytest.raises(NoSpace):
        Store.open(tmp_path)


def test_a_start_flushes_what_it_finds_and_every_name_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr("appliance.engine.disk.os.fsync", watch)
    directory = tmp_path / "made" / "on the way"
    for _ in range(2):
        flushed.clear()
        Store.open(directory).close()
        assert {directory / DATA_NAME, directory, directory.parent, tmp_path} <= set(flushed)


@pytest.mark.parametrize(("code", "starts"), [(errno.EACCES, True), (errno.EINVAL, True), (errno.EIO, False)])
def test_a_directory_above_that_cannot_be_flushed_stops_a_start_only_where_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, starts: bool
) -> None:
    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr("appliance.engine.disk.os.fsync", refuse)
    if starts:
        Store.open(tmp_path / "data").close()
    else:
        with pytest.raises(DiskNotTrusted):
            Store.open(tmp_path / "data")


def test_a_first_start_that_died_half_way_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / f"{DATA_NAME}.new").write_bytes(b"half a page")
    (tmp_path / f"{DATA_NAME}.new-lock").write_bytes(b"")
    Store.open(tmp_path).close()
    assert not list(tmp_path.glob("*.new*"))


def test_reading_only_changes_nothing_in_the_directory(tmp_path: Path) -> None:
    closed_store(tmp_path)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir())
    with open_read_only(tmp_path) as environment:
        assert environment.stat()["entries"] == len(TABLE_NAMES) + 1
    assert sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir()) == before


def test_a_smaller_map_is_taken_where_the_system_refuses_the_large_one(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    program = (
        "import sys; from pathlib import Path; from appliance.engine.store import Store\n"
        "print(Store.open(Path(sys.argv[1])).stats().map_bytes)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], preexec_fn=limit, capture_output=True, text=True, check=True
    )
    assert 1 << 30 <= int(run.stdout) < 8 << 30


def test_a_map_size_that_was_asked_for_is_used(tmp_path: Path) -> None:
    store = Store.open(tmp_path, map_bytes=1 << 22)
    assert store.stats().map_bytes == 1 << 22
    store.close()
