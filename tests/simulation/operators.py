"""Operators who change many tasks at once, and what is set for queues and tenants; and one who takes it all back."""

from typing import Any

from appliance.tasks.model import Cleanup, Operation, PurgeDead, RequeueDead, SetLimits, SetQueue, Sink
from tests.simulation.clients import Client
from tests.simulation.node import EPOCH_MS

NO_LIMITS: dict[str, int | None] = {"in_flight_max": None, "stored_bytes_max": None}
AGAIN_MS = 500
PATIENCE_MS = 10_000


class Steward(Client):
    """Pauses, resumes, sets, limits; requeues, purges and cleans up in steps."""

    def act(self) -> None:
        make = self.rng.choice(
            (self._pause, self._pause, self._resume, self._resume, self._set, self._limit, self._step)
        )
        operation = make()
        self.ask(lambda sink: _with(operation, sink), self.think)

    def _command(self) -> str:
        return self.rng.choice(self.plan.commands)

    def _until(self) -> int:
        if self.chance(0.3):
            return 0
        return EPOCH_MS + self.world.now + self.world.wall_offset_ms + self.rng.choice((1, 200, 3_000))

    def _change(self, command: str, **changes: Any) -> SetQueue:
        return SetQueue(self.tenant, _unheard, command, changes, self.name)

    def _pause(self) -> Operation:
        changes: dict[str, Any] = {}
        for part in self.rng.choice((("dispatch",), ("intake",), ("dispatch", "intake"))):
            changes |= {f"{part}_paused": True, f"{part}_until": self._until()}
        return self._change(self._command(), **changes)

    def _resume(self) -> Operation:
        return resume(self.tenant, self._command(), self.name)

    def _set(self) -> Operation:
        rng = self.rng
        return self._change(
            self._command(),
            depth_max=rng.choice((None, None, 1, 5, 20)),
            max_attempts=rng.choice((None, 1, 2)),
            retention_ms=rng.choice((None, 20_000, 40_000)),
            backoff_cap_ms=rng.choice((None, 300)),
        )

    def _limit(self) -> Operation:
        rng = self.rng
        limits = {
            "in_flight_max": rng.choice((None, None, 1, 3)),
            "stored_bytes_max": rng.choice((None, None, 20, 500)),
        }
        return SetLimits(self.tenant, _unheard, limits, self.name)

    def _step(self) -> Operation:
        rng = self.rng
        now = EPOCH_MS + self.world.now + self.world.wall_offset_ms
        kind = rng.choice((RequeueDead, RequeueDead, PurgeDead, Cleanup))
        command = rng.choice((None, self._command()))
        before = now - rng.choice((0, 5_000)) if kind is Cleanup else rng.choice((0, now, now - 5_000))
        return kind(self.tenant, _unheard, command, before, rng.choice((1, 5, 100)), self.name)


class Releaser(Client):
    """Takes back everything that is set, once the faults are over."""

    def begin(self) -> None:
        """Let those who drain stand in line before: a resume must wake them."""
        self.world.at(PATIENCE_MS, self._turn)

    def act(self) -> None:
        set_before = self._release()
        # Nobody sets anything any more, but what is on its way may still do so.
        calls = self.world.history.open.values()
        if set_before or any(isinstance(call.operation, SetQueue | SetLimits) for call in calls):
            self.world.at(AGAIN_MS, self._turn)

    def _release(self) -> bool:
        """False where nothing was set."""
        ledger = self.world.ledger
        tenant = ledger.tenants.get(self.tenant)
        found = False
        for command, queue in ledger.queues.get(tenant or b"", {}).items():
            control = ledger.queue_controls.get(queue)
            if control is not None and (control.dispatch_paused or control.intake_paused):
                found = True
                self.ask(lambda sink, c=command: _with(resume(self.tenant, c, self.name), sink), _nothing)  # type: ignore[misc]
        limits = ledger.tenant_controls.get(tenant or b"")
        if limits is not None and limits.limited:
            found = True
            self.ask(lambda sink: SetLimits(self.tenant, sink, NO_LIMITS, self.name), _nothing)
        return found


def resume(tenant: str, command: str, by: str) -> SetQueue:
    """Everything about a queue goes on."""
    changes = {"dispatch_paused": False, "dispatch_until": 0, "intake_paused": False, "intake_until": 0}
    return SetQueue(tenant, _unheard, command, changes, by, "queue.resume")


def _with(operation: Operation, sink: Sink) -> Operation:
    operation.sink = sink
    return operation


def _unheard(_: Any) -> None:
    """A sink that is replaced when the operation is sent."""


def _nothing(_: Any) -> None:
    """Nobody waits for this answer."""
