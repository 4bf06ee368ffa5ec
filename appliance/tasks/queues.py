"""Tenants and queues in memory: names and numbers, counters, windows, heads, and what operators have set.

Owns what is kept per tenant and per queue, and its rows in `name`, `queue` and `control`. Counters change by transition
and are written once per group. Knows no operation.
"""

from heapq import heapify, heappop, heappush, heapreplace
from operator import attrgetter
from typing import Final

from appliance.engine.group import Group
from appliance.engine.overlay import Reader
from appliance.engine.rows import (
    DamagedRow,
    QueueControl,
    QueueRow,
    TenantControl,
    decode_number,
    decode_queue,
    decode_queue_control,
    decode_tenant_control,
    encode_row,
)
from appliance.engine.tables import (
    CONTROL,
    NAME,
    QUEUE,
    QUEUE_BYTES,
    READY,
    command_name_key,
    queue_prefix,
    tenant_name_key,
    tenant_prefix,
)
from appliance.errors import invalid
from appliance.tasks import table
from appliance.tasks.lines import Line
from appliance.tasks.settings import TaskSettings, settings_of
from appliance.tasks.window import Window

_SCAN_ROWS: Final = 1000
_HEADS_SLACK: Final = 64

COUNTED_STATES: Final = (
    table.READY,
    table.DELAYED,
    table.CLAIMED,
    table.COMPLETED,
    table.FAILED,
    table.DLQ,
)


class Queue:
    """One queue: `(tenant, command)`. `counts` are by state name; `window` is the head of its ready tasks.

    `control` is what operators have set, or None; `settings` is what follows from it and from the node's settings.
    No idempotency row of the queue lies behind `last_key`, None where that is not known.
    Invariant: `restricted` where `control` is set or the tenant has limits, so that hot paths test one flag.
    """

    __slots__ = (
        "command",
        "control",
        "counts",
        "created",
        "key_looks",
        "last_key",
        "line",
        "prefix",
        "restricted",
        "settings",
        "stored_bytes",
        "swept",
        "tenant",
        "window",
    )

    def __init__(self, tenant: "Tenant", command: str, prefix: bytes, row: QueueRow, settings: TaskSettings) -> None:
        self.tenant = tenant
        self.command = command
        self.prefix = prefix
        self.counts = {state: getattr(row, state) for state in COUNTED_STATES}
        self.created = row.created
        self.swept = row.swept
        self.stored_bytes = row.stored_bytes
        self.control: QueueControl | None = None
        self.settings = settings
        self.restricted = tenant.control.limited
        self.window = Window(READY, prefix, settings.window_keys_max, empty=row.ready == 0)
        self.line = tenant.line(command)
        self.last_key = None if row.created else prefix
        self.key_looks = 0

    def row(self) -> bytes:
        """The counters as they are stored."""
        return encode_row(
            QueueRow(**self.counts, created=self.created, swept=self.swept, stored_bytes=self.stored_bytes)
        )


