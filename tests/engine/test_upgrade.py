"""Stores of older formats are brought up at the first start: with all that a check asks for, and only once."""

from pathlib import Path

import lmdb
import pytest

from appliance.engine.check import check
from appliance.engine.faults import StoreRefused
from appliance.engine.rows import decode_queue, decode_state, encode_row, seal
from appliance.engine.stamp import turned_back
from appliance.engine.store import FORMAT_KEY, FORMAT_VERSION, Store, open_read_only
from appliance.engine.tables import (
    AUDIT,
    BODY,
    CONTROL,
    DEAD,
    LETTER,
    META,
    QUEUE,
    STATE,
    TABLE_COUNT,
    TABLE_NAMES,
    dead_key,
)
from tests.engine.filling import CLAIMED_TASK, DEAD_TASK, OTHER_MAIL, Rows, sound_rows

TABLES_OF = {1: LETTER, 2: DEAD, 3: TABLE_COUNT, 4: TABLE_COUNT}
"""The first table that a format lacks."""
WITH_SIZES = 3


def old_rows(version: int) -> Rows:
    """The rows of a sound store as that format had them."""
    rows: Rows = {}
    for (table, key), content in sound_rows().items():
        if table >= TABLES_OF[version]:
            continue
        rows[table, key] = content
        if version >= WITH_SIZES:
            continue
        if table == STATE:
            state = decode_state(content)
            state.payload_bytes = 0
            rows[table, key] = encode_row(state)
        elif table == QUEUE:
            counters = decode_queue(content)
            counters.stored_bytes = 0
            rows[table, key] = encode_row(counters)
    rows[META, FORMAT_KEY] = encode_row(version)
    return rows


def old_store(directory: Path, version: int, rows: Rows) -> None:
    with lmdb.open(str(directory), max_dbs=32, lib_version=0) as environment, environment.begin(write=True) as txn:
        databases = [environment.open_db(name.encode(), txn=txn) for name in TABLE_NAMES[: TABLES_OF[version]]]
        for (table, key), content in rows.items():
            txn.put(key, seal(table, key, content), db=databases[table])


@pytest.mark.parametrize("version", TABLES_OF)
def test_an_old_store_is_whole_after_its_first_start(tmp_path: Path, version: int) -> None:
    rows = old_rows(version)
    old_store(tmp_path, version, rows)
    with pytest.raises(StoreRefused, match=rf"format version {version}.*start the node on it once"):
        open_read_only(tmp_path)
    for _ in range(2):
        store = Store.open(tmp_path)
        assert store.get(META, FORMAT_KEY) == encode_row(FORMAT_VERSION)
        assert len(store.scan(DEAD, OTHER_MAIL, b"\xff", 10)) == 1
        for table in (CONTROL, AUDIT):
            assert dict(store.scan(table, b"", b"\xff", 10)) == {
                key: row for (of, key), row in rows.items() if of == table
            }
        store.close()
    report = check(tmp_path, lambda *_: None)
    assert report.clean, report.findings


def test_a_damaged_row_of_an_old_store_keeps_nothing_else_from_being_brought_up(tmp_path: Path) -> None:
    rows = old_rows(2)
    rows[STATE, CLAIMED_TASK] = b"\xc1"
    old_store(tmp_path, 2, rows)
    Store.open(tmp_path).close()
    report = check(tmp_path, lambda *_: None)
    assert {(each.table, each.key) for each in report.findings if each.kind == "row"} == {("state", CLAIMED_TASK)}


def test_a_store_that_lacks_only_the_stamp_gets_nothing_else(tmp_path: Path) -> None:
    rows = old_rows(3)
    del rows[DEAD, dead_key(OTHER_MAIL, 0, DEAD_TASK)]
    old_store(tmp_path, 3, rows)
    store = Store.open(tmp_path)
    assert store.scan(DEAD, OTHER_MAIL, b"\xff", 10) == []
    with store.environment.begin() as snapshot:
        assert turned_back(snapshot) == ""
    store.close()


def test_a_format_that_is_too_old_is_refused(tmp_path: Path) -> None:
    old_store(tmp_path, 2, {(META, FORMAT_KEY): encode_row(0), (BODY, b"x" * 16): b"1"})
    with pytest.raises(StoreRefused):
        Store.open(tmp_path)
