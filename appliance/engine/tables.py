"""The tables of the store and the keys in them.

Owns the key layouts; must not know what a row means. Numbers in keys are big-endian, so that byte order is the
order of the value. A tenant's number comes first in every key that a tenant can name: isolation is the layout.

    table   key                                    value
    body    id                                     what never changes of a task
    state   id                                     what changes, and the result
    ready   queue, 255 - priority, id              -
    lease   tenant, time, id                       -     (ends of leases)
    due     tenant, time, id                       -     (ends of delays)
    expire  tenant, time, id                       -     (ends of retention)
    idem    queue, the client's key                id, hash of the request
    queue   queue                                  counters
    name    "t" tenant name / "c" tenant, command  their numbers
    meta    a word                                 format version, clock, last id
    letter  delivery id                            what a webhook says
    outbox  delivery id                            where it goes, and how often that was tried
    post    tenant, time, delivery id              -     (deliveries that wait for their time)
    lapsed  tenant, time, delivery id              -     (those given up, until their retention ends)
    dead    queue, time of death, id               -     (dead letters, in the order in which they died)
    control tenant, or queue                       what operators have set
    audit   tenant, 2^64 - 1 - number              what operators have done, newest first
    subscription  tenant, subscription id          who wants to hear of which queues, until when

A queue is `tenant number, command number`, four bytes each; an id is 16 bytes; a time is 8 bytes of milliseconds.
"""

import hashlib
import struct
from typing import Final

BODY: Final = 0
STATE: Final = 1
READY: Final = 2
LEASE: Final = 3
DUE: Final = 4
EXPIRE: Final = 5
IDEM: Final = 6
QUEUE: Final = 7
NAME: Final = 8
META: Final = 9
LETTER: Final = 10
OUTBOX: Final = 11
POST: Final = 12
LAPSED: Final = 13
DEAD: Final = 14
CONTROL: Final = 15
AUDIT: Final = 16
SUBSCRIPTION: Final = 17

TABLE_NAMES: Final = (
    "body", "state", "ready", "lease", "due", "expire", "idem", "queue", "name", "meta",
    "letter", "outbox", "post", "lapsed", "dead", "control", "audit", "subscription",
)  # fmt: skip
"""In the order of their numbers, which are part of every seal: new ones come at the end."""
TABLE_COUNT: Final = len(TABLE_NAMES)

ID_BYTES: Final = 16
QUEUE_BYTES: Final = 8
TENANT_BYTES: Final = 4
READY_KEY_BYTES: Final = QUEUE_BYTES + 1 + ID_BYTES
TIME_KEY_BYTES: Final = TENANT_BYTES + 8 + ID_BYTES
DEAD_KEY_BYTES: Final = QUEUE_BYTES + 8 + ID_BYTES
AUDIT_KEY_BYTES: Final = TENANT_BYTES + 8

KEY_BYTES_MAX: Final = 511
"""LMDB's own limit. Every layout here stays below it; a test holds the contract's limits against it."""

IDEM_PLAIN_BYTES: Final = 200
"""An idempotency key longer than this keeps its head and gets a hash for its tail: equal heads still lie together."""

_U32 = struct.Struct(">I")
_U64_MAX: Final = (1 << 64) - 1


def tenant_prefix(tenant: int) -> bytes:
    """The four bytes that every key of this tenant number begins with."""
    return _U32.pack(tenant)


def queue_prefix(tenant: int, command: int) -> bytes:
    """The eight bytes that name a queue."""
    return _U32.pack(tenant) + _U32.pack(command)


PRIORITY_BYTES: Final = tuple(bytes([255 - priority]) for priority in range(256))
"""A priority as it stands in a key, so that higher ones come first."""


def ready_key(queue: bytes, priority: int, task_id: bytes) -> bytes:
    """Key of a claimable task: higher priorities first, then older ids."""
    return queue + PRIORITY_BYTES[priority] + task_id


def time_key(queue: bytes, time_ms: int, task_id: bytes) -> bytes:
    """Key in `lease`, `due` or `expire`; `queue` gives the tenant."""
    return queue[:4] + time_ms.to_bytes(8, "big") + task_id


def time_of(key: bytes) -> int:
    """The milliseconds in a key made by `time_key`."""
    return int.from_bytes(key[4:12], "big")


def dead_key(queue: bytes, died_ms: int, task_id: bytes) -> bytes:
    """Key in `dead`."""
    return queue + died_ms.to_bytes(8, "big") + task_id


def audit_key(tenant: bytes, number: int) -> bytes:
    """Key of a tenant's audit entry; a larger number comes first."""
    return tenant + (_U64_MAX - number).to_bytes(8, "big")


def idem_key(queue: bytes, client_key: str) -> bytes:
    """Key of an idempotency row. Keys are stored as they come: time-ordered ones then lie on neighbouring pages."""
    raw = client_key.encode()
    if len(raw) > IDEM_PLAIN_BYTES:
        raw = raw[: IDEM_PLAIN_BYTES - 32] + hashlib.blake2b(raw, digest_size=32).digest()
        # One byte more than any plain key, so that no plain key can equal a hashed one.
        raw += b"\0"
    return queue + raw


def tenant_name_key(tenant: str) -> bytes:
    """Key of a tenant's number in `name`."""
    return b"t" + tenant.encode()


def command_name_key(tenant: int, command: str) -> bytes:
    """Key of a command's number in `name`."""
    return b"c" + _U32.pack(tenant) + command.encode()


def prefix_end(prefix: bytes) -> bytes:
    """The smallest key greater than every key that begins with `prefix` (for prefixes that are not all 0xff)."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return b"\xff" * (KEY_BYTES_MAX + 1)
    return stripped[:-1] + bytes([stripped[-1] + 1])
