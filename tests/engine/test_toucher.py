"""The reader thread: it calls back once per job, refuses what does not fit, and no error of it reaches the loop."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import lmdb
import pytest

from appliance.engine import toucher as toucher_module
from appliance.engine.stamp import writing
from appliance.engine.store import Store
from appliance.engine.tables import BODY, READY, STATE
from appliance.engine.toucher import JOBS_MAX, Toucher
from tests.engine.committing import WAIT_SECONDS, Calls


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    with writing(opened.environment) as txn:
        for number in range(100):
            txn.put(b"%02d" % number, bytes(100), db=opened.databases[BODY])
    yield opened
    opened.close()


class Gate:
    """An environment whose transactions begin when the test opens it, and which notes what is read."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self._environment = environment

    def begin(self, buffers: bool = False) -> "lmdb.Transaction[memoryview]":
        assert buffers
        self.entered.release()
        assert self.open.wait(WAIT_SECONDS)
        return self._environment.begin(buffers=True)


def gated(store: Store, calls: Calls) -> tuple[Toucher, Gate]:
    whole = store.environment
    gate = Gate(whole)
    store.environment = cast("lmdb.Environment", gate)
    toucher = Toucher(store, calls.call)
    store.environment = whole
    return toucher, gate


def test_each_job_is_called_back_once_in_order_and_the_snapshot_is_gone(store: Store) -> None:
    calls = Calls()
    toucher = Toucher(store, calls.call)
    order: list[int] = []
    for number in range(3):
        keys = [b"%02d" % number, b"absent"]
        assert toucher.touch((BODY, READY), keys, lambda number=number: order.append(number))  # type: ignore[misc]
        calls.run_one()
    assert order == [0, 1, 2]
    assert store.stats().readers == 0
    assert toucher.errors == 0
    toucher.stop()


@pytest.mark.parametrize(("faults", "read"), [([7, 7], 2 * 2), ([7, 8], 2 * (2 + 32))])
def test_rows_beyond_a_sample_are_read_where_that_waited_for_the_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch, faults: list[int], read: int
) -> None:
    calls = Calls()
    asked: list[tuple[int, bytes]] = []
    monkeypatch.setattr(toucher_module, "_major_faults", lambda: faults.pop(0))
    monkeypatch.setattr(
        Toucher,
        "_read_rows",
        lambda self, snapshot, tables, keys: asked.extend((table, key) for table in tables for key in keys),
    )
    toucher = Toucher(store, calls.call)
    assert toucher.touch((STATE, BODY), [b"%02d" % number for number in range(32)], lambda: None)
    calls.run_one()
    toucher.stop()
    assert len(asked) == read
    assert set(asked) >= {(table, key) for table in (STATE, BODY) for key in (b"00", b"16")}


def test_a_full_line_refuses_and_goes_on_when_there_is_room(store: Store) -> None:
    calls = Calls()
    toucher, gate = gated(store, calls)
    done: list[int] = []
    assert toucher.touch([], [], lambda: done.append(0))
    assert gate.entered.acquire(timeout=WAIT_SECONDS)
    for _ in range(JOBS_MAX):
        assert toucher.touch([], [], lambda: done.append(1))
    assert not toucher.touch([], [], lambda: done.append(2))
    gate.open.set()
    for _ in range(JOBS_MAX + 1):
        calls.run_one()
    assert done == [0, *[1] * JOBS_MAX]
    assert toucher.touch([], [], lambda: done.append(3))
    calls.run_one()
    assert done[-1] == 3
    toucher.stop()


def test_an_error_of_the_library_is_counted_and_the_job_still_called_back(store: Store) -> None:
    calls = Calls()
    toucher = Toucher(store, calls.call)
    done: list[bool] = []
    assert toucher.touch([BODY], [b""], lambda: done.append(True))
    calls.run_one()
    assert done == [True]
    assert toucher.errors == 1
    assert store.stats().readers == 0
    toucher.stop()


def test_stop_ends_the_thread_drops_waiting_jobs_and_refuses_new_ones(store: Store) -> None:
    calls = Calls()
    toucher, gate = gated(store, calls)
    before = threading.active_count()
    for _ in range(3):
        assert toucher.touch([], [], lambda: None)
    assert gate.entered.acquire(timeout=WAIT_SECONDS)
    stopper = threading.Thread(target=toucher.stop)
    stopper.start()
    while not toucher._stopped:
        time.sleep(0.001)
    gate.open.set()
    stopper.join()
    toucher.stop()
    assert threading.active_count() == before - 1
    assert not toucher.touch([], [], lambda: None)
    calls.run_one()
    assert calls.empty
