"""Streams: claims that wait for ever and ask for several answers, get more of them, and are withdrawn."""

from typing import Any

from appliance.errors import Problem
from appliance.tasks.model import FOREVER_MS, Claim, Claimed
from tests.simulation.clients import Crowd
from tests.simulation.history import OK, UNKNOWN, Call, class_of
from tests.simulation.violation import Violation
from tests.simulation.workers import Worker


class Stream:
    """One claim for several answers, as its caller sees it."""

    __slots__ = ("claim", "granted", "incarnation", "live", "sent", "sent_ms", "spent")

    def __init__(self, incarnation: int, granted: int, sent: int, sent_ms: int) -> None:
        self.claim: Any = None
        self.incarnation = incarnation
        self.live = True
        self.granted = granted
        self.spent = 0
        self.sent = sent
        self.sent_ms = sent_ms


class Streamer(Worker):
    """A worker that lets tasks come to it."""

    def __init__(self, crowd: Crowd, name: str, tenant: str) -> None:
        super().__init__(crowd, name, tenant)
        self._stream: Stream | None = None

    def act(self) -> None:
        """Open a stream, or look after the one there is."""
        node = self.world.node
        stream = self._stream
        if node is None:
            self._stream = None
        elif stream is None or not stream.live or stream.incarnation != node.incarnation:
            self._open(node.incarnation)
        elif self.chance(0.2):
            self.world.log("withdraw", self.name)
            stream.live = False
            node.scheduler.withdraw(stream.claim)
        elif self.chance(0.6) and stream.claim.answers > 0:
            more = self.rng.randint(1, 5)
            stream.claim.answers += more
            stream.granted += more
        self.think()

    def _open(self, incarnation: int) -> None:
        rng, plan, world = self.rng, self.plan, self.world
        commands = tuple(rng.sample(plan.commands, rng.randint(1, len(plan.commands)))) if self.chance(0.6) else None
        lease_ms, count, answers = rng.randint(*plan.lease_ms), rng.choice((1, 1, 3)), rng.randint(1, 6)
        world.log("stream", self.name, answers)
        stream = self._stream = Stream(incarnation, answers, world.step, world.now)
        stream.claim = Claim(
            self.tenant,
            lambda outcome: self._answered(stream, outcome),
            self.subject,
            self.worker,
            commands,
            lease_ms,
            count,
            FOREVER_MS,
            answers=answers,
            enough_bytes=rng.choice((1, 8 << 20)),
        )
        world.streams.append(stream)
        node = world.node
        assert node is not None
        node.offer(stream.claim)

    def _answered(self, stream: Stream, outcome: Any) -> None:
        world = self.world
        call = Call(len(world.history.calls) + 1, None, "")
        world.history.calls.append(call)
        call.operation = stream.claim
        call.sent, call.sent_ms = stream.sent, stream.sent_ms
        call.left = not stream.live
        call.close(class_of(outcome), outcome)
        world.tell(call)
        if isinstance(outcome, Problem):
            if call.verdict != UNKNOWN:
                raise Violation("streams", f"a stream was refused: {outcome.code}")
            stream.live = False
            if world.node is not None:
                world.node.scheduler.withdraw(stream.claim)
        elif isinstance(outcome, Claimed):
            self._take(stream, outcome)
        if call.verdict == OK:
            world.at(self.rng.randint(0, 3), self._heard_tasks, call)

    def _take(self, stream: Stream, outcome: Claimed) -> None:
        if not outcome.tasks and stream.live:
            raise Violation("streams", "a stream that was not withdrawn got an empty outcome")
        stream.spent += -(-len(outcome.tasks) // stream.claim.count)
        stream.sent_ms = self.world.now  # it stands in line anew
        if stream.spent > stream.granted or stream.claim.answers < 0:
            raise Violation("streams", f"a stream of {stream.granted} answers got {stream.spent}")
        if stream.live and stream.spent == stream.granted:
            stream.live = False

    def _heard_tasks(self, call: Call) -> None:
        self.receive(call)
