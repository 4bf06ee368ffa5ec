"""A meta page that leads to a root that was replaced is noticed, wherever a store is opened or checked."""

import struct
from pathlib import Path

import lmdb
import pytest

from appliance.engine.backup import Progresses, backup, restore
from appliance.engine.check import check
from appliance.engine.copy import copy
from appliance.engine.datafile import DATA_NAME, inspect
from appliance.engine.faults import DiskNotTrusted, StoreRefused
from appliance.engine.findings import FILE
from appliance.engine.stamp import STAMP_KEY, turned_back
from appliance.engine.store import Store, open_beside, open_read_only
from appliance.engine.tables import BODY, TABLE_COUNT
from tests.engine.committing import Outcomes, group_of, rows_of

PAGE_BYTES = 4096
ROOT_AT = 16 + 24 + 48 + 40
"""Where a meta page has the number of the main table's root page."""
TRANSACTION_AT = 16 + 128
QUIET = Progresses(lambda _done, _expected: None, lambda _table, _done, _total: None)
COMMITS = 4


def newest_page(data: bytes | bytearray) -> int:
    """Where the newest meta page begins."""
    return max((0, PAGE_BYTES), key=lambda at: struct.unpack_from("=Q", data, at + TRANSACTION_AT)[0])


def root_of(directory: Path) -> int:
    """The root that the newest meta page leads to."""
    data = (directory / DATA_NAME).read_bytes()
    root: int = struct.unpack_from("=Q", data, newest_page(data) + ROOT_AT)[0]
    return root


def turn_back(directory: Path, root: int) -> None:
    """What a flipped bit in the newest meta page's number of the root page does."""
    data = bytearray((directory / DATA_NAME).read_bytes())
    struct.pack_into("=Q", data, newest_page(data) + ROOT_AT, root)
    (directory / DATA_NAME).write_bytes(data)


def committed(directory: Path, first: int = 1) -> list[int]:
    """Commit some groups, in a store that is closed before and after; the root after each. None of their pages is used
    again."""
    store = Store.open(directory)
    outcomes = Outcomes(store)
    roots = []
    with store.environment.begin():
        for number in range(first, first + COMMITS):
            outcomes.commit(number, group_of(number, 10))
            roots.append(root_of(directory))
    outcomes.committer.stop()
    store.close()
    return roots


def refused(directory: Path, number: int, newest: int) -> None:
    """Nobody opens the store, and the check says why."""
    words = f"its rows are those of transaction {number}, and the newest is {newest}; restore it from a copy"
    for open_it in (Store.open, open_read_only, open_beside):
        with pytest.raises(DiskNotTrusted, match=words) as damage:
            open_it(directory)
        assert damage.value.exit_status == 74
    (finding,) = check(directory, QUIET.check).findings
    assert finding.kind == FILE and words in finding.message


def accepted(directory: Path) -> None:
    """Everybody opens the store, and the check has nothing to say of the file."""
    for open_it in (Store.open, open_read_only, open_beside):
        open_it(directory).close()
    assert FILE not in check(directory, QUIET.check).counts


@pytest.mark.parametrize("back", range(1, COMMITS))
def test_a_root_that_was_replaced_is_refused(tmp_path: Path, back: int) -> None:
    roots = committed(tmp_path)
    turn_back(tmp_path, roots[-1 - back])
    refused(tmp_path, COMMITS + 1 - back, COMMITS + 1)
    turn_back(tmp_path, roots[-1])
    accepted(tmp_path)
    store = Store.open(tmp_path)
    assert all(store.get(table, key) is not None for table, key, _ in rows_of(COMMITS, 10))
    store.close()


def test_an_older_meta_page_that_passes_for_the_newest_is_refused(tmp_path: Path) -> None:
    """Two more in its number, and it follows the newest one."""
    committed(tmp_path)
    data = bytearray((tmp_path / DATA_NAME).read_bytes())
    at = PAGE_BYTES - newest_page(data) + TRANSACTION_AT
    struct.pack_into("=Q", data, at, struct.unpack_from("=Q", data, at)[0] + 2)
    (tmp_path / DATA_NAME).write_bytes(data)
    refused(tmp_path, COMMITS, COMMITS + 2)


