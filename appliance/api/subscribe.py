"""Subscriptions of workers: made, renewed, and waited on.

Owns the way from the two bodies to operations. Who follows what, and whom to call, is the state machine's. Runs on the
event loop's thread.
"""

from appliance.api.bodies import SubscribeBody, read_poll, read_subscribe
from appliance.api.claim import allowed_commands
from appliance.api.context import Context, answering
from appliance.api.parse import (
    GROUP_CHARS_MAX,
    INTERVAL_SECONDS,
    INTERVAL_SECONDS_MAX,
    SUBSCRIPTION_SECONDS,
    SUBSCRIPTION_SECONDS_MAX,
    callable_url,
    claim_commands,
    claim_wait_ms,
    in_range,
    text_within,
)
from appliance.api.render import polled, subscribed
from appliance.auth.caller import Caller
from appliance.errors import invalid
from appliance.mux.exchange import Request
from appliance.tasks.model import Poll, Subscribe
from appliance.tasks.subscriptions import FANOUT, GROUP


class Subscribing:
    """The routes of workers that want to hear of work."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def subscribe(self, request: Request, caller: Caller, _id: bytes) -> None:
        """`POST /workers/subscriptions`."""
        body = read_subscribe(request.body)
        if body.commands is not None and body.event_types is not None:
            raise invalid("commands and eventTypes are the same: name one of them")
        named = claim_commands(body.commands if body.commands is not None else body.event_types)
        ttl_seconds = in_range(body.ttl_seconds, 1, SUBSCRIPTION_SECONDS_MAX, SUBSCRIPTION_SECONDS, "ttlSeconds")
        mode, group = _group_of(body)
        operation = Subscribe(
            caller.tenant,
            answering(request, subscribed),
            caller.subject,
            allowed_commands(caller, named),
            self._callback(body),
            mode,
            group,
            in_range(body.min_interval_seconds, 0, INTERVAL_SECONDS_MAX, INTERVAL_SECONDS, "minIntervalSeconds") * 1000,
            ttl_seconds * 1000,
        )
        self._context.ask(request, operation)

    def poll(self, request: Request, caller: Caller, subscription_id: bytes) -> None:
        """`POST /workers/subscriptions/<id>/heartbeat`. With `waitSeconds` it is answered the moment there is work."""
        wait_ms = claim_wait_ms(read_poll(request.body).wait_seconds)
        operation = Poll(caller.tenant, answering(request, polled), subscription_id, caller.subject, wait_ms)
        if wait_ms:
            request.on_closed = lambda: self._context.scheduler.leave(operation)
        self._context.ask(request, operation)

    def _callback(self, body: SubscribeBody) -> str:
        if body.callback_url is None:
            return ""
        return callable_url(body.callback_url, "callbackUrl", allow_private=self._context.settings.private_webhooks)


def _group_of(body: SubscribeBody) -> tuple[str, str]:
    mode = body.delivery_mode or FANOUT
    group = "" if body.group_id is None else text_within(body.group_id, GROUP_CHARS_MAX, "groupId")
    if mode == GROUP and not group:
        raise invalid("deliveryMode group needs a groupId")
    return mode, group
