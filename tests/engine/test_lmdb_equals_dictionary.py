"""The same operations through a scheduler over LMDB and one over dictionaries: equal answers and equal rows.

The simulation runs on the dictionary store; this is what makes its findings hold for the real one. Both sides get the
same chance, the same clock, the same failed groups and the same restarts; LMDB's side commits through the committer.
"""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any

import pytest

from appliance.engine.committer import Committer
from appliance.engine.group import TableWrites
from appliance.engine.overlay import Reader
from appliance.engine.store import FORMAT_KEY, Store
from appliance.engine.tables import META, TABLE_COUNT, TABLE_NAMES
from appliance.errors import Problem
from appliance.tasks.model import Claimed, Created, FinishBatch, Operation, Task
from appliance.tasks.scheduler import Scheduler
from appliance.tasks.settings import TaskSettings
from tests.simulation.node import same_json, same_request
from tests.simulation.store import DictionaryStore
from tests.tasks.desk import (
    START_MS,
    abandon,
    cancel,
    claim,
    create,
    create_batch,
    finish,
    heartbeat,
    nack,
    requeue,
    unheard,
)

STEPS = 2_500
SEEDS = (1, 2, 3, 4)
MAP_BYTES = 1 << 30
COMMIT_SECONDS_MAX = 30.0
RESTART_CHANCE = 0.002
FAILURE_CHANCE = 0.01
COMPARE_EVERY = 500
TENANTS = ("acme", "umbrella")
COMMANDS = ("mail", "print", "a-rather-long-name.for:a_command")
KNOWN_MAX = 300
EDGES_MIN = 40
"""Edges of the state table that a run must have taken since its last restart, to mean anything."""

SETTINGS = TaskSettings(
    backoff_base_ms=500,
    backoff_cap_ms=5_000,
    max_deliveries=5,
    retention_ms=20_000,
    dead_retention_ms=40_000,
    window_keys_max=8,
    group_transitions_max=20,
    hot_bytes_max=20_000,
)


class Side:
    """A scheduler over one store. Groups are applied when `settle` comes to them."""

    def __init__(self, store: Reader, apply: Callable[[list[TableWrites], list[set[bytes]]], object], now: int) -> None:
        self.store = store
        self._apply = apply
        self._flight: tuple[int, list[TableWrites], list[set[bytes]]] | None = None
        self.start(now)

    def start(self, now: int) -> None:
        self._flight = None
        self.scheduler = Scheduler(
            self.store,
            self,
            SETTINGS,
            Random(now),
            wake=lambda: None,
            now=now,
            same_json=same_json,
            same_request=same_request,
            on_error=_raise,
        )

    def ready(self) -> bool:
        return self._flight is None

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        self._flight = (number, writes, self.scheduler.overlay.all_groups()[-2].fresh)

    def settle(self, now: int, fails: bool) -> None:
        """Pump until nothing is left; the first group is lost if it `fails`."""
        while True:
            self.scheduler.pump(now)
            if self._flight is not None:
                (number, writes, fresh), self._flight = self._flight, None
                if fails:
                    fails = False
                    self.scheduler.failed(number, now)
                else:
                    self._apply(writes, fresh)
                    self.scheduler.durable(number, now)
            elif self.scheduler.next_time() > now:
                return


class LmdbSide(Side):
    """A side whose groups go through the committer of a real store."""

    def __init__(self, directory: Path, now: int) -> None:
        self._directory = directory
        self._returned: SimpleQueue[Any] = SimpleQueue()
        self._open()
        super().__init__(self.lmdb, self._commit, now)

    def _open(self) -> None:
        self.lmdb = self.store = Store.open(self._directory, map_bytes=MAP_BYTES)
        self._committer = Committer(
            self.lmdb,
            lambda call, *arguments: self._returned.put((call, arguments)),
            lambda number, times: None,
            lambda number, error: _raise(error),
        )

    def _commit(self, writes: list[TableWrites], fresh: list[set[bytes]]) -> None:
        self._committer.submit(0, writes)
        call, arguments = self._returned.get(timeout=COMMIT_SECONDS_MAX)
        call(*arguments)

    def reopen(self, now: int) -> None:
        """Close the store, open it and start on it."""
        self.close()
        self._open()
        self.start(now)

    def close(self) -> None:
        self._committer.stop()
        self.lmdb.close()


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, LmdbSide]]:
    dictionary = DictionaryStore()
    lmdb = LmdbSide(tmp_path / "store", START_MS)
    yield Side(dictionary, dictionary.apply, START_MS), lmdb
    lmdb.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_lmdb_and_the_dictionary_give_equal_answers_and_hold_equal_rows(
    sides: tuple[Side, LmdbSide], seed: int
) -> None:
    rng = Random(seed)
    now = START_MS
    leased: deque[Task] = deque(maxlen=KNOWN_MAX)
    known: deque[Task] = deque(maxlen=KNOWN_MAX)
    steps = compared = 0
    while steps < STEPS:
        makers = [_operation(rng, known, leased) for _ in range(rng.randint(1, 8))]
        steps += len(makers)
        now += rng.choice((0, 1, 20, 700, 10_000))
        fails = rng.random() < FAILURE_CHANCE
        heard = [_ask(side, makers, now, fails) for side in sides]
        assert heard[0] == heard[1]
        for outcomes in heard[0].values():
            for outcome in outcomes:
                _remember(outcome, known, leased)
        if rng.random() < RESTART_CHANCE:
            now += rng.choice((5_000, -3_600_000))
            sides[0].start(now)
            sides[1].reopen(now)
        if steps - compared > COMPARE_EVERY:
            compared = steps
            _compare(*sides)
    _compare(*sides)
    counts = [side.scheduler.edge_counts() for side in sides]
    assert counts[0] == counts[1]
    assert sum(1 for count in counts[0] if count) >= EDGES_MIN


