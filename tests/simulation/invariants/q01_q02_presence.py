"""Q1: an acknowledged create is never lost. Q2: nothing appears that nobody created, and nothing appears twice."""

import msgspec

from appliance.engine.rows import COMPLETED
from appliance.tasks.model import Created
from tests.simulation.history import FAIL, OK, Call, Item
from tests.simulation.ledger import Change
from tests.simulation.node import Node
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Presence(Watcher):
    """Every task ever seen, by the mark that its payload carries, and those that were acknowledged."""

    def __init__(self, world: World) -> None:
        self._ledger = world.ledger
        self._items: dict[tuple[int, int], Item] = {}
        self._born: dict[tuple[int, int], bytes] = {}
        self._acknowledged: dict[bytes, int] = {}

    def sent(self, call: Call) -> None:
        for item in call.items:
            self._items[_mark(item.new.payload)] = item

    def committed(self, change: Change) -> None:
        for task_id, body in change.bodies.items():
            if body is None:
                continue
            mark = _mark(body.payload)
            item = self._items.get(mark)
            if item is None or item.verdict == FAIL or item.new.payload != body.payload:
                raise Violation("Q2", f"task {task_id.hex()} was created by nobody")
            if mark in self._born:
                raise Violation("Q2", f"one request made {self._born[mark].hex()} and {task_id.hex()}")
            if item.new.command != body.command or item.new.key != body.key:
                raise Violation("Q2", f"task {task_id.hex()} is not what was asked for")
            self._born[mark] = task_id

    def answered(self, call: Call) -> None:
        for item in call.items:
            if item.verdict == OK and isinstance(item.outcome, Created):
                task_id = item.outcome.task.id
                if task_id not in self._ledger.states and task_id not in self._ledger.swept:
                    raise Violation("Q1", f"call {call.number} was answered with {task_id.hex()}, which is not on disk")
                self._acknowledged[task_id] = call.number
            elif item.verdict == FAIL and _mark(item.new.payload) in self._born:
                raise Violation("Q2", f"call {call.number} was refused and has made a task")

    def started(self, node: Node) -> None:
        self._none_is_lost()

    def drained(self) -> None:
        self._none_is_lost()
        for task_id in self._acknowledged:
            state = self._ledger.states.get(task_id)
            if state is not None and state.status < COMPLETED:
                raise Violation("Q1", f"task {task_id.hex()} was never delivered")

    def ended(self) -> None:
        self._none_is_lost()

    def _none_is_lost(self) -> None:
        swept, states = self._ledger.swept, self._ledger.states
        for task_id in [task_id for task_id in self._acknowledged if task_id in swept]:
            del self._acknowledged[task_id]
        for task_id, number in self._acknowledged.items():
            if task_id not in states:
                raise Violation("Q1", f"task {task_id.hex()}, acknowledged to call {number}, is lost")


def _mark(payload: bytes) -> tuple[int, int]:
    call, place, _ = msgspec.json.decode(payload)
    return call, place
