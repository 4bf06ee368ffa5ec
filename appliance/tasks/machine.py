"""The state machine: one decision at a time, by the state table, into the open group.

Owns what clients change: creating, claiming, and what the owner of a lease does. What time and operators change is in
`timers` and `interventions`, the moves themselves in `moves`. Each operation reads all it needs before it writes the
first row, so a damaged row refuses the operation whole. Sans-IO and single-threaded: time comes in with each call,
chance from the `Random` it was given, rows through the reader. What it decides is visible to the next decision at once
and to nobody else until its group is durable. It must not know who asked over which protocol, nor how a group becomes
durable.

When a group fails, the whole object is thrown away and built anew from the store: nothing in here survives on its own.
"""

from collections.abc import Callable, Sequence
from heapq import heappop
from typing import Final

from appliance import errors
from appliance.engine.rows import CLAIMED, COMPLETED, PENDING, Body, DamagedRow, Idem, State, decode_idem, encode_row
from appliance.engine.tables import BODY, EXPIRE, IDEM, LEASE, PRIORITY_BYTES, QUEUE_BYTES, READY, STATE, idem_key
from appliance.errors import Problem
from appliance.tasks import table
from appliance.tasks.backoff import abandon_delay_ms, backoff_ms
from appliance.tasks.intake import attempts_of, refusal_by_queue, refusal_by_tenant
from appliance.tasks.judgement import STATUS_OF, guard, holds
from appliance.tasks.lines import Waiter
from appliance.tasks.model import (
    Abandon,
    Claim,
    Created,
    Extended,
    Finish,
    Heartbeat,
    Nack,
    NewTask,
    OwnerAction,
    Record,
    Returned,
    Task,
)
from appliance.tasks.moves import Moves
from appliance.tasks.queues import Queue, Tenant
from appliance.tasks.states import claimed, ended, replaced, returned
from appliance.tasks.table import TABLE, Edge

NACKED: Final = "nacked without a reason"

_CREATE_NOW: Final = TABLE[table.ABSENT, table.CREATE, table.AT_ONCE]
_CREATE_LATER: Final = TABLE[table.ABSENT, table.CREATE, table.LATER]
_CLAIM: Final = TABLE[table.READY, table.CLAIM, table.PLAIN]
_COMPLETE: Final = TABLE[table.CLAIMED, table.COMPLETE, table.PLAIN]
_FAIL: Final = TABLE[table.CLAIMED, table.FAIL, table.PLAIN]


