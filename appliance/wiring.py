"""What each room gets of the configuration: pure functions from the settings of a node to those of its parts.

Owns the translation of units and names. It must not know how a part works.
"""

from appliance.api.context import ApiSettings
from appliance.api.rates import ADMIN_RATE, PRODUCER_RATE, WORKER_RATE, Rate
from appliance.api.streams.app import StreamSettings
from appliance.config import Settings
from appliance.mux.limits import Limits
from appliance.tasks.settings import TaskSettings

DRAIN_SETTLE_SHARE = 2 / 3
"""Of the time to drain: how long a stream waits for its leases, so that its status still leaves in time."""


def task_settings(settings: Settings) -> TaskSettings:
    """Of the scheduler and its state machine, in milliseconds."""
    tasks, limits = settings.tasks, settings.limits
    return TaskSettings(
        backoff_policy=tasks.backoff.policy,
        backoff_base_ms=tasks.backoff.base_seconds * 1000,
        backoff_cap_ms=tasks.backoff.cap_seconds * 1000,
        max_deliveries=tasks.max_deliveries,
        retention_ms=tasks.retention_seconds * 1000,
        dead_retention_ms=tasks.dead_letter_retention_seconds * 1000,
        queues_per_tenant_max=tasks.queues_per_tenant_max,
        waiting_per_tenant_max=limits.waiting_per_tenant,
        inbox_operations_max=limits.inbox_per_tenant,
        inbox_bytes_max=limits.inbox_bytes_per_tenant,
        subscriptions_per_tenant_max=settings.webhooks.subscriptions_per_tenant,
        webhook_backoff_base_ms=settings.webhooks.backoff_base_seconds * 1000,
        webhook_backoff_cap_ms=settings.webhooks.backoff_cap_seconds * 1000,
        given_up_retention_ms=settings.webhooks.given_up_retention_seconds * 1000,
    )


def api_settings(settings: Settings) -> ApiSettings:
    """Of REST."""
    return ApiSettings(
        payload_bytes_max=settings.tasks.payload_bytes_max,
        max_attempts=settings.tasks.max_attempts,
        private_webhooks=settings.webhooks.allow_private,
        waiting_per_tenant_max=settings.limits.waiting_per_tenant,
    )


def stream_settings(settings: Settings) -> StreamSettings:
    """Of the gRPC streams."""
    return StreamSettings(
        payload_bytes_max=settings.tasks.payload_bytes_max,
        max_attempts=settings.tasks.max_attempts,
        private_webhooks=settings.webhooks.allow_private,
        settle_seconds=settings.drain_seconds * DRAIN_SETTLE_SHARE,
        age_seconds=settings.streams.max_age_seconds,
    )


def rates(settings: Settings) -> dict[str, Rate]:
    """How often each kind of token may ask; a kind without a limit is missing."""
    limit = settings.rate_limit
    configured = {PRODUCER_RATE: limit.producer, WORKER_RATE: limit.worker, ADMIN_RATE: limit.admin}
    return {
        kind: Rate(rate.per_second, rate.burst or rate.per_second)
        for kind, rate in configured.items()
        if rate.per_second
    }


def limits(settings: Settings) -> Limits:
    """Of the front."""
    limits = settings.limits
    return Limits(
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
        body_bytes=limits.body_bytes_max,
        memory_bytes=limits.memory_bytes_max,
    )
