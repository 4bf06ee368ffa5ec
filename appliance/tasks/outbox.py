"""The outbox: webhooks that must be delivered, from the end of their task to their delivery or their giving up.

Owns the rows of deliveries and the rule of attempts: a delivery is written in the group that ends its task, is due at
once, is tried up to `attempts_max` times with a growing wait between, and is then delivered and forgotten, or given up
and kept for whoever looks after it. Sans-IO: it hands out what is due and hears what became of it. It must not know
how anything is sent.

Only what is durable is handed out, so keys enter the windows when their group is durable, and windows read the store
itself. What was handed out and not heard of is in `in_flight`, which outlives one state machine but not the process:
after a restart it is handed out again.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

import msgspec

from appliance.engine.group import Group
from appliance.engine.overlay import Overlay, Reader
from appliance.engine.rows import Body, DamagedRow, Delivery, Letter, State, decode_delivery, encode_row
from appliance.engine.tables import LAPSED, LETTER, OUTBOX, POST, prefix_end, time_key
from appliance.errors import NOT_CLAIMED, NOT_FOUND, Problem
from appliance.tasks.deadlines import Deadlines
from appliance.tasks.ids import Ids
from appliance.tasks.model import Due, Resend, ResendAll, Resent, Settle
from appliance.tasks.queues import Registry, Tenant
from appliance.tasks.settings import TaskSettings
from appliance.tasks.states import replaced

BACKOFF_FACTOR: Final = 4
"""Each wait is about four times the one before: five attempts from 30 s on span 40 minutes."""

ERROR_CHARS_MAX: Final = 500
"""Of what is kept about a failed attempt."""


class Outbox:
    """The deliveries of one shard."""

    def __init__(
        self, overlay: Overlay, settings: TaskSettings, rng: Random, ids: Ids, registry: Registry, in_flight: set[bytes]
    ) -> None:
        self.in_flight = in_flight
        self.post = Deadlines(POST, settings.window_keys_max)
        self.lapsed = Deadlines(LAPSED, settings.window_keys_max)
        self._overlay = overlay
        self._settings = settings
        self._rng = rng
        self._ids = ids
        self._registry = registry

    def load(self, tenants: Iterable[Tenant]) -> None:
        """Take up what the store holds."""
        for tenant in tenants:
            self.post.load(self._overlay, tenant)
            self.lapsed.load(self._overlay, tenant)

    def add(self, now: int, tenant: bytes, task_id: bytes, body: Body, state: State) -> None:
        """A task with a webhook has come to the end that `state` holds."""
        group = self._overlay.open
        delivery_id = self._ids.next(now)
        letter = Letter(
            task_id, body.command, state.status, state.completed, state.error, state.result, state.artifacts
        )
        group.put_new(LETTER, delivery_id, encode_row(letter))
        self._place(group, delivery_id, Delivery(tenant, task_id, body.webhook, now))

    def take(self, store: Reader, now: int, quantum: int, on_damage: Callable[[DamagedRow], None]) -> list[Due]:
        """Up to `quantum` deliveries of one tenant that are due, durable and not in flight; they are from now on.

        An empty list means that nothing is due, or nothing but keys that meant nothing any more.
        """
        due: list[Due] = []
        for key in self.post.take(store, now, quantum):
            delivery_id = key[12:]
            if delivery_id in self.in_flight:
                continue
            try:
                row = store.get(OUTBOX, delivery_id)
                delivery = decode_delivery(row) if row is not None else None
            except DamagedRow as damage:
                on_damage(damage)
                continue
            if delivery is None or delivery.given_up or time_key(delivery.tenant, delivery.at, delivery_id) != key:
                continue
            self.in_flight.add(delivery_id)
            tenant = self._registry.by_number[delivery.tenant].name
            due.append(Due(delivery_id, tenant, delivery.url, delivery.attempts, delivery.at))
        return due

    def settle(self, now: int, action: Settle) -> bool:
        """An attempt has ended: the delivery is done, waits for the next, or is given up (True)."""
        delivery = self._own(action.tenant, action.id)
        if delivery is None or delivery.given_up:
            return False
        group = self._overlay.open
        group.transitions += 1
        group.delete(POST, time_key(delivery.tenant, delivery.at, action.id))
        if action.delivered:
            group.delete(OUTBOX, action.id)
            group.delete(LETTER, action.id)
            return False
        attempts = delivery.attempts + 1
        error = action.error[:ERROR_CHARS_MAX]
        given_up = action.final or attempts >= self._settings.webhook_attempts_max
        if given_up:
            at = now + self._settings.given_up_retention_ms
            new = replaced(delivery, at=at, attempts=attempts, error=error, given_up=now)
        else:
            new = replaced(delivery, at=now + self._wait_ms(attempts), attempts=attempts, error=error)
        self._place(group, action.id, new)
        return given_up

    def resend(self, now: int, action: Resend) -> Resent | Problem:
        """A delivery that was given up is due once more, with all its attempts before it."""
        delivery = self._own(action.tenant, action.id)
        if delivery is None:
            return Problem(NOT_FOUND, "no such delivery")
        if not delivery.given_up:
            return Problem(NOT_CLAIMED, "the delivery was not given up: it still waits for its next attempt")
        self._again(now, action.id, delivery)
        return Resent(1, False)

    def resend_all(self, now: int, action: ResendAll) -> Resent:
        """Send again what was given up before a time, up to a limit."""
        tenant = self._registry.tenants.get(action.tenant)
        if tenant is None or not tenant.number:
            return Resent(0, False)
        # One more than is done, to tell whether there is more.
        keys = [
            key for key, _ in self._overlay.scan(LAPSED, tenant.prefix, prefix_end(tenant.prefix), action.limit + 1)
        ]
        done = 0
        for key in keys[: action.limit]:
            delivery = self._own(action.tenant, key[12:])
            if delivery is None or delivery.given_up >= action.before:
                return Resent(done, False)  # they lie in the order in which they were given up
            self._again(now, key[12:], delivery)
            done += 1
        return Resent(done, len(keys) > action.limit)

    def forget(self, now: int, key: bytes) -> None:
        """A key of `lapsed` is due: what was given up is forgotten."""
        delivery = self._row(key[12:])
        if delivery is None or not delivery.given_up or delivery.at > now or self._key(key[12:], delivery) != key:
            return
        group = self._overlay.open
        group.transitions += 1
        group.delete(LAPSED, key)
        group.delete(OUTBOX, key[12:])
        group.delete(LETTER, key[12:])

    def shorten(self, now: int, key: bytes) -> None:
        """After a clock that went back: no wait is longer than the longest."""
        delivery, at = self._row(key[12:]), now + self._settings.webhook_backoff_cap_ms
        if delivery is None or delivery.given_up or delivery.at <= at:
            return
        group = self._overlay.open
        group.transitions += 1
        group.delete(POST, key)
        self._place(group, key[12:], replaced(delivery, at=at))

    def landed(self, delivery_id: bytes, *, settled: bool) -> None:
        """What became of an attempt is durable, or (not `settled`) the attempt is as good as never made."""
        self.in_flight.discard(delivery_id)
        if not settled:
            delivery = self._row(delivery_id)
            if delivery is not None and not delivery.given_up:
                self.post.push(self._key(delivery_id, delivery))

    def _again(self, now: int, delivery_id: bytes, delivery: Delivery) -> None:
        group = self._overlay.open
        group.transitions += 1
        group.delete(LAPSED, self._key(delivery_id, delivery))
        self._place(group, delivery_id, replaced(delivery, at=now, attempts=0, given_up=0))

    def _place(self, group: Group, delivery_id: bytes, delivery: Delivery) -> None:
        key = self._key(delivery_id, delivery)
        group.put(OUTBOX, delivery_id, encode_row(delivery))
        if delivery.given_up:
            group.put_new(LAPSED, key, b"")
            self.lapsed.push(key)
        else:
            group.put_new(POST, key, b"")
            group.answers.append((self._durable, key))

    def _durable(self, key: bytes | Problem) -> None:
        # A group that failed has taken this object with it: the next one reads the store.
        if not isinstance(key, Problem):
            self.post.push(key)

    def _wait_ms(self, attempts: int) -> int:
        settings = self._settings
        most = settings.webhook_backoff_base_ms
        for _ in range(attempts - 1):
            most = min(most * BACKOFF_FACTOR, settings.webhook_backoff_cap_ms)
        return most // 2 + self._rng.randint(0, most - most // 2)

    def _own(self, tenant_name: str, delivery_id: bytes) -> Delivery | None:
        tenant, delivery = self._registry.tenants.get(tenant_name), self._row(delivery_id)
        return delivery if tenant is not None and delivery is not None and delivery.tenant == tenant.prefix else None

    def _row(self, delivery_id: bytes) -> Delivery | None:
        row = self._overlay.get(OUTBOX, delivery_id)
        return decode_delivery(row) if row is not None else None

    @staticmethod
    def _key(delivery_id: bytes, delivery: Delivery) -> bytes:
        return time_key(delivery.tenant, delivery.at, delivery_id)


class Listed(msgspec.Struct, gc=False):
    """A delivery that was asked for."""

    id: bytes
    delivery: Delivery


def listed(
    store: Reader, tenant: bytes, *, given_up: bool, after: bytes, limit: int
) -> tuple[list[Listed], bytes | None]:
    """Up to `limit` durable deliveries of a tenant, those next in time first, from behind the key `after` (empty:
    from the start), and the key to go on behind, None at the end."""
    table = LAPSED if given_up else POST
    low = after + b"\0" if after[:4] == tenant else tenant
    rows = store.scan(table, low, prefix_end(tenant), limit)
    found = []
    for key, _ in rows:
        row = store.get(OUTBOX, key[12:])
        if row is not None:
            found.append(Listed(key[12:], decode_delivery(row)))
    return found, rows[-1][0] if len(rows) == limit else None
