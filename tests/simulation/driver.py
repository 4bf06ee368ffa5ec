"""One seed from beginning to end: a busy time with faults, a drain, and the emptying of the store."""

from appliance.engine.rows import COMPLETED
from appliance.engine.tables import BODY, EXPIRE, SUBSCRIPTION
from appliance.tasks.model import Requeue, RequeueDead
from tests.simulation.clients import Client, Crowd, Operator, Producer, Reader
from tests.simulation.invariants import all_invariants
from tests.simulation.listeners import Listener
from tests.simulation.operators import Releaser, Steward
from tests.simulation.plan import DAY_MS, OPERATIONS_MIN, Plan, constants_of, draw
from tests.simulation.stream_clients import StreamClient, StreamProducer, StreamWorker
from tests.simulation.streams import Streamer
from tests.simulation.violation import Violation
from tests.simulation.workers import Drainer, Mischief, Worker
from tests.simulation.world import Watchers, World

TICK_MS = 1_000
BUSY_MS_MAX = 10 * DAY_MS
DRAIN_MS_MAX = 2 * DAY_MS
"""Beside what the clock has gone back: that leaves tasks that are due later, and results that are kept for longer."""


class Simulation:
    """The run of one seed."""

    def __init__(self, seed: int, operations: int = OPERATIONS_MIN) -> None:
        self.plan: Plan = draw(seed, operations)
        self.world = World(self.plan)
        self.crowd = Crowd(self.world)
        self.world.watchers = Watchers(all_invariants(self.world))
        self._faults = self.world.rng("faults")
        self._crashes = list(self.plan.crashes)
        self._clients: list[Client] = []
        self._furthest_ms = 0
        """The largest offset of the wall clock so far."""

    def run(self) -> None:
        """Run to the end; raises what an invariant or the code itself raises."""
        with constants_of(self.plan):
            self._start()
            self._busy()
            self._drain()
            self._empty()

    def _start(self) -> None:
        plan, crowd = self.plan, self.crowd
        self.world.start()
        kinds = ((Producer, plan.producers), (Worker, plan.workers), (Mischief, plan.mischief), (Reader, plan.readers))
        for kind, count in (*kinds, (Operator, 1)):
            for number in range(count):
                tenant = plan.tenants[number % len(plan.tenants)]
                self._clients.append(kind(crowd, f"{kind.__name__.lower()}-{number}", tenant))
        for number in range(plan.streamers):
            tenant = plan.tenants[-1 - number % len(plan.tenants)]
            self._clients.append(Streamer(crowd, f"streamer-{number}", tenant))
        for number in range(plan.stewards):
            for tenant in plan.tenants:
                self._clients.append(Steward(crowd, f"steward-{number}-{tenant}", tenant))
        for number in range(plan.listeners):
            tenant = plan.tenants[number % len(plan.tenants)]
            self._clients.append(Listener(crowd, f"listener-{number}", tenant))
        for number in range(plan.sessions):
            tenant = plan.tenants[number % len(plan.tenants)]
            self._clients.append(StreamProducer(crowd, f"stream-producer-{number}", tenant))
            self._clients += [StreamWorker(crowd, f"stream-worker-{number}-{each}", tenant) for each in range(2)]
        for client in self._clients:
            client.begin()
        self.world.at(TICK_MS, self._tick)
        self.world.at(1, self._trouble)

    def _busy(self) -> None:
        world, plan = self.world, self.plan
        if not world.run(lambda: len(world.history.calls) >= plan.operations and not self._crashes, BUSY_MS_MAX):
            raise Violation("liveness", "the clients have stopped")

    def _tick(self) -> None:
        world = self.world
        if not world.faults:
            return
        if world.node is not None:
            for ticked in world.watchers.ticked:
                ticked(world.node)
        world.at(TICK_MS, self._tick)

    def _trouble(self) -> None:
        """What goes wrong beside the disk: crashes, pauses, clocks, a full disk; and times when nothing happens."""
        world, plan, rng = self.world, self.plan, self._faults
        if not world.faults:
            return
        node = world.node
        if node is not None:
            if self._crashes and len(world.history.calls) >= self._crashes[0]:
                self._crashes.pop(0)
                self._crash()
            elif rng.random() < plan.pause_chance:
                node.pause(rng.randint(100, 4_000))
            elif rng.random() < plan.jump_chance:
                self._jump(rng.choice(plan.running_jumps))
                world.log("jump", world.wall_offset_ms)
            elif rng.random() < plan.floor_chance:
                node.scheduler.set_accepts_creates(False)
                world.at(rng.randint(100, 2_000), node.scheduler.set_accepts_creates, True)
            elif rng.random() < plan.lull_chance:
                self.crowd.resting_until_ms = world.now + rng.randint(0, plan.lull_ms)
        rest = max(0, self.crowd.resting_until_ms - world.now)
        world.at(rng.randint(1, 2 * plan.think_ms) + (rest if rng.random() < 0.7 else 0), self._trouble)

    def _crash(self) -> None:
        self.world.crash()
        self._jump(self._faults.choice(self.plan.restart_jumps))
        self.world.at(self._faults.randint(1, self.plan.down_ms), self.world.start)

    def _jump(self, by_ms: int) -> None:
        self.world.wall_offset_ms += by_ms
        self._furthest_ms = max(self._furthest_ms, self.world.wall_offset_ms)

    def _drain_ms(self) -> int:
        return DRAIN_MS_MAX + self._furthest_ms - self.world.wall_offset_ms

    def _drain(self) -> None:
        world = self.world
        world.faults = False
        for client in self._clients:
            client.working = False
            if isinstance(client, StreamClient):
                client.wind_up()
        for stream in world.streams:
            stream.live = False
            if world.node is not None:
                world.node.scheduler.withdraw(stream.claim)
        if world.node is not None:
            world.node.scheduler.set_accepts_creates(True)
        drainers = [Drainer(self.crowd, f"drainer-{tenant}", tenant) for tenant in self.plan.tenants]
        helpers: list[Client] = [
            *drainers,
            *(Releaser(self.crowd, f"releaser-{tenant}", tenant) for tenant in self.plan.tenants),
        ]
        for helper in helpers:
            helper.begin()
        if not world.run(self._all_ended, self._drain_ms()):
            left = [state for state in world.ledger.states.values() if state.status < COMPLETED]
            raise Violation("liveness", f"{len(left)} tasks never ended, for example {left[:1]}")
        for helper in helpers:
            helper.working = False
        for drained in world.watchers.drained:
            drained()

    def _all_ended(self) -> bool:
        """Whether every task has ended, and no call is on its way that may make one or bring one back."""
        world = self.world
        if world.node is None or world.ledger.alive:
            return False
        return not any(
            call.items or isinstance(call.operation, Requeue | RequeueDead) for call in world.history.open.values()
        )

    def _empty(self) -> None:
        world = self.world
        if not world.run(lambda: not world.store.keys[EXPIRE] and not world.store.keys[BODY], self._drain_ms()):
            raise Violation("Q23", f"{len(world.store.keys[EXPIRE])} tasks were never swept")
        if not world.run(lambda: not world.store.keys[SUBSCRIPTION], self._drain_ms()):
            raise Violation("Q28", "a subscription that nobody renews never ended")
        if not world.run(lambda: not world.ledger.outbox, self._drain_ms()):
            raise Violation("Q26", f"{len(world.ledger.outbox)} deliveries neither arrive nor are given up")
        if not world.run(lambda: not world.unanswered(), self._drain_ms()):
            raise Violation("answers", f"call {world.unanswered()[0].number} was never answered")
        for ended in world.watchers.ended:
            ended()
