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
    QueueControl,
    State,
    TenantControl,
    decode_body,
    decode_delivery,
    decode_idem,
    decode_letter,
    decode_mark,
    decode_number,
    decode_queue_control,
    decode_state,
    decode_tenant_control,
)
from appliance.engine.tables import (
    AUDIT,
    BODY,
    CONTROL,
    IDEM,
    LETTER,
    META,
    NAME,
    OUTBOX,
    QUEUE_BYTES,
    READY,
    STATE,
    tenant_prefix,
)

FOREVER = 1 << 60


class Change:
    """What one group changed. Times: `clock_ms` is the node's clock at the close, the others are true time."""

    __slots__ = (
        "audited",
        "bodies",
        "clock_ms",
        "closed_ms",
        "group",
        "idems",
        "letters",
        "limits_changed",
        "mark",
        "number",
        "opened_ms",
        "outbox",
        "queue_controls",
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
        self.queue_controls: set[bytes] = set()
        """Queues for which something was set."""
        self.limits_changed: set[bytes] = set()
        """Tenants whose limits were set."""
        self.audited = False
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
        self.queue_controls: dict[bytes, QueueControl] = {}
        self.tenant_controls: dict[bytes, TenantControl] = {}
        self.held_back: dict[bytes, tuple[int, int]] = {}
        """For queues that were paused and tenants that were limited: the step and the true time at which that ended,
        FOREVER where it goes on."""
        self.swept: set[bytes] = set()
        self.alive = 0
        """Tasks that have not ended."""
        self.changes = 0

    def take(self, writes: list[TableWrites], change: Change, step: int, now_ms: int) -> None:
        """Note a group that has just become durable, as the store has taken it: contents without seals."""
        self.changes += 1
        change.number, change.step = self.changes, step
        for table, deletes, puts in writes:
            if table == STATE:
                self._note(self.states, deletes, _decoded(puts, decode_state), change.states, pairs=True)
                self.alive += sum(_lives(new) - _lives(old) for old, new in change.states.values())
            elif table == BODY:
                self._note(self.bodies, deletes, _decoded(puts, decode_body), change.bodies)
                self.swept.update(deletes)
            elif table == IDEM:
                self._note(self.idems, deletes, _decoded(puts, decode_idem), change.idems)
            elif table == LETTER:
                self._note(self.letters, deletes, _decoded(puts, decode_letter), change.letters)
            elif table == OUTBOX:
                self._note(self.outbox, deletes, _decoded(puts, decode_delivery), change.outbox, pairs=True)
            elif table == READY:
                for key in deletes:
                    self.ready.pop(key, None)
                for key, _ in puts:
                    self.ready[key] = (step, now_ms)
            elif table == NAME:
                self._name(_decoded(puts, decode_number))
            elif table == CONTROL:
                self._set(puts, change, step, now_ms)
            elif table == AUDIT:
                change.audited |= bool(puts)
            elif table == META:
                change.mark = decode_mark(puts[0][1])

    def _set(self, puts: list[tuple[bytes, bytes]], change: Change, step: int, now_ms: int) -> None:
        for key, content in puts:
            if len(key) == QUEUE_BYTES:
                control = self.queue_controls[key] = decode_queue_control(content)
                change.queue_controls.add(key)
                # Dispatch may have been paused and resumed within the group, which leaves no other trace.
                self.held_back[key] = (FOREVER, FOREVER) if control.dispatch_paused else (step, now_ms)
            else:
                limits = decode_tenant_control(content)
                before = self.tenant_controls.get(key, TenantControl())
                self.tenant_controls[key] = limits
                if (limits.in_flight_max, limits.stored_bytes_max) != (before.in_flight_max, before.stored_bytes_max):
                    change.limits_changed.add(key)
                self._hold_back(key, limits.in_flight_max is not None, step, now_ms)

    def _hold_back(self, key: bytes, holds: bool, step: int, now_ms: int) -> None:
        if holds:
            self.held_back[key] = (FOREVER, FOREVER)
        elif self.held_back.get(key, (0, 0))[0] == FOREVER:
            self.held_back[key] = (step, now_ms)

    def free_since(self, queue: bytes) -> tuple[int, int]:
        """The step and the true time (ms) since which nothing keeps claims from this queue; FOREVER where it does."""
        return max(self.held_back.get(queue, (0, 0)), self.held_back.get(queue[:4], (0, 0)))

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


def _decoded(puts: list[tuple[bytes, bytes]], decode: Any) -> dict[bytes, Any]:
    return {key: decode(content) for key, content in puts}
