"""What has to be true between the rows of a store.

Owns the rules: a task is a body and a state; a pending task stands in exactly one of `ready` and `due`, a claimed one
in `lease`, a terminal one in `expire`, and a dead letter in `dead` too; a key belongs to the task that it names; a
delivery has its letter and stands in one of `post` and `lapsed`; counters are counts; every number has one name;
nothing is newer than the mark. Must not know why a task is in a state.

Every rule is checked with one ordered pass and point reads beside it. Since each index row must be the one that its
task's state asks for, and each state must have its index row, there is exactly one.
"""

from collections.abc import Iterator
from typing import Final

from appliance.engine.findings import COUNTER, INDEX, MARK, ROW, TASK
from appliance.engine.findings import NAME as NAME_FINDING
from appliance.engine.rows import (
    CLAIMED,
    DLQ,
    PENDING,
    Body,
    Delivery,
    Mark,
    State,
    decode_audit_entry,
    decode_body,
    decode_delivery,
    decode_idem,
    decode_letter,
    decode_mark,
    decode_number,
    decode_queue,
    decode_queue_control,
    decode_state,
    decode_subscription,
    decode_tenant_control,
)
from appliance.engine.store import FORMAT_KEY, MARK_KEY
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
    NAME,
    OUTBOX,
    POST,
    QUEUE,
    QUEUE_BYTES,
    READY,
    STATE,
    SUBSCRIPTION,
    TABLE_NAMES,
    TENANT_BYTES,
    dead_key,
    idem_key,
    ready_key,
    time_key,
)
from appliance.engine.walk import Walk

_PRIORITY_MAX: Final = 255
_COUNTED: Final = ("ready", "delayed", "claimed", "completed", "failed", "dlq")
_READY_COUNT: Final = 0
_DELAYED_COUNT: Final = 1

_Entry = tuple[int, bytes]
"""A table and a key."""


