"""Listeners: workers that subscribe, with and without a callback, and poll for work without taking it."""

from appliance.engine.tables import QUEUE_BYTES
from appliance.tasks.model import Poll, Polled, Subscribe, Subscribed
from appliance.tasks.subscriptions import MODES
from tests.simulation.clients import WATCH_LATE_MS, Client, Crowd
from tests.simulation.history import OK, Call
from tests.simulation.violation import Violation


class Listener(Client):
    """One worker with one subscription at a time. A poll that ends with nothing must have had nothing to say."""

    def __init__(self, crowd: Crowd, name: str, tenant: str) -> None:
        super().__init__(crowd, name, tenant)
        self._subscription = b""
        self._commands: tuple[str, ...] | None = None

    def act(self) -> None:
        if not self._subscription or self.chance(0.1):
            self._subscribe()
            return
        wait_ms = self.rng.choice((0, 2_000, 30_000))
        self.ask(lambda sink: Poll(self.tenant, sink, self._subscription, self.name, wait_ms), self._polled)

    def _subscribe(self) -> None:
        rng, plan = self.rng, self.plan
        commands = None if self.chance(0.3) else (rng.choice(plan.commands),)
        callback = "https://worker.example/" if self.chance(0.5) else ""
        mode, interval_ms, ttl_ms = rng.choice(MODES), rng.choice((0, 1_000)), rng.choice((500, 60_000))
        self.ask(
            lambda sink: Subscribe(
                self.tenant, sink, self.name, commands, callback, mode, "group", interval_ms, ttl_ms
            ),
            self._subscribed,
        )

    def _subscribed(self, call: Call) -> None:
        if call.verdict == OK and isinstance(call.outcome, Subscribed):
            self._subscription = call.outcome.id
            self._commands = call.operation.commands
        self.think()

    def _polled(self, call: Call) -> None:
        if call.verdict != OK:
            self._subscription = b""
        elif isinstance(call.outcome, Polled) and not call.outcome.ready:
            self._check(call)
        self.think()

    def _check(self, call: Call) -> None:
        world, node = self.world, self.world.node
        if node is None or node.healthy_ms + 2 * WATCH_LATE_MS > call.answered_ms:
            return
        queues = set(world.ledger.queues_of(self.tenant, self._commands))
        for key, (_, since_ms) in world.ledger.ready.items():
            free_ms = max(since_ms, world.ledger.free_since(key[:QUEUE_BYTES])[1])
            if key[:QUEUE_BYTES] in queues and free_ms + WATCH_LATE_MS < call.answered_ms:
                raise Violation("Q28", f"poll {call.number} of {self.name} heard nothing of {key.hex()}")