class Tenant:
    """One tenant. `number` is 0 until its first task or subscription was made, or a limit was set for it.

    `dispatching` are its queues that may be claimed from: all but those whose dispatch is paused. `in_flight` is the
    number of its claimed tasks while it has limits; without, nobody counts. `subscribed` while it has subscriptions.
    """

    __slots__ = (
        "_heads",
        "_lines",
        "_lines_max",
        "anyone",
        "control",
        "dispatching",
        "in_flight",
        "name",
        "number",
        "prefix",
        "queues",
        "stored_bytes",
        "subscribed",
    )

    def __init__(self, name: str, number: int = 0) -> None:
        self.name = name
        self.number = number
        self.prefix = tenant_prefix(number)
        self.queues: dict[str, Queue] = {}
        self.dispatching: dict[str, Queue] = {}
        self.control = TenantControl()
        self.in_flight = 0
        self.stored_bytes = 0
        self.anyone = Line()
        self.subscribed = False
        self._lines: dict[str, Line] = {}
        self._lines_max = _HEADS_SLACK
        self._heads: list[tuple[bytes, bytes, Queue]] | None = None

    def line(self, command: str) -> Line:
        """The line for one command, which may have no queue yet."""
        line = self._lines.get(command)
        if line is None:
            if len(self._lines) >= self._lines_max:
                # Lines for commands without a queue come from claims; drop those in which nobody stands.
                self._lines = {
                    name: kept for name, kept in self._lines.items() if name in self.queues or kept.first() is not None
                }
                # Twice what is left: waiting for many names costs no more per name than for few.
                self._lines_max = 2 * len(self._lines) + _HEADS_SLACK
            line = self._lines[command] = Line()
        return line

    def head_changed(self, queue: Queue) -> None:
        """This queue's window has a new head."""
        heads = self._heads
        if heads is not None:
            heappush(heads, (queue.window.heap[0][QUEUE_BYTES:], queue.prefix, queue))
            if len(heads) > 2 * len(self.queues) + _HEADS_SLACK:
                self._heads = None

    def first_queue(self, reader: Reader) -> Queue | None:
        """The queue whose head comes first among all of this tenant's, or None where all are empty.

        The heap's entries are lower bounds: one that is out of date is corrected when it comes to the top. It is
        built when first asked for, so that tenants whose workers name their commands never pay for it.
        """
        if self._heads is None:
            self._heads = [
                (head[QUEUE_BYTES:], queue.prefix, queue)
                for queue in self.dispatching.values()
                if (head := queue.window.head(reader)) is not None
            ]
            heapify(self._heads)
        heads = self._heads
        while heads:
            entry, _, queue = heads[0]
            head = queue.window.head(reader)
            if head is None or queue.command not in self.dispatching:
                heappop(heads)
            elif head[QUEUE_BYTES:] != entry:
                heapreplace(heads, (head[QUEUE_BYTES:], queue.prefix, queue))
            else:
                return queue
        return None

    def take(self, reader: Reader, most: int) -> list[bytes]:
        """Take up to `most` keys in `ready` of all queues, the first ones first.

        Raises DamagedRow where it comes before all of them; where it comes later, the next call meets it.
        """
        taken: list[bytes] = []
        try:
            while len(taken) < most and (queue := self.first_queue(reader)) is not None:
                taken.append(heappop(queue.window.heap))
        except DamagedRow:
            if not taken:
                raise
        return taken

    def queues_with_dead(self, command: str | None, low: bytes) -> list[Queue]:
        """The queues with dead letters, one or all, from the one that `low`, a key, stands in; in the order of keys."""
        named = self.queues if command is None else self.queues.keys() & {command}
        behind = low[:QUEUE_BYTES]
        found = (queue for name in named if (queue := self.queues[name]).counts[table.DLQ] and queue.prefix >= behind)
        return sorted(found, key=attrgetter("prefix"))

    def dispatch(self, queue: Queue, *, paused: bool) -> None:
        """Let a queue of this tenant be claimed from, or not."""
        if paused:
            self.dispatching.pop(queue.command, None)
        else:
            self.dispatching[queue.command] = queue
        self._heads = None

    def set_control(self, control: TenantControl) -> None:
        """Limits from now on. What is counted for them only is counted once here."""
        self.control = control
        self.in_flight = sum(queue.counts[table.CLAIMED] for queue in self.queues.values())
        for queue in self.queues.values():
            queue.restricted = control.limited or queue.control is not None


