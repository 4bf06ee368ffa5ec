"""What an operator can set about tasks, in the units that the state machine uses. Knows no file format."""

import msgspec

from appliance.engine.rows import QueueControl


class TaskSettings(msgspec.Struct, frozen=True):
    """Settings and bounds of the state machine. Times are milliseconds, sizes bytes."""

    backoff_policy: str = "exp_full_jitter"
    backoff_base_ms: int = 5_000
    backoff_cap_ms: int = 900_000
    max_deliveries: int = 100
    retention_ms: int = 86_400_000
    dead_retention_ms: int = 14 * 86_400_000
    webhook_attempts_max: int = 5
    webhook_backoff_base_ms: int = 30_000
    webhook_backoff_cap_ms: int = 3_600_000
    given_up_retention_ms: int = 14 * 86_400_000
    """How long a webhook that could not be delivered is kept for whoever looks after it."""
    subscriptions_per_tenant_max: int = 1_000
    queues_per_tenant_max: int = 10_000
    """Each queue costs about a kilobyte of memory and two rows; command names come from clients."""
    waiting_per_tenant_max: int = 10_000
    """Claims and result reads that wait at once."""
    inbox_operations_max: int = 10_000
    inbox_bytes_max: int = 64 << 20
    """What one tenant may have parsed but undecided; past either its connections are not read."""
    hot_bytes_max: int = 64 << 20
    """Memory for rows of tasks that are likely to be needed soon."""
    window_keys_max: int = 4096
    """How many ready keys of one queue are in memory."""
    group_transitions_max: int = 1000
    group_bytes_max: int = 1 << 20
    """A group is closed at either: the puts of one group hold the loop for about 0.4 ms per 1,000."""


_OVERRIDES = ("retention_ms", "dead_retention_ms", "backoff_policy", "backoff_base_ms", "backoff_cap_ms")


def settings_of(node: TaskSettings, control: QueueControl) -> TaskSettings:
    """The settings of one queue: the node's, but for what operators have set."""
    own = {name: value for name in _OVERRIDES if (value := getattr(control, name)) is not None}
    return msgspec.structs.replace(node, **own) if own else node
