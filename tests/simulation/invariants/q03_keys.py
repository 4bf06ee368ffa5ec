"""Q3: one idempotency key of a queue stands for exactly one task, and another request with it is a conflict."""

from appliance import errors
from appliance.engine.rows import Idem
from appliance.engine.tables import idem_key
from appliance.errors import Problem
from appliance.tasks.model import Created
from tests.simulation.history import OK, Call, Item
from tests.simulation.ledger import Change
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Keys(Watcher):
    """The task of each key for as long as it lives."""

    def __init__(self, world: World) -> None:
        self._ledger = world.ledger
        self._live: dict[tuple[bytes, str], bytes] = {}
        self._places: dict[bytes, tuple[bytes, str]] = {}
        self._hashes: dict[bytes, set[bytes]] = {}

    def committed(self, change: Change) -> None:
        for key, row in change.idems.items():
            if row is not None:
                self._hashes.setdefault(key[8:], set()).add(row.request_hash)
        for task_id, (old, new) in change.states.items():
            body = change.bodies.get(task_id)
            if old is not None and new is None and old.keyed:
                place = self._places.pop(task_id)
                if self._live.get(place) == task_id:
                    del self._live[place]
            if body is not None and body.key and new is not None:
                place = (new.queue, body.key)
                other = self._live.get(place)
                if other is not None and other not in change.states:
                    raise Violation("Q3", f"key {body.key} stands for {other.hex()} and {task_id.hex()}")
                self._live[place] = task_id
                self._places[task_id] = place
                if self._ledger.idems.get(idem_key(new.queue, body.key)) is None:
                    raise Violation("Q3", f"key {body.key} is not on disk together with its task")

    def answered(self, call: Call) -> None:
        for item in call.items:
            if item.new.key:
                self._check(call, item)

    def _check(self, call: Call, item: Item) -> None:
        outcome = item.outcome
        if item.verdict == OK and isinstance(outcome, Created):
            if outcome.task.id in self._ledger.swept:
                return
            row = self._row(outcome.task.state.queue, item)
            if row is None or row.id != outcome.task.id:
                raise Violation("Q3", f"call {call.number} got a task for which its key does not stand")
            if row.request_hash != item.new.terms_hash:
                raise Violation("Q3", f"call {call.number} got the task of another request with its key")
        elif isinstance(outcome, Problem) and outcome.code == errors.IDEMPOTENCY_CONFLICT:
            hashes = self._hashes.get(idem_key(b"", item.new.key), set())
            if not hashes - {item.new.terms_hash}:
                raise Violation("Q3", f"call {call.number} met a conflict with a key that nothing on disk has")

    def _row(self, queue: bytes, item: Item) -> Idem | None:
        return self._ledger.idems.get(idem_key(queue, item.new.key))
