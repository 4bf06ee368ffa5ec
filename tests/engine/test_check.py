"""The check: a sound store is clean, and every rule that is broken is found and named."""

import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from appliance.engine.check import check
from appliance.engine.datafile import DATA_NAME
from appliance.engine.faults import DeadlineExceeded, StoreLocked, StoreRefused
from appliance.engine.findings import (
    COUNTER,
    FILE,
    FINDINGS_KEPT_MAX,
    INDEX,
    KEY,
    MARK,
    NAME,
    ROW,
    SEAL,
    TASK,
    Finding,
    Report,
)
from appliance.engine.rows import (
    CLAIMED,
    SEAL_BYTES,
    AuditEntry,
    Body,
    Delivery,
    Idem,
    Mark,
    QueueControl,
    QueueRow,
    TenantControl,
    decode_state,
    encode_row,
)
from appliance.engine.stamp import writing
from appliance.engine.store import FORMAT_KEY, FORMAT_VERSION, MARK_KEY, Store
from appliance.engine.tables import (
    AUDIT,
    BODY,
    CONTROL,
    DEAD,
    DUE,
    EXPIRE,
    ID_BYTES,
    IDEM,
    LAPSED,
    LEASE,
    LETTER,
    META,
    OUTBOX,
    POST,
    QUEUE,
    READY,
    STATE,
    SUBSCRIPTION,
    TABLE_NAMES,
    audit_key,
    command_name_key,
    dead_key,
    idem_key,
    queue_prefix,
    ready_key,
    tenant_name_key,
    tenant_prefix,
    time_key,
)
from appliance.engine.tables import NAME as NAME_TABLE
from tests.engine.filling import (
    CLAIMED_TASK,
    COMPLETED_TASK,
    DEAD_TASK,
    DELAYED_TASK,
    FAILED_TASK,
    LAPSED_DELIVERY,
    MAIL,
    OTHER_MAIL,
    READY_TASK,
    SMS,
    WAITING_DELIVERY,
    Rows,
    fill,
    sound_rows,
)

NO_TASK = b"\xff" * 16
PAGE_BYTES = 4096
BRANCH = 1


def checked(directory: Path) -> Report:
    return check(directory, lambda _table, _done, _total: None)


def test_a_sound_store_is_clean_and_every_row_was_seen(tmp_path: Path) -> None:
    rows = sound_rows()
    fill(tmp_path, rows)
    steps: list[tuple[str, int, int]] = []
    report = check(tmp_path, lambda *step: steps.append(step))
    assert report.findings == []
    assert report.clean
    assert sum(report.rows.values()) == len(rows) + 1
    assert sorted(name for name, _, _ in steps) == sorted(TABLE_NAMES)


def test_an_empty_store_is_clean(tmp_path: Path) -> None:
    assert checked(fill(tmp_path, {})).clean


def put(table: int, key: bytes, content: bytes = b"") -> Callable[[Rows], None]:
    return lambda rows: rows.update({(table, key): content})


def drop(table: int, key: bytes) -> Callable[[Rows], None]:
    return lambda rows: rows.__delitem__((table, key))


def state(task_id: bytes, **changes: object) -> Callable[[Rows], None]:
    """Change fields of a stored state, and nothing else of the task."""

    def bend(rows: Rows) -> None:
        old = decode_state(rows[STATE, task_id])
        for name, value in changes.items():
            setattr(old, name, value)
        rows[STATE, task_id] = encode_row(old)

    return bend


def counters(**counts: int) -> bytes:
    """Counters of the queue with the completed task."""
    return encode_row(QueueRow(**counts, stored_bytes=8))


DEAD_GONE = [(ROW, STATE), (INDEX, EXPIRE), (INDEX, DEAD), *[(COUNTER, QUEUE)] * 2]
"""What is found where the state of the dead letter makes no sense."""

