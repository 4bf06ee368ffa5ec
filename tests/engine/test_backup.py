"""Backup and restore: checked copies, beside a node or without one, that never replace anything."""

import datetime
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.engine import backup
from appliance.engine.backup import Copied, CopyDamaged, Progresses
from appliance.engine.check import check
from appliance.engine.datafile import DATA_NAME
from appliance.engine.disk import LOCK_NAME, DirectoryLock
from appliance.engine.faults import DeadlineExceeded, DiskNotTrusted, NoSpace, StoreLocked, StoreRefused
from appliance.engine.rows import seal
from appliance.engine.stamp import writing
from appliance.engine.store import Store
from appliance.engine.tables import BODY, STATE, TABLE_COUNT
from tests.engine.filling import READY_TASK, fill, sound_rows
from tests.engine.test_upgrade import TABLES_OF, old_rows, old_store

Rows = list[list[tuple[bytes, bytes]]]


def quiet() -> Progresses:
    return Progresses(lambda _done, _expected: None, lambda _table, _done, _total: None)


def make(directory: Path, target: Path, **options: bool) -> Copied:
    return backup.backup(directory, target, quiet(), deadline_seconds=60, **options)


def rows_in(directory: Path) -> Rows:
    store = Store.open(directory)
    try:
        return [store.scan(table, b"", b"\xff" * 600, 1_000_000) for table in range(TABLE_COUNT)]
    finally:
        store.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return fill(tmp_path / "data", sound_rows())


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    rows = sound_rows()
    del rows[STATE, READY_TASK]
    return fill(tmp_path / "data", rows)


@pytest.mark.parametrize("compact", [False, True])
def test_a_backup_and_its_restore_hold_the_same_rows(data: Path, tmp_path: Path, compact: bool) -> None:
    made = make(data, tmp_path / "backups" / "one", compact=compact)
    assert made.tasks == 6 and made.report.clean
    assert made.size_bytes == (made.directory / DATA_NAME).stat().st_size
    assert [path.name for path in made.directory.iterdir()] == [DATA_NAME]
    assert stat.S_IMODE((made.directory / DATA_NAME).stat().st_mode) == 0o600
    restored = backup.restore(made.directory, tmp_path / "new", quiet())
    assert (restored.tasks, restored.directory) == (6, tmp_path / "new")
    assert sorted(path.name for path in restored.directory.iterdir()) == [LOCK_NAME, DATA_NAME]
    assert rows_in(tmp_path / "new") == rows_in(data)


def test_a_store_that_is_open_is_backed_up_and_goes_on(data: Path, tmp_path: Path) -> None:
    store = Store.open(data)
    program = (
        "import sys; from pathlib import Path; from appliance.engine import backup\n"
        "quiet = backup.Progresses(lambda *_: None, lambda *_: None)\n"
        "print(backup.backup(Path(sys.argv[1]), Path(sys.argv[2]), quiet, deadline_seconds=60).tasks)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, data, tmp_path / "copy"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "6\n"
    with writing(store.environment) as txn:
        txn.put(b"new", seal(BODY, b"new", b""), db=store.databases[BODY])
    store.close()
    assert check(tmp_path / "copy", quiet().check).clean


def test_the_snapshot_of_a_copy_that_died_is_let_go(data: Path, tmp_path: Path) -> None:
    store = Store.open(data)
    program = (
        "import sys, os, signal; from pathlib import Path; from appliance.engine.store import open_beside\n"
        "snapshot = open_beside(Path(sys.argv[1])).begin()\n"
        "snapshot.stat\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", program, data], check=False)
    assert died.returncode == -signal.SIGKILL
    assert store.stats().readers == 1
    assert store.drop_dead_readers() == 1
    assert (store.stats().readers, store.drop_dead_readers()) == (0, 0)
    store.close()


