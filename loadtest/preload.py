"""Stores filled without a server: exactly, through the state machine, or fast, as rows in the order of their keys.

Owns both ways. The exact way is what a node does, without the front: scheduler, groups, committer. The fast one writes
the very rows that so many creates would have left, appended table by table; a check of the store must not be able to
tell the difference. Only for stores that no node has open.
"""

import queue
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, Self

from appliance.api.canonical import same_json, same_request, terms_hash
from appliance.engine.committer import Committer, CommitTimes
from appliance.engine.faults import StoreError
from appliance.engine.group import TableWrites
from appliance.engine.rows import DLQ, PENDING, Body, Mark, QueueRow, State, encode_row, seal
from appliance.engine.stamp import writing
from appliance.engine.store import MARK_KEY, Store
from appliance.engine.tables import (
    BODY,
    DEAD,
    EXPIRE,
    META,
    NAME,
    QUEUE,
    READY,
    STATE,
    command_name_key,
    dead_key,
    queue_prefix,
    ready_key,
    tenant_name_key,
    time_key,
)
from appliance.errors import Problem
from appliance.tasks.ids import Ids
from appliance.tasks.model import CreateBatch, Created, NewTask, Operation, Sink
from appliance.tasks.scheduler import Scheduler
from appliance.tasks.settings import TaskSettings

BATCH_TASKS: Final = 1_000
APPEND_TASKS: Final = 50_000
"""Tasks per transaction of the fast way: some 20 MB, enough that the flushes do not count."""
SPREAD_MS: Final = 3_600_000
"""The fast way's tasks were created over the last hour."""
MAX_ATTEMPTS: Final = 5
WAIT_SECONDS: Final = 60
_NUMBER: Final = 1
"""Of the only tenant, and of its only command."""

DYING_MS: Final = 1_000
DEAD_RETENTION_MS: Final = 14 * 86_400_000

Rows = tuple[tuple[int, bytes, bytes], ...]
"""One task's rows: table, key, content. All tasks of one kind have them in the same order of tables."""

Progress = Callable[[int, int], None]
"""Called with tasks done and tasks in all."""


