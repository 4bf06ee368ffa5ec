"""Q13: every task is in one state, and indexes, counters and tasks agree. Q14: what was created is somewhere."""

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, FAILED, PENDING, State, decode_idem, decode_queue
from appliance.engine.tables import (
    BODY,
    DEAD,
    DUE,
    EXPIRE,
    IDEM,
    LEASE,
    QUEUE,
    READY,
    dead_key,
    idem_key,
    ready_key,
    time_key,
)
from tests.simulation.ledger import Change
from tests.simulation.node import Node
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World

_EVERY_GROUPS = 150
_STATES = {CLAIMED: "claimed", COMPLETED: "completed", FAILED: "failed", DLQ: "dlq"}
_NAMES = ("ready", "delayed", *_STATES.values())


class WholeStore(Watcher):
    """Reads everything there is: at each start, now and then, and at the end."""

    def __init__(self, world: World) -> None:
        self._store = world.store
        self._ledger = world.ledger
        self._created: dict[bytes, int] = {}

    def committed(self, change: Change) -> None:
        for task_id, (old, new) in change.states.items():
            state = new or old
            if old is None and state is not None:
                self._created[state.queue] = self._created.get(state.queue, 0) + 1
            if (new is None) != (task_id not in self._ledger.bodies):
                raise Violation("Q13", f"{task_id.hex()} has a state and no body, or a body and no state")
        if change.number % _EVERY_GROUPS == 0:
            self._scan()

    def started(self, node: Node) -> None:
        self._scan()

    def drained(self) -> None:
        self._scan()

    def ended(self) -> None:
        self._scan()

    def _scan(self) -> None:
        rows = self._store.rows
        if rows[BODY].keys() != self._ledger.states.keys():
            raise Violation("Q13", "bodies and states are not of the same tasks")
        wanted: dict[int, set[bytes]] = {table: set() for table in (READY, DUE, LEASE, EXPIRE, IDEM, DEAD)}
        counts: dict[bytes, dict[str, int]] = {}
        sizes: dict[bytes, int] = {}
        bodies = self._ledger.bodies
        for task_id, state in self._ledger.states.items():
            table, key, name = self._place(task_id, state)
            wanted[table].add(key)
            if state.status == DLQ:
                wanted[DEAD].add(dead_key(state.queue, state.completed, task_id))
            payload_bytes = len(bodies[task_id].payload)
            if state.payload_bytes != payload_bytes:
                raise Violation("Q13", f"{task_id.hex()} has forgotten the size of its payload")
            counted = counts.get(state.queue)
            if counted is None:
                counted = counts[state.queue] = dict.fromkeys(_NAMES, 0)
                sizes[state.queue] = 0
            counted[name] += 1
            sizes[state.queue] += payload_bytes + len(state.result) + len(state.artifacts)
            if state.keyed:
                self._check_key(task_id, state, wanted[IDEM])
        for table, keys in wanted.items():
            if rows[table].keys() != keys:
                raise Violation("Q13", f"table {table} has rows too many or too few: {rows[table].keys() ^ keys}")
        self._check_counters(counts, sizes)

    def _place(self, task_id: bytes, state: State) -> tuple[int, bytes, str]:
        if state.status == PENDING:
            key = time_key(state.queue, state.run_at, task_id)
            if state.run_at and key in self._store.rows[DUE]:
                return DUE, key, "delayed"
            return READY, ready_key(state.queue, state.priority, task_id), "ready"
        if state.status == CLAIMED:
            return LEASE, time_key(state.queue, state.lease_until, task_id), "claimed"
        return EXPIRE, time_key(state.queue, state.expires, task_id), _STATES[state.status]

    def _check_key(self, task_id: bytes, state: State, wanted: set[bytes]) -> None:
        key = idem_key(state.queue, self._ledger.bodies[task_id].key)
        content = self._store.get(IDEM, key)
        if content is None or decode_idem(content).id != task_id:
            raise Violation("Q13", f"the key of {task_id.hex()} does not stand for it")
        wanted.add(key)

    def _check_counters(self, counts: dict[bytes, dict[str, int]], sizes: dict[bytes, int]) -> None:
        stored = self._store.rows[QUEUE]
        if not counts.keys() <= stored.keys():
            raise Violation("Q13", "a queue has no counters")
        for queue, content in stored.items():
            row = decode_queue(content)
            counted = counts.get(queue, {})
            for name in _NAMES:
                if getattr(row, name) != counted.get(name, 0):
                    raise Violation("Q13", f"{name} of {queue.hex()} is {getattr(row, name)}, not {counted.get(name)}")
            if row.stored_bytes != sizes.get(queue, 0):
                raise Violation("Q13", f"{queue.hex()} stores {sizes.get(queue, 0)} bytes, counted {row.stored_bytes}")
            if row.created != self._created.get(queue, 0):
                raise Violation("Q14", f"{queue.hex()} has created {row.created}, not {self._created.get(queue)}")
            if row.created != sum(counted.values()) + row.swept:
                raise Violation("Q14", f"{queue.hex()} has lost count: {row}")
