"""The state machine: one decision at a time, by the state table, into the open group.

Owns what clients change: creating, claiming, and what the owner of a lease does. What time and operators change is in
`timers` and `interventions`, the moves themselves in `moves`. Each operation reads all it needs before it writes the
first row, so a damaged row refuses the operation whole. Sans-IO and single-threaded: time comes in with each call,
chance from the `Random` it was given, rows through the reader. What it decides is visible to the next decision at once
and to nobody else until its group is durable. It must not know who asked over which protocol, nor how a group becomes
durable.

When a group fails, the whole object is thrown away and built anew from the store: nothing in here survives on its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from appliance import errors
from appliance.engine.rows import (
    CLAIMED,
    COMPLETED,
    PENDING,
    Body,
    DamagedRow,
    Idem,
    State,
    decode_body,
    decode_idem,
    decode_state,
    encode_row,
)
from appliance.engine.tables import (
    BODY,
    EXPIRE,
    IDEM,
    LEASE,
    PRIORITY_BYTES,
    QUEUE_BYTES,
    READY,
    STATE,
    idem_key,
    prefix_end,
)
from appliance.errors import Problem
from appliance.tasks import table
from appliance.tasks.backoff import abandon_delay_ms, backoff_ms
from appliance.tasks.heads import Heads
from appliance.tasks.ids import id_time_ms
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
from appliance.tasks.moves import Moves, Terms
from appliance.tasks.queues import Queue, Tenant
from appliance.tasks.states import claimed, ended, replaced, returned
from appliance.tasks.table import EDGES, TABLE, Edge

NACKED: Final = "nacked without a reason"

_CREATE_NOW: Final = TABLE[table.ABSENT, table.CREATE, table.AT_ONCE]
_CREATE_LATER: Final = TABLE[table.ABSENT, table.CREATE, table.LATER]
_CLAIM: Final = TABLE[table.READY, table.CLAIM, table.PLAIN]
_COMPLETE: Final = TABLE[table.CLAIMED, table.COMPLETE, table.PLAIN]
_FAIL: Final = TABLE[table.CLAIMED, table.FAIL, table.PLAIN]

TAKEN_TOGETHER: Final = 64
"""Tasks that a claim looks at together: those that are not in memory are read at once."""

LAST_KEY_EVERY: Final = 1_000
"""Keyed creates of a queue between two attempts to find the last of its keys, while that is not known."""

_NEW_STATES_MAX: Final = 1_024
"""States of new tasks that are remembered, at about 400 bytes each."""

_NO_STATE: Final = State(PENDING, b"", 0, 0, 0)

Made = tuple[list[bytes], list[bytes], list[bytes], list[bytes], list[bytes], dict[Queue, list[bytes]]]
"""New tasks that are not in the group yet: ids, bodies and states as rows, keys and rows in `idem` of those that have
one, and the keys in `ready` of each queue."""

Ended = tuple[list[bytes], list[bytes], list[bytes], list[bytes], list[tuple[Queue, Edge, int]]]
"""Tasks of one tenant with results that are not in the group yet: ids, states as rows, keys in `lease` and in `expire`,
and runs of one queue and edge, each with the place where it begins."""


class Tasks(Moves):
    """The tasks of one shard."""

    # Creating.

    def create(self, now: int, tenant_name: str, new: NewTask) -> Created | Problem:
        """Make a task, or find the one that the same key made before."""
        return self.create_all(now, tenant_name, (new,))[0]

    def create_all(self, now: int, tenant_name: str, items: Sequence[NewTask | Problem]) -> list[Created | Problem]:
        """Make tasks, in order; an outcome for each. Items that are Problems already pass through.

        What many tasks share (counters, index rows, the wake-up of their queue) is done once for a run of one queue.
        States that are alike are one value, encoded once.
        """
        tenant = self.registry.tenants.get(tenant_name) or self.registry.tenant(tenant_name)
        group = self.overlay.open
        hot_add = self.hot.add
        row_key = b""
        # Items that make nothing leave gaps, which mean nothing.
        new_ids = self._ids.take(now, len(items)) if items else []
        outcomes: list[Created | Problem] = []
        made: Made = ([], [], [], [], [], {})
        ids, bodies, states, idem_keys, idems, ready = made
        queue: Queue | None = None
        like: Terms | None = None
        state, encoded = _NO_STATE, b""
        absent = self._absent_keys(tenant, items)
        for task_id, new in zip(new_ids, items, strict=True):
            if isinstance(new, Problem):
                outcomes.append(new)
                continue
            key, webhook, size = new.key, new.webhook, len(new.payload)
            if queue is None or new.command != queue.command:
                queue = tenant.queues.get(new.command)
            if key and queue is not None:
                row_key = idem_key(queue.prefix, key)
                if row_key in absent:
                    absent.discard(row_key)
                elif queue.last_key is None or row_key <= queue.last_key:
                    try:
                        found = self._replayed(queue, row_key, new, made)
                    except DamagedRow as damage:
                        outcomes.append(self.damaged(damage))
                        continue
                    if found is not None:
                        outcomes.append(found)
                        continue
            if queue is None or queue.restricted or not self.accepts_creates:
                if queue is not None and queue.restricted:
                    # What was made before counts against a limit.
                    self._write(made)
                try:
                    self._check_taken(now, tenant, queue, new)
                    queue = queue or self.registry.queue(group, tenant, new.command)
                except Problem as problem:
                    outcomes.append(problem.kept())
                    continue
                row_key = idem_key(queue.prefix, key) if key else b""
            run_at = new.run_at or (now + new.delay_ms if new.delay_ms else 0)
            max_attempts = attempts_of(queue, new) if queue.restricted else new.max_attempts
            these = (queue.prefix, new.priority, max_attempts, size, run_at, bool(key), bool(webhook))
            if these != like:
                like = these
                state, encoded = self._new_states.get(these) or self._new_state(these)
            body = Body(new.command, new.payload, now, webhook, key, new.trace_parent, new.trace_state)
            if key:
                idem_keys.append(row_key)
                idems.append(encode_row(Idem(task_id, new.terms_hash, True)))
                if queue.last_key is not None and row_key > queue.last_key:
                    queue.last_key = row_key
            queue.stored_bytes += size
            tenant.stored_bytes += size
            hot_add(task_id, state, body)
            ids.append(task_id)
            bodies.append(encode_row(body))
            states.append(encoded)
            if run_at > now:
                queue.created += 1
                self.move(_CREATE_LATER, queue, task_id, new.priority, 0, run_at, None)
            else:
                keys = ready.get(queue)
                if keys is None:
                    keys = ready[queue] = []
                keys.append(queue.prefix + PRIORITY_BYTES[new.priority] + task_id)
            outcomes.append(Created(Task(task_id, body, state)))
        self._write(made)
        return outcomes

    def _new_state(self, terms: Terms) -> tuple[State, bytes]:
        """The state of new tasks with these terms, and its encoding; remembered, since many tasks are alike."""
        queue, priority, max_attempts, payload_bytes, run_at, keyed, hooked = terms
        state = State(PENDING, queue, priority, max_attempts, 0, run_at, keyed)
        state.payload_bytes, state.hooked = payload_bytes, hooked
        if len(self._new_states) >= _NEW_STATES_MAX:
            self._new_states.clear()
        remembered = self._new_states[terms] = state, encode_row(state)
        return remembered

    def _write(self, made: Made) -> None:
        """The rows of new tasks go into the group; those that are ready take their places."""
        ids, bodies, states, idem_keys, idems, ready = made
        if not ids:
            return
        group = self.overlay.open
        # Hardly a later decision of this group deletes these, so they are not marked as new: see `forget`.
        group.put_all(BODY, ids, bodies)
        group.put_all(STATE, ids, states)
        if idem_keys:
            group.put_all_new(IDEM, idem_keys, idems)
        for queue, keys in ready.items():
            queue.created += len(keys)
            self.count(_CREATE_NOW, queue, len(keys))
            self.enter_ready(queue, keys)
        for rows in made:
            rows.clear()

    def _absent_keys(self, tenant: Tenant, items: Sequence[NewTask | Problem]) -> set[bytes]:
        """Keys in `idem` that have no row, of a batch whose first key does not lie behind all of its queue's.

        They are looked up together; those of other queues are left to `_replayed`.
        """
        first = items[0] if len(items) > 1 else None
        if not isinstance(first, NewTask) or not first.key:
            return set()
        queue = tenant.queues.get(first.command)
        if queue is None:
            return set()
        prefix, command = queue.prefix, queue.command
        first_key = idem_key(prefix, first.key)
        if queue.last_key is None:
            self._learn_last_key(queue, first_key)
        if queue.last_key is not None and first_key > queue.last_key:
            return set()
        keys = [
            idem_key(prefix, item.key)
            for item in items
            if isinstance(item, NewTask) and item.key and item.command == command
        ]
        damages: list[DamagedRow] = []
        there = self.overlay.get_all(IDEM, keys, damages.append)
        return set(keys) - there.keys() - {damage.key for damage in damages}

    def _replayed(self, queue: Queue, row_key: bytes, new: NewTask, made: Made) -> Created | Problem | None:
        """What a create gets for whose key there is a task already; None where there is none. Raises DamagedRow."""
        # The earlier task, and the last key, may be among those that are not written yet.
        self._write(made)
        if queue.last_key is None:
            self._learn_last_key(queue, row_key)
        row = self.overlay.get(IDEM, row_key)
        return None if row is None else self._replay(decode_idem(row), new)

    def _learn_last_key(self, queue: Queue, row_key: bytes) -> None:
        """Find out, now and then, whether this key lies behind all others: then those that grow need no look."""
        queue.key_looks += 1
        if queue.key_looks % LAST_KEY_EVERY != 1:
            return
        try:
            if not self.overlay.scan(IDEM, row_key, prefix_end(queue.prefix), 1):
                queue.last_key = row_key
        except DamagedRow as damage:
            self.on_damage(damage)

    def _check_taken(self, now: int, tenant: Tenant, queue: Queue | None, new: NewTask) -> None:
        """Raises Problem for a task that is not taken now."""
        problem = None
        if not self.accepts_creates:
            problem = errors.unavailable("free disk space is below the configured floor; creates are refused", 10)
        elif queue is None:
            problem = refusal_by_tenant(tenant, new)
        elif queue.restricted:
            problem = refusal_by_queue(now, queue, new)
        if problem is not None:
            raise problem

    def _replay(self, idem: Idem, new: NewTask) -> Created | Problem:
        task = self.task(idem.id)
        assert task is not None, "an idempotency row without its task"
        same = self._same_request(idem, task.body.payload, new)
        edge = TABLE[self.position(task.id, task.state), table.CREATE, table.SAME if same else table.OTHER]
        return self.refuse(edge) or Created(task, replayed=True)

    # Claiming.

    def claim(self, now: int, claim: Claim) -> list[Task]:
        """Lease tasks to the caller, as many as it wants: highest priority first, then oldest, over all its queues."""
        tenant = self.registry.tenants.get(claim.tenant)
        tasks: list[Task] = []
        if tenant is None:
            return tasks
        hot = self.hot
        wanted, enough_bytes = claim.wanted, claim.enough_bytes
        if tenant.control.in_flight_max is not None:
            wanted = min(wanted, tenant.control.in_flight_max - tenant.in_flight)
        lease_prefix = tenant.prefix + (now + claim.lease_ms).to_bytes(8, "big")
        left: list[bytes] = []
        ids: list[bytes] = []
        states: list[bytes] = []
        touched: dict[bytes, None] = {}
        like: State | None = None
        # The last of each queue: the state before and after.
        alike: dict[bytes, tuple[State, State, bytes]] = {}
        state, encoded, key = _NO_STATE, b"", b""
        waited_ms = self._waited_ms
        payload_bytes = 0
        try:
            take = self._taker(tenant, claim)
            while len(ids) < wanted and payload_bytes < enough_bytes:
                keys = take(min(wanted - len(ids), TAKEN_TOGETHER))
                if not keys:
                    break
                touched |= dict.fromkeys([each[:QUEUE_BYTES] for each in keys])
                read: dict[bytes, tuple[State, Body]] = {}
                read_to = 0
                for number, each in enumerate(keys):
                    if payload_bytes >= enough_bytes:
                        self._put_back(keys[number:])
                        break
                    before, key = key, each
                    # Keys that were left behind by tasks that went another way are thrown out, damaged tasks passed
                    # over.
                    if key == before:
                        continue
                    task_id = key[QUEUE_BYTES + 1 :]
                    entry = hot.get(task_id)
                    if entry is not None and entry[1] is not None:
                        old, body = entry[0], entry[1]
                    else:
                        if number >= read_to:
                            read, count = self._read_pending(keys[number:], enough_bytes - payload_bytes)
                            read_to = number + count
                        if task_id not in read:
                            continue
                        old, body = read[task_id]
                    if old is not like:
                        if old.status != PENDING:
                            continue
                        like, known = old, alike.get(old.queue)
                        if known is not None and known[0] is old:
                            _, state, encoded = known
                        else:
                            state = claimed(_CLAIM, old, now, claim)
                            encoded = encode_row(state)
                            alike[old.queue] = old, state, encoded
                    hot.claimed(task_id, state)
                    left.append(key)
                    ids.append(task_id)
                    states.append(encoded)
                    tasks.append(Task(task_id, body, state))
                    payload_bytes += len(body.payload)
                    waited_ms.append(now - body.created)
        except DamagedRow as damage:
            # What lies behind it cannot be reached; the tasks leased so far must reach their worker.
            self.on_damage(damage)
        self._count_claimed(touched, left)
        if ids:
            group = self.overlay.open
            group.put_all(STATE, ids, states)
            group.delete_keys(READY, left)
            entered = [lease_prefix + task_id for task_id in ids]
            group.put_keys(LEASE, entered)
            self.leases.push_all(entered)
            # The answer holds the payloads in memory until the group is durable.
            group.bytes_count += payload_bytes
        return tasks

    def _taker(self, tenant: Tenant, claim: Claim) -> Callable[[int], list[bytes]]:
        """Takes keys in `ready` of the queues of a claim, up to so many, the first ones first; raises DamagedRow."""
        if claim.commands is None:
            return partial(tenant.take, self.overlay)
        queues = self._named(tenant, claim.commands)
        if len(queues) == 1:
            return partial(queues[0].window.take, self.overlay)
        return Heads(queues, self.overlay, self.on_damage).take

    def _put_back(self, keys: list[bytes]) -> None:
        """Keys that were taken and not claimed."""
        for key in keys:
            queue = self.registry.by_prefix[key[:QUEUE_BYTES]]
            if queue.window.push(key):
                queue.tenant.head_changed(queue)

    def _read_pending(self, keys: list[bytes], enough_bytes: int) -> tuple[dict[bytes, tuple[State, Body]], int]:
        """The rows of tasks with these keys in `ready`, by id: those that are pending. Also how many keys were looked
        at, from the first on, until there were so many bytes of payload.

        Read together, and states that are alike are decoded once and shared. Damaged rows are reported and left out.
        """
        ids = [key[QUEUE_BYTES + 1 :] for key in keys]
        rows = self.overlay.get_all(STATE, ids, self.on_damage)
        decoded: dict[bytes, State] = {}
        states: dict[bytes, State] = {}
        looked_at = payload_bytes = 0
        for task_id in ids:
            if payload_bytes >= enough_bytes:
                break
            looked_at += 1
            row = rows.get(task_id)
            if row is None:
                continue
            state = decoded.get(row)
            if state is None:
                state = decoded[row] = decode_state(row)
            if state.status == PENDING:
                states[task_id] = state
                payload_bytes += state.payload_bytes
        bodies = self.overlay.get_all(BODY, list(states), self.on_damage)
        found = {
            task_id: (state, decode_body(bodies[task_id])) for task_id, state in states.items() if task_id in bodies
        }
        return found, looked_at

    def _count_claimed(self, touched: dict[bytes, None], left: list[bytes]) -> None:
        """Tasks with these keys in `ready` were claimed; `touched` has the queues that were looked at."""
        counts = (
            dict.fromkeys(touched, len(left)) if len(touched) == 1 else Counter([key[:QUEUE_BYTES] for key in left])
        )
        for prefix in touched:
            queue = self.registry.by_prefix[prefix]
            if counts[prefix]:
                self.count(_CLAIM, queue, counts[prefix])
            if queue.window.wants_refill:
                self.low_windows[queue] = None

    def _named(self, tenant: Tenant, commands: Iterable[str]) -> list[Queue]:
        return [queue for command in commands if (queue := tenant.dispatching.get(command)) is not None]

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
            queue = self._first(tenant, claim)
        except DamagedRow as damage:
            self.on_damage(damage)
            return
        if queue is not None:
            self.woken[queue] = None

    def _first(self, tenant: Tenant, claim: Claim) -> Queue | None:
        """The queue with the task that this claim would get first, None where there is none. Raises DamagedRow."""
        if claim.commands is None:
            return tenant.first_queue(self.overlay)
        return Heads(self._named(tenant, claim.commands), self.overlay, self.on_damage).first

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
        hot, queues = self.hot, self.registry.by_prefix
        outcomes: list[Record | Problem] = []
        ended_tasks: Ended = ([], [], [], [], [])
        ids, states, left, entered, runs = ended_tasks
        queue, edge = None, _COMPLETE
        expire_prefix = lease_prefix = encoded = b""
        like: State | None = None
        state = _NO_STATE
        # The last of each queue: the state before and after, and what follows from them.
        alike: dict[bytes, tuple[State, Edge, State, Queue, bytes, bytes, bytes]] = {}
        born, lived = b"", 0
        ran_ms, lived_ms = self._ran_ms, self._lived_ms
        for action in actions:
            if isinstance(action, Problem):
                outcomes.append(action)
                continue
            task_id = action.id
            entry = hot.get(task_id)
            # What most results are is seen at once; all else is judged in the contract's order. All are of one tenant,
            # so a state that they share is of that tenant for the second, too.
            if (
                entry is not None
                and holds(entry[0], action, now)
                and (entry[0] is like or self._is_of(entry[0], action.tenant))
            ):
                old = entry[0]
            else:
                try:
                    # It may be the same task again.
                    self._write_ended(ended_tasks)
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
            if (
                old is not like
                or next_edge is not edge
                or action.result != state.result
                or action.error != state.error
                or action.artifacts != state.artifacts
            ):
                like, edge = old, next_edge
                known = alike.get(old.queue)
                if known is not None and known[0] is old and known[1] is edge and _has_result(known[2], action):
                    _, _, state, queue, encoded, lease_prefix, expire_prefix = known
                else:
                    queue = queues[old.queue]
                    expires = now + queue.settings.retention_ms
                    state = ended(
                        STATUS_OF[edge.next], old, now, expires, action.error, action.result, action.artifacts
                    )
                    encoded = encode_row(state)
                    lease_prefix = queue.tenant.prefix + old.lease_until.to_bytes(8, "big")
                    expire_prefix = queue.tenant.prefix + expires.to_bytes(8, "big")
                    alike[old.queue] = old, edge, state, queue, encoded, lease_prefix, expire_prefix
            assert queue is not None
            if not runs or runs[-1][0] is not queue or runs[-1][1] is not edge:
                runs.append((queue, edge, len(ids)))
            if state.hooked:
                try:
                    self.add_to_outbox(now, queue, task_id, state)
                except DamagedRow as damage:
                    outcomes.append(self.damaged(damage))
                    continue
            if action.result or action.artifacts:
                added_bytes = len(action.result) + len(action.artifacts)
                queue.stored_bytes += added_bytes
                queue.tenant.stored_bytes += added_bytes
            hot.drop(task_id)
            ids.append(task_id)
            states.append(encoded)
            left.append(lease_prefix + task_id)
            entered.append(expire_prefix + task_id)
            ran_ms.append(now - old.claimed)
            if task_id[:6] != born:
                born, lived = task_id[:6], now - id_time_ms(task_id)
            lived_ms.append(lived)
            outcomes.append(Record(task_id, state))
        self._write_ended(ended_tasks)
        return outcomes

    def _is_of(self, state: State, tenant_name: str) -> bool:
        return self.registry.by_prefix[state.queue].tenant.name == tenant_name

    def _write_ended(self, tasks: Ended) -> None:
        """Claimed tasks get their last rows, and leave the index of leases for that of retention."""
        ids, states, left, entered, runs = tasks
        if not ids:
            return
        group = self.overlay.open
        counts: dict[tuple[Queue, int], int] = {}
        end = len(ids)
        for queue, edge, start in reversed(runs):
            counts[queue, edge.number] = counts.get((queue, edge.number), 0) + end - start
            end = start
        for (queue, number), count in counts.items():
            if count:
                self.count(EDGES[number], queue, count)
        group.put_all(STATE, ids, states)
        group.delete_keys(LEASE, left)
        group.put_keys(EXPIRE, entered)
        self.retention.push_all(entered)
        group.finished += ids
        for rows in tasks:
            rows.clear()

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


def _has_result(state: State, action: Finish) -> bool:
    return state.result == action.result and state.error == action.error and state.artifacts == action.artifacts