class Tasks(Moves):
    """The tasks of one shard."""

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
        next_id, hot_add = self._ids.next, self.hot.add
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
            # Hardly a later decision of this group deletes these, so they are not marked as new: see `forget`.
            put(BODY, task_id, encode_row(body))
            if new.key:
                group.put_new(IDEM, idem_key(queue.prefix, new.key), encode_row(Idem(task_id, new.request_hash)))
            queue.stored_bytes += size
            tenant.stored_bytes += size
            hot_add(task_id, state, body)
            if run_at > now:
                queue.created += 1
                self.move(_CREATE_LATER, queue, task_id, new.priority, 0, run_at, state)
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
        self.count(_CREATE_NOW, queue, count)
        self.enter_ready(queue, keys)

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
        edge = TABLE[self.position(task.id, task.state), table.CREATE, table.SAME if same else table.OTHER]
        return self.refuse(edge) or Created(task, replayed=True)

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
        put, hot = group.put, self.hot
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
            self.count(_CLAIM, queue, count)
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

    def finish(self, now: int, action: Finish, same_json: Callable[[bytes, bytes], bool]) -> Record | Problem:
        """Record the result. `same_json` compares two JSON texts as values, for the repeat of a recorded result."""
        return self.finish_all(now, (action,), same_json)[0]

    def finish_all(
        self, now: int, actions: Sequence[Finish | Problem], same_json: Callable[[bytes, bytes], bool]
    ) -> list[Record | Problem]:
        """Record results, in order; an outcome for each. Items that are Problems already pass through."""
        group, hot, queues = self.overlay.open, self.hot, self.registry.by_prefix
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
            state = ended(STATUS_OF[edge.next], old, now, expires, action.error, action.result, action.artifacts)
            if state.hooked:
                try:
                    self.add_to_outbox(now, queue, task_id, state)
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

    def _is_of(self, state: State, tenant_name: str) -> bool:
        return self.registry.by_prefix[state.queue].tenant.name == tenant_name

    def _ended_all(self, edge: Edge, queue: Queue, expires: int, ids: list[bytes], left: list[bytes]) -> None:
        """Claimed tasks of one queue whose rows are written leave the index of leases for that of retention."""
        if not ids:
            return
        group = self.overlay.open
        prefix = queue.tenant.prefix + expires.to_bytes(8, "big")
        entered = [prefix + task_id for task_id in ids]
        self.count(edge, queue, len(ids))
        group.delete_keys(LEASE, left)
        group.put_keys(EXPIRE, entered)
        self.retention.push_all(entered)
        self._ended_ids += ids
        group.finished += ids

    def heartbeat(self, now: int, action: Heartbeat) -> Extended | Problem:
        """Set the lease's end to now + extend, never earlier than it is."""
        found = self._judge(now, action, table.HEARTBEAT)
        if isinstance(found, Problem):
            return found
        old, queue = found, self.registry.by_prefix[found.queue]
        until = max(old.lease_until, now + action.extend_ms)
        state = replaced(old, updated=now, lease_until=until, lease_ms=max(old.lease_ms, action.extend_ms))
        self.hot.update(action.id, state)
        edge = TABLE[table.CLAIMED, table.HEARTBEAT, table.PLAIN]
        self.move(edge, queue, action.id, old.priority, old.lease_until, until, state)
        return Extended(until)

    def nack(self, now: int, action: Nack) -> Returned | Problem:
        """Give the task back for another attempt after a delay, or to the dead letters when no attempt is left."""
        found = self._judge(now, action, table.NACK)
        if isinstance(found, Problem):
            return found
        old, queue = found, self.registry.by_prefix[found.queue]
        if self._spent(old):
            edge = TABLE[table.CLAIMED, table.NACK, table.SPENT]
            self.bury(edge, now, queue, action.id, old, action.reason or old.error or NACKED)
            return Returned(True, 0, old.attempts)
        if action.delay_ms is None:
            delay = backoff_ms(queue.settings, old.attempts, self.rng)
        else:
            delay = min(action.delay_ms, queue.settings.backoff_cap_ms)
        self.give_back(table.NACK, now, queue, action.id, old, delay, error=action.reason or old.error)
        return Returned(False, delay, old.attempts)

    def abandon(self, now: int, action: Abandon) -> Returned | Problem:
        """Give the task back as if it had not been claimed; past the bound of deliveries it is a dead letter."""
        found = self._judge(now, action, table.ABANDON)
        if isinstance(found, Problem):
            return found
        old, queue = found, self.registry.by_prefix[found.queue]
        if old.deliveries >= self._deliveries_max(old):
            reason = f"abandoned at delivery {old.deliveries}"
            self.bury(TABLE[table.CLAIMED, table.ABANDON, table.SPENT], now, queue, action.id, old, reason)
            return Returned(True, 0, old.attempts)
        if action.undelivered:
            edge = TABLE[table.CLAIMED, table.ABANDON, table.UNDELIVERED]
            state = returned(edge, old, now, 0, old.abandons, old.error)
            self.hot.update(action.id, state)
            self.move(edge, queue, action.id, old.priority, old.lease_until, 0, state)
            return Returned(False, 0, state.attempts)
        abandons = old.abandons + 1
        delay = abandon_delay_ms(queue.settings, abandons)
        state = self.give_back(table.ABANDON, now, queue, action.id, old, delay, abandons=abandons)
        return Returned(False, delay, state.attempts)

    def _judge(
        self, now: int, action: OwnerAction, event: str, same_json: Callable[[bytes, bytes], bool] | None = None
    ) -> State | Problem:
        """The state of the claimed task that this action may change, or its refusal.

        Only the repeat of a recorded result gets a terminal state.
        """
        state = self.own_state(action.tenant, action.id)
        if state is not None and state.status == CLAIMED and state.lease_until <= now:
            edge = TABLE[table.CLAIMED, event, table.OVERDUE]
            self.edges[edge.number] += 1
            self.expire(now, action.id, state)
            state = self.own_state(action.tenant, action.id)
        if state is None:
            return self.refusal(TABLE[table.ABSENT, event, table.PLAIN])
        found = guard(state, action, same_json)
        if found == table.PLAIN:
            return state
        edge = TABLE[self.position(action.id, state), event, found]
        return self.refuse(edge) or state
