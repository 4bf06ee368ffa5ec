"""What the node sends of its own accord: webhooks that are due, and calls to subscribers of queues that turned
non-empty. Both go through the courier.

Owns when the courier is given something, for which tenants it takes nothing more for now, and which deliveries are on
their way. It outlives the state machine, which is built anew after a group that failed: what is on its way then stays
on its way. Sans-IO; must not know how anything is sent.
"""

from collections.abc import Callable
from typing import Final, Protocol

from appliance.engine.overlay import Reader
from appliance.engine.rows import DamagedRow
from appliance.tasks.machine import Tasks
from appliance.tasks.model import Due
from appliance.tasks.notifier import Notification, Notifier
from appliance.tasks.reads import Reads

COURIER_QUANTUM: Final = 64
"""Deliveries of one tenant that the courier gets before the next has its turn."""


class Courier(Protocol):
    """Who delivers webhooks. It answers each delivery with a `Settle`, and then calls `landed`."""

    def room(self) -> int:
        """How many more deliveries it takes now. When this rises from 0 it wakes the scheduler."""
        ...

    def accept(self, due: Due) -> bool:
        """Take a delivery over. False: no more of this tenant until `resume_deliveries`."""
        ...

    def notify(self, tenant: str, notification: Notification) -> None:
        """Call a subscriber, and then `notified`."""
        ...


class Outgoing:
    """Between the state machine and the courier. Without a courier nothing is sent."""

    def __init__(
        self,
        store: Reader,
        tasks: Callable[[], Tasks],
        reads: Reads,
        *,
        wake: Callable[[], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """`tasks` gives the state machine of now; `wake` asks for a call of the pump soon; `on_error` hears of damaged
        rows."""
        self.courier: Courier | None = None
        self.in_flight: set[bytes] = set()
        """Deliveries that are being attempted."""
        self._store = store
        self._tasks = tasks
        self._wake = wake
        self._on_error = on_error
        self._held: set[str] = set()
        self._notifier = Notifier(
            self._notify,
            lambda tenant, subscription_id: self._tasks().subscriptions.find(tenant, subscription_id),
            lambda tenant, command: reads.depth(self._name(tenant), command),
        )

    # What the scheduler calls.

    def begin(self, tasks: Tasks) -> None:
        """Go on with a state machine that was just built."""
        tenants = tasks.registry.tenants
        for tenant in sorted(self._held & tenants.keys()):
            tasks.outbox.post.hold(tenants[tenant].prefix)

    def next_time(self) -> int | None:
        """The next moment (ms) at which `run` has something to do."""
        call = self._notifier.next_time()
        delivery = self._tasks().outbox.post.next_time()
        if delivery is None or self.courier is None or self.courier.room() == 0:
            return call
        return delivery if call is None else min(call, delivery)

    def run(self, now: int) -> None:
        """Give the courier what is due and durable, as far as it has room, and have subscribers called."""
        if self.courier is not None:
            self._send_due(now, self.courier)
        self._notifier.run(now)

    def rose(self, now: int, prefix: bytes) -> None:
        """That this queue turned non-empty is durable: who follows it may be called."""
        tasks = self._tasks()
        queue = tasks.registry.by_prefix.get(prefix)
        if queue is not None and self.courier is not None:
            for subscription_id, _ in tasks.subscriptions.called_by(queue):
                self._notifier.rose(now, queue.tenant.prefix, subscription_id, queue.command)

    # What the courier calls.

    def landed(self, delivery_id: bytes, *, settled: bool) -> None:
        """The courier is done with a delivery: its `Settle` was answered, with a Problem where not `settled`."""
        self._tasks().outbox.landed(delivery_id, settled=settled)
        self._wake()

    def resume_deliveries(self, tenant: str) -> None:
        """The courier takes deliveries of this tenant again."""
        if tenant in self._held:
            self._held.discard(tenant)
            tasks = self._tasks()
            tasks.outbox.post.let_go(self._store, tasks.registry.tenants[tenant].prefix)
        self._wake()

    def notified(self, now: int, notification: Notification, *, heard: bool) -> None:
        """The courier is done with a call to a subscriber."""
        self._notifier.ended(now, notification, heard=heard)
        self._wake()

    def _send_due(self, now: int, courier: Courier) -> None:
        tasks = self._tasks()
        outbox = tasks.outbox
        while outbox.post.is_due(now) and (room := courier.room()) > 0:
            try:
                found = outbox.take(self._store, now, min(room, COURIER_QUANTUM), self._on_error)
            except DamagedRow as damage:
                self._on_error(damage)
                return
            for due in found:
                if not courier.accept(due) and due.tenant not in self._held:
                    self._held.add(due.tenant)
                    outbox.post.hold(tasks.registry.tenants[due.tenant].prefix)

    def _notify(self, notification: Notification) -> None:
        if self.courier is not None:
            self.courier.notify(self._name(notification.tenant), notification)

    def _name(self, tenant: bytes) -> str:
        return self._tasks().registry.by_number[tenant].name
