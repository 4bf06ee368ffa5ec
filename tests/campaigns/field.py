"""What the clients of a campaign share: the log of one tenant, what they know, and what somebody must repeat.

Owns the making of new tasks and the writing of `History`: a request is logged before it is sent, its outcome when it
comes. All choices come from the `Random` that is handed in. Must not know how anything is sent.
"""

import asyncio
import datetime
import time
from random import Random
from typing import Any, Final

from tests.campaigns.history import UNKNOWN, Action, Create, Deed, History
from tests.campaigns.pauses import PAUSED

COMMANDS: Final = ("mail", "image", "report")
PAUSE_SECONDS: Final = 0.02
"""Between two requests of a client, at most: the campaign is about moments, not about throughput."""
KNOWN_IDS_MAX: Final = 2_000
MANY_ATTEMPTS: Final = 10
"""Of a task in a batch: were its only delivery lost with a kill, it would end among the dead letters unseen, and its
batch would look torn."""
RETRY_SECONDS: Final = 0.02
NEW_COMMAND_CHANCE: Final = 0.02
"""Names are written for the first time all along, and a tenant still gets by with the 10,000 that it may have."""
STATUS_OF_CODE: Final = {
    "": 200,
    "not-claimed": 409,
    "lease-lost": 409,
    "cancelled": 409,
    "permission-denied": 403,
    "not-found": 404,
}
QUEUE_PAUSED: Final = "queue-paused"


def now_ms() -> float:
    """Wall clock."""
    return time.time() * 1000


class Power:
    """Whether the node is up, and whether the load goes on."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.stopping = False


class Field:
    """What all clients of one tenant share: the log, the tasks they know, and creates that somebody must repeat."""

    def __init__(self, history: History, power: Power, tenant: str) -> None:
        self.history = history
        self.tenant = tenant
        self.known: list[str] = []
        self.marks = 0
        self.batches = 0
        self.doubtful: list[tuple[str, dict[str, Any]]] = []
        """Marks and bodies of keyed creates that a stream lost: anybody repeats them, over REST or a stream."""
        self.contested: set[str] = set()
        """Keys that were used for two different requests."""
        self._power = power

    @property
    def stopping(self) -> bool:
        """Whether the load is over."""
        return self._power.stopping

    async def settle(self) -> None:
        """Wait until the node is up."""
        await self._power.up.wait()

    def new_task(self, rng: Random, *, keyed: bool, attempts: int = 0) -> tuple[str, dict[str, Any]]:
        """A task nobody asked for yet, as REST has it: its mark and the body."""
        self.marks += 1
        mark = f"{self.tenant}-{self.marks:08}"
        body: dict[str, Any] = {
            "command": rng.choice(COMMANDS),
            "payload": {"mark": mark, "text": "x" * rng.choice((0, 100, 2_000))},
            "priority": rng.randrange(3),
            "maxAttempts": attempts or rng.choice((1, 2, 5, 5, 5)),
        }
        if rng.random() < NEW_COMMAND_CHANCE:
            body["command"] = f"command-{self.marks}"
        if rng.random() < 0.1:
            body["delaySeconds"] = 1
        if keyed:
            body["idempotencyKey"] = mark
        return mark, body

    def log(self, mark: str, body: dict[str, Any], batch: int = 0) -> Create:
        """Write down a create that is about to be sent."""
        sent_ms = now_ms()
        create = Create(
            mark,
            body.get("idempotencyKey", ""),
            batch,
            sent_ms,
            self.queue(body["command"]),
            body["priority"],
            sent_ms + body["delaySeconds"] * 1000 if "delaySeconds" in body else 0,
        )
        self.history.creates.append(create)
        return create

    def queue(self, command: str) -> str:
        """The name under which the log knows a queue."""
        return f"{self.tenant}/{command}"

    def acknowledge(self, create: Create, status: int, task_id: str) -> None:
        """Write down the outcome of a create."""
        create.answered_ms, create.status = now_ms(), status
        if task_id:
            create.id = task_id
            self.remember(task_id)

    def refuse(self, create: Create, code: str) -> bool:
        """Write down that a create failed with this code; whether it is known by that not to have been made."""
        paused = code == QUEUE_PAUSED
        create.answered_ms, create.status = now_ms(), PAUSED if paused else UNKNOWN
        return paused

    def expect(self, what: str, status: int, answer: Any, *allowed: int) -> bool:
        """Whether the request was carried out. Any status that is not `allowed` is an oddity; 503 never is."""
        if status not in (*allowed, 503):
            self.history.oddities.append(f"{what}: {status} {answer}")
        return status in (200, 201)

    def remember(self, task: str) -> None:
        """Keep an id for readers."""
        if len(self.known) < KNOWN_IDS_MAX:
            self.known.append(task)
        else:
            self.known[hash(task) % KNOWN_IDS_MAX] = task


def settle(asked: Action | Deed, status: int) -> None:
    """Write down the outcome of what was asked for."""
    asked.answered_ms = now_ms()
    asked.status = status if status < 500 else UNKNOWN


def epoch_ms(text: str) -> float:
    """Milliseconds of an RFC 3339 time."""
    return datetime.datetime.fromisoformat(text).timestamp() * 1000
