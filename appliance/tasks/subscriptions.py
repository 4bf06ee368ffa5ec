"""Subscriptions: workers that want to hear when there is work, by a long poll or by a call.

Owns their rows, their end when nobody renews them, the polls that wait, and the choice of whom to call. All of them are
in memory, so each tenant may have a bounded number. A poll is answered at once while a queue that it follows has ready
tasks, and otherwise the moment one has; a newer poll of the same subscription takes the place of an older one. Sans-IO:
whom to call is handed to the notifier, which owns the pace.
"""

import hashlib
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Final

from appliance.engine.overlay import Overlay
from appliance.engine.rows import Subscription, decode_subscription, encode_row
from appliance.engine.tables import SUBSCRIPTION
from appliance.errors import NOT_FOUND, PERMISSION_DENIED, RATE_LIMITED, Problem
from appliance.tasks import table
from appliance.tasks.model import Poll, Polled, Subscribe, Subscribed
from appliance.tasks.queues import Queue, Registry, Tenant
from appliance.tasks.states import replaced

SUBSCRIPTIONS_MAX: Final = 100_000
"""Of all tenants together: about 100 MB. A tenant has its own bound far below."""

READY_LISTED_MAX: Final = 100
"""Queues that one answer names: as many as a claim may."""

FANOUT: Final = "fanout"
GROUP: Final = "group"
HASH: Final = "hash"
MODES: Final = (FANOUT, GROUP, HASH)

_SCAN_ROWS: Final = 1_000
_COMPACT_ABOVE: Final = 16


