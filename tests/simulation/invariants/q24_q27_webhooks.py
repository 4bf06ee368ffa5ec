"""Q24: the group that ends a task with a webhook holds its one delivery, and no other group makes one. Q25: nothing is
sent that is not durable, is not due, or is being sent. Q26: a delivery leaves by being received, or is given up after
all its attempts. Q27: what is received is the recorded end."""

from appliance.engine.rows import COMPLETED, Delivery, Letter, State
from appliance.tasks.model import Due, Purge, Requeue
from tests.simulation.ledger import Change
from tests.simulation.node import Node
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Webhooks(Watcher):
    """Every delivery from the end of its task to its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ledger = world.ledger
        self._settings = world.plan.settings
        self._sending: dict[bytes, int] = {}
        self._received: set[bytes] = set()
        self._failures: dict[bytes, int] = {}
        self._finals: set[bytes] = set()
        self._letters: dict[bytes, Letter] = {}

    def committed(self, change: Change) -> None:
        made: dict[bytes, list[bytes]] = {}
        for delivery_id, letter in change.letters.items():
            if letter is not None:
                made.setdefault(letter.task, []).append(delivery_id)
                self._letters[delivery_id] = letter
        ended = {
            task_id: new
            for task_id, (old, new) in change.states.items()
            if new is not None and new.status >= COMPLETED and _ended_anew(old, new)
        }
        for task_id, state in ended.items():
            body = self._ledger.bodies[task_id]
            deliveries = made.pop(task_id, [])
            if len(deliveries) != bool(body.webhook):
                raise Violation(
                    "Q24", f"{task_id.hex()} ended with {len(deliveries)} deliveries, hook {body.webhook!r}"
                )
            for delivery_id in deliveries:
                letter = self._letters[delivery_id]
                if (letter.status, letter.result, letter.error, letter.completed) != (
                    state.status, state.result, state.error, state.completed,
                ):  # fmt: skip
                    raise Violation("Q27", f"delivery {delivery_id.hex()} says {letter}")
                if self._ledger.outbox[delivery_id].url != body.webhook:
                    raise Violation("Q27", f"delivery {delivery_id.hex()} goes elsewhere")
        # A dead letter may be requeued or purged in the group in which it died: then its end does not show.
        may_have = self._world.history.may_have
        made = {
            task_id: each
            for task_id, each in made.items()
            if not (may_have(task_id, Requeue) or may_have(task_id, Purge))
        }
        if made:
            raise Violation("Q24", f"deliveries without an end: {[each.hex() for each in made]}")
        for delivery_id, (old, new) in change.outbox.items():
            self._judge(delivery_id, old, new, change)

    def _judge(self, delivery_id: bytes, old: Delivery | None, new: Delivery | None, change: Change) -> None:
        if new is None:
            lapsed = old is not None and old.given_up and old.at <= change.clock_ms
            if not lapsed and delivery_id not in self._received and not self._lapsed_within(delivery_id, change):
                raise Violation("Q26", f"delivery {delivery_id.hex()} is gone and was never received")
            return
        if new.attempts > self._settings.webhook_attempts_max:
            raise Violation("Q26", f"delivery {delivery_id.hex()} was attempted {new.attempts} times")
        if old is not None and new.given_up and not old.given_up and delivery_id not in self._finals:
            if self._failures.get(delivery_id, 0) < self._settings.webhook_attempts_max:
                raise Violation("Q26", f"delivery {delivery_id.hex()} was given up too early")
            self._failures[delivery_id] = 0

    def _lapsed_within(self, delivery_id: bytes, change: Change) -> bool:
        """Whether a group that was open for long may have given a delivery up and forgotten it."""
        spent = self._failures.get(delivery_id, 0) >= self._settings.webhook_attempts_max or delivery_id in self._finals
        open_ms = change.closed_ms - change.opened_ms
        return spent and open_ms >= self._settings.given_up_retention_ms * 9 // 10

    def sending(self, due: Due, node: Node) -> None:
        delivery = self._ledger.outbox.get(due.id)
        if delivery is None or delivery.given_up:
            raise Violation("Q25", f"delivery {due.id.hex()} is sent and not durably waiting")
        if delivery.at > node.now():
            raise Violation("Q25", f"delivery {due.id.hex()} is sent {delivery.at - node.now()} ms too early")
        if self._sending.get(due.id) == node.incarnation:
            raise Violation("Q25", f"delivery {due.id.hex()} is sent while it is being sent")
        if delivery.url != due.url:
            raise Violation("Q27", f"delivery {due.id.hex()} goes elsewhere")
        self._sending[due.id] = node.incarnation

    def received(self, due: Due, letter: Letter | None) -> None:
        if letter != self._letters[due.id]:
            raise Violation("Q27", f"delivery {due.id.hex()} brought {letter}")
        self._received.add(due.id)

    def attempted(self, due: Due, *, delivered: bool, final: bool) -> None:
        self._sending.pop(due.id, None)
        if not delivered:
            self._failures[due.id] = self._failures.get(due.id, 0) + 1
        if final:
            self._finals.add(due.id)

    def ended(self) -> None:
        if self._ledger.outbox:
            raise Violation("Q26", f"{len(self._ledger.outbox)} deliveries were neither received nor given up")


def _ended_anew(old: State | None, new: State) -> bool:
    """Whether this group ended the task; it may have been requeued, delivered and ended within the group, too."""
    return old is None or old.status < COMPLETED or old.lease_number != new.lease_number