class Audit:
    """One check. Memory is a few numbers and the name of each queue; tasks are never collected."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._report = walk.report
        self._mark: Mark | None = None
        self._newest = b""
        self._tenants: dict[bytes, str] = {}
        self._commands: dict[bytes, str] = {}
        self._counts: dict[bytes, list[int]] = {}
        self._stored_bytes: dict[bytes, int] = {}

    def run(self) -> None:
        """All passes, tasks first met through their names and counted before their counters are read."""
        self._check_meta()
        self._check_names()
        self._check_tasks()
        for table in (READY, LEASE, DUE, EXPIRE, DEAD):
            self._check_index(table)
        self._check_keys()
        self._check_deliveries()
        for table in (POST, LAPSED):
            self._check_post(table)
        self._check_subscriptions()
        self._check_counters()
        self._check_operators()
        self._check_mark()

    def _check_meta(self) -> None:
        for key, content in self._walk.rows(META):
            if key == MARK_KEY:
                self._mark = self._walk.decoded(META, key, content, decode_mark)
            elif key == FORMAT_KEY:
                self._walk.decoded(META, key, content, decode_number)

    def _check_names(self) -> None:
        for key, content in self._walk.rows(NAME):
            number = self._walk.decoded(NAME, key, content, decode_number)
            if number is None:
                continue
            if not 0 < number < 1 << 32 or not _is_name(key):
                self._report.add(ROW, NAME, key, f"a name with the number {number} makes no sense")
                continue
            place = number.to_bytes(4, "big")
            if key[:1] == b"t":
                names, name = self._tenants, key[1:]
            else:
                names, place, name = self._commands, key[1 : 1 + TENANT_BYTES] + place, key[1 + TENANT_BYTES :]
            if place in names:
                self._report.add(NAME_FINDING, NAME, key, f"shares its number {number} with {names[place]!r}")
            names[place] = name.decode()
        for queue, command in self._commands.items():
            if queue[:TENANT_BYTES] not in self._tenants:
                self._report.add(NAME_FINDING, NAME, queue, f"command {command!r} of a tenant without a name")

    def _check_tasks(self) -> None:
        for task_id, body_row, state_row in self._pairs():
            self._newest = max(self._newest, task_id)
            if body_row is None and BODY not in self._walk.broken:
                self._report.add(TASK, STATE, task_id, "the task has a state and no body")
            if state_row is None and STATE not in self._walk.broken:
                self._report.add(TASK, BODY, task_id, "the task has a body and no state")
            body = self._walk.decoded(BODY, task_id, body_row[0], decode_body) if body_row else None
            state = self._walk.decoded(STATE, task_id, state_row[0], decode_state) if state_row else None
            if state is None:
                continue
            if not _is_sane(state):
                self._report.add(ROW, STATE, task_id, f"a state with status {state.status} makes no sense")
                continue
            self._check_state(task_id, state)
            if body is not None:
                self._check_body(task_id, body, state)

    def _pairs(self) -> Iterator[tuple[bytes, tuple[bytes | None] | None, tuple[bytes | None] | None]]:
        """Body and state of every id, in one pass: None for a row that is missing, (None,) for a damaged one."""
        bodies, states = self._walk.rows(BODY), self._walk.rows(STATE)
        body, state = next(bodies, None), next(states, None)
        while body is not None or state is not None:
            if state is None or (body is not None and body[0] < state[0]):
                assert body is not None
                yield body[0], (body[1],), None
                body = next(bodies, None)
            elif body is None or state[0] < body[0]:
                yield state[0], None, (state[1],)
                state = next(states, None)
            else:
                yield state[0], (body[1],), (state[1],)
                body, state = next(bodies, None), next(states, None)

    def _check_state(self, task_id: bytes, state: State) -> None:
        entries = _entries(task_id, state)
        if state.status == DLQ and not self._walk.has(DEAD, dead_key(state.queue, state.completed, task_id)):
            self._report.add(INDEX, STATE, task_id, "a dead letter does not stand in dead")
        present = [at for at, entry in enumerate(entries) if self._walk.has(*entry)]
        if len(present) != 1:
            names = " and ".join(TABLE_NAMES[entries[at][0]] for at in present) or "no index"
            self._report.add(INDEX, STATE, task_id, f"a task with status {state.status} stands in {names}")
        delayed = state.status == PENDING and present == [1]
        column = (_DELAYED_COUNT if delayed else _READY_COUNT) if state.status == PENDING else state.status + 1
        counts = self._counts.get(state.queue)
        if counts is None:
            counts = self._counts[state.queue] = [0] * len(_COUNTED)
        counts[column] += 1
        self._stored_bytes[state.queue] = self._stored_bytes.get(state.queue, 0) + state.stored_bytes

    def _check_body(self, task_id: bytes, body: Body, state: State) -> None:
        command = self._commands.get(state.queue)
        if command != body.command:
            self._report.add(TASK, BODY, task_id, f"the command is {body.command!r}, its queue's is {command!r}")
        if state.payload_bytes != len(body.payload):
            self._report.add(TASK, STATE, task_id, f"the payload has {len(body.payload)} bytes: {state.payload_bytes}")
        if state.keyed != bool(body.key):
            self._report.add(TASK, STATE, task_id, "the state and the body disagree whether the task has a key")
        elif state.keyed:
            there, idem = self._walk.value(IDEM, idem_key(state.queue, body.key), decode_idem)
            if not there or (idem is not None and idem.id != task_id):
                self._report.add(INDEX, STATE, task_id, "the task's key does not stand for it in idem")

    def _check_index(self, table: int) -> None:
        for key, _ in self._walk.rows(table):
            task_id = key[-ID_BYTES:]
            there, state = self._walk.value(STATE, task_id, decode_state)
            if not there:
                self._report.add(INDEX, table, key, "there is no task of this id")
            elif state is not None and not (_is_sane(state) and (table, key) in _places(task_id, state)):
                self._report.add(INDEX, table, key, f"a task with status {state.status} does not stand here")

    def _check_keys(self) -> None:
        for key, content in self._walk.rows(IDEM):
            idem = self._walk.decoded(IDEM, key, content, decode_idem)
            if idem is None:
                continue
            there, state = self._walk.value(STATE, idem.id, decode_state) if len(idem.id) == ID_BYTES else (False, None)
            _, body = self._walk.value(BODY, idem.id, decode_body) if there else (False, None)
            if not there:
                self._report.add(INDEX, IDEM, key, "the key stands for a task that does not exist")
            elif state is not None and body is not None and (not body.key or idem_key(state.queue, body.key) != key):
                self._report.add(INDEX, IDEM, key, "the key stands for a task that was made with another one")

    def _check_deliveries(self) -> None:
        for key, content in self._walk.rows(LETTER):
            self._newest = max(self._newest, key)
            self._walk.decoded(LETTER, key, content, decode_letter)
            if not self._walk.has(OUTBOX, key):
                self._report.add(INDEX, LETTER, key, "the letter has no delivery")
        for key, content in self._walk.rows(OUTBOX):
            if not self._walk.has(LETTER, key):
                self._report.add(INDEX, OUTBOX, key, "the delivery has no letter")
            delivery = self._walk.decoded(OUTBOX, key, content, decode_delivery)
            if delivery is None:
                continue
            if len(delivery.tenant) != TENANT_BYTES or delivery.at < 0:
                self._report.add(ROW, OUTBOX, key, "a delivery that makes no sense")
            elif not self._walk.has(*_place(key, delivery)):
                self._report.add(INDEX, OUTBOX, key, "the delivery does not stand where it should")

    def _check_post(self, table: int) -> None:
        for key, _ in self._walk.rows(table):
            there, delivery = self._walk.value(OUTBOX, key[-ID_BYTES:], decode_delivery)
            if not there:
                self._report.add(INDEX, table, key, "there is no delivery of this id")
            elif delivery is not None and delivery.at >= 0 and _place(key[-ID_BYTES:], delivery) != (table, key):
                self._report.add(INDEX, table, key, "the delivery does not stand here")

    def _check_subscriptions(self) -> None:
        for key, content in self._walk.rows(SUBSCRIPTION):
            self._walk.decoded(SUBSCRIPTION, key, content, decode_subscription)
            if key[:TENANT_BYTES] not in self._tenants:
                self._report.add(NAME_FINDING, SUBSCRIPTION, key, "a subscription of a tenant without a name")

    def _check_counters(self) -> None:
        for key, content in self._walk.rows(QUEUE):
            counted = self._counts.pop(key, [0] * len(_COUNTED))
            if key not in self._commands:
                self._report.add(NAME_FINDING, QUEUE, key, "the queue has no name")
            row = self._walk.decoded(QUEUE, key, content, decode_queue)
            if row is None:
                continue
            for name, count in zip(_COUNTED, counted, strict=True):
                if getattr(row, name) != count:
                    self._report.add(COUNTER, QUEUE, key, f"{name} is {getattr(row, name)}, counted are {count}")
            stored_bytes = self._stored_bytes.get(key, 0)
            if row.stored_bytes != stored_bytes:
                self._report.add(COUNTER, QUEUE, key, f"stored_bytes is {row.stored_bytes}, counted are {stored_bytes}")
            stored = sum(getattr(row, name) for name in _COUNTED)
            if row.swept < 0 or row.created != stored + row.swept:
                self._report.add(COUNTER, QUEUE, key, f"created is {row.created}, stored {stored}, swept {row.swept}")
        for queue, counted in self._counts.items():
            self._report.add(COUNTER, QUEUE, queue, f"there are {sum(counted)} tasks and no counters")

    def _check_operators(self) -> None:
        """What operators have set and done names a tenant, or a queue, that there is."""
        for key, content in self._walk.rows(CONTROL):
            if len(key) == QUEUE_BYTES:
                known = key in self._commands
                self._walk.decoded(CONTROL, key, content, decode_queue_control)
            else:
                known = key in self._tenants
                self._walk.decoded(CONTROL, key, content, decode_tenant_control)
            if not known:
                self._report.add(NAME_FINDING, CONTROL, key, "settings of something without a name")
        for key, content in self._walk.rows(AUDIT):
            self._walk.decoded(AUDIT, key, content, decode_audit_entry)
            if key[:TENANT_BYTES] not in self._tenants:
                self._report.add(NAME_FINDING, AUDIT, key, "an entry of a tenant without a name")

    def _check_mark(self) -> None:
        if self._mark is None:
            if self._newest or self._tenants:
                self._report.add(MARK, META, MARK_KEY, "there are rows and no mark")
            return
        if self._mark.last_id < self._newest:
            self._report.add(MARK, META, MARK_KEY, f"the newest task is {self._newest.hex()}, beyond the mark")
        highest = int.from_bytes(max(self._tenants, default=b""), "big")
        if self._mark.next_tenant <= highest:
            self._report.add(MARK, META, MARK_KEY, f"tenant {highest} is not below the next one")


def _place(delivery_id: bytes, delivery: Delivery) -> _Entry:
    """The one index row that a delivery has."""
    return LAPSED if delivery.given_up else POST, time_key(delivery.tenant, delivery.at, delivery_id)


def _is_sane(state: State) -> bool:
    """Whether index keys can be made of a state."""
    return (
        PENDING <= state.status <= DLQ
        and len(state.queue) == QUEUE_BYTES
        and 0 <= state.priority <= _PRIORITY_MAX
        and min(state.run_at, state.lease_until, state.expires, state.completed) >= 0
    )


def _is_name(key: bytes) -> bool:
    if key[:1] == b"t" or (key[:1] == b"c" and len(key) > 1 + TENANT_BYTES):
        try:
            key[1 if key[:1] == b"t" else 1 + TENANT_BYTES :].decode()
        except UnicodeDecodeError:
            return False
        return True
    return False


def _places(task_id: bytes, state: State) -> tuple[_Entry, ...]:
    """Every index row that a task with this state may have."""
    if state.status == DLQ:
        return (*_entries(task_id, state), (DEAD, dead_key(state.queue, state.completed, task_id)))
    return _entries(task_id, state)


def _entries(task_id: bytes, state: State) -> tuple[_Entry, ...]:
    """The index rows of which a task with this state has exactly one."""
    if state.status == PENDING:
        return (
            (READY, ready_key(state.queue, state.priority, task_id)),
            (DUE, time_key(state.queue, state.run_at, task_id)),
        )
    if state.status == CLAIMED:
        return ((LEASE, time_key(state.queue, state.lease_until, task_id)),)
    return ((EXPIRE, time_key(state.queue, state.expires, task_id)),)
