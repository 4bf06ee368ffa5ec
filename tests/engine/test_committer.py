"""The committer: durable means in the store, a failed group leaves nothing, and the loop is never left parked."""

import asyncio
import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import lmdb
import pytest
import uvloop

from appliance.engine.committer import Committer, CommitTimes
from appliance.engine.faults import DiskNotTrusted, NoSpace, StoreError
from appliance.engine.group import Group, TableWrites
from appliance.engine.store import Store
from appliance.engine.tables import BODY, META, STATE
from tests.engine.committing import FailingEnvironment, Outcomes, group_of, lmdb_error, rows_of

PLACES = ("begin", "delete", "put", "stamp", "commit")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def outcomes(store: Store) -> Iterator[Outcomes]:
    made = Outcomes(store)
    yield made
    made.committer.stop()


def failing(store: Store, place: str, error: BaseException) -> Outcomes:
    """A committer whose next group with deletes and puts meets `error` at `place`."""
    whole = store.environment
    store.environment = cast("lmdb.Environment", FailingEnvironment(whole, place, error))
    made = Outcomes(store)
    store.environment = whole
    return made


def mixed_group(number: int) -> list[TableWrites]:
    group = Group(number)
    group.put(BODY, b"mixed %d" % number, b"content")
    group.delete(STATE, b"absent")
    return group.close()


def test_a_durable_group_is_in_the_store_when_its_completion_comes(store: Store, outcomes: Outcomes) -> None:
    busy = [outcomes.committer.busy]
    outcomes.committer.submit(1, group_of(1, 10))
    busy.append(outcomes.committer.busy)
    outcomes.calls.run_one()
    assert [*busy, outcomes.committer.busy] == [False, True, False]
    ((number, times),) = outcomes.durable
    assert number == 1
    assert times.rows == 30
    assert times.parked_ms > 0
    assert times.commit_ms > 0
    assert [store.get(table, key) for table, key, _ in rows_of(1, 10)] == [content for _, _, content in rows_of(1, 10)]


def test_an_empty_group_comes_back_too(outcomes: Outcomes) -> None:
    outcomes.commit(1, [])
    assert [number for number, _ in outcomes.durable] == [1]


def test_put_delete_and_put_again_in_one_group_leaves_the_row(store: Store, outcomes: Outcomes) -> None:
    for number, before in ((1, None), (2, b"put twice")):
        assert store.get(BODY, b"key") == before
        group = Group(number)
        (group.put if before else group.put_new)(BODY, b"key", b"put once")
        group.delete(BODY, b"key")
        group.put_new(BODY, b"key", b"put twice")
        outcomes.commit(number, group.close())
        store.release()
        assert store.get(BODY, b"key") == b"put twice"


def test_deletes_of_older_rows_are_applied(store: Store, outcomes: Outcomes) -> None:
    outcomes.commit(1, group_of(1, 5))
    group = Group(2)
    for table, key, _ in rows_of(1, 5):
        group.delete(table, key)
    outcomes.commit(2, group.close())
    assert all(store.get(table, key) is None for table, key, _ in rows_of(1, 5))


def test_a_second_group_while_one_is_under_way_is_a_bug(outcomes: Outcomes) -> None:
    outcomes.committer.submit(1, group_of(1, 1))
    with pytest.raises(RuntimeError, match="busy"):
        outcomes.committer.submit(2, group_of(2, 1))
    outcomes.calls.run_one()
    outcomes.commit(2, group_of(2, 1))
    assert [number for number, _ in outcomes.durable] == [1, 2]


def test_whoever_looks_hears_of_a_group_before_the_turn_of_the_loop_and_nobody_twice(outcomes: Outcomes) -> None:
    outcomes.committer.look()
    outcomes.committer.submit(1, group_of(1, 1))
    late = outcomes.calls.take_one()
    outcomes.committer.look()
    assert [number for number, _ in outcomes.durable] == [1]
    outcomes.committer.submit(2, group_of(2, 1))
    outcomes.calls.run_one()
    late()
    outcomes.committer.look()
    assert [number for number, _ in outcomes.durable] == [1, 2]


def test_stop_waits_for_the_commit_under_way_and_its_completion_still_comes(store: Store, outcomes: Outcomes) -> None:
    outcomes.committer.submit(1, group_of(1, 100))
    outcomes.committer.stop()
    outcomes.committer.stop()
    assert store.get(*rows_of(1, 1)[0][:2]) is not None
    outcomes.calls.run_one()
    assert [number for number, _ in outcomes.durable] == [1]
    with pytest.raises(RuntimeError, match="stopped"):
        outcomes.committer.submit(2, group_of(2, 1))