class Subscriptions:
    """The subscriptions of one shard."""

    def __init__(self, overlay: Overlay, registry: Registry, rng: Random, per_tenant_max: int) -> None:
        self._overlay = overlay
        self._registry = registry
        self._rng = rng
        self._per_tenant_max = per_tenant_max
        self._by_tenant: dict[bytes, dict[bytes, Subscription]] = {}
        self._count = 0
        self._expiries: list[tuple[int, bytes, bytes]] = []
        self._polls: dict[bytes, Poll] = {}
        self._deadlines: list[tuple[int, int, Poll]] = []
        self._numbers = count(1)
        self.displaced: list[Poll] = []
        """Polls whose place a newer one took: they are to be answered."""
        self._turns: dict[tuple[bytes, str], bytes] = {}
        """Who of a group was called last, by tenant and group."""
        self._load()

    def __len__(self) -> int:
        return self._count

    # What workers do.

    def subscribe(self, now: int, action: Subscribe) -> Subscribed | Problem:
        """Make a subscription that ends after its time to live, unless it is renewed."""
        tenant = self._registry.tenant(action.tenant)
        own = len(self._by_tenant.get(tenant.prefix, ())) if tenant.number else 0
        if own >= self._per_tenant_max or self._count >= SUBSCRIPTIONS_MAX:
            return Problem(RATE_LIMITED, f"this tenant has {own} subscriptions already", retry_after_seconds=60)
        self._registry.give_number(self._overlay.open, tenant)
        subscription_id = self._rng.getrandbits(128).to_bytes(16, "big")
        subscription = Subscription(
            action.subject,
            action.commands,
            action.callback,
            action.mode,
            action.group,
            action.min_interval_ms,
            action.ttl_ms,
            now + action.ttl_ms,
        )
        self._write(tenant, subscription_id, subscription)
        return Subscribed(subscription_id, subscription.expires)

    def poll(self, now: int, action: Poll) -> Polled | Problem | None:
        """Renew a subscription. None: nothing is ready, and the poll waits now."""
        if action.gone:
            return Problem(NOT_FOUND, "nobody waits for this any more")
        tenant = self._registry.tenants.get(action.tenant)
        own = self._by_tenant.get(tenant.prefix, {}) if tenant is not None and tenant.number else {}
        subscription = own.get(action.id)
        if tenant is None or subscription is None or subscription.expires <= now:
            return Problem(NOT_FOUND, "no such subscription, or it has ended")
        if subscription.subject != action.subject:
            return Problem(PERMISSION_DENIED, "the subscription is another subject's")
        deadline = action.deadline or now + action.wait_ms
        expires = max(subscription.expires, now + subscription.ttl_ms, deadline)
        if expires != subscription.expires:
            subscription = replaced(subscription, expires=expires)
            self._write(tenant, action.id, subscription)
        ready = self.ready(tenant, subscription)
        if ready or deadline <= now:
            return Polled(action.id, expires, ready)
        self._wait(action, deadline)
        return None

    def ready(self, tenant: Tenant, subscription: Subscription) -> list[tuple[str, int]]:
        """The queues that a subscription follows and that may be claimed from, with how many tasks."""
        if subscription.commands is None:
            queues: Iterator[Queue] = iter(tenant.dispatching.values())
        else:
            queues = (tenant.dispatching[each] for each in subscription.commands if each in tenant.dispatching)
        found: list[tuple[str, int]] = []
        for queue in queues:
            depth = queue.counts[table.READY]
            if depth:
                found.append((queue.command, depth))
                if len(found) == READY_LISTED_MAX:
                    break
        return found

    # Polls that wait.

    def _wait(self, action: Poll, deadline: int) -> None:
        older = self._polls.get(action.id)
        if older is not None:
            self.displaced.append(older)
        action.deadline = deadline
        self._polls[action.id] = action
        heappush(self._deadlines, (deadline, next(self._numbers), action))
        if len(self._deadlines) > 2 * len(self._polls) + _COMPACT_ABOVE:
            self._deadlines = sorted(entry for entry in self._deadlines if self._polls.get(entry[2].id) is entry[2])

    def leave(self, action: Poll) -> None:
        """Whoever asked has gone."""
        action.gone = True
        if self._polls.get(action.id) is action:
            del self._polls[action.id]

    def live_polls(self) -> list[Poll]:
        """The polls that wait: they survive a change of epoch."""
        return list(self._polls.values())

    def take_ended(self, now: int) -> Iterator[tuple[Poll, Polled]]:
        """Polls whose time is over."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            action = heappop(self._deadlines)[2]
            del self._polls[action.id]
            yield action, self.answer(action)

    def answer(self, action: Poll) -> Polled:
        """What a poll that waited is told now."""
        tenant = self._registry.tenants[action.tenant]
        subscription = self._by_tenant[tenant.prefix][action.id]
        return Polled(action.id, subscription.expires, self.ready(tenant, subscription))

    # What queues do.

    def woken_by(self, queue: Queue) -> list[Poll]:
        """The waiting polls that follow a queue that has ready tasks now; they wait no longer."""
        woken = []
        for subscription_id, subscription in self._by_tenant.get(queue.tenant.prefix, {}).items():
            if subscription_id in self._polls and _follows(subscription, queue.command):
                woken.append(self._polls.pop(subscription_id))
        return woken

    def called_by(self, queue: Queue) -> list[tuple[bytes, Subscription]]:
        """Whom to call about a queue: everybody who fans out, one of each group in turn, and one by hash."""
        called = []
        groups: dict[tuple[str, str], list[bytes]] = {}
        own = self._by_tenant.get(queue.tenant.prefix, {})
        for subscription_id, subscription in own.items():
            if not subscription.callback or not _follows(subscription, queue.command):
                continue
            if subscription.mode == FANOUT:
                called.append((subscription_id, subscription))
            else:
                groups.setdefault((subscription.mode, subscription.group), []).append(subscription_id)
        for (mode, group), members in groups.items():
            chosen = _by_hash(queue, members) if mode == HASH else self._in_turn(queue.tenant, group, members)
            called.append((chosen, own[chosen]))
        return called

    def find(self, tenant: bytes, subscription_id: bytes) -> Subscription | None:
        """A subscription that has not ended."""
        return self._by_tenant.get(tenant, {}).get(subscription_id)

    def with_callbacks(self) -> Iterator[bytes]:
        """The prefixes of tenants that have somebody to call."""
        for tenant, own in self._by_tenant.items():
            if any(subscription.callback for subscription in own.values()):
                yield tenant

    def _in_turn(self, tenant: Tenant, group: str, members: list[bytes]) -> bytes:
        ordered = sorted(members)
        last = self._turns.get((tenant.prefix, group), b"")
        chosen = next((member for member in ordered if member > last), ordered[0])
        self._turns[tenant.prefix, group] = chosen
        return chosen

    # What time does.

    def next_expiry(self) -> int | None:
        """A moment (ms) before which no subscription ends."""
        return self._expiries[0][0] if self._expiries else None

    def expire(self, now: int, most: int) -> bool:
        """End up to `most` subscriptions that nobody renewed. Whether there was one."""
        done = 0
        while self._expiries and self._expiries[0][0] <= now and done < most:
            _, tenant, subscription_id = heappop(self._expiries)
            subscription = self.find(tenant, subscription_id)
            if subscription is None:
                continue
            if subscription.expires > now:
                heappush(self._expiries, (subscription.expires, tenant, subscription_id))
                continue
            done += 1
            self._overlay.open.delete(SUBSCRIPTION, tenant + subscription_id)
            self._overlay.open.transitions += 1
            self._forget(tenant, subscription_id)
        return done > 0

    def next_deadline(self) -> int | None:
        """When the next poll runs out (ms)."""
        deadlines = self._deadlines
        while deadlines and self._polls.get(deadlines[0][2].id) is not deadlines[0][2]:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    # Rows.

    def _write(self, tenant: Tenant, subscription_id: bytes, subscription: Subscription) -> None:
        group, key = self._overlay.open, tenant.prefix + subscription_id
        if self.find(tenant.prefix, subscription_id) is None:
            group.put_new(SUBSCRIPTION, key, encode_row(subscription))
        else:
            group.put(SUBSCRIPTION, key, encode_row(subscription))
        group.transitions += 1
        self._keep(tenant.prefix, subscription_id, subscription)
        tenant.subscribed = True

    def _keep(self, tenant: bytes, subscription_id: bytes, subscription: Subscription) -> None:
        own = self._by_tenant.setdefault(tenant, {})
        if subscription_id not in own:
            # One entry each: an entry that comes too early is put back with the time that counts.
            self._count += 1
            heappush(self._expiries, (subscription.expires, tenant, subscription_id))
        own[subscription_id] = subscription

    def _forget(self, tenant: bytes, subscription_id: bytes) -> None:
        own = self._by_tenant[tenant]
        del own[subscription_id]
        self._count -= 1
        if not own:
            del self._by_tenant[tenant]
            self._registry.by_number[tenant].subscribed = False
            self._turns = {key: last for key, last in self._turns.items() if key[0] != tenant}

    def _load(self) -> None:
        low = b""
        while True:
            rows = self._overlay.scan(SUBSCRIPTION, low, b"\xff" * 32, _SCAN_ROWS)
            for key, content in rows:
                self._keep(key[:4], key[4:], decode_subscription(content))
                self._registry.by_number[key[:4]].subscribed = True
            if len(rows) < _SCAN_ROWS:
                return
            low = rows[-1][0] + b"\0"


def _follows(subscription: Subscription, command: str) -> bool:
    return subscription.commands is None or command in subscription.commands


def _by_hash(queue: Queue, members: list[bytes]) -> bytes:
    """The member that this queue belongs to: another one changes only if that one comes or goes."""
    command = queue.command.encode()
    return max(members, key=lambda member: hashlib.blake2b(command + member, digest_size=8).digest())
