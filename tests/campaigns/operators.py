"""The operators of a campaign: they pause and resume queues, cancel tasks and requeue dead letters, over REST.

Owns the mix of what they do and when a pause is to end. Like the other clients they keep a log and judge nothing but
answers that no rule allows; what holds over a kill is for `history` and `pauses`.
"""

import asyncio
import contextlib
import datetime
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

from tests.campaigns.field import COMMANDS, RETRY_SECONDS, Field, epoch_ms, now_ms, settle
from tests.campaigns.history import CANCEL, CANCELLED, REQUEUE, REQUEUE_ALL, UNKNOWN, Deed
from tests.campaigns.pauses import BOTH, DISPATCH, INTAKE, PAUSE, RESUME
from tests.campaigns.wire import Unknown, Wire

PAUSE_SECONDS: Final = 0.03
"""Between two requests, at most: an operator is no load, and cancels would leave little of it."""
PAUSED_MS: Final = (200, 1_500)
"""For how long a queue is paused: often over a kill and the start after it, and never all of the time."""
RECENT: Final = 30
"""Tasks are cancelled that came lately: older ones have ended."""
DEAD_MAX: Final = 200


class Operator:
    """One of a tenant's operators. `strangers` is the other tenant, about whose tasks it must learn nothing."""

    def __init__(self, field: Field, rng: Random, wire: Wire, strangers: Field) -> None:
        self._field = field
        self._rng = rng
        self._wire = wire
        self._strangers = strangers
        self._paused: dict[str, tuple[str, float]] = {}
        """By command, what of it is paused and when it is to be resumed."""

    async def run(self) -> None:
        """Until the load stops, and everything is resumed that does not end by itself."""
        ways: tuple[tuple[float, Callable[[], Awaitable[None]]], ...] = (
            (0.40, self._cancel),
            (0.70, self._requeue),
            (0.82, self._requeue_all),
            (0.97, self._pause),
            (1.00, self._trespass),
        )
        while not self._field.stopping:
            await self._field.settle()
            await self._resume(now_ms())
            chance = self._rng.random()
            await next(way for bound, way in ways if chance < bound)()
            await asyncio.sleep(self._rng.random() * PAUSE_SECONDS)
        while self._paused:
            await self._resume(float("inf"))
            await asyncio.sleep(RETRY_SECONDS)

    async def _ask(self, deed: Deed, path: str, body: dict[str, Any], *allowed: int) -> Any:
        """Log a deed and do it; the answer, None where it was refused or may not have happened."""
        self._field.history.deeds.append(deed)
        try:
            status, answer = await self._wire.post(f"/admin{path}", body)
        except Unknown:
            status, answer = 503, None
        settle(deed, status)
        return answer if self._field.expect(deed.kind, status, answer, 200, *allowed) else None

    # Tasks.

    async def _cancel(self) -> None:
        history = self._field.history
        known = [each.id for each in history.creates[-RECENT:] if each.id]
        held = [each.id for each in history.deliveries[-RECENT:]]
        tasks = self._rng.choice((known, held))
        if tasks:
            task = self._rng.choice(tasks)
            body = self._rng.choice(({}, {"reason": "not needed any more"}))
            answer = await self._ask(Deed(CANCEL, task, now_ms()), f"/tasks/{task}/cancel", body, 404, 409)
            if answer is not None and (answer["status"], answer["error"]) != ("FAILED", CANCELLED):
                history.oddities.append(f"cancel: {answer}")

    async def _requeue(self) -> None:
        dead = await self._dead({})
        if dead:
            task, died_ms = self._rng.choice(dead)
            answer = await self._ask(Deed(REQUEUE, task, now_ms(), died_ms), f"/tasks/{task}/requeue", {}, 404, 409)
            if answer is not None and (answer["id"], answer["status"], answer["attempts"]) != (task, "PENDING", 0):
                self._field.history.oddities.append(f"requeue: {answer}")

    async def _requeue_all(self) -> None:
        """All that match, in steps, also over kills; what has been seen before must be among them."""
        rng, field = self._rng, self._field
        command = rng.choice(("", *COMMANDS))
        matching = {"before": _time(now_ms()), **({"command": command} if command else {})}
        seen_ms = now_ms()
        seen = [Deed(REQUEUE, task, seen_ms, died_ms) for task, died_ms in await self._dead(matching)]
        field.history.deeds.extend(seen)
        limit, more = rng.choice((2, 10, 100)), bool(seen)
        while more and not field.stopping:
            await field.settle()
            step = Deed(REQUEUE_ALL, field.queue(command) if command else "", now_ms())
            answer = await self._ask(step, "/dlq/requeue", {**matching, "limit": limit})
            if answer is None:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                more = answer["more"]
        for deed in seen:
            settle(deed, 503 if more else 200)

    async def _dead(self, matching: dict[str, str]) -> list[tuple[str, float]]:
        """Dead letters as they are listed, and when they died."""
        with contextlib.suppress(Unknown):
            status, answer = await self._wire.get(f"/admin/dlq?{urlencode({**matching, 'limit': DEAD_MAX})}")
            if self._field.expect("list of dead letters", status, answer, 200):
                return [(task["id"], epoch_ms(task["completedAt"])) for task in answer["tasks"]]
        return []

    async def _trespass(self) -> None:
        """Q19: what belongs to another tenant is not there."""
        if self._strangers.known:
            task, kind = self._rng.choice(self._strangers.known), self._rng.choice((CANCEL, REQUEUE))
            with contextlib.suppress(Unknown):
                status, answer = await self._wire.post(f"/admin/tasks/{task}/{kind}", {})
                self._field.expect(f"{kind} of another tenant's task", status, answer, 404)

    # Queues.

    async def _pause(self) -> None:
        command, part = self._rng.choice(COMMANDS), self._rng.choice((DISPATCH, DISPATCH, INTAKE, BOTH))
        if command in self._paused:
            return
        deed = Deed(PAUSE, self._field.queue(command), now_ms(), part=part)
        until_ms = int(deed.sent_ms + self._rng.randint(*PAUSED_MS))
        body = {"what": part}
        if self._rng.random() < 0.3:
            deed.until_ms, body["until"] = until_ms, _time(until_ms)
        else:
            self._paused[command] = part, until_ms
        # 400 where it comes so late that its end has passed; 404 while no task of the command was ever created.
        await self._ask(deed, f"/queues/{command}/pause", body, 404, *((400,) if deed.until_ms else ()))

    async def _resume(self, due_ms: float) -> None:
        """Resume what is to be resumed by now; without an answer it is left for the next time."""
        for command, (part, until_ms) in list(self._paused.items()):
            if until_ms <= due_ms:
                deed = Deed(RESUME, self._field.queue(command), now_ms(), part=part)
                await self._ask(deed, f"/queues/{command}/resume", {"what": part}, 404)
                if deed.status != UNKNOWN:
                    del self._paused[command]


def _time(epoch_ms: float) -> str:
    moment = datetime.datetime.fromtimestamp(int(epoch_ms) / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
