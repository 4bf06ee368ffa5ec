"""Operators' routes about webhooks: what waits, what was given up, and sending it again.

Owns the way from these requests to operations and lists, and what a delivery looks like. A URL is shown without user
information and query, where secrets are. Runs on the event loop's thread.
"""

from typing import Final
from urllib.parse import urlsplit

import msgspec

from appliance.api.admin.asking import asked, cursor_of, cursor_text, limit_of, moment_of
from appliance.api.admin.bodies import read_nothing, read_resend, step_limit
from appliance.api.context import Context, answering, reading
from appliance.api.parse import NO_TASK
from appliance.api.render import encode
from appliance.api.times import time_text
from appliance.auth.caller import Caller
from appliance.errors import invalid
from appliance.mux.exchange import Request, Response
from appliance.tasks.ids import id_text, parse_id
from appliance.tasks.model import Resend, ResendAll, Resent
from appliance.tasks.outbox import Listed

GIVEN_UP: Final = "given-up"
WAITING: Final = "waiting"

RESEND_MAX: Final = 1_000
"""In one step, which is one group."""


class DeliveryJson(msgspec.Struct, rename="camel"):
    """A delivery. `next_at` is null once it was given up, `given_up_at` until then."""

    delivery_id: str
    task_id: str
    url: str
    state: str
    attempts: int
    last_error: str
    next_at: str | None
    given_up_at: str | None


class DeliveriesJson(msgspec.Struct):
    """A page of deliveries."""

    deliveries: list[DeliveryJson]
    cursor: str | None


class RetriedJson(msgspec.Struct):
    """Deliveries that are sent again; `more` says that another step may find some."""

    retried: int
    more: bool


class Webhooks:
    """The routes below `/admin/webhooks`."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    @reading
    def every(self, request: Request, caller: Caller, _name: str) -> Response:
        """`GET /admin/webhooks`."""
        tenant, _, fields = asked(request.query, caller)
        state = fields.get("state", GIVEN_UP)
        if state not in (GIVEN_UP, WAITING):
            raise invalid(f"state must be {GIVEN_UP} or {WAITING}")
        page = self._context.scheduler.lists.deliveries(
            tenant, cursor_of(fields), limit_of(fields), given_up=state == GIVEN_UP
        )
        shown = DeliveriesJson([_shown(each) for each in page.deliveries], cursor_text(page.cursor))
        return Response(200, encode(shown))

    def retry(self, request: Request, caller: Caller, name: str) -> None:
        """`POST /admin/webhooks/<id>/retry`."""
        tenant, by, _ = asked(request.query, caller)
        read_nothing(request.body)
        self._context.ask(request, Resend(tenant, answering(request, _resent), parse_id(name) or NO_TASK, by))

    def retry_all(self, request: Request, caller: Caller, _name: str) -> None:
        """`POST /admin/webhooks/retry`: one bounded step."""
        tenant, by, _ = asked(request.query, caller)
        body = read_resend(request.body)
        # Without a time: all that was given up until now, this very millisecond included.
        before = moment_of(body.before, "before") or self._context.clock() + 1
        limit = step_limit(body.limit, RESEND_MAX)
        self._context.ask(request, ResendAll(tenant, answering(request, _resent), before, limit, by))


def _shown(listed: Listed) -> DeliveryJson:
    delivery = listed.delivery
    return DeliveryJson(
        id_text(listed.id),
        id_text(delivery.task),
        _plain(delivery.url),
        GIVEN_UP if delivery.given_up else WAITING,
        delivery.attempts,
        delivery.error,
        None if delivery.given_up else time_text(delivery.at),
        time_text(delivery.given_up) if delivery.given_up else None,
    )


def _plain(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _resent(outcome: Resent) -> Response:
    return Response(200, encode(RetriedJson(outcome.count, outcome.more)))
