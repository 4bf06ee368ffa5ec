"""The state machine: one decision at a time, by the state table, into the open group.

Owns every change of a task. Each operation reads all it needs before it writes the first row, so a damaged row refuses
the operation whole. Sans-IO and single-threaded: time comes in with each call, chance from the `Random` it was
given, rows through the reader. What it decides is visible to the next decision at once and to nobody else until its
group is durable. It must not know who asked over which protocol, nor how a group becomes durable.

When a group fails, the whole object is thrown away and built anew from the store: nothing in here survives on its own.
"""

from collections.abc import Callable, Sequence
from heapq import heappop
from random import Random
from typing import Final, NamedTuple

from appliance import errors
from appliance.engine.overlay import Overlay
from appliance.engine.rows import (
    CLAIMED,
    COMPLETED,
    DLQ,
    FAILED,
    PENDING,
    Body,
    DamagedRow,
    Idem,
    Mark,
    State,
    decode_body,
    decode_idem,
    decode_mark,
    decode_state,
    encode_row,
)
from appliance.engine.tables import (
    BODY,
    DEAD,
    DUE,
    EXPIRE,
    IDEM,
    LEASE,
    META,
    POST,
    PRIORITY_BYTES,
    QUEUE_BYTES,
    READY,
    STATE,
    dead_key,
    idem_key,
    ready_key,
    time_key,
)
from appliance.errors import Problem
from appliance.tasks import table
from appliance.tasks.backoff import abandon_delay_ms, backoff_ms
from appliance.tasks.deadlines import Deadlines
from appliance.tasks.hot import Hot
from appliance.tasks.ids import Ids, id_time_ms
from appliance.tasks.intake import attempts_of, refusal_by_queue, refusal_by_tenant
from appliance.tasks.lines import Waiter, Waits
from appliance.tasks.model import (
    Abandon,
    Cancel,
    Claim,
    Created,
    Extended,
    Finish,
    Heartbeat,
    Nack,
    NewTask,
    OwnerAction,
    Purge,
    Record,
    Requeue,
    Returned,
    Stepped,
    Task,
)
from appliance.tasks.outbox import Outbox
from appliance.tasks.pauses import Pauses
from appliance.tasks.queues import Queue, Registry, Tenant
from appliance.tasks.settings import TaskSettings
from appliance.tasks.states import claimed, ended, holds, repeats, replaced, requeued, returned
from appliance.tasks.subscriptions import Subscriptions
from appliance.tasks.table import EDGES, TABLE, Edge

MARK_KEY: Final = b"mark"
LEASE_EXPIRED: Final = "lease expired"
NACKED: Final = "nacked without a reason"
CANCELLED_ERROR: Final = "cancelled"

_STATUS_OF: Final = {
    table.READY: PENDING,
    table.DELAYED: PENDING,
    table.CLAIMED: CLAIMED,
    table.COMPLETED: COMPLETED,
    table.FAILED: FAILED,
    table.DLQ: DLQ,
}
_STATE_OF: Final = {CLAIMED: table.CLAIMED, COMPLETED: table.COMPLETED, FAILED: table.FAILED, DLQ: table.DLQ}
_CREATE_NOW: Final = TABLE[table.ABSENT, table.CREATE, table.AT_ONCE]
_CREATE_LATER: Final = TABLE[table.ABSENT, table.CREATE, table.LATER]
_CLAIM: Final = TABLE[table.READY, table.CLAIM, table.PLAIN]
_COMPLETE: Final = TABLE[table.CLAIMED, table.COMPLETE, table.PLAIN]
_FAIL: Final = TABLE[table.CLAIMED, table.FAIL, table.PLAIN]

_REFUSALS: Final = {edge.number: Problem(edge.refusal, table.message_of(edge)) for edge in EDGES if edge.refusal}


def _ignore(_ms: list[int]) -> None:
    """Nobody measures."""


class Timings(NamedTuple):
    """Where durations go, in milliseconds: those of a group together, when it is closed."""

    waited: Callable[[list[int]], None] = _ignore
    """Tasks were claimed so long after they were created."""
    ran: Callable[[list[int]], None] = _ignore
    """Tasks were finished so long after they were claimed."""
    lived: Callable[[list[int]], None] = _ignore
    """Tasks were finished so long after they were created."""


