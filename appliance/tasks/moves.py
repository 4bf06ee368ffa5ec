"""How tasks move: the memory of the state machine, and the rows, counters and timers that go with each edge.

Owns what is in memory of a shard (queues, deadlines, decoded rows, who waits) and the one place in which an edge of the
state table is taken. Sans-IO and single-threaded. It must not know who asks for a move, nor whether it is allowed:
whoever calls has judged.
"""

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from appliance import errors
from appliance.engine.overlay import Overlay
from appliance.engine.rows import (
    DLQ,
    PENDING,
    DamagedRow,
    Mark,
    State,
    decode_body,
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
    READY,
    STATE,
    dead_key,
    idem_key,
    ready_key,
    time_key,
)
from appliance.errors import Problem
from appliance.tasks import table
from appliance.tasks.backoff import backoff_ms
from appliance.tasks.deadlines import Deadlines
from appliance.tasks.hot import Hot
from appliance.tasks.ids import Ids, id_time_ms
from appliance.tasks.judgement import REFUSALS, STATE_OF, SameRequest
from appliance.tasks.lines import Waits
from appliance.tasks.model import Task
from appliance.tasks.outbox import Outbox
from appliance.tasks.pauses import Pauses
from appliance.tasks.queues import Queue, Registry, Tenant
from appliance.tasks.settings import TaskSettings
from appliance.tasks.states import ended, returned
from appliance.tasks.subscriptions import Subscriptions
from appliance.tasks.table import EDGES, TABLE, Edge

MARK_KEY: Final = b"mark"
LEASE_EXPIRED: Final = "lease expired"


def _ignore(_ms: list[int]) -> None:
    """Nobody measures."""


Terms = tuple[bytes, int, int, int, int, bool, bool]
"""What new tasks with the same state have in common: queue, priority, attempts, bytes of the payload, the time from
which on they may run, and whether they have a key and a webhook."""


class Timings(NamedTuple):
    """Where durations go, in milliseconds: those of a group together, when it is closed."""

    waited: Callable[[list[int]], None] = _ignore
    """Tasks were claimed so long after they were created."""
    ran: Callable[[list[int]], None] = _ignore
    """Tasks were finished so long after they were claimed."""
    lived: Callable[[list[int]], None] = _ignore
    """Tasks were finished so long after they were created."""