class Registry:
    """Every tenant and queue of a shard, loaded from the store and extended by creates."""

    def __init__(self, reader: Reader, next_tenant: int, settings: TaskSettings) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.by_prefix: dict[bytes, Queue] = {}
        self.by_number: dict[bytes, Tenant] = {}
        self.next_tenant = next_tenant
        self.dirty: dict[Queue, None] = {}
        self._settings = settings
        self._load(reader)

    def _load(self, reader: Reader) -> None:
        rows = {key: decode_queue(content) for key, content in _all_rows(reader, QUEUE)}
        commands = []
        for key, content in _all_rows(reader, NAME):
            number = decode_number(content)
            if key[:1] == b"t":
                self._add_tenant(Tenant(key[1:].decode(), number))
            else:
                commands.append((key[1:5], key[5:].decode(), number))
        # "c" sorts before "t", so the commands wait for their tenants.
        for prefix, command, number in commands:
            tenant = self.by_number[prefix]
            self._add_queue(tenant, command, number, rows.get(queue_prefix(tenant.number, number), QueueRow()))
        for key, content in _all_rows(reader, CONTROL):
            if len(key) == QUEUE_BYTES:
                self._control_queue(self.by_prefix[key], decode_queue_control(content))
            else:
                self.by_number[key].set_control(decode_tenant_control(content))

    def control_of(self, tenant_name: str) -> TenantControl | None:
        """What is set for a tenant, None where nobody knows it."""
        tenant = self.tenants.get(tenant_name)
        return tenant.control if tenant is not None else None

    def tenant(self, name: str) -> Tenant:
        """The tenant of this name, in memory from now on."""
        tenant = self.tenants.get(name)
        if tenant is None:
            tenant = self.tenants[name] = Tenant(name)
        return tenant

    def queue(self, group: Group, tenant: Tenant, command: str) -> Queue:
        """The tenant's queue for a command, made and named in `group` where it is new; raises Problem at the bound."""
        queue = tenant.queues.get(command)
        if queue is not None:
            return queue
        queues_max = self._settings.queues_per_tenant_max
        if len(tenant.queues) >= queues_max:
            raise invalid(f"this tenant has {queues_max} commands already; a new one cannot be added")
        self.give_number(group, tenant)
        number = len(tenant.queues) + 1
        group.put_new(NAME, command_name_key(tenant.number, command), encode_row(number))
        return self._add_queue(tenant, command, number, QueueRow())

    def give_number(self, group: Group, tenant: Tenant) -> None:
        """Name the tenant in `group` where it has no number yet."""
        if tenant.number == 0:
            tenant.number = self.next_tenant
            tenant.prefix = tenant_prefix(tenant.number)
            self.next_tenant += 1
            self._add_tenant(tenant)
            group.put_new(NAME, tenant_name_key(tenant.name), encode_row(tenant.number))

    def set_control(self, group: Group, queue: Queue, control: QueueControl) -> None:
        """What operators have set for a queue, from now on."""
        group.put(CONTROL, queue.prefix, encode_row(control))
        self._control_queue(queue, control)

    def set_limits(self, group: Group, tenant: Tenant, control: TenantControl) -> None:
        """A tenant's limits and audit numbers, from now on."""
        self.give_number(group, tenant)
        tenant.set_control(control)
        self.write_control(group, tenant)

    def write_control(self, group: Group, tenant: Tenant) -> None:
        """Write a tenant's limits and audit numbers as they are."""
        group.put(CONTROL, tenant.prefix, encode_row(tenant.control))

    def write_dirty(self, group: Group) -> None:
        """Write the counters of every queue that this group touched."""
        for queue in self.dirty:
            group.put(QUEUE, queue.prefix, queue.row())
        self.dirty.clear()

    def _add_tenant(self, tenant: Tenant) -> None:
        self.tenants[tenant.name] = tenant
        self.by_number[tenant.prefix] = tenant

    def _add_queue(self, tenant: Tenant, command: str, number: int, row: QueueRow) -> Queue:
        queue = Queue(tenant, command, queue_prefix(tenant.number, number), row, self._settings)
        tenant.queues[command] = tenant.dispatching[command] = queue
        tenant.stored_bytes += queue.stored_bytes
        self.by_prefix[queue.prefix] = queue
        return queue

    def _control_queue(self, queue: Queue, control: QueueControl) -> None:
        queue.control = control
        queue.settings = settings_of(self._settings, control)
        queue.restricted = True
        queue.tenant.dispatch(queue, paused=control.dispatch_paused)


def _all_rows(reader: Reader, table_number: int) -> list[tuple[bytes, bytes]]:
    rows: list[tuple[bytes, bytes]] = []
    low = b""
    while True:
        page = reader.scan(table_number, low, b"\xff" * 512, _SCAN_ROWS)
        rows += page
        if len(page) < _SCAN_ROWS:
            return rows
        low = page[-1][0] + b"\0"