def test_what_is_there_is_never_overwritten(data: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(StoreRefused, match="exists already"):
        make(data, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []
    made = make(data, tmp_path / "copy")
    other = fill(tmp_path / "other", {})
    before = (other / DATA_NAME).read_bytes()
    with pytest.raises(StoreRefused, match="never overwritten"):
        backup.restore(made.directory, other, quiet())
    assert (other / DATA_NAME).read_bytes() == before


def test_a_directory_in_use_is_neither_restored_into_nor_taken_for_a_backup(data: Path, tmp_path: Path) -> None:
    made = make(data, tmp_path / "copy")
    (tmp_path / "new").mkdir()
    for directory, arguments in (
        (tmp_path / "new", (made.directory, tmp_path / "new")),
        (data, (data, tmp_path / "x")),
    ):
        lock = DirectoryLock(directory)
        with pytest.raises(StoreLocked):
            backup.restore(*arguments, quiet())
        lock.release()
    assert not (tmp_path / "x").exists() and not (tmp_path / "new" / DATA_NAME).exists()


@pytest.mark.parametrize("version", TABLES_OF)
def test_a_backup_of_an_older_format_is_brought_up_when_it_is_restored(tmp_path: Path, version: int) -> None:
    (tmp_path / "old").mkdir()
    old_store(tmp_path / "old", version, old_rows(version))
    before = (tmp_path / "old" / DATA_NAME).read_bytes()
    restored = backup.restore(tmp_path / "old", tmp_path / "new", quiet())
    assert restored.report.clean and restored.tasks == 6
    assert sorted(path.name for path in restored.directory.iterdir()) == [LOCK_NAME, DATA_NAME]
    assert (tmp_path / "old" / DATA_NAME).read_bytes() == before
    with pytest.raises(StoreRefused, match="start the node on it once"):
        make(tmp_path / "old", tmp_path / "copy")


def test_a_backup_on_a_disk_that_cannot_be_written_is_restored(data: Path, tmp_path: Path) -> None:
    made = make(data, tmp_path / "copy")
    (made.directory / DATA_NAME).chmod(0o400)
    made.directory.chmod(0o500)
    assert backup.restore(made.directory, tmp_path / "new", quiet()).tasks == 6
    assert [path.name for path in made.directory.iterdir()] == [DATA_NAME]
    made.directory.chmod(0o700)


def test_damage_leaves_nothing_unless_it_is_accepted(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(CopyDamaged) as caught:
        make(damaged, tmp_path / "copy")
    assert caught.value.exit_status == 1 and caught.value.report.findings
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    made = make(damaged, tmp_path / "copy", accept_damage=True)
    assert not made.report.clean
    with pytest.raises(CopyDamaged):
        backup.restore(made.directory, tmp_path / "new", quiet())
    assert [path.name for path in (tmp_path / "new").iterdir()] == [LOCK_NAME]
    assert not backup.restore(made.directory, tmp_path / "new", quiet(), accept_damage=True).report.clean


def test_a_damaged_page_ends_neither_backup_nor_restore_with_a_signal(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", sound_rows())
    with open(data / DATA_NAME, "r+b") as file:
        pages = os.fstat(file.fileno()).st_size // 4096
        for page in range(2, pages):
            file.seek(page * 4096 + 12)
            file.write(b"\xff" * 4)
    with pytest.raises((CopyDamaged, DiskNotTrusted, StoreRefused)):
        make(data, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_directory_without_a_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreRefused, match="no store"):
        make(tmp_path / "empty", tmp_path / "copy")
    with pytest.raises(StoreRefused, match="no backup"):
        backup.restore(tmp_path / "empty", tmp_path / "new", quiet())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_a_deadline_ends_the_copy_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        backup.backup(data, tmp_path / "copy", quiet(), deadline_seconds=0)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_copy_that_has_no_room_is_not_begun(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "free_bytes", lambda path: 100 if path == tmp_path else 0)
    with pytest.raises(NoSpace, match="100 left"):
        make(data, tmp_path / "a" / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_series_keeps_its_latest_and_touches_nothing_else(data: Path, tmp_path: Path) -> None:
    parent = tmp_path / "series"
    start = datetime.datetime(2026, 5, 18, 23, 59, 59, tzinfo=datetime.UTC)
    made = [backup.stamped(parent, start + datetime.timedelta(days=day)) for day in range(4)]
    assert made[0].name == "20260518T235959Z"
    for path in made:
        make(data, path)
    (parent / "20200101T000000Z").mkdir()
    shutil.copytree(made[0], parent / "by hand")
    assert backup.prune(parent, 3) == made[:1]
    assert sorted(path.name for path in parent.iterdir()) == [
        "20200101T000000Z", *(path.name for path in made[1:]), "by hand",
    ]  # fmt: skip
    assert backup.prune(parent, 3) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_store(data: Path, tmp_path: Path) -> None:
    owner = 12_345
    (data / "lock.mdb").unlink(missing_ok=True)
    os.chown(data / DATA_NAME, owner, owner)
    made = make(data, tmp_path / "copy")
    assert (data / "lock.mdb").stat().st_uid == owner
    (tmp_path / "new").mkdir()
    os.chown(tmp_path / "new", owner, owner)
    backup.restore(made.directory, tmp_path / "new", quiet())
    (tmp_path / "new" / LOCK_NAME).unlink()
    assert check(tmp_path / "new", quiet().check).clean
    assert {path.stat().st_uid for path in (tmp_path / "new").iterdir()} == {owner}
    assert {path.name for path in (tmp_path / "new").iterdir()} == {DATA_NAME, LOCK_NAME}
