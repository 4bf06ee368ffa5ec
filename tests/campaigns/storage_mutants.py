"""Deliberate errors in how a node makes things durable: what the power cut campaign must catch.

    python -m tests.campaigns.storage_mutants NAME dev ...

is `codeq dev ...` with the error of that name.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import lmdb

from appliance.cli import main as cli
from appliance.engine import copy, store
from appliance.engine.committer import Committer, CommitTimes
from appliance.engine.group import TableWrites


def _late_sync() -> None:
    """Commits without flushes, and one flush after each, before anybody is answered."""
    real_open: Any = lmdb.open
    real_commit = Committer._commit

    def unsynced_open(*arguments: Any, **options: Any) -> Any:
        return real_open(*arguments, **options, sync=False)

    def commit(self: Committer, writes: list[TableWrites]) -> CommitTimes:
        times = real_commit(self, writes)
        self._environment.sync(True)
        return times

    lmdb.open = unsynced_open  # type: ignore[assignment]
    Committer._commit = commit  # type: ignore[method-assign]


def _early_answer() -> None:
    """Everybody is answered before the commit."""

    def work(self: Committer) -> None:
        while True:
            self._given.acquire()
            job = self._job
            if job is None:
                return
            number, writes = job
            with self._environment.begin(write=True) as txn:
                rows = self._apply(txn, writes)
                self._applied.release()
                self._loop_call(self._durable, number, CommitTimes(0.0, 0.0, rows))

    Committer._work = work  # type: ignore[method-assign]


def _unsynced_names() -> None:
    """The names of new files are left to the system."""
    for module in (store, copy):
        vars(module)["sync_names"] = _nothing


def _nothing(_path: Path) -> None:
    """In place of a flush."""


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    "late-sync": _late_sync,
    "early-answer": _early_answer,
    "unsynced-names": _unsynced_names,
}


if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
