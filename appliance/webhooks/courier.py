"""The courier: takes what is due from the scheduler, has it sent, and says what became of it.

Owns the parcels under way and the figures about them. The lanes decide whose turn it is, the sender makes the call, the
scheduler decides what an outcome means. A call keeps its place until its outcome is durable, so that receivers who
answer faster than the disk writes are waited for. Runs on the event loop; one coroutine per call under way.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from appliance.api.times import time_text
from appliance.engine.faults import StoreError
from appliance.engine.rows import DamagedRow, Letter
from appliance.errors import Problem
from appliance.tasks.ids import id_text
from appliance.tasks.model import STATUS_NAMES, Due, Settle
from appliance.tasks.notifier import Notification
from appliance.tasks.scheduler import Scheduler
from appliance.webhooks.lanes import Lanes
from appliance.webhooks.resolver import URL
from appliance.webhooks.sender import Attempt
from appliance.webhooks.target import BadTarget, Target, parse_target

log = logging.getLogger("codeq.webhooks")

CLAIM_PATH: Final = "/v1/codeq/tasks/claim"

OURS: Final = Attempt(False, "internal error")

_NULL: Final = msgspec.Raw(b"null")
_NO_ARTIFACTS: Final = msgspec.Raw(b"[]")
_encode = msgspec.json.Encoder().encode


class Sends(Protocol):
    """What makes a call."""

    async def post(self, target: Target, tenant: str, delivery: str, body: bytes) -> Attempt: ...


class LetterJson(msgspec.Struct, rename="camel", gc=False):
    """The body of a webhook."""

    task_id: str
    event_type: str
    status: str
    result: msgspec.Raw
    error: str | None
    artifacts: msgspec.Raw
    completed_at: str


class NotificationJson(msgspec.Struct, rename="camel", gc=False):
    """The body of a call to a subscriber."""

    event_type: str
    available: bool
    queue_depth: int
    claim_url: str
    sent_at: str
    notification_id: str


class Parcel:
    """One call to be made. `body` is asked for when it is its turn (None: there is nothing to say any more); `ended`
    hears of the attempt and gives the place back with the function that it gets."""

    __slots__ = ("at", "body", "delivery", "ended", "host", "target", "tenant")

    def __init__(
        self,
        tenant: str,
        target: Target,
        delivery: str,
        at: int,
        body: Callable[[], bytes | None],
        ended: Callable[[Attempt | None, Callable[[], None]], None],
    ) -> None:
        self.tenant = tenant
        self.host = target.host
        self.target = target
        self.delivery = delivery
        self.at = at
        self.body = body
        self.ended = ended


class Figures:
    """What there is to count."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        self.given_up = 0
        self.notified = 0
        self.notifications_failed = 0
        self.refused: Counter[str] = Counter()