def keys(kind: str, count: int) -> Iterator[str]:
    """Idempotency keys in the form of UUIDs: `random`, or `ordered` by the time they would have been made at."""
    rng = Random(7)
    start_ms = time.time_ns() // 1_000_000 - SPREAD_MS
    for number in range(count):
        digits = f"{rng.getrandbits(128):032x}"
        if kind == "ordered":
            digits = f"{start_ms + SPREAD_MS * number // count:012x}" + digits[12:]
        yield f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Decisions:
    """The state machine over a store that no node has open, decided and committed one operation at a time.

    A context manager; it raises what the store raises.
    """

    def __init__(self, directory: Path) -> None:
        self._calls: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.Queue()
        self._store = Store.open(directory)
        self._committer = Committer(self._store, self._call, self._durable, self._failed)
        self._scheduler = Scheduler(
            self._store,
            self,
            TaskSettings(),
            Random(1),
            wake=lambda: None,
            now=_now_ms(),
            same_json=same_json,
            same_request=same_request,
            on_error=_raise,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._committer.stop()
        self._store.close()

    def ask(self, make: Callable[[Sink], Operation]) -> Any:
        """The outcome of one operation that writes, once it is durable."""
        outcomes: list[Any] = []
        self._scheduler.offer(make(outcomes.append))
        while not outcomes:
            self._scheduler.pump(_now_ms())
            function, given = self._calls.get(timeout=WAIT_SECONDS)
            function(*given)
        return outcomes[0]

    # What the scheduler calls of its seam.

    def ready(self) -> bool:
        """Whether the committer is free."""
        return not self._committer.busy

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        """Straight to the committer."""
        self._committer.submit(number, writes)

    def _call(self, function: Callable[..., None], *given: Any) -> None:
        self._calls.put((function, given))

    def _durable(self, number: int, _times: CommitTimes) -> None:
        self._scheduler.durable(number, _now_ms())

    def _failed(self, _number: int, error: StoreError) -> None:
        raise error


def create_exactly(
    directory: Path, tenant: str, command: str, payload: bytes, task_keys: list[str], told: Progress
) -> None:
    """Create a task for each of these idempotency keys through the state machine, in durable batches."""
    blank = NewTask(command, payload)
    hashed = terms_hash(command, blank.priority, blank.max_attempts, blank.webhook, blank.run_at, blank.delay_ms)
    with Decisions(directory) as decisions:
        for done in range(0, len(task_keys), BATCH_TASKS):
            batch = task_keys[done : done + BATCH_TASKS]
            tasks: list[NewTask | Problem] = [NewTask(command, payload, key=key, terms_hash=hashed) for key in batch]
            outcome = decisions.ask(partial(CreateBatch, tenant, tasks=tasks))
            refused = [each for each in outcome if not isinstance(each, Created)]
            if refused:
                raise RuntimeError(f"a task was refused: {refused[0]}")
            told(done + len(batch), len(task_keys))


def append_backlog(
    directory: Path, tenant: str, command: str, payload_bytes: int, count: int, told: Progress, *, dead: bool = False
) -> None:
    """Write `count` ready tasks of one queue into a new store, as so many creates would have left them.

    With `dead` they are dead letters instead, each of which died a second after it was created.
    """
    store = Store.open(directory)
    try:
        if store.get(META, MARK_KEY) is not None:
            raise ValueError(f"{directory} is not empty")
        ids = Ids(bytes(16), 0, 1)
        start_ms = _now_ms() - SPREAD_MS
        for done in range(0, count, APPEND_TASKS):
            until = min(done + APPEND_TASKS, count)
            make = _dead_rows if dead else _rows
            _append(
                store, [make(ids, start_ms, number, count, command, payload_bytes) for number in range(done, until)]
            )
            told(until, count)
        names = {"dlq": count} if dead else {"ready": count}
        _finish(store, tenant, command, QueueRow(**names, created=count, stored_bytes=count * payload_bytes), ids.last)
    finally:
        store.close()


def _rows(ids: Ids, start_ms: int, number: int, count: int, command: str, payload_bytes: int) -> Rows:
    """One task's rows in `body`, `state` and `ready`."""
    created = start_ms + SPREAD_MS * number // count
    task_id = ids.next(created)
    prefix = queue_prefix(_NUMBER, _NUMBER)
    payload = (b'{"number":%d,"text":"' % number).ljust(payload_bytes - 2, b"x") + b'"}'
    state = State(PENDING, prefix, 0, MAX_ATTEMPTS, 0, payload_bytes=payload_bytes)
    return (
        (BODY, task_id, encode_row(Body(command, payload, created))),
        (STATE, task_id, encode_row(state)),
        (READY, ready_key(prefix, 0, task_id), b""),
    )


def _dead_rows(ids: Ids, start_ms: int, number: int, count: int, command: str, payload_bytes: int) -> Rows:
    """One dead letter's rows."""
    body, (_, task_id, _), _ = _rows(ids, start_ms, number, count, command, payload_bytes)
    prefix = queue_prefix(_NUMBER, _NUMBER)
    died = start_ms + SPREAD_MS * number // count + DYING_MS
    expires = died + DEAD_RETENTION_MS
    state = State(
        DLQ,
        prefix,
        0,
        MAX_ATTEMPTS,
        died,
        attempts=MAX_ATTEMPTS,
        deliveries=MAX_ATTEMPTS,
        subject="loadtest",
        error="given up",
        completed=died,
        expires=expires,
        lease_number=MAX_ATTEMPTS,
        payload_bytes=payload_bytes,
    )
    return (
        body,
        (STATE, task_id, encode_row(state)),
        (EXPIRE, time_key(prefix, expires, task_id), b""),
        (DEAD, dead_key(prefix, died, task_id), b""),
    )


def _append(store: Store, tasks: list[Rows]) -> None:
    with writing(store.environment) as txn:
        for same_table in zip(*tasks, strict=True):
            table = same_table[0][0]
            rows = [(key, seal(table, key, content)) for _, key, content in same_table]
            with txn.cursor(store.databases[table]) as cursor:
                cursor.putmulti(rows, append=True)


def _finish(store: Store, tenant: str, command: str, counters: QueueRow, last_id: bytes) -> None:
    """Names, counters and the mark: what goes with every group."""
    rows = (
        (NAME, tenant_name_key(tenant), encode_row(_NUMBER)),
        (NAME, command_name_key(_NUMBER, command), encode_row(_NUMBER)),
        (QUEUE, queue_prefix(_NUMBER, _NUMBER), encode_row(counters)),
        (META, MARK_KEY, encode_row(Mark(last_id, _now_ms(), _NUMBER + 1))),
    )
    with writing(store.environment) as txn:
        for table, key, content in rows:
            txn.put(key, seal(table, key, content), db=store.databases[table])


def _raise(error: BaseException) -> None:
    raise error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
