"""What an operator can set about streams, and the bounds that are fixed. Sizes are bytes, times seconds."""

from typing import Final

import msgspec

READYS_MAX: Final = 10_000
"""Readys that may wait on one stream, by contract."""

BATCH_ITEMS_MAX: Final = 1_000
"""Items in one operation, and so in one answer to a batch: what a group takes. Longer batches become several."""

SINGLES_BYTES_MAX: Final = 512 << 10
"""Events that came one by one go together into one operation up to here: half of what a group takes."""

EVENT_ITEMS_MAX: Final = 20_000
"""Items in one event. An item may be two bytes on the wire and hundreds in memory, so the size alone is no bound."""

ANSWER_PAYLOAD_BYTES: Final = 512 << 10
"""Payloads after which no further task is added to an answer. With the last one at 2 MiB, the most that can be
configured, and 4 KiB of other fields for each of 100 tasks, a message stays below 3 MiB."""

EXPOSED_TASKS: Final = 256
"""Tasks that one kind of Ready may be given before the first of them is sent: what a full send queue holds."""

ECHO_CHARS_MAX: Final = 256
"""A text that should be a task id comes back in its acknowledgement up to here: 1,000 of them fit a message."""

SETTLED_KEPT: Final = 128
"""Leases that are over and still known, so that a repeat without `lease_id` means its own delivery."""

HELD_MAX: Final = 20_000
"""Leases of one stream that are remembered, at about 250 bytes each; past that the oldest are left to expire."""

RETRY_SECONDS: Final = 1.0
"""Readys whose claim was lost with its group, or met a damaged row, are asked for again after this."""


class StreamSettings(msgspec.Struct, frozen=True):
    """What an operator can set about streams."""

    payload_bytes_max: int = 262_144
    """For a payload and for a result, as JSON text."""
    max_attempts: int = 5
    """For creates that name none."""
    private_webhooks: bool = False
    """Whether a webhook may name a private, loopback or link-local address."""
    settle_seconds: float = 20.0
    """How long a stream that has to end waits for its leases to be settled."""
    age_seconds: float = 0.0
    """Age at which a stream ends, give or take a tenth; 0 means never."""
