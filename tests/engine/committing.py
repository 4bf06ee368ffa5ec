"""What the tests of the committer share: a stand-in for the loop, groups of rows, and an environment that fails."""

import queue
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import lmdb

from appliance.engine.committer import Committer, CommitTimes
from appliance.engine.faults import StoreError
from appliance.engine.group import Group, TableWrites
from appliance.engine.store import Store
from appliance.engine.tables import BODY, READY, STATE, queue_prefix, ready_key

WAIT_SECONDS = 30
"""Longer than any commit takes; a test that waits this long has failed."""


class Calls:
    """A loop that runs what it was given when the test says so, on the test's thread."""

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.Queue()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        self._calls.put((function, arguments))

    def take_one(self) -> Callable[[], None]:
        """The next call, as soon as there is one; nothing runs."""
        function, arguments = self._calls.get(timeout=WAIT_SECONDS)
        return partial(function, *arguments)

    def run_one(self) -> None:
        self.take_one()()

    @property
    def empty(self) -> bool:
        return self._calls.empty()


class Outcomes:
    """A committer and what came back from it."""

    def __init__(self, store: Store) -> None:
        self.calls = Calls()
        self.durable: list[tuple[int, CommitTimes]] = []
        self.failed: list[tuple[int, StoreError]] = []
        self.committer = Committer(
            store,
            self.calls.call,
            lambda number, times: self.durable.append((number, times)),
            lambda number, error: self.failed.append((number, error)),
        )

    def commit(self, number: int, writes: list[TableWrites]) -> None:
        """Submit one group and wait until it has come back."""
        self.committer.submit(number, writes)
        self.calls.run_one()


def rows_of(number: int, count: int) -> list[tuple[int, bytes, bytes]]:
    """The rows of `count` creates in group `number`."""
    rows = []
    queue_key = queue_prefix(1, 1)
    for at in range(count):
        task_id = number.to_bytes(8, "big") + at.to_bytes(8, "big")
        rows += [
            (BODY, task_id, b"body" * 30),
            (STATE, task_id, b"state" * 10),
            (READY, ready_key(queue_key, 5, task_id), b""),
        ]
    return rows


def group_of(number: int, count: int) -> list[TableWrites]:
    """A closed group of `count` creates."""
    group = Group(number)
    for row in rows_of(number, count):
        group.put_new(*row)
    return group.close()


def lmdb_error(code: int) -> lmdb.Error:
    """An error as LMDB's binding raises it for a code of the system without a class of its own."""
    error = lmdb.Error("mdb_txn_commit")
    setattr(error, "code", code)  # noqa: B010  # the stub calls it final
    return error


class FailingEnvironment:
    """An environment that raises `error` once, at one of "begin", "put", "delete", "stamp" and "commit"."""

    def __init__(self, environment: lmdb.Environment, place: str, error: BaseException) -> None:
        self._environment = environment
        self._place = place
        self._error = error

    def begin(self, write: bool = False) -> Any:
        self.fail_at("begin")
        return FailingTransaction(self, self._environment.begin(write=write))

    def fail_at(self, place: str) -> None:
        if place == self._place:
            self._place = ""
            raise self._error


class FailingTransaction:
    def __init__(self, environment: FailingEnvironment, txn: "lmdb.Transaction[bytes]") -> None:
        self._environment = environment
        self._txn = txn

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._environment.fail_at("commit")
        except BaseException:
            self._txn.abort()
            raise
        self._txn.__exit__(kind, error, at)

    def delete(self, key: bytes, value: bytes, database: "lmdb._Database") -> bool:
        self._environment.fail_at("delete")
        return self._txn.delete(key, value, database)

    def cursor(self, database: "lmdb._Database") -> "lmdb.Cursor[bytes]":
        self._environment.fail_at("put")
        return self._txn.cursor(database)

    def id(self) -> int:
        return self._txn.id()

    def put(self, key: bytes, value: bytes) -> bool:
        self._environment.fail_at("stamp")
        return self._txn.put(key, value)