def test_a_stopped_committer_leaves_no_thread(store: Store) -> None:
    before = threading.active_count()
    Outcomes(store).committer.stop()
    assert threading.active_count() == before


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "error",
    [
        lmdb.MapFullError("mdb_put"),
        lmdb.DiskError("mdb_txn_commit"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_no_space_fails_the_group_whole_and_the_next_one_is_taken(
    store: Store, place: str, error: BaseException
) -> None:
    outcomes = failing(store, place, error)
    outcomes.commit(1, mixed_group(1))
    ((number, meaning),) = outcomes.failed
    assert number == 1
    assert isinstance(meaning, NoSpace)
    assert meaning.__cause__ is error
    assert store.get(BODY, b"mixed 1") is None
    store.release()
    outcomes.commit(2, mixed_group(2))
    assert [number for number, _ in outcomes.durable] == [2]
    assert store.get(BODY, b"mixed 2") == b"content"
    outcomes.committer.stop()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "error",
    [
        lmdb_error(errno.EIO),
        lmdb.PanicError("mdb_txn_begin"),
        lmdb.CorruptedError("mdb_put"),
        lmdb.MapResizedError("mdb_txn_begin"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError(),
        TypeError("a bug"),
    ],
)
def test_any_other_error_is_fatal_and_later_groups_are_refused(store: Store, place: str, error: BaseException) -> None:
    outcomes = failing(store, place, error)
    outcomes.commit(1, mixed_group(1))
    ((number, meaning),) = outcomes.failed
    assert number == 1
    assert isinstance(meaning, DiskNotTrusted)
    assert meaning.exit_status == 74
    assert meaning.__cause__ is error
    assert not outcomes.committer.busy
    with pytest.raises(DiskNotTrusted):
        outcomes.committer.submit(2, mixed_group(2))
    assert outcomes.durable == []
    assert store.get(BODY, b"mixed 1") is None
    outcomes.committer.stop()


def test_a_disk_that_does_not_tell_its_free_space_does_not_count_as_full(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("appliance.engine.store.free_bytes", fail)
    outcomes = failing(store, "commit", lmdb_error(errno.EIO))
    outcomes.commit(1, mixed_group(1))
    assert isinstance(outcomes.failed[0][1], DiskNotTrusted)
    outcomes.committer.stop()


def test_a_map_that_is_full_fails_one_group_and_nothing_else(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "small", map_bytes=1 << 20)
    outcomes = Outcomes(store)
    outcomes.commit(1, group_of(1, 10))
    outcomes.commit(2, group_of(2, 10_000))
    outcomes.commit(3, group_of(3, 10))
    assert [number for number, _ in outcomes.durable] == [1, 3]
    assert [(number, type(error)) for number, error in outcomes.failed] == [(2, NoSpace)]
    assert all(store.get(table, key) is not None for number in (1, 3) for table, key, _ in rows_of(number, 10))
    assert all(store.get(table, key) is None for table, key, _ in rows_of(2, 10))
    outcomes.committer.stop()
    store.close()


def test_groups_of_a_thousand_rows_flow_from_a_running_loop(store: Store) -> None:
    last = 20
    turns = 0
    finished: list[CommitTimes] = []

    async def run() -> None:
        nonlocal turns
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def durable(number: int, times: CommitTimes) -> None:
            finished.append(times)
            store.release()
            assert store.get(META, b"group") == b"%d" % number
            if number == last:
                done.set_result(None)
            else:
                submit(number + 1)

        def failed(_number: int, error: StoreError) -> None:
            done.set_exception(error)

        def submit(number: int) -> None:
            group = Group(number)
            for row in rows_of(number, 333):
                group.put_new(*row)
            group.put(META, b"group", b"%d" % number)
            committer.submit(number, group.close())

        def turn() -> None:
            nonlocal turns
            turns += 1
            if not done.done():
                loop.call_soon(turn)

        committer = Committer(store, loop.call_soon_threadsafe, durable, failed)
        turn()
        submit(1)
        try:
            await done
        finally:
            committer.stop()

    began = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert [times.rows for times in finished] == [1000] * last
    # The loop must have turned while commits were under way, not only between them.
    assert turns > last
    assert time.monotonic() - began < 20