def test_the_check_beside_a_node_finds_it_too(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with store.environment.begin(write=True) as txn:
        txn.put(b"key" * 5 + b"1", b"", db=store.databases[BODY])
    report = check(tmp_path, QUIET.check, online=store)
    assert [each.message for each in report.findings if each.kind == FILE] == [
        "its rows are those of transaction 1, and the newest is 2"
    ]
    store.close()


def test_a_store_without_a_stamp_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with store.environment.begin(write=True) as txn:
        txn.delete(STAMP_KEY)
    store.close()
    with pytest.raises(DiskNotTrusted, match="do not say of which transaction they are, and the newest is 2"):
        Store.open(tmp_path)


@pytest.mark.parametrize("row", [b"", b"\x03", bytes(7) + b"\x03", bytes(100)])
def test_a_damaged_stamp_is_refused(tmp_path: Path, row: bytes) -> None:
    store = Store.open(tmp_path)
    with store.environment.begin(write=True) as txn:
        txn.put(STAMP_KEY, row)
    store.close()
    with pytest.raises(DiskNotTrusted, match="restore it from a copy"):
        Store.open(tmp_path)


@pytest.mark.parametrize("compact", [False, True])
def test_a_copy_is_sound_and_is_judged_by_its_own_commits(tmp_path: Path, compact: bool) -> None:
    committed(tmp_path / "data")
    committed(tmp_path / "data", first=COMMITS + 1)
    number = 1 + 2 * COMMITS
    store = Store.open(tmp_path / "data")
    copy(store.environment, tmp_path / "copy", 60, QUIET.copy, compact=compact)
    store.close()
    newest = 1 if compact else number
    assert inspect(tmp_path / "copy" / DATA_NAME).transaction == newest
    accepted(tmp_path / "copy")
    own_root, *roots = root_of(tmp_path / "copy"), *committed(tmp_path / "copy", first=number)
    accepted(tmp_path / "copy")
    turn_back(tmp_path / "copy", own_root)
    refused(tmp_path / "copy", number, newest + COMMITS)
    turn_back(tmp_path / "copy", roots[0])
    refused(tmp_path / "copy", newest + 1, newest + COMMITS)


@pytest.mark.parametrize("compact", [False, True])
def test_a_store_that_was_turned_back_is_neither_copied_nor_restored_and_its_backup_is(
    tmp_path: Path, compact: bool
) -> None:
    roots = committed(tmp_path / "data")
    backup(tmp_path / "data", tmp_path / "backup", QUIET, deadline_seconds=60, compact=compact, accept_damage=True)
    turn_back(tmp_path / "data", roots[0])
    with pytest.raises(DiskNotTrusted, match="restore it from a copy"):
        backup(tmp_path / "data", tmp_path / "late", QUIET, deadline_seconds=60, accept_damage=True)
    with pytest.raises(DiskNotTrusted, match="restore it from a copy"):
        restore(tmp_path / "data", tmp_path / "restored", QUIET, accept_damage=True)
    assert not (tmp_path / "late").exists() and not (tmp_path / "restored" / DATA_NAME).exists()
    restore(tmp_path / "backup", tmp_path / "restored", QUIET, accept_damage=True)
    Store.open(tmp_path / "restored").close()


def test_every_commit_is_stamped_and_a_group_without_rows_makes_none(tmp_path: Path) -> None:
    store = Store.open(tmp_path, map_bytes=1 << 20)
    outcomes = Outcomes(store)

    def newest() -> int:
        with store.environment.begin() as snapshot:
            assert turned_back(snapshot) == ""
            return snapshot.id()

    assert newest() == 1
    outcomes.commit(1, group_of(1, 10))
    assert newest() == 2
    outcomes.commit(2, [])
    assert newest() == 2
    outcomes.commit(3, group_of(3, 10_000))
    assert len(outcomes.failed) == 1
    assert newest() == 2
    outcomes.commit(4, group_of(4, 10))
    assert newest() == 3
    outcomes.committer.stop()
    store.close()


def test_the_stamp_lies_on_the_root_page_itself(tmp_path: Path) -> None:
    """On a page further on it could be that of another transaction than the root's."""
    committed(tmp_path)
    store = Store.open(tmp_path)
    main = store.environment.stat()
    assert (main["depth"], main["leaf_pages"], main["entries"]) == (1, 1, TABLE_COUNT + 1)
    store.close()
    data = (tmp_path / DATA_NAME).read_bytes()
    root = data[root_of(tmp_path) * PAGE_BYTES :][:PAGE_BYTES]
    assert STAMP_KEY + (COMMITS + 1).to_bytes(8, "big") in root


def test_another_programs_file_with_such_a_row_is_no_store(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), lib_version=0) as foreign, foreign.begin(write=True) as txn:
        txn.put(STAMP_KEY, bytes(8))
    with pytest.raises(StoreRefused, match="not a store of this program"):
        Store.open(tmp_path)
