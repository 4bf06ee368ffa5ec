"""Q16: strictly by priority, then by creation. Q17: a claim ends empty only if nothing was ready at some moment of it.

A ready row that has not changed since before a claim was sent, and is still there when it is answered, was ready at the
moment of the decision: whatever the decision could see of it would have become durable before the answer.
"""

from bisect import bisect_left

from appliance.engine.tables import QUEUE_BYTES, READY, prefix_end, ready_key
from appliance.tasks.model import Claim, Claimed
from tests.simulation.history import Call
from tests.simulation.node import Node
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World

WAKE_LATE_MS = 8_000
"""More than small groups and slow commits cost; stalls and pauses count anew."""


class Order(Watcher):
    """Which ready tasks a claim has passed over."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._busy_ms = 0

    def answered(self, call: Call) -> None:
        if not isinstance(call.outcome, Claimed):
            return
        operation: Claim = call.operation
        queues = self._world.ledger.queues_of(operation.tenant, operation.commands)
        suffix = b""
        for task in call.outcome.tasks:
            key = ready_key(task.state.queue, task.state.priority, task.id)
            if key[QUEUE_BYTES:] <= suffix:
                raise Violation("Q16", f"the tasks of call {call.number} are not in order")
            suffix = key[QUEUE_BYTES:]
        if call.outcome.tasks:
            for queue in queues:
                if self._is_free(call, queue):
                    self._none_before(call, queue, suffix)
        elif not call.left:
            for queue in queues:
                self._none_ready(call, queue)

    def ticked(self, node: Node) -> None:
        """No stream stands in line for long beside a ready task, and none at all where the node has nothing to do."""
        world = self._world
        if world.overloaded():
            self._busy_ms = world.now  # a claim may not even stand in line yet
        for stream in world.streams:
            if not stream.live or stream.incarnation != node.incarnation or stream.claim.answers < 1:
                continue
            since_ms = max(node.healthy_ms, stream.sent_ms, self._busy_ms)
            if world.now - since_ms < WAKE_LATE_MS and not node.quiet:
                continue
            for queue in world.ledger.queues_of(stream.claim.tenant, stream.claim.commands):
                if world.now - world.ledger.free_since(queue)[1] < WAKE_LATE_MS:
                    continue
                for key in self._ready_keys(queue):
                    if world.now - world.ledger.ready[key][1] > WAKE_LATE_MS or node.quiet:
                        raise Violation("Q17", f"a stream was not woken for {key[-16:].hex()}")

    def _is_free(self, call: Call, queue: bytes) -> bool:
        """Whether nothing kept this call's claim from the queue at any time."""
        return self._world.ledger.free_since(queue)[0] < call.sent

    def _ready_keys(self, queue: bytes) -> list[bytes]:
        keys = self._world.store.keys[READY]
        return keys[bisect_left(keys, queue) : bisect_left(keys, prefix_end(queue))]

    def _none_before(self, call: Call, queue: bytes, suffix: bytes) -> None:
        keys, ready = self._world.store.keys[READY], self._world.ledger.ready
        at = bisect_left(keys, queue)
        while at < len(keys) and keys[at] < queue + suffix:
            if ready[keys[at]][0] < call.sent:
                raise Violation("Q16", f"call {call.number} passed over {keys[at][-16:].hex()}")
            at += 1

    def _none_ready(self, call: Call, queue: bytes) -> None:
        world = self._world
        node = world.node
        is_free, (_, free_ms) = self._is_free(call, queue), world.ledger.free_since(queue)
        for key in self._ready_keys(queue):
            step, touched_ms = world.ledger.ready[key]
            if step < call.sent and is_free:
                raise Violation("Q17", f"call {call.number} ended empty beside {key[-16:].hex()}")
            since_ms = max(touched_ms, free_ms, node.healthy_ms if node is not None else world.now, call.sent_ms)
            if call.operation.wait_ms and world.now - since_ms > WAKE_LATE_MS:
                raise Violation("Q17", f"call {call.number} was not woken for {key[-16:].hex()}")