BENT: list[tuple[str, Callable[[Rows], None], list[tuple[str, int]]]] = [
    ("body missing", drop(BODY, READY_TASK), [(TASK, STATE)]),
    ("state missing", drop(STATE, COMPLETED_TASK), [(TASK, BODY), (INDEX, EXPIRE), *[(COUNTER, QUEUE)] * 2]),
    ("ready row missing", drop(READY, ready_key(MAIL, 7, READY_TASK)), [(INDEX, STATE)]),
    ("due row missing", drop(DUE, time_key(MAIL, 9000, DELAYED_TASK)), [(INDEX, STATE), *[(COUNTER, QUEUE)] * 2]),
    ("lease row missing", drop(LEASE, time_key(MAIL, 7000, CLAIMED_TASK)), [(INDEX, STATE)]),
    ("expire row missing", drop(EXPIRE, time_key(SMS, 8000, COMPLETED_TASK)), [(INDEX, STATE)]),
    ("dead row missing", drop(DEAD, dead_key(OTHER_MAIL, 0, DEAD_TASK)), [(INDEX, STATE)]),
    ("dead row of a live task", put(DEAD, dead_key(MAIL, 0, READY_TASK)), [(INDEX, DEAD)]),
    ("dead row at another time", put(DEAD, dead_key(OTHER_MAIL, 1, DEAD_TASK)), [(INDEX, DEAD)]),
    ("settings of an unknown queue", put(CONTROL, queue_prefix(1, 9), encode_row(QueueControl())), [(NAME, CONTROL)]),
    ("limits of an unknown tenant", put(CONTROL, tenant_prefix(9), encode_row(TenantControl())), [(NAME, CONTROL)]),
    ("settings that cannot be decoded", put(CONTROL, MAIL, b"\xc1"), [(ROW, CONTROL)]),
    ("entry of an unknown tenant", put(AUDIT, audit_key(tenant_prefix(9), 1), encode_row(AuditEntry(1, "", "", ""))),
     [(NAME, AUDIT)]),
    ("entry that cannot be decoded", put(AUDIT, audit_key(tenant_prefix(1), 1), b"\xc1"), [(ROW, AUDIT)]),
    ("size of a payload forgotten", state(READY_TASK, payload_bytes=0), [(TASK, STATE), (COUNTER, QUEUE)]),
    ("stored bytes wrong", put(QUEUE, SMS, encode_row(QueueRow(completed=1, created=1))), [(COUNTER, QUEUE)]),
    ("ready and due", put(DUE, time_key(MAIL, 0, READY_TASK)), [(INDEX, STATE)]),
    ("second ready row", put(READY, ready_key(MAIL, 6, READY_TASK)), [(INDEX, READY)]),
    ("ready row in another queue", put(READY, ready_key(SMS, 7, READY_TASK)), [(INDEX, READY)]),
    ("ready row of a claimed task", put(READY, ready_key(MAIL, 0, CLAIMED_TASK)), [(INDEX, READY)]),
    ("ready row without a task", put(READY, ready_key(MAIL, 0, NO_TASK)), [(INDEX, READY)]),
    ("lease row without a task", put(LEASE, time_key(MAIL, 1, NO_TASK)), [(INDEX, LEASE)]),
    ("second lease row", put(LEASE, time_key(MAIL, 7001, CLAIMED_TASK)), [(INDEX, LEASE)]),
    ("due row at another time", put(DUE, time_key(MAIL, 9001, DELAYED_TASK)), [(INDEX, DUE)]),
    ("expire row of another tenant", put(EXPIRE, time_key(OTHER_MAIL, 8000, COMPLETED_TASK)), [(INDEX, EXPIRE)]),
    ("expire row of a live task", put(EXPIRE, time_key(MAIL, 1, READY_TASK)), [(INDEX, EXPIRE)]),
    ("state left behind by a claim", state(READY_TASK, status=CLAIMED),
     [(INDEX, STATE), (INDEX, READY), *[(COUNTER, QUEUE)] * 2]),
    ("priority changed", state(READY_TASK, priority=8), [(INDEX, STATE), (INDEX, READY)]),
    ("unknown status", state(DEAD_TASK, status=9), DEAD_GONE),
    ("priority beyond the key", state(DEAD_TASK, priority=256), DEAD_GONE),
    ("time before all times", state(DEAD_TASK, expires=-1), DEAD_GONE),
    ("queue too short", state(DEAD_TASK, queue=b"\0"), DEAD_GONE),
    ("body of another command", put(BODY, READY_TASK, encode_row(Body("sms", b'{"n":1}', 0, key="k" * 256))),
     [(TASK, BODY)]),
    ("key that the state forgot", state(CLAIMED_TASK, keyed=False), [(TASK, STATE)]),
    ("key that the body lacks", state(DELAYED_TASK, keyed=True), [(TASK, STATE)]),
    ("key without a row", drop(IDEM, idem_key(MAIL, "claimed")), [(INDEX, STATE)]),
    ("key of another task", put(IDEM, idem_key(MAIL, "claimed"), encode_row(Idem(READY_TASK, b""))),
     [(INDEX, STATE), (INDEX, IDEM)]),
    ("second key of a task", put(IDEM, idem_key(MAIL, "second"), encode_row(Idem(CLAIMED_TASK, b""))), [(INDEX, IDEM)]),
    ("key of a keyless task", put(IDEM, idem_key(SMS, "k"), encode_row(Idem(COMPLETED_TASK, b""))), [(INDEX, IDEM)]),
    ("key of no task", put(IDEM, idem_key(MAIL, "k"), encode_row(Idem(NO_TASK, b""))), [(INDEX, IDEM)]),
    ("key of a senseless id", put(IDEM, idem_key(MAIL, "k"), encode_row(Idem(b"", b""))), [(INDEX, IDEM)]),
    ("counter too high", put(QUEUE, SMS, counters(completed=2, created=2)), [(COUNTER, QUEUE)]),
    ("created is not the sum", put(QUEUE, SMS, counters(completed=1, created=2)), [(COUNTER, QUEUE)]),
    ("swept below zero", put(QUEUE, SMS, counters(completed=1, swept=-1)), [(COUNTER, QUEUE)]),
    ("counters missing", drop(QUEUE, SMS), [(COUNTER, QUEUE)]),
    ("queue without a name", put(QUEUE, queue_prefix(1, 9), encode_row(QueueRow())), [(NAME, QUEUE)]),
    ("command name missing", drop(NAME_TABLE, command_name_key(1, "sms")), [(TASK, BODY), (NAME, QUEUE)]),
    ("tenant name missing", drop(NAME_TABLE, tenant_name_key("other")), [(NAME, NAME_TABLE)]),
    ("two tenants with a number", put(NAME_TABLE, tenant_name_key("twin"), encode_row(2)), [(NAME, NAME_TABLE)]),
    ("two commands with a number", put(NAME_TABLE, command_name_key(1, "twin"), encode_row(1)),
     [(NAME, NAME_TABLE), *[(TASK, BODY)] * 3]),
    ("name with number zero", put(NAME_TABLE, tenant_name_key("zero"), encode_row(0)), [(ROW, NAME_TABLE)]),
    ("name of no kind", put(NAME_TABLE, b"xname", encode_row(5)), [(ROW, NAME_TABLE)]),
    ("name that is no text", put(NAME_TABLE, b"t\xff\xfe", encode_row(5)), [(ROW, NAME_TABLE)]),
    ("mark behind the newest id", put(META, MARK_KEY, encode_row(Mark(FAILED_TASK, 1, 3))), [(MARK, META)]),
    ("mark behind the tenants", put(META, MARK_KEY, encode_row(Mark(LAPSED_DELIVERY, 1, 2))), [(MARK, META)]),
    ("delivery missing", drop(OUTBOX, WAITING_DELIVERY), [(INDEX, LETTER), (INDEX, POST)]),
    ("letter missing", drop(LETTER, LAPSED_DELIVERY), [(INDEX, OUTBOX)]),
    ("post row missing", drop(POST, time_key(SMS, 6000, WAITING_DELIVERY)), [(INDEX, OUTBOX)]),
    ("lapsed row at another time", put(LAPSED, time_key(SMS, 9001, LAPSED_DELIVERY)), [(INDEX, LAPSED)]),
    ("post row of what was given up", put(POST, time_key(SMS, 9000, LAPSED_DELIVERY)), [(INDEX, POST)]),
    ("delivery of no tenant", put(OUTBOX, WAITING_DELIVERY, encode_row(Delivery(b"", b"", "", 6000))),
     [(ROW, OUTBOX), (INDEX, POST)]),
    ("delivery that cannot be decoded", put(OUTBOX, WAITING_DELIVERY, b"\xc1"), [(ROW, OUTBOX)]),
    ("letter that cannot be decoded", put(LETTER, WAITING_DELIVERY, b"\xc1"), [(ROW, LETTER)]),
    ("subscription of no tenant", put(SUBSCRIPTION, b"\0\0\0\x09" + bytes(16)),
     [(ROW, SUBSCRIPTION), (NAME, SUBSCRIPTION)]),
    ("mark missing", drop(META, MARK_KEY), [(MARK, META)]),
    ("state that cannot be decoded", put(STATE, DEAD_TASK, b"\xc1"), [(ROW, STATE), *[(COUNTER, QUEUE)] * 2]),
    ("body that cannot be decoded", put(BODY, DEAD_TASK, b"\x90"), [(ROW, BODY)]),
    ("counters that cannot be decoded", put(QUEUE, SMS, b"\xc1"), [(ROW, QUEUE)]),
    ("name that cannot be decoded", put(NAME_TABLE, tenant_name_key("bad"), b"\xc1"), [(ROW, NAME_TABLE)]),
    ("key that cannot be decoded", put(IDEM, idem_key(MAIL, "claimed"), b"\xc1"), [(ROW, IDEM)]),
    ("ready key too long", put(READY, ready_key(MAIL, 0, NO_TASK) + b"x"), [(KEY, READY), (INDEX, READY)]),
    ("body key too short", put(BODY, bytes(5), encode_row(Body("mail", b"1", 0))), [(KEY, BODY), (TASK, BODY)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("bend", "expected"), [(bend, expected) for _, bend, expected in BENT], ids=[n for n, *_ in BENT]
)
def test_a_broken_rule_is_found(tmp_path: Path, bend: Callable[[Rows], None], expected: list[tuple[str, int]]) -> None:
    rows = sound_rows()
    bend(rows)
    report = checked(fill(tmp_path, rows))
    found = [(finding.kind, finding.table) for finding in report.findings]
    assert sorted(found) == sorted((kind, TABLE_NAMES[table]) for kind, table in expected)
    assert not report.clean


@pytest.mark.parametrize("table", range(len(TABLE_NAMES)))
def test_a_wrong_seal_is_found_in_every_table(tmp_path: Path, table: int) -> None:
    fill(tmp_path, sound_rows())
    store = Store.open(tmp_path)
    key, _ = store.scan(table, b"", b"\xff" * 600, 10)[-1]
    store.release()
    with writing(store.environment) as txn:
        row = txn.get(key, b"", store.databases[table])
        txn.put(key, row[:-1] + bytes([row[-1] ^ 1]), db=store.databases[table])
    store.close()
    report = checked(tmp_path)
    assert [(each.table, each.key) for each in report.findings if each.kind == SEAL] == [(TABLE_NAMES[table], key)]


def test_a_missing_table_and_an_unknown_one_are_found(tmp_path: Path) -> None:
    fill(tmp_path, {})
    with lmdb.open(str(tmp_path), max_dbs=32, lib_version=0) as environment:
        state_table = environment.open_db(b"state")
        environment.open_db(b"strange")
        with writing(environment) as txn:
            txn.drop(state_table)
    report = checked(tmp_path)
    assert [(each.kind, each.table, each.key) for each in report.findings] == [
        (FILE, "state", b""),
        (KEY, "", b"strange"),
    ]


def test_a_damaged_meta_page_is_a_finding(tmp_path: Path) -> None:
    fill(tmp_path, {})
    with (tmp_path / DATA_NAME).open("r+b") as file:
        file.write(bytes(4096))
    report = checked(tmp_path)
    assert [each.kind for each in report.findings] == [FILE]
    assert "meta page 0" in str(report.findings[0])


def test_tables_behind_a_damaged_page_are_still_checked(tmp_path: Path) -> None:
    rows = sound_rows()
    content = rows[BODY, CLAIMED_TASK]
    del rows[READY, ready_key(MAIL, 7, READY_TASK)]
    path = fill(tmp_path, rows) / DATA_NAME
    whole = path.read_bytes()
    # A node of a leaf page: low and high half of the value's length, flags, length of the key, then the key.
    length = len(content) + SEAL_BYTES
    node, longer = (struct.pack("=HHHH", length, high, 0, ID_BYTES) + CLAIMED_TASK + content for high in (0, 0x4000))
    assert whole.count(node) == 1
    path.write_bytes(whole.replace(node, longer))
    report = checked(tmp_path)
    assert report.counts == {FILE: 1, INDEX: 1}
    assert [report.rows[name] for name in ("body", "state", "expire", "queue")] == [2, 6, 3, 3]


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, {(META, FORMAT_KEY): encode_row(FORMAT_VERSION + 1)})
    with pytest.raises(StoreRefused, match=f"format version {FORMAT_VERSION + 1}"):
        checked(tmp_path)


def test_a_directory_without_a_store_is_refused_and_left_empty(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="no store"):
        checked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_store_of_a_live_node_is_refused_from_outside_and_checked_from_within(tmp_path: Path) -> None:
    fill(tmp_path, sound_rows())
    store = Store.open(tmp_path)
    with pytest.raises(StoreLocked):
        checked(tmp_path)
    assert check(tmp_path, lambda *_: None, online=store).clean
    assert store.stats().readers == 0
    assert store.get(BODY, READY_TASK) is not None
    store.close()


def test_a_check_leaves_the_directory_free_for_the_node(tmp_path: Path) -> None:
    fill(tmp_path, sound_rows())
    assert checked(tmp_path).clean
    Store.open(tmp_path).close()


def test_a_check_beyond_its_deadline_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.engine.walk._STEP_ROWS", 1)
    fill(tmp_path, sound_rows())
    with pytest.raises(DeadlineExceeded):
        check(tmp_path, lambda *_: None, deadline_seconds=0)
    Store.open(tmp_path).close()


def test_progress_is_told_with_the_rows_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.engine.walk._STEP_ROWS", 2)
    fill(tmp_path, sound_rows())
    steps: list[tuple[str, int, int]] = []
    check(tmp_path, lambda *step: steps.append(step))
    assert [step for step in steps if step[0] == "body"] == [("body", at, 6) for at in (2, 4, 6, 6)]


def test_a_report_keeps_the_first_findings_and_counts_the_rest() -> None:
    report = Report()
    for number in range(FINDINGS_KEPT_MAX + 5):
        report.add(SEAL, BODY, b"%d" % number, "the checksum does not match")
    report.add(FILE, None, b"", "torn")
    assert len(report.findings) == FINDINGS_KEPT_MAX
    assert report.findings[0] == Finding(SEAL, "body", b"0", "the checksum does not match")
    assert report.counts == {SEAL: FINDINGS_KEPT_MAX + 5, FILE: 1}
    assert str(report.findings[0]) == "seal: body 30: the checksum does not match"
    assert str(Finding(FILE, "", b"", "torn")) == "file: torn"


def test_a_row_that_its_key_does_not_lead_to_is_found(tmp_path: Path) -> None:
    """A branch page that sends a search to the wrong side: a walk passes by all rows and sees nothing wrong."""
    ids = [number.to_bytes(ID_BYTES, "big") for number in range(1, 1000)]
    path = fill(tmp_path, {(BODY, task_id): encode_row(Body("mail", b"{}", 0)) for task_id in ids}) / DATA_NAME
    before = checked(tmp_path).counts
    data = bytearray(path.read_bytes())
    for page in range(0, len(data), PAGE_BYTES):
        (flags,) = struct.unpack_from("<H", data, page + 10)
        if flags == BRANCH:
            # The first node of a branch has no key, the second one's is the first of what lies behind it.
            (node,) = struct.unpack_from("<H", data, page + 18)
            data[page + node + 8 + ID_BYTES - 1] += 1
    path.write_bytes(data)
    report = checked(tmp_path)
    assert report.counts - before == {KEY: 1}
    assert [finding.table for finding in report.findings if finding.kind == KEY] == ["body"]