class Tasks:
    """The tasks of one shard."""

    def __init__(
        self,
        overlay: Overlay,
        settings: TaskSettings,
        rng: Random,
        *,
        on_damage: Callable[[DamagedRow], None],
        shard: int = 0,
        timings: Timings | None = None,
        in_flight: set[bytes] | None = None,
    ) -> None:
        """`on_damage` hears of a task that is passed over because its rows are not what was written.

        `in_flight` has the deliveries that are being attempted.
        """
        self.overlay = overlay
        self.settings = settings
        self.edges = [0] * len(EDGES)
        self.accepts_creates = True
        self.waits = Waits()
        self.woken: dict[Queue, None] = {}
        """Queues that have both ready tasks and somebody waiting, in the order in which that came about."""
        self.risen: dict[Queue, None] = {}
        """Queues of tenants with subscriptions that turned non-empty."""
        self.low_windows: dict[Queue, None] = {}
        """Queues whose window should be refilled from the store when there is time."""
        self._rng = rng
        self.on_damage = on_damage
        self._timings = timings or Timings()
        self._waited_ms: list[int] = []
        self._ran_ms: list[int] = []
        self._ended_ids: list[bytes] = []
        row = overlay.get(META, MARK_KEY)
        self.mark = decode_mark(row) if row is not None else Mark()
        self._ids = Ids(self.mark.last_id, shard, rng.getrandbits(32))
        self._hot = Hot(settings.hot_bytes_max)
        self.registry = Registry(overlay, self.mark.next_tenant, settings)
        self.pauses = Pauses()
        self.leases = Deadlines(LEASE, settings.window_keys_max)
        self.delays = Deadlines(DUE, settings.window_keys_max)
        self.retention = Deadlines(EXPIRE, settings.window_keys_max)
        self._timed = {
            table.DELAYED: (DUE, self.delays),
            table.CLAIMED: (LEASE, self.leases),
            table.COMPLETED: (EXPIRE, self.retention),
            table.FAILED: (EXPIRE, self.retention),
            table.DLQ: (EXPIRE, self.retention),
        }
        """For the states whose place in the indexes is a moment: which index, and its timers."""
        in_flight = set() if in_flight is None else in_flight
        self.outbox = Outbox(overlay, settings, rng, self._ids, self.registry, in_flight)
        self.outbox.load(self.registry.by_number.values())
        self.subscriptions = Subscriptions(overlay, self.registry, rng, settings.subscriptions_per_tenant_max)
        for tenant in self.registry.by_number.values():
            for deadlines in (self.leases, self.delays, self.retention):
                deadlines.load(overlay, tenant)
        for queue in self.registry.by_prefix.values():
            if queue.control is not None:
                self.pauses.set(queue.prefix, queue.control.dispatch_until, queue.control.intake_until)

    # Creating.

    def create(self, now: int, tenant_name: str, new: NewTask) -> Created | Problem:
        """Make a task, or find the one that the same key made before."""
        return self.create_all(now, tenant_name, (new,))[0]

    def create_all(self, now: int, tenant_name: str, items: Sequence[NewTask | Problem]) -> list[Created | Problem]:
        """Make tasks, in order; an outcome for each. Items that are Problems already pass through.

        What many tasks share (counters, index rows, the wake-up of their queue) is done once for a run of one queue.
        """
        tenant = self.registry.tenants.get(tenant_name) or self.registry.tenant(tenant_name)
        group = self.overlay.open
        put = group.put
        next_id, hot_add = self._ids.next, self._hot.add
        outcomes: list[Created | Problem] = []
        ready: list[bytes] = []
        queue: Queue | None = None
        for new in items:
            if isinstance(new, Problem):
                outcomes.append(new)
                continue
            if queue is None or new.command != queue.command:
                if ready and queue is not None:
                    self._made_ready(queue, ready)
                    ready = []
                queue = tenant.queues.get(new.command)
            if queue is None or new.key or queue.restricted or not self.accepts_creates:
                if ready and queue is not None and queue.restricted:
                    # What was made before counts against a limit.
                    self._made_ready(queue, ready)
                    ready = []
                try:
                    found = self._replayed(now, tenant, queue, new)
                    if found is not None:
                        outcomes.append(found)
                        continue
                    queue = queue or self.registry.queue(group, tenant, new.command)
                except DamagedRow as damage:
                    outcomes.append(self.damaged(damage))
                    continue
                except Problem as problem:
                    outcomes.append(problem)
                    continue
            run_at = new.run_at or (now + new.delay_ms if new.delay_ms else 0)
            task_id = next_id(now)
            body = Body(new.command, new.payload, now, new.webhook, new.key, new.trace_parent, new.trace_state)
            state = State(PENDING, queue.prefix, new.priority, new.max_attempts, now, run_at, bool(new.key))
            state.payload_bytes = size = len(new.payload)
            if queue.restricted:
                state.max_attempts = attempts_of(queue, new)
            if new.webhook:
                state.hooked = True
            # Hardly a later decision of this group deletes these, so they are not marked as new: see `_forget`.
            put(BODY, task_id, encode_row(body))
            if new.key:
                group.put_new(IDEM, idem_key(queue.prefix, new.key), encode_row(Idem(task_id, new.request_hash)))
            queue.stored_bytes += size
            tenant.stored_bytes += size
            hot_add(task_id, state, body)
            if run_at > now:
                queue.created += 1
                self._move(_CREATE_LATER, queue, task_id, new.priority, 0, run_at, state)
            else:
                put(STATE, task_id, encode_row(state))
                ready.append(queue.prefix + PRIORITY_BYTES[new.priority] + task_id)
            outcomes.append(Created(Task(task_id, body, state)))
        if ready and queue is not None:
            self._made_ready(queue, ready)
        return outcomes

    def _made_ready(self, queue: Queue, keys: list[bytes]) -> None:
        """New tasks whose rows are written take their places in one queue."""
        count = len(keys)
        queue.created += count
        self._count(_CREATE_NOW, queue, count)
        self._enter_ready(queue, keys)

    def _replayed(self, now: int, tenant: Tenant, queue: Queue | None, new: NewTask) -> Created | Problem | None:
        """What a create gets without making anything: the earlier task of its key, or a refusal."""
        if new.key and queue is not None:
            row = self.overlay.get(IDEM, idem_key(queue.prefix, new.key))
            if row is not None:
                return self._replay(decode_idem(row), new)
        if not self.accepts_creates:
            return errors.unavailable("free disk space is below the configured floor; creates are refused", 10)
        if queue is None:
            return refusal_by_tenant(tenant, new)
        return refusal_by_queue(now, queue, new) if queue.restricted else None

    def _replay(self, idem: Idem, new: NewTask) -> Created | Problem:
        task = self.task(idem.id)
        assert task is not None, "an idempotency row without its task"
        same = idem.request_hash == new.request_hash
        edge = TABLE[self._position(task.id, task.state), table.CREATE, table.SAME if same else table.OTHER]
        return self._refuse(edge) or Created(task, replayed=True)

    # Claiming.

    def claim(self, now: int, claim: Claim) -> list[Task]:
        """Lease tasks to the caller, as many as it wants: highest priority first, then oldest, over all its queues."""
        tenant = self.registry.tenants.get(claim.tenant)
        tasks: list[Task] = []
        if tenant is None:
            return tasks
        overlay = self.overlay
        queues: list[Queue] | None = None
        if claim.commands is not None:
            queues = [queue for command in claim.commands if (queue := tenant.dispatching.get(command)) is not None]
        wanted, enough_bytes = claim.wanted, claim.enough_bytes
        alone = queues is not None and len(queues) == 1
        if tenant.control.in_flight_max is not None:
            wanted = min(wanted, tenant.control.in_flight_max - tenant.in_flight)
        while len(tasks) < wanted and enough_bytes > 0:
            try:
                first = tenant.first_queue(overlay) if queues is None else self._smallest_head(queues)
                if first is None:
                    break
                # From a queue that stands alone all can be taken at once; otherwise the heads are compared each time.
                looks = len(first.window.heap) if alone else 1
                enough_bytes -= self._lease(now, first, claim, looks, wanted - len(tasks), enough_bytes, tasks)
            except DamagedRow as damage:
                # What lies behind it cannot be reached; the tasks leased so far must reach their worker.
                self.on_damage(damage)
                break
            if first.window.horizon is not None and first.window.wants_refill:
                self.low_windows[first] = None
        return tasks

    def _smallest_head(self, queues: list[Queue]) -> Queue | None:
        if len(queues) == 1:
            queue = queues[0]
            return queue if queue.window.heap or queue.window.head(self.overlay) is not None else None
        best, best_suffix = None, b""
        for queue in queues:
            head = queue.window.head(self.overlay)
            if head is not None and (best is None or head[QUEUE_BYTES:] < best_suffix):
                best, best_suffix = queue, head[QUEUE_BYTES:]
        return best

    def _lease(
        self, now: int, queue: Queue, claim: Claim, looks: int, wanted: int, enough_bytes: int, tasks: list[Task]
    ) -> int:
        """Take up to `looks` keys from the head of a window and lease what they stand for; it goes into `tasks`.

        Keys that were left behind by tasks that went another way are thrown out, damaged tasks passed over. Stops at
        `wanted` tasks or `enough_bytes` of payload; returns the bytes of the payloads.
        """
        group = self.overlay.open
        put, hot = group.put, self._hot
        until = now + claim.lease_ms
        lease_prefix = queue.tenant.prefix + until.to_bytes(8, "big")
        heap = queue.window.heap
        left: list[bytes] = []
        entered: list[bytes] = []
        payload_bytes = 0
        for _ in range(looks):
            if len(entered) == wanted or payload_bytes >= enough_bytes:
                break
            key = heappop(heap)
            task_id = key[QUEUE_BYTES + 1 :]
            entry = hot.get(task_id)
            body = entry[1] if entry is not None else None
            if entry is not None and body is not None:
                old = entry[0]
            else:
                try:
                    task = self.task(task_id)
                except DamagedRow as damage:
                    self.on_damage(damage)
                    continue
                if task is None:
                    continue
                old, body = task.state, task.body
            if old.status != PENDING:
                continue
            state = claimed(_CLAIM, old, now, claim)
            put(STATE, task_id, encode_row(state))
            hot.claimed(task_id, state)
            left.append(key)
            entered.append(lease_prefix + task_id)
            tasks.append(Task(task_id, body, state))
            payload_bytes += len(body.payload)
            self._waited_ms.append(now - body.created)
        if entered:
            count = len(entered)
            self._count(_CLAIM, queue, count)
            group.delete_keys(READY, left)
            group.put_keys(LEASE, entered)
            self.leases.push_all(entered)
            # The answer holds the payloads in memory until the group is durable.
            group.bytes_count += payload_bytes
        return payload_bytes

    def wait(self, now: int, claim: Claim) -> None:
        """Put a claim that found nothing into the lines of its queues, until its deadline."""
        deadline = claim.deadline or now + claim.wait_ms
        waiter = self.waits.add(claim, deadline)
        tenant = self.registry.tenant(claim.tenant)
        if claim.commands is None:
            tenant.anyone.join(waiter)
        else:
            for command in claim.commands:
                tenant.line(command).join(waiter)

    def wake(self, claim: Claim) -> None:
        """A claim began to wait although there may be work for it: have it looked at."""
        tenant = self.registry.tenants[claim.tenant]
        try:
            if claim.commands is None:
                queue = tenant.first_queue(self.overlay)
            else:
                named = (tenant.dispatching.get(command) for command in claim.commands)
                queue = self._smallest_head([queue for queue in named if queue is not None])
        except DamagedRow as damage:
            self.on_damage(damage)
            return
        if queue is not None:
            self.woken[queue] = None

    def next_waiter(self, queue: Queue) -> Waiter | None:
        """Who has waited longest for a task of this queue."""
        named, anyone = queue.line.first(), queue.tenant.anyone.first()
        if named is None or (anyone is not None and anyone.number < named.number):
            return anyone
        return named

    # What the owner of a lease does.

    def heartbeat(self, now: int, action: Heartbeat) -> Extended | Problem:
        """Set the lease's end to now + extend, never earlier than it is."""
        found = self._judge(now, action, table.HEARTBEAT)
        if isinstance(found, Problem):
            return found
        old, queue = found, self.registry.by_prefix[found.queue]
        until = max(old.lease_until, now + action.extend_ms)
        state = replaced(old, updated=now, lease_until=until, lease_ms=max(old.lease_ms, action.extend_ms))
        self._hot.update(action.id, state)
        edge = TABLE[table.CLAIMED, table.HEARTBEAT, table.PLAIN]
        self._move(edge, queue, action.id, old.priority, old.lease_until, until, state)
        return Extended(until)

    def finish(self, now: int, action: Finish, same_json: Callable[[bytes, bytes], bool]) -> Record | Problem:
        """Record the result. `same_json` compares two JSON texts as values, for the repeat of a recorded result."""
        return self.finish_all(now, (action,), same_json)[0]

    def finish_all(
        self, now: int, actions: Sequence[Finish | Problem], same_json: Callable[[bytes, bytes], bool]
    ) -> list[Record | Problem]:
        """Record results, in order; an outcome for each. Items that are Problems already pass through."""
        group, hot, queues = self.overlay.open, self._hot, self.registry.by_prefix
        put = group.put
        outcomes: list[Record | Problem] = []
        ended_ids: list[bytes] = []
        left: list[bytes] = []
        queue, edge, expires = None, _COMPLETE, 0
        for action in actions:
            if isinstance(action, Problem):
                outcomes.append(action)
                continue
            task_id = action.id
            entry = hot.get(task_id)
            # What most results are is seen at once; all else is judged in the contract's order.
            if entry is not None and holds(entry[0], action, now) and self._is_of(entry[0], action.tenant):
                old = entry[0]
            else:
                try:
                    found = self._judge(now, action, table.COMPLETE if action.completed else table.FAIL, same_json)
                except DamagedRow as damage:
                    outcomes.append(self.damaged(damage))
                    continue
                if isinstance(found, Problem):
                    outcomes.append(found)
                    continue
                if found.status >= COMPLETED:
                    outcomes.append(Record(task_id, found))
                    continue
                old = found
            next_edge = _COMPLETE if action.completed else _FAIL
            if queue is None or next_edge is not edge or old.queue != queue.prefix:
                if queue is not None:
                    self._ended_all(edge, queue, expires, ended_ids, left)
                    ended_ids, left = [], []
                queue, edge, expires = queues[old.queue], next_edge, now + queues[old.queue].settings.retention_ms
            state = ended(_STATUS_OF[edge.next], old, now, expires, action.error, action.result, action.artifacts)
            if state.hooked:
                try:
                    self._add_to_outbox(now, queue, task_id, state)
                except DamagedRow as damage:
                    outcomes.append(self.damaged(damage))
                    continue
            put(STATE, task_id, encode_row(state))
            if action.result or action.artifacts:
                added_bytes = len(action.result) + len(action.artifacts)
                queue.stored_bytes += added_bytes
                queue.tenant.stored_bytes += added_bytes
            hot.drop(task_id)
            ended_ids.append(task_id)
            left.append(queue.tenant.prefix + old.lease_until.to_bytes(8, "big") + task_id)
            self._ran_ms.append(now - old.claimed)
            outcomes.append(Record(task_id, state))
        if queue is not None:
            self._ended_all(edge, queue, expires, ended_ids, left)
        return outcomes

    def _ended_all(self, edge: Edge, queue: Queue, expires: int, ids: list[bytes], left: list[bytes]) -> None:
        """Claimed tasks of one queue whose rows are written leave the index of leases for that of retention."""
        if not ids:
            return
        group = self.overlay.open
        prefix = queue.tenant.prefix + expires.to_bytes(8, "big")
        entered = [prefix + task_id for task_id in ids]
        self._count(edge, queue, len(ids))
        group.delete_keys(LEASE, left)
        group.put_keys(EXPIRE, entered)
        self.retention.push_all(entered)
        self._ended_ids += ids
        group.finished += ids

    def nack(self, now: int, action: Nack) -> Returned | Problem:
        """Give the task back for another attempt after a delay, or to the dead letters when no attempt is left."""
        found = self._judge(now, action, table.NACK)
        if isinstance(found, Problem):
            return found
        old, queue = found, self.registry.by_prefix[found.queue]
        if self._spent(old):
            edge = TABLE[table.CLAIMED, table.NACK, table.SPENT]
            self._bury(edge, now, queue, action.id, old, action.reason or old.error or NACKED)
            return Returned(True, 0, old.attempts)
        if action.delay_ms is None:
            delay = backoff_ms(queue.settings, old.attempts, self._rng)
        else:
            delay = min(action.delay_ms, queue.settings.backoff_cap_ms)
        self._return(table.NACK, now, queue, action.id, old, delay, error=action.reason or old.error)
        return Returned(False, delay, old.attempts)

    def abandon(self, now: int, action: Abandon) -> Returned | Problem:
        """Give the task back as if it had not been claimed; past the bound of deliveries it is a dead letter."""
        found = self._judge(now, action, table.ABANDON)
        if isinstance(found, Problem):
            return found
        old, queue = found, self.registry.by_prefix[found.queue]
        if old.deliveries >= self._deliveries_max(old):
            reason = f"abandoned at delivery {old.deliveries}"
            self._bury(TABLE[table.CLAIMED, table.ABANDON, table.SPENT], now, queue, action.id, old, reason)
            return Returned(True, 0, old.attempts)
        if action.undelivered:
            edge = TABLE[table.CLAIMED, table.ABANDON, table.UNDELIVERED]
            state = returned(edge, old, now, 0, old.abandons, old.error)
            self._hot.update(action.id, state)
            self._move(edge, queue, action.id, old.priority, old.lease_until, 0, state)
            return Returned(False, 0, state.attempts)
        abandons = old.abandons + 1
        delay = abandon_delay_ms(queue.settings, abandons)
        state = self._return(table.ABANDON, now, queue, action.id, old, delay, abandons=abandons)
        return Returned(False, delay, state.attempts)

    # What time does.

    def lease_ended(self, now: int, key: bytes) -> None:
        """A key of `lease` is due: the task is delayed by the backoff, or becomes a dead letter."""
        task_id = key[12:]
        state = self._state(task_id)
        if state is None or state.status != CLAIMED or time_key(state.queue, state.lease_until, task_id) != key:
            return  # finished or extended meanwhile
        self._expire(now, task_id, state)

    def became_due(self, now: int, key: bytes) -> None:
        """A key of `due` is due: the task becomes claimable and keeps its place."""
        task_id = key[12:]
        state = self._state(task_id)
        if (
            state is None
            or state.status != PENDING
            or time_key(state.queue, state.run_at, task_id) != key
            or self.overlay.get(DUE, key) is None
        ):
            return
        edge = TABLE[table.DELAYED, table.DUE, table.PLAIN]
        self._move(edge, self.registry.by_prefix[state.queue], task_id, state.priority, state.run_at, 0, None)

    def sweep(self, now: int, key: bytes) -> None:
        """A key of `expire` is due: the task and its idempotency key are forgotten."""
        task_id = key[12:]
        state = self._state(task_id)
        if state is None or state.status < COMPLETED or state.expires > now:
            return
        if time_key(state.queue, state.expires, task_id) != key:
            return
        self._forget(TABLE[_STATE_OF[state.status], table.SWEEP, table.PLAIN], task_id, state)

    def shorten(self, now: int, table_number: int, key: bytes) -> None:
        """After a clock that went back: a lease or a retry delay ends no later than its own length from now."""
        if table_number == POST:
            self.outbox.shorten(now, key)
            return
        task_id = key[12:]
        state = self._state(task_id)
        if state is None:
            return
        if table_number == LEASE and state.status == CLAIMED and state.lease_until > now + state.lease_ms:
            edge = TABLE[table.CLAIMED, table.REBASE, table.PLAIN]
            left, entered = state.lease_until, now + state.lease_ms
            new = replaced(state, updated=now, lease_until=entered)
        elif (
            table_number == DUE
            and state.lease_number  # only delays that the system chose: a client's own runAt is a date and stays
            and state.run_at > now + self.registry.by_prefix[state.queue].settings.backoff_cap_ms
            and self._position(task_id, state) == table.DELAYED
        ):
            edge = TABLE[table.DELAYED, table.REBASE, table.PLAIN]
            left, entered = state.run_at, now + self.registry.by_prefix[state.queue].settings.backoff_cap_ms
            new = replaced(state, updated=now, run_at=entered)
        else:
            return
        self._hot.update(task_id, new)
        self._move(edge, self.registry.by_prefix[state.queue], task_id, state.priority, left, entered, new)

    # What operators do.

    def cancel(self, now: int, action: Cancel) -> Task | Problem:
        """End a task that is not terminal."""
        found = self._chosen(action.tenant, action.id, table.CANCEL)
        if isinstance(found, Problem):
            return found
        edge, state, task = found
        queue = self.registry.by_prefix[state.queue]
        new = ended(FAILED, state, now, now + queue.settings.retention_ms, CANCELLED_ERROR, cancelled=True)
        left = state.lease_until if state.status == CLAIMED else state.run_at
        self._end(edge, now, queue, action.id, left, new)
        return Task(action.id, task.body, new)

    def requeue(self, now: int, action: Requeue) -> Task | Problem:
        """Give a dead letter another life: its attempts and deliveries start again, its id and place stay."""
        found = self._chosen(action.tenant, action.id, table.REQUEUE)
        if isinstance(found, Problem):
            return found
        edge, state, task = found
        return Task(action.id, task.body, self._revive(edge, now, action.id, state))

    def purge(self, _now: int, action: Purge) -> Stepped | Problem:
        """Forget a dead letter."""
        found = self._chosen(action.tenant, action.id, table.PURGE)
        if isinstance(found, Problem):
            return found
        edge, state, _ = found
        self._forget(edge, action.id, state)
        return Stepped(1)

    def requeue_dead(self, now: int, task_id: bytes) -> None:
        """Requeue what a row of `dead` names."""
        state = self._dead_state(task_id)
        self._revive(TABLE[table.DLQ, table.REQUEUE, table.PLAIN], now, task_id, state)

    def purge_dead(self, _now: int, task_id: bytes) -> None:
        """Forget what a row of `dead` names."""
        self._forget(TABLE[table.DLQ, table.PURGE, table.PLAIN], task_id, self._dead_state(task_id))

    def stands_in_expire(self, key: bytes) -> bool:
        """Whether a row of `expire` is that of a task."""
        state = self._state(key[12:])
        return state is not None and state.status >= COMPLETED and time_key(state.queue, state.expires, key[12:]) == key

    def _chosen(self, tenant: str, task_id: bytes, event: str) -> tuple[Edge, State, Task] | Problem:
        """The edge that an operator's event takes, and the task; all that may be damaged has been read then."""
        state = self._own_state(tenant, task_id)
        if state is None:
            return self._refuse(TABLE[table.ABSENT, event, table.PLAIN]) or _unreachable()
        edge = TABLE[self._position(task_id, state), event, table.PLAIN]
        if edge.refusal:
            return self._refuse(edge) or _unreachable()
        task = self.task(task_id)
        assert task is not None
        return edge, state, task

    def _dead_state(self, task_id: bytes) -> State:
        state = self._state(task_id)
        if state is None or state.status != DLQ:
            raise DamagedRow(DEAD, task_id, "it names no dead letter")
        return state

    def _revive(self, edge: Edge, now: int, task_id: bytes, state: State) -> State:
        queue = self.registry.by_prefix[state.queue]
        new = requeued(state, now)
        self._hot.update(task_id, new)
        self.overlay.open.delete(DEAD, dead_key(state.queue, state.completed, task_id))
        self._move(edge, queue, task_id, new.priority, state.expires, 0, new)
        return new

    # Closing a group.

    def close_group(self, now: int) -> None:
        """Write what goes with every group: the counters it touched, and the mark of ids and time."""
        group = self.overlay.open
        self.registry.write_dirty(group)
        self.mark = Mark(self._ids.last, now, self.registry.next_tenant)
        group.put(META, MARK_KEY, encode_row(self.mark))
        self._report_timings(now)

    def _report_timings(self, now: int) -> None:
        if self._waited_ms:
            self._timings.waited(self._waited_ms)
            self._waited_ms = []
        if self._ran_ms:
            self._timings.ran(self._ran_ms)
            self._ran_ms = []
        if self._ended_ids:
            self._timings.lived([now - id_time_ms(task_id) for task_id in self._ended_ids])
            self._ended_ids = []

    # Reading through the overlay.

    def task(self, task_id: bytes) -> Task | None:
        """The task as decided so far."""
        entry = self._hot.get(task_id)
        if entry is not None and entry[1] is not None:
            return Task(task_id, entry[1], entry[0])
        state = entry[0] if entry is not None else self._state(task_id)
        if state is None:
            return None
        body = self.overlay.get(BODY, task_id)
        assert body is not None, "a state without its body"
        return Task(task_id, decode_body(body), state)

    def _state(self, task_id: bytes) -> State | None:
        entry = self._hot.get(task_id)
        if entry is not None:
            return entry[0]
        row = self.overlay.get(STATE, task_id)
        return decode_state(row) if row is not None else None

    def _is_of(self, state: State, tenant_name: str) -> bool:
        return self.registry.by_prefix[state.queue].tenant.name == tenant_name

    def _own_state(self, tenant_name: str, task_id: bytes) -> State | None:
        tenant = self.registry.tenants.get(tenant_name)
        entry = self._hot.get(task_id)
        state = entry[0] if entry is not None else self._state(task_id)
        if tenant is None or state is None or state.queue[:4] != tenant.prefix:
            return None
        return state

    def _position(self, task_id: bytes, state: State) -> str:
        """The task's state in the table's words; only a pending one needs a look at where it stands."""
        if state.status != PENDING:
            return _STATE_OF[state.status]
        if state.run_at and self.overlay.get(DUE, time_key(state.queue, state.run_at, task_id)) is not None:
            return table.DELAYED
        return table.READY

    # Judging.

    def _judge(
        self, now: int, action: OwnerAction, event: str, same_json: Callable[[bytes, bytes], bool] | None = None
    ) -> State | Problem:
        """The state of the claimed task that this action may change, or its refusal.

        Only the repeat of a recorded result gets a terminal state.
        """
        state = self._own_state(action.tenant, action.id)
        if state is not None and state.status == CLAIMED and state.lease_until <= now:
            edge = TABLE[table.CLAIMED, event, table.OVERDUE]
            self.edges[edge.number] += 1
            self._expire(now, action.id, state)
            state = self._own_state(action.tenant, action.id)
        if state is None:
            return self._refuse(TABLE[table.ABSENT, event, table.PLAIN]) or _unreachable()
        guard = self._guard(state, action, same_json)
        if guard == table.PLAIN:
            return state
        edge = TABLE[self._position(action.id, state), event, guard]
        return self._refuse(edge) or state

    def damaged(self, damage: DamagedRow) -> Problem:
        """What whoever asked about a task whose rows are damaged is told."""
        self.on_damage(damage)
        return errors.unavailable("a stored row of this task is damaged", 60)

    def _guard(self, state: State, action: OwnerAction, same_json: Callable[[bytes, bytes], bool] | None = None) -> str:
        """The contract's order of judgement for owner actions, after 404."""
        owns = state.subject == action.subject and not (
            action.worker and state.worker and action.worker != state.worker
        )
        if state.status >= COMPLETED:
            if not owns or not state.lease_number:
                return table.STRANGER
            if state.cancelled:
                return table.WITHDRAWN
            if same_json is not None and isinstance(action, Finish) and repeats(state, action, same_json):
                return table.REPEAT
            return table.LAST_OWNER
        if state.status == PENDING:
            return table.UNLEASED if action.lease is None else table.LEASED
        if not owns:
            return table.STRANGER
        if action.lease is not None and action.lease != state.lease_number:
            return table.STALE
        return table.PLAIN

    def _refuse(self, edge: Edge) -> Problem | None:
        """Count an edge that moves nothing; its refusal, or None where it only repeats an answer."""
        self.edges[edge.number] += 1
        return _REFUSALS.get(edge.number)

    def _spent(self, state: State) -> bool:
        return state.attempts >= state.max_attempts or state.deliveries >= self._deliveries_max(state)

    def _deliveries_max(self, state: State) -> int:
        return max(self.settings.max_deliveries, 2 * state.max_attempts)

    # Moving.

    def _expire(self, now: int, task_id: bytes, old: State) -> None:
        queue = self.registry.by_prefix[old.queue]
        if self._spent(old):
            edge = TABLE[table.CLAIMED, table.EXPIRE, table.SPENT]
            self._bury(edge, now, queue, task_id, old, LEASE_EXPIRED)
        else:
            delay = backoff_ms(queue.settings, old.attempts, self._rng)
            self._return(table.EXPIRE, now, queue, task_id, old, delay, error=LEASE_EXPIRED)

    def _return(
        self,
        event: str,
        now: int,
        queue: Queue,
        task_id: bytes,
        old: State,
        delay_ms: int,
        *,
        abandons: int = 0,
        error: str = "",
    ) -> State:
        edge = TABLE[table.CLAIMED, event, table.LATER if delay_ms else table.AT_ONCE]
        run_at = now + delay_ms if delay_ms else 0
        state = returned(edge, old, now, run_at, abandons, error or old.error)
        self._hot.update(task_id, state)
        self._move(edge, queue, task_id, old.priority, old.lease_until, run_at, state)
        return state

    def _bury(self, edge: Edge, now: int, queue: Queue, task_id: bytes, old: State, reason: str) -> None:
        """A claimed task becomes a dead letter."""
        state = ended(DLQ, old, now, now + queue.settings.dead_retention_ms, reason)
        self._end(edge, now, queue, task_id, old.lease_until, state)
        self.overlay.open.put_keys(DEAD, [dead_key(queue.prefix, now, task_id)])

    def _end(self, edge: Edge, now: int, queue: Queue, task_id: bytes, left_at: int, state: State) -> None:
        if state.hooked:
            self._add_to_outbox(now, queue, task_id, state)
        self._hot.drop(task_id)
        self._ended_ids.append(task_id)
        self._move(edge, queue, task_id, state.priority, left_at, state.expires, state)
        self.overlay.open.finished.append(task_id)

    def _add_to_outbox(self, now: int, queue: Queue, task_id: bytes, state: State) -> None:
        task = self.task(task_id)
        assert task is not None
        self.outbox.add(now, queue.tenant.prefix, task_id, task.body, state)

    def _forget(self, edge: Edge, task_id: bytes, state: State) -> None:
        """All rows of a terminal task go."""
        queue, group = self.registry.by_prefix[state.queue], self.overlay.open
        if state.keyed:
            body = self.overlay.get(BODY, task_id)
            assert body is not None, "a state without its body"
            group.delete(IDEM, idem_key(queue.prefix, decode_body(body).key))
        if task_id in group.tables[BODY]:
            # Made in this very group, whose commit must have taken longer than the task's lease: nothing lies below.
            group.undo(BODY, task_id)
            group.undo(STATE, task_id)
        else:
            group.delete(BODY, task_id)
            group.delete(STATE, task_id)
        if state.status == DLQ:
            group.delete(DEAD, dead_key(state.queue, state.completed, task_id))
        size = state.stored_bytes
        queue.swept += 1
        queue.stored_bytes -= size
        queue.tenant.stored_bytes -= size
        self._hot.drop(task_id)
        self._move(edge, queue, task_id, state.priority, state.expires, 0, None)

    def _move(
        self,
        edge: Edge,
        queue: Queue,
        task_id: bytes,
        priority: int,
        left_at: int,
        entered_at: int,
        state: State | None,
    ) -> None:
        """Take an edge: its index rows, the state row, the counters, and who has to hear of it.

        `left_at` and `entered_at` are the moments (ms) under which the states before and after are indexed, where
        they are; `state` is None where the row stays as it is or is deleted by the caller.
        """
        group = self.overlay.open
        self._count(edge, queue, 1)
        leaving, entering = edge.state, edge.next
        if leaving == table.READY:
            group.delete(READY, ready_key(queue.prefix, priority, task_id))
        elif leaving != table.ABSENT:
            group.delete(self._timed[leaving][0], time_key(queue.prefix, left_at, task_id))
        if state is not None:
            group.put(STATE, task_id, encode_row(state))
        if entering == table.READY:
            self._enter_ready(queue, [ready_key(queue.prefix, priority, task_id)])
        elif entering != table.ABSENT:
            index, deadlines = self._timed[entering]
            keys = [time_key(queue.prefix, entered_at, task_id)]
            group.put_keys(index, keys)
            deadlines.push_all(keys)

    def _count(self, edge: Edge, queue: Queue, tasks: int) -> None:
        """So many tasks of one queue take an edge."""
        counts, leaving, entering = queue.counts, edge.state, edge.next
        self.edges[edge.number] += tasks
        self.overlay.open.transitions += tasks
        self.registry.dirty[queue] = None
        if leaving != table.ABSENT:
            counts[leaving] -= tasks
        if entering != table.ABSENT:
            counts[entering] += tasks
        if queue.restricted and leaving != entering:
            self._count_in_flight(queue.tenant, leaving, entering, tasks)

    def _enter_ready(self, queue: Queue, keys: list[bytes]) -> None:
        self.overlay.open.put_keys(READY, keys)
        if queue.window.push_all(keys):
            queue.tenant.head_changed(queue)
        if queue.line or queue.tenant.anyone:
            self.woken[queue] = None
        if queue.tenant.subscribed and queue.counts[table.READY] == len(keys):
            self.risen[queue] = None

    def _count_in_flight(self, tenant: Tenant, leaving: str, entering: str, tasks: int) -> None:
        """More or fewer tasks are claimed; where the limit had been reached, others may be claimed now."""
        if entering == table.CLAIMED:
            tenant.in_flight += tasks
        elif leaving == table.CLAIMED:
            in_flight_max = tenant.control.in_flight_max
            full = in_flight_max is not None and tenant.in_flight >= in_flight_max
            tenant.in_flight -= tasks
            if full:
                self.wake_tenant(tenant)

    def wake_tenant(self, tenant: Tenant) -> None:
        """More may be claimed of this tenant than before: have those who wait for its queues looked at."""
        for queue in tenant.dispatching.values():
            if queue.counts[table.READY] and (queue.line or tenant.anyone):
                self.woken[queue] = None


def _unreachable() -> Problem:
    raise AssertionError("the table has no refusal where one is needed")
