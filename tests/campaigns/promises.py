"""What a node has promised to its clients, and whether a directory holds it.

Owns the promises, taken from the notes of a load, and the judgement of a directory through the product's own start: it
opens the store, checks it, builds the scheduler, reads every task that was acknowledged, and then claims and creates.
Must not know how the directory came to be as it is.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any, Final

from appliance.engine.check import check
from appliance.engine.committer import Committer
from appliance.engine.faults import StoreError
from appliance.engine.group import TableWrites
from appliance.engine.rows import CLAIMED as CLAIMED_STATUS
from appliance.engine.rows import DamagedRow
from appliance.engine.store import Store
from appliance.tasks.model import STATUS_NAMES, Claimed, Created, Operation, Task
from appliance.tasks.scheduler import Scheduler
from appliance.tasks.settings import TaskSettings
from tests.campaigns import storage_load as notes
from tests.campaigns.storage_load import TENANT
from tests.simulation.node import same_json, same_request
from tests.tasks.desk import claim, create

COMMIT_SECONDS_MAX: Final = 60.0
LATER_MS: Final = 3_600_000
"""The node starts this long after the cut, when every lease of the load has ended."""
CLAIM_COUNT: Final = 100
SETTINGS: Final = TaskSettings()


class Promises:
    """All that was promised up to a moment, by task."""

    def __init__(self) -> None:
        self.creating: set[str] = set()
        self.created: dict[str, tuple[str, Any]] = {}
        self.leases: dict[str, int] = {}
        self.finishing: set[str] = set()
        self.finished: dict[str, tuple[str, Any]] = {}
        self.returned: dict[str, int] = {}
        self.odd: list[str] = []
        self.groups: dict[int, int] = {}
        """Of a store without tasks: how many creates each durable group has."""
        self.copied: dict[str, int] = {}
        """Copies that are done, and how many groups each must have."""
        self.backing_up: Promises | None = None
        """What was promised when a backup began: that it has to hold."""
        self.backups: dict[str, Promises] = {}

    def take(self, story: Iterable[dict[str, Any]]) -> None:
        """Add what these notes promise."""
        for note in story:
            what, task = note["what"], note.get("id", "")
            if what == notes.CREATING:
                self.creating.add(note["mark"])
            elif what == notes.CREATED:
                self.created[task] = (note["command"], note["payload"])
            elif what == notes.CLAIMED:
                self.leases[task] = max(note["lease"], self.leases.get(task, 0))
            elif what == notes.FINISHING:
                self.finishing.add(task)
            elif what == notes.FINISHED:
                self.finished[task] = (note["status"], note["result"])
            elif what == notes.RETURNED:
                self.returned[task] = max(note["lease"], self.returned.get(task, 0))
            elif what == notes.ODD:
                self.odd.append(note["text"])
            elif what == notes.GROUP:
                self.groups[note["number"]] = note["creates"]
            elif what == notes.BACKING_UP:
                self.backing_up = self.copy()
            elif what == notes.BACKED_UP and self.backing_up is not None:
                self.backups[note["name"]] = self.backing_up
            elif what == notes.COPIED:
                self.copied[note["name"]] = note["groups"]

    def copy(self) -> "Promises":
        """The same promises about tasks. What is asked for from now on may be there as well."""
        other = Promises()
        other.creating, other.finishing = self.creating, self.finishing
        other.created, other.leases = dict(self.created), dict(self.leases)
        other.finished, other.returned = dict(self.finished), dict(self.returned)
        return other

    @property
    def count(self) -> int:
        """How many there are."""
        of_tasks = len(self.created) + len(self.leases) + len(self.finished) + len(self.returned)
        return of_tasks + len(self.groups) + len(self.copied)


class Revival:
    """A scheduler on an open store, with the real committer, pumped by hand."""

    def __init__(self, store: Store, now: int) -> None:
        self.now = now
        self._returned: SimpleQueue[Any] = SimpleQueue()
        self._flight = 0
        self._committer = Committer(
            store,
            lambda call, *arguments: self._returned.put((call, arguments)),
            lambda number, times: self.scheduler.durable(number, self.now),
            self._failed,
        )
        self.scheduler = Scheduler(
            store,
            self,
            SETTINGS,
            Random(7),
            wake=_nothing,
            now=now,
            same_json=same_json,
            same_request=same_request,
            on_error=_raise,
        )

    def ready(self) -> bool:
        """Whether the committer is free."""
        return not self._committer.busy

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        """Hand a group to the committer."""
        self._committer.submit(number, writes)

    def _failed(self, number: int, error: StoreError) -> None:
        raise error

    def ask(self, operation: Operation) -> Any:
        """The outcome of an operation, when it is durable."""
        heard: list[Any] = []
        operation.sink = heard.append
        self.scheduler.offer(operation)
        while not heard:
            self.scheduler.pump(self.now)
            if self._committer.busy:
                call, arguments = self._returned.get(timeout=COMMIT_SECONDS_MAX)
                call(*arguments)
        return heard[0]

    def close(self) -> None:
        """End the committer."""
        while self._committer.busy:
            call, arguments = self._returned.get(timeout=COMMIT_SECONDS_MAX)
            call(*arguments)
        self._committer.stop()


def judge(directory: Path, promises: Promises) -> list[str]:
    """What is wrong with the store in this directory, which is changed by it."""
    try:
        store = Store.open(directory)
    except StoreError as error:
        return [f"it does not open: {type(error).__name__}: {error}"]
    try:
        report = check(directory, _no_progress, online=store)
        found = [f"the check: {finding}" for finding in report.findings]
        if not found:
            found += _judge_node(store, promises)
    except (StoreError, DamagedRow) as error:
        return [f"it does not work: {type(error).__name__}: {error}"]
    finally:
        store.close()
    return found


def judge_backups(disk: Path, promises: Promises) -> list[str]:
    """What is wrong with the backups `backup*` beside a store: those that were done, and any that has its name."""
    found = [f"lost: {name} was done" for name in promises.backups if not (disk / name).is_dir()]
    for path in sorted(disk.glob("backup*")):
        if path.suffix != ".partial":
            promised = promises.backups.get(path.name) or Promises()
            # It may hold more than was promised when it began.
            promised.creating = promises.creating
            found += [f"{path.name}: {text}" for text in judge(path, promised)]
    return found


def _judge_node(store: Store, promises: Promises) -> list[str]:
    node = Revival(store, time.time_ns() // 1_000_000 + LATER_MS)
    with contextlib.closing(node):
        found = list(_kept(node.scheduler, promises))
        found += _goes_on(node, promises)
    return found


def _kept(scheduler: Scheduler, promises: Promises) -> Iterator[str]:
    """Every promise that the store does not keep."""
    known = {**promises.leases, **promises.created, **promises.finished}
    tasks = {task: scheduler.reads.task(TENANT, uuid.UUID(task).bytes) for task in known}
    for task, (command, payload) in promises.created.items():
        found = tasks[task]
        if found is None:
            if task not in promises.finishing:
                yield f"lost: {task} was created"
        elif found.body.command != command or json.loads(found.body.payload) != payload:
            yield f"changed: {task} was created with {command} {payload}, is {found.body}"
    for task, lease in promises.leases.items():
        found = tasks[task]
        if found is not None and found.state.lease_number < lease:
            yield f"lost: lease {lease} of {task}, there are {found.state.lease_number}"
        elif found is None and task not in promises.finishing:
            yield f"lost: {task} was claimed"
    for task, (status, result) in promises.finished.items():
        found = tasks[task]
        if found is not None and _end_of(found) != (status, result):
            yield f"lost: the result of {task}, {status} with {result}; it is {found.state}"
    for task, lease in promises.returned.items():
        found = tasks.get(task)
        if found is not None and (found.state.status, found.state.lease_number) == (CLAIMED_STATUS, lease):
            yield f"lost: lease {lease} of {task} was given back"


def _end_of(task: Task) -> tuple[str, Any]:
    return STATUS_NAMES[task.state.status], json.loads(task.state.result or b"null")


def _goes_on(node: Revival, promises: Promises) -> Iterator[str]:
    """Claims everything that is there, and creates a task."""
    seen: set[bytes] = set()
    while tasks := _claimed(node):
        for task in tasks:
            name = str(uuid.UUID(bytes=task.id))
            if task.id in seen:
                yield f"delivered twice: {name}"
            if name in promises.finished:
                yield f"delivered again: {name} was finished"
            mark = json.loads(task.body.payload)["mark"]
            if mark not in promises.creating:
                yield f"unexpected: {name} with {mark}, which nobody asked for"
            seen.add(task.id)
    outcome = node.ask(create("mail", TENANT))
    if not isinstance(outcome, Created):
        yield f"it takes no new task: {outcome}"


def _claimed(node: Revival) -> list[Task]:
    outcome = node.ask(claim(count=CLAIM_COUNT, tenant=TENANT))
    if not isinstance(outcome, Claimed):
        raise AssertionError(f"a claim was answered with {outcome}")
    return outcome.tasks


def _nothing() -> None:
    """Nobody sleeps here who could be woken."""


def _raise(error: BaseException) -> None:
    raise error


def _no_progress(_table: str, _done: int, _total: int) -> None:
    """Nobody watches."""
