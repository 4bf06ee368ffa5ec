"""Online copies: one moment of the store, whole or not there at all."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import lmdb
import pytest

from appliance.engine.copy import copy
from appliance.engine.datafile import DATA_NAME
from appliance.engine.faults import DeadlineExceeded, DiskNotTrusted, NoSpace, StoreRefused
from appliance.engine.stamp import writing
from appliance.engine.store import Store, open_read_only
from appliance.engine.tables import BODY, META, STATE, TABLE_COUNT
from tests.engine.committing import Outcomes, group_of, rows_of

DEADLINE_SECONDS = 60


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = Store.open(tmp_path / "data")
    outcomes = Outcomes(opened)
    outcomes.commit(1, group_of(1, 5000))
    outcomes.committer.stop()
    yield opened
    opened.close()


def ignore(_done: int, _expected: int) -> None:
    """No progress wanted."""


def all_rows(store: Store) -> list[list[tuple[bytes, bytes]]]:
    return [store.scan(table, b"", b"\xff" * 600, 1_000_000) for table in range(TABLE_COUNT)]


@pytest.mark.parametrize("compact", [False, True])
def test_a_copy_holds_the_same_rows_and_can_be_opened(store: Store, tmp_path: Path, compact: bool) -> None:
    target = tmp_path / "backups" / "one"
    steps: list[tuple[int, int]] = []
    size = copy(store.environment, target, DEADLINE_SECONDS, lambda *step: steps.append(step), compact=compact)
    assert size == (target / DATA_NAME).stat().st_size == steps[-1][0]
    assert all(done <= expected for done, expected in steps)
    assert [path.name for path in target.iterdir()] == [DATA_NAME]
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert stat.S_IMODE((target / DATA_NAME).stat().st_mode) == 0o600
    opened = Store.open(target)
    assert all_rows(opened) == all_rows(store)
    opened.close()
    assert store.stats().readers == 1


def test_a_compact_copy_leaves_free_pages_out(store: Store, tmp_path: Path) -> None:
    with writing(store.environment) as txn:
        for table, key, _ in rows_of(1, 4900):
            txn.delete(key, db=store.databases[table])
    whole = copy(store.environment, tmp_path / "whole", DEADLINE_SECONDS, ignore)
    assert copy(store.environment, tmp_path / "compact", DEADLINE_SECONDS, ignore, compact=True) < whole / 4


@pytest.mark.parametrize("compact", [False, True])
def test_a_copy_is_one_moment_while_groups_become_durable(store: Store, tmp_path: Path, compact: bool) -> None:
    outcomes = Outcomes(store)
    stop = threading.Event()

    def write() -> None:
        number = 2
        while not stop.is_set():
            outcomes.commit(number, group_of(number, 20))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for at in range(3):
            copy(store.environment, tmp_path / str(at), DEADLINE_SECONDS, ignore, compact=compact)
    finally:
        stop.set()
        writer.join()
        outcomes.committer.stop()
    counts = []
    for at in range(3):
        opened = Store.open(tmp_path / str(at))
        bodies, states = (opened.scan(table, b"", b"\xff" * 20, 10_000_000) for table in (BODY, STATE))
        assert [key for key, _ in bodies] == [key for key, _ in states]
        assert (len(bodies) - 5000) % 20 == 0
        counts.append(len(bodies))
        opened.close()
    assert counts == sorted(counts)
    assert not outcomes.failed


def test_an_existing_target_is_refused_and_left_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(StoreRefused, match="exists already"):
        copy(store.environment, tmp_path / "target", DEADLINE_SECONDS, ignore)
    assert list((tmp_path / "target").iterdir()) == []


def test_the_rest_of_an_interrupted_copy_is_refused_with_its_name(store: Store, tmp_path: Path) -> None:
    (tmp_path / "target.partial").mkdir()
    with pytest.raises(StoreRefused, match=r"target\.partial"):
        copy(store.environment, tmp_path / "target", DEADLINE_SECONDS, ignore)
    assert (tmp_path / "target.partial").is_dir()


@pytest.mark.parametrize("compact", [False, True])
def test_a_copy_beyond_its_deadline_leaves_nothing_and_no_reader(store: Store, tmp_path: Path, compact: bool) -> None:
    def dawdle(_done: int, _expected: int) -> None:
        time.sleep(0.06)

    with pytest.raises(DeadlineExceeded) as given_up:
        copy(store.environment, tmp_path / "target", 0.05, dawdle, compact=compact)
    assert given_up.value.exit_status == 75
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert store.stats().readers == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "copy"]


def test_a_copy_stuck_in_a_write_lets_go_of_its_snapshot_at_the_deadline(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.engine.copy._PIPE_BYTES", 4096)
    readers: list[int] = []

    def stick(_done: int, _expected: int) -> None:
        limit = time.monotonic() + 20
        while store.stats().readers and time.monotonic() < limit:
            time.sleep(0.01)
        readers.append(store.stats().readers)

    with pytest.raises(DeadlineExceeded):
        copy(store.environment, tmp_path / "target", 0.2, stick)
    assert readers == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(("code", "meaning"), [(errno.ENOSPC, NoSpace), (errno.EIO, DiskNotTrusted)])
def test_a_target_that_cannot_be_written_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, meaning: type[Exception]
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("appliance.engine.copy.os.fsync", fail)
    with pytest.raises(meaning):
        copy(store.environment, tmp_path / "target", DEADLINE_SECONDS, ignore)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_source_that_cannot_be_read_to_its_end_leaves_nothing(store: Store, tmp_path: Path) -> None:
    class Broken:
        def info(self) -> dict[str, int]:
            return {"last_pgno": 10}

        def stat(self) -> dict[str, int]:
            return {"psize": 4096}

        def copyfd(self, _descriptor: int, *, compact: bool) -> None:
            raise lmdb.Error("mdb_env_copyfd3")

    with pytest.raises(DiskNotTrusted, match="while it was copied"):
        copy(Broken(), tmp_path / "target", DEADLINE_SECONDS, ignore)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_closed_store_can_be_copied_through_a_reading_environment(store: Store, tmp_path: Path) -> None:
    store.close()
    with open_read_only(store.directory) as environment:
        copy(environment, tmp_path / "target", DEADLINE_SECONDS, ignore)
    opened = Store.open(tmp_path / "target")
    assert len(opened.scan(BODY, b"", b"\xff" * 20, 10_000)) == 5000
    assert opened.scan(META, b"", b"\xff", 10) != []
    opened.close()


def test_a_copy_that_dies_leaves_no_target(store: Store, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from appliance.engine.copy import copy; from appliance.engine.store import open_read_only\n"
        "kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "copy(open_read_only(Path(sys.argv[1])), Path(sys.argv[2]), 60, kill)\n"
    )
    target = tmp_path / "target"
    subprocess.run([sys.executable, "-c", program, str(store.directory), str(target)], check=False)
    assert not target.exists()
    shutil.rmtree(tmp_path / "target.partial")
    copy(store.environment, target, DEADLINE_SECONDS, ignore)
    assert target.is_dir()