class Moves:
    """The tasks of one shard in memory, and the moves that they make."""

    def __init__(
        self,
        overlay: Overlay,
        settings: TaskSettings,
        rng: Random,
        *,
        same_request: SameRequest,
        on_damage: Callable[[DamagedRow], None],
        shard: int = 0,
        timings: Timings | None = None,
        in_flight: set[bytes] | None = None,
    ) -> None:
        """`on_damage` hears of a task that is passed over because its rows are not what was written.

        `in_flight` has the deliveries that are being attempted.
        """
        self.overlay = overlay
        self._same_request = same_request
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
        self.rng = rng
        self.on_damage = on_damage
        self._timings = timings or Timings()
        self._new_states: dict[Terms, tuple[State, bytes]] = {}
        self._waited_ms: list[int] = []
        self._ran_ms: list[int] = []
        self._lived_ms: list[int] = []
        row = overlay.get(META, MARK_KEY)
        self.mark = decode_mark(row) if row is not None else Mark()
        self._ids = Ids(self.mark.last_id, shard, rng.getrandbits(32))
        self.hot = Hot(settings.hot_bytes_max)
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

    # Closing a group.

    def close_group(self, now: int) -> None:
        """Write what goes with every group: the counters it touched, and the mark of ids and time."""
        group = self.overlay.open
        self.registry.write_dirty(group)
        self.mark = Mark(self._ids.last, now, self.registry.next_tenant)
        group.put(META, MARK_KEY, encode_row(self.mark))
        self._report_timings()

    def _report_timings(self) -> None:
        if self._waited_ms:
            self._timings.waited(self._waited_ms)
            self._waited_ms = []
        if self._ran_ms:
            self._timings.ran(self._ran_ms)
            self._ran_ms = []
        if self._lived_ms:
            self._timings.lived(self._lived_ms)
            self._lived_ms = []

    # Reading through the overlay.

    def task(self, task_id: bytes) -> Task | None:
        """The task as decided so far."""
        entry = self.hot.get(task_id)
        if entry is not None and entry[1] is not None:
            return Task(task_id, entry[1], entry[0])
        state = entry[0] if entry is not None else self.state_of(task_id)
        if state is None:
            return None
        body = self.overlay.get(BODY, task_id)
        assert body is not None, "a state without its body"
        return Task(task_id, decode_body(body), state)

    def state_of(self, task_id: bytes) -> State | None:
        """The state row as decided so far, None where there is no such task."""
        entry = self.hot.get(task_id)
        if entry is not None:
            return entry[0]
        row = self.overlay.get(STATE, task_id)
        return decode_state(row) if row is not None else None

    def own_state(self, tenant_name: str, task_id: bytes) -> State | None:
        """The same, None also where the task is another tenant's."""
        tenant = self.registry.tenants.get(tenant_name)
        entry = self.hot.get(task_id)
        state = entry[0] if entry is not None else self.state_of(task_id)
        if tenant is None or state is None or state.queue[:4] != tenant.prefix:
            return None
        return state

    def position(self, task_id: bytes, state: State) -> str:
        """The task's state in the table's words; only a pending one needs a look at where it stands."""
        if state.status != PENDING:
            return STATE_OF[state.status]
        if state.run_at and self.overlay.get(DUE, time_key(state.queue, state.run_at, task_id)) is not None:
            return table.DELAYED
        return table.READY

    # Moving.

    def refuse(self, edge: Edge) -> Problem | None:
        """Count an edge that moves nothing; its refusal, or None where it only repeats an answer."""
        self.edges[edge.number] += 1
        return REFUSALS.get(edge.number)

    def refusal(self, edge: Edge) -> Problem:
        """Count an edge that refuses; what it says."""
        problem = self.refuse(edge)
        assert problem is not None, "the table has no refusal where one is needed"
        return problem

    def damaged(self, damage: DamagedRow) -> Problem:
        """What whoever asked about a task whose rows are damaged is told."""
        self.on_damage(damage)
        return errors.unavailable("a stored row of this task is damaged", 60)

    def _spent(self, state: State) -> bool:
        return state.attempts >= state.max_attempts or state.deliveries >= self._deliveries_max(state)

    def _deliveries_max(self, state: State) -> int:
        return max(self.settings.max_deliveries, 2 * state.max_attempts)

    def expire(self, now: int, task_id: bytes, old: State) -> None:
        """The lease of a claimed task has ended."""
        queue = self.registry.by_prefix[old.queue]
        if self._spent(old):
            edge = TABLE[table.CLAIMED, table.EXPIRE, table.SPENT]
            self.bury(edge, now, queue, task_id, old, LEASE_EXPIRED)
        else:
            delay = backoff_ms(queue.settings, old.attempts, self.rng)
            self.give_back(table.EXPIRE, now, queue, task_id, old, delay, error=LEASE_EXPIRED)

    def give_back(
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
        """A claimed task goes back to its queue, at once or after a delay (ms); its new state."""
        edge = TABLE[table.CLAIMED, event, table.LATER if delay_ms else table.AT_ONCE]
        run_at = now + delay_ms if delay_ms else 0
        state = returned(edge, old, now, run_at, abandons, error or old.error)
        self.hot.update(task_id, state)
        self.move(edge, queue, task_id, old.priority, old.lease_until, run_at, state)
        return state

    def bury(self, edge: Edge, now: int, queue: Queue, task_id: bytes, old: State, reason: str) -> None:
        """A claimed task becomes a dead letter."""
        state = ended(DLQ, old, now, now + queue.settings.dead_retention_ms, reason)
        self.end(edge, now, queue, task_id, old.lease_until, state)
        self.overlay.open.put_keys(DEAD, [dead_key(queue.prefix, now, task_id)])

    def end(self, edge: Edge, now: int, queue: Queue, task_id: bytes, left_at: int, state: State) -> None:
        """A task takes an edge to a terminal state; its webhook goes into the outbox with it."""
        if state.hooked:
            self.add_to_outbox(now, queue, task_id, state)
        self.hot.drop(task_id)
        self._lived_ms.append(now - id_time_ms(task_id))
        self.move(edge, queue, task_id, state.priority, left_at, state.expires, state)
        self.overlay.open.finished.append(task_id)

    def add_to_outbox(self, now: int, queue: Queue, task_id: bytes, state: State) -> None:
        """The webhook of a task that ends with this state is to be sent."""
        task = self.task(task_id)
        assert task is not None
        self.outbox.add(now, queue.tenant.prefix, task_id, task.body, state)

    def forget(self, event: str, task_id: bytes, state: State) -> None:
        """All rows of a terminal task go, by this event. Raises DamagedRow where its key is needed and damaged."""
        for damage in self.forget_all(event, {time_key(state.queue, state.expires, task_id): state}):
            raise damage

    def forget_all(self, event: str, ended: dict[bytes, State]) -> list[DamagedRow]:
        """All rows of terminal tasks go, by this event; `ended` has their states by their keys in `expire`.

        A task stays whose body is needed and damaged; that is returned. What is shared by tasks of one queue that ended
        in the same way is done once for them.
        """
        idem, damages = self._idem_keys(ended)
        if damages:
            damaged = {damage.key for damage in damages}
            ended = {key: state for key, state in ended.items() if key[12:] not in damaged}
        group = self.overlay.open
        group.delete_keys(IDEM, idem)
        ids = [key[12:] for key in ended]
        if not group.tables[BODY].keys().isdisjoint(ids):
            # Made in this very group, whose commit must have taken longer than the task's lease: nothing lies below.
            made = group.tables[BODY].keys() & ids
            for task_id in made:
                group.undo(BODY, task_id)
                group.undo(STATE, task_id)
            ids = [task_id for task_id in ids if task_id not in made]
        group.delete_keys(BODY, ids)
        group.delete_keys(STATE, ids)
        group.delete_keys(EXPIRE, list(ended))
        alike: dict[tuple[bytes, int], list[State]] = {}
        for state in ended.values():
            alike.setdefault((state.queue, state.status), []).append(state)
        for (prefix, status), states in alike.items():
            queue = self.registry.by_prefix[prefix]
            size = sum([state.stored_bytes for state in states])
            queue.swept += len(states)
            queue.stored_bytes -= size
            queue.tenant.stored_bytes -= size
            self.count(TABLE[STATE_OF[status], event, table.PLAIN], queue, len(states))
        dead = [(key[12:], state) for key, state in ended.items() if state.status == DLQ]
        group.delete_keys(DEAD, [dead_key(state.queue, state.completed, task_id) for task_id, state in dead])
        return damages

    def _idem_keys(self, ended: dict[bytes, State]) -> tuple[list[bytes], list[DamagedRow]]:
        """The rows in `idem` of those tasks that have one, and the bodies that should name them and cannot be read."""
        damages: list[DamagedRow] = []
        queues = {key[12:]: state.queue for key, state in ended.items() if state.keyed}
        if not queues:
            return [], damages
        bodies = self.overlay.get_all(BODY, list(queues), damages.append)
        assert len(bodies) + len(damages) == len(queues), "a state without its body"
        return [idem_key(queues[task_id], decode_body(body).key) for task_id, body in bodies.items()], damages

    def move(
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
        self.count(edge, queue, 1)
        leaving, entering = edge.state, edge.next
        if leaving == table.READY:
            group.delete(READY, ready_key(queue.prefix, priority, task_id))
        elif leaving != table.ABSENT:
            group.delete(self._timed[leaving][0], time_key(queue.prefix, left_at, task_id))
        if state is not None:
            group.put(STATE, task_id, encode_row(state))
        if entering == table.READY:
            self.enter_ready(queue, [ready_key(queue.prefix, priority, task_id)])
        elif entering != table.ABSENT:
            index, deadlines = self._timed[entering]
            keys = [time_key(queue.prefix, entered_at, task_id)]
            group.put_keys(index, keys)
            deadlines.push_all(keys)

    def count(self, edge: Edge, queue: Queue, tasks: int) -> None:
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

    def enter_ready(self, queue: Queue, keys: list[bytes]) -> None:
        """Tasks of one queue become claimable; `keys` are theirs in `ready`."""
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