def _ask(side: Side, makers: list[Callable[[], Operation]], now: int, fails: bool) -> dict[int, list[Any]]:
    """What each operation heard, by its place; those that wait hear nothing here."""
    heard: dict[int, list[Any]] = {}
    for at, make in enumerate(makers):
        operation = make()
        heard[at] = []
        operation.sink = _into(heard[at])
        side.scheduler.offer(operation)
    side.settle(now, fails)
    return dict(heard)


def _into(heard: list[Any]) -> Callable[[Any], None]:
    return lambda outcome: heard.append(_plain(outcome))


def _plain(outcome: Any) -> Any:
    """An outcome that can be compared."""
    if isinstance(outcome, Problem):
        return outcome.code, outcome.message
    return [_plain(each) for each in outcome] if isinstance(outcome, list) else outcome


def _operation(rng: Random, known: deque[Task], leased: deque[Task]) -> Callable[[], Operation]:
    """One random operation, as a function that makes it anew for each side."""
    tenant, command, kind, draw = rng.choice(TENANTS), rng.choice(COMMANDS), rng.random(), rng.randrange(1 << 30)
    key = f"key-{draw % 50}" * rng.choice((0, 0, 1, 30))
    delay, priority = rng.choice((0, 0, 300, 8_000)), rng.choice((0, 0, 7))
    if kind < 0.3 or not known:
        payload = b'"' + b"x" * rng.choice((0, 100, 3_000)) + b'"'
        fields = {"delay_ms": delay, "priority": priority, "max_attempts": 1 + draw % 3, "key": key}
        return lambda: create(command, tenant, payload=payload, terms_hash=b"%d" % (draw % 7 == 0), **fields)
    if kind < 0.35:
        return lambda: create_batch(1 + draw % 5, tenant, priority=priority)
    if kind < 0.55:
        commands = rng.choice(((), (command,), COMMANDS))
        return lambda: claim(*commands, count=1 + draw % 4, tenant=tenant, lease_ms=1_000 + draw % 20_000)
    if kind < 0.6:
        return lambda: claim(command, wait_ms=500, tenant=tenant)
    task = rng.choice(leased or known)
    owner = "acme" if rng.random() < 0.5 else "umbrella"
    if kind < 0.85 or not leased:
        return _owner_action(rng, task, owner)
    if kind < 0.9:
        tasks = rng.sample(list(leased), min(3, len(leased)))
        return lambda: FinishBatch(owner, unheard, [finish(each, tenant=owner) for each in tasks])
    other = rng.choice(known)
    return (lambda: requeue(other, owner)) if draw % 2 else (lambda: cancel(other, owner))


def _owner_action(rng: Random, task: Task, tenant: str) -> Callable[[], Operation]:
    lease = rng.choice((None, task.state.lease_number))
    kind, draw = rng.randrange(5), rng.randrange(1 << 20)
    makers: list[Callable[[], Operation]] = [
        lambda: finish(task, b"%d" % (draw % 3), lease=lease, tenant=tenant),
        lambda: finish(task, b"0", completed=False, lease=lease, error="bad", tenant=tenant),
        lambda: heartbeat(task, 1_000 + draw % 20_000, lease, tenant=tenant),
        lambda: nack(task, draw % 3_000 if draw % 2 else None, "why", lease, tenant=tenant),
        lambda: abandon(task, lease, undelivered=draw % 3 == 0, tenant=tenant),
    ]
    return makers[kind]


def _remember(outcome: Any, known: deque[Task], leased: deque[Task]) -> None:
    for each in outcome if isinstance(outcome, list) else [outcome]:
        if isinstance(each, Created):
            known.append(each.task)
        elif isinstance(each, Claimed):
            leased.extend(each.tasks)


def _compare(dictionary: Side, lmdb: LmdbSide) -> None:
    for table in range(TABLE_COUNT):
        rows = [dict(side.store.scan(table, b"", b"\xff" * 512, 1 << 30)) for side in (dictionary, lmdb)]
        if table == META:
            del rows[1][FORMAT_KEY]
        assert rows[0] == rows[1], TABLE_NAMES[table]
    for side in (dictionary, lmdb):
        side.store.release()


def _raise(error: BaseException) -> None:
    raise error
