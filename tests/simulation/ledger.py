"""The durable facts, decoded: what the store holds now, and what each group changed.

The invariants look at this and at what clients heard, never into the state machine.
"""

from typing import Any

from appliance.engine.group import TableWrites
from appliance.engine.rows import (
    COMPLETED,
    Body,
    Delivery,
    Idem,
    Letter,
    Mark,
    State,
    decode_body,
    decode_delivery,
    decode_idem,
    decode_letter,
    decode_mark,
    decode_number,
    decode_state,
    unseal,
)
from appliance.engine.tables import BODY, IDEM, LETTER, META, NAME, OUTBOX, READY, STATE, tenant_prefix


class Change:
    """What one group changed. Times: `clock_ms` is the node's clock at the close, the others are true time."""

    __slots__ = (
        "bodies",
        "clock_ms",
        "closed_ms",
        "group",
        "idems",
        "letters",
        "mark",
        "number",
        "opened_ms",
        "outbox",
        "states",
        "step",
        "went_back",
    )

    def __init__(self, group: int, clock_ms: int, opened_ms: int, closed_ms: int, went_back: bool) -> None:
        self.group = group
        self.number = 0
        self.step = 0
        self.clock_ms = clock_ms
        self.opened_ms = opened_ms
        self.closed_ms = closed_ms
        self.went_back = went_back
        self.states: dict[bytes, tuple[State | None, State | None]] = {}
        self.bodies: dict[bytes, Body | None] = {}
        self.idems: dict[bytes, Idem | None] = {}
        self.letters: dict[bytes, Letter | None] = {}
        self.outbox: dict[bytes, tuple[Delivery | None, Delivery | None]] = {}
        self.mark: Mark | None = None


class Ledger:
    """Durable states, bodies and keys; `ready` has the step and the true time at which each ready row last changed."""

    def __init__(self) -> None:
        self.states: dict[bytes, State] = {}
        self.bodies: dict[bytes, Body] = {}
        self.idems: dict[bytes, Idem] = {}
        self.letters: dict[bytes, Letter] = {}
        self.outbox: dict[bytes, Delivery] = {}
        self.ready: dict[bytes, tuple[int, int]] = {}
        self.tenants: dict[str, bytes] = {}
        self.queues: dict[bytes, dict[str, bytes]] = {}
        """Prefixes of queues by tenant prefix and command."""
        self.swept: set[bytes] = set()
        self.alive = 0
        """Tasks that have not ended."""
        self.changes = 0

    def take(self, writes: list[TableWrites], change: Change, step: int, now_ms: int) -> None:
        """Note a group that has just become durable."""
        self.changes += 1
        change.number, change.step = self.changes, step
        for table, deletes, puts in writes:
            if table == STATE:
                self._note(self.states, deletes, _decoded(table, puts, decode_state), change.states, pairs=True)
                self.alive += sum(_lives(new) - _lives(old) for old, new in change.states.values())
            elif table == BODY:
                self._note(self.bodies, deletes, _decoded(table, puts, decode_body), change.bodies)
                self.swept.update(deletes)
            elif table == IDEM:
                self._note(self.idems, deletes, _decoded(table, puts, decode_idem), change.idems)
            elif table == LETTER:
                self._note(self.letters, deletes, _decoded(table, puts, decode_letter), change.letters)
            elif table == OUTBOX:
                self._note(self.outbox, deletes, _decoded(table, puts, decode_delivery), change.outbox, pairs=True)
            elif table == READY:
                for key in deletes:
                    self.ready.pop(key, None)
                for key, _ in puts:
                    self.ready[key] = (step, now_ms)
            elif table == NAME:
                self._name(_decoded(table, puts, decode_number))
            elif table == META:
                change.mark = decode_mark(unseal(table, *puts[0]))

    def lease_of(self, task_id: bytes) -> int:
        """The number of the task's newest durable lease, 0 where there is none."""
        state = self.states.get(task_id)
        return state.lease_number if state is not None else 0

    def queues_of(self, tenant: str, commands: tuple[str, ...] | None) -> list[bytes]:
        """The prefixes of a tenant's queues, all or the named ones, as far as they are durable."""
        queues = self.queues.get(self.tenants.get(tenant, b""), {})
        if commands is None:
            return list(queues.values())
        return [queues[command] for command in commands if command in queues]

    def _name(self, numbers: dict[bytes, int]) -> None:
        for key, number in numbers.items():
            if key[:1] == b"t":
                self.tenants[key[1:].decode()] = tenant_prefix(number)
            else:
                queue = key[1:5] + number.to_bytes(4, "big")
                self.queues.setdefault(key[1:5], {})[key[5:].decode()] = queue

    def _note(
        self, rows: dict[bytes, Any], deletes: list[bytes], puts: dict[bytes, Any], changed: Any, *, pairs: bool = False
    ) -> None:
        for key in deletes:
            old = rows.pop(key, None)
            changed[key] = (old, None) if pairs else None
        for key, row in puts.items():
            changed[key] = (rows.get(key), row) if pairs else row
            rows[key] = row


def _lives(state: State | None) -> bool:
    return state is not None and state.status < COMPLETED


def _decoded(table: int, puts: list[tuple[bytes, bytes]], decode: Any) -> dict[bytes, Any]:
    return {key: decode(unseal(table, key, sealed)) for key, sealed in puts}