class Courier:
    """Delivers what is due, and calls subscribers. It is the scheduler's courier."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        scheduler: Scheduler,
        sender: Sends,
        lanes: Lanes[Parcel],
        *,
        allow_private: bool,
        clock: Callable[[], int],
        claim_url: str = CLAIM_PATH,
    ) -> None:
        """`clock` is the scheduler's time (ms); `claim_url` is what subscribers are told."""
        self.figures = Figures()
        self.lanes = lanes
        self._loop = loop
        self._scheduler = scheduler
        self._sender = sender
        self._allow_private = allow_private
        self._clock = clock
        self._claim_url = claim_url
        self._waiting_tenants: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._stopped = False

    # What the scheduler calls.

    def room(self) -> int:
        """How many more deliveries it takes now."""
        return 0 if self._stopped else self.lanes.room()

    def accept(self, due: Due) -> bool:
        """Take a delivery over; False: no more of this tenant for now."""
        try:
            target = parse_target(due.url, allow_private=self._allow_private)
        except BadTarget as error:
            self.figures.refused[URL] += 1
            self._settle(due, Attempt(False, f"refused: the URL {error}", final=True, refused=URL), _nothing)
            return True
        self._post(
            Parcel(
                due.tenant,
                target,
                id_text(due.id),
                due.at,
                lambda: self._body(due),
                lambda attempt, give_back: self._settle(due, attempt, give_back),
            )
        )
        if self.lanes.has_room_for(due.tenant):
            return True
        self._waiting_tenants.add(due.tenant)
        return False

    def notify(self, tenant: str, notification: Notification) -> None:
        """Call a subscriber about a queue, unless that is empty by then."""
        try:
            target = parse_target(notification.url, allow_private=self._allow_private)
        except BadTarget:
            self.figures.refused[URL] += 1
            self._notified(notification, Attempt(False), _nothing)
            return
        notification_id = str(uuid.uuid4())
        self._post(
            Parcel(
                tenant,
                target,
                notification_id,
                notification.at,
                lambda: self._news(tenant, notification.command, notification_id),
                lambda attempt, give_back: self._notified(notification, attempt, give_back),
            )
        )

    def _post(self, parcel: Parcel) -> None:
        self.lanes.add(parcel)
        self._start_some()

    def oldest_at(self) -> int | None:
        """Since when (ms) the parcel that has waited longest here has been due."""
        return min((parcel.at for parcel in self.lanes.heads()), default=None)

    def stop(self) -> None:
        """End all calls; their outcome is unknown, so they are made again after the next start."""
        self._stopped = True
        for task in self._running:
            task.cancel()

    def _start_some(self) -> None:
        while not self._stopped and (parcel := self.lanes.next()) is not None:
            task = self._loop.create_task(self._call(parcel))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _call(self, parcel: Parcel) -> None:
        attempt: Attempt | None = OURS
        try:
            body = parcel.body()
            attempt = (
                None if body is None else await self._sender.post(parcel.target, parcel.tenant, parcel.delivery, body)
            )
        except StoreError:
            return  # the node is ending, and this call was never made
        except DamagedRow as damage:
            log.error("%s", damage)
            attempt = Attempt(False, "the stored result is damaged", final=True)
        except Exception:
            log.exception("a webhook could not be sent")
        if attempt is not None and attempt.refused:
            self.figures.refused[attempt.refused] += 1
        parcel.ended(attempt, lambda: self._give_back(parcel))

    def _give_back(self, parcel: Parcel) -> None:
        self.lanes.done(parcel)
        tenant = parcel.tenant
        self._start_some()
        if tenant in self._waiting_tenants and self.lanes.is_half_empty_for(tenant):
            self._waiting_tenants.discard(tenant)
            self._scheduler.outgoing.resume_deliveries(tenant)

    def _news(self, tenant: str, command: str, notification_id: str) -> bytes | None:
        depth = self._scheduler.reads.depth(tenant, command)
        if not depth:
            return None
        sent_at = time_text(self._clock())
        return _encode(NotificationJson(command, True, depth, self._claim_url, sent_at, notification_id))

    def _notified(self, notification: Notification, attempt: Attempt | None, give_back: Callable[[], None]) -> None:
        heard = attempt is None or attempt.delivered
        if attempt is not None:
            self.figures.notified += heard
            self.figures.notifications_failed += not heard
        give_back()
        self._scheduler.outgoing.notified(self._clock(), notification, heard=heard)

    def _body(self, due: Due) -> bytes | None:
        letter = self._scheduler.reads.letter(due.id)
        return None if letter is None else render(letter)

    def _settle(self, due: Due, attempt: Attempt | None, give_back: Callable[[], None]) -> None:
        if attempt is None:
            give_back()
            self._scheduler.outgoing.landed(due.id, settled=True)
            return
        if attempt.delivered:
            self.figures.sent += 1
        else:
            self.figures.failed += 1

        def settled(outcome: bool | Problem) -> None:
            if outcome is True:
                self.figures.given_up += 1
                fields = {"delivery": id_text(due.id), "tenant": due.tenant}
                log.warning("a webhook was given up: %s", attempt.error, extra=fields)
            self._scheduler.outgoing.landed(due.id, settled=not isinstance(outcome, Problem))
            give_back()

        self._scheduler.offer(Settle(due.tenant, settled, due.id, attempt.delivered, attempt.error, attempt.final))


def render(letter: Letter) -> bytes:
    """The body of a webhook."""
    return _encode(
        LetterJson(
            id_text(letter.task),
            letter.command,
            STATUS_NAMES[letter.status],
            msgspec.Raw(letter.result) if letter.result else _NULL,
            letter.error or None,
            msgspec.Raw(letter.artifacts) if letter.artifacts else _NO_ARTIFACTS,
            time_text(letter.completed),
        )
    )


def _nothing() -> None:
    """There is no place to give back."""
