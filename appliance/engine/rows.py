"""The rows of the store as values, their encoding, and the seal that guards them.

Owns the structs behind `body`, `state`, `queue`, `idem`, `control`, `audit` and `meta`, and the CRC at the end of
every row. Must not know how a task moves between states. Rows are msgpack arrays: a field added at the end with a
default reads old rows. A struct is never changed in place once it has been written: every transition makes a new one.
"""

import zlib
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from appliance.engine.tables import TABLE_COUNT

SEAL_BYTES: Final = 4

SEEDS: Final = tuple(zlib.crc32(b"codeq table %d" % table) for table in range(TABLE_COUNT))
"""Where the checksum of each table's rows begins, so that a row in the wrong table is noticed."""
_crc32 = zlib.crc32


class DamagedRow(Exception):
    """A row whose content is not what was written: it is reported and never served."""

    def __init__(self, table: int, key: bytes, why: str) -> None:
        super().__init__(f"damaged row in table {table}, key {key.hex()}: {why}")
        self.table = table
        self.key = key


def seal(table: int, key: bytes, content: bytes) -> bytes:
    """The row as it is stored: content, then the CRC32 over table, key and content."""
    return content + _crc32(content, _crc32(key, SEEDS[table])).to_bytes(4, "big")


def unseal(table: int, key: bytes, row: bytes) -> bytes:
    """The content of a stored row; raises DamagedRow when the seal does not fit."""
    content = row[:-4]
    if len(row) < SEAL_BYTES or _crc32(content, _crc32(key, SEEDS[table])).to_bytes(4, "big") != row[-4:]:
        raise DamagedRow(table, key, "checksum does not match")
    return content


def unseal_all(
    table: int, rows: Iterable[tuple[bytes, bytes]], on_damage: Callable[[DamagedRow], None]
) -> dict[bytes, bytes]:
    """`unseal` for many rows, in order; `on_damage` hears of each one whose seal does not fit, which is left out."""
    seed = SEEDS[table]
    contents: dict[bytes, bytes] = {}
    for key, row in rows:
        checksum = _crc32(key, seed)
        if len(row) > SEAL_BYTES:
            content = row[:-4]
            fits = _crc32(content, checksum).to_bytes(4, "big") == row[-4:]
        else:
            content = b""
            fits = checksum.to_bytes(4, "big") == row
        if fits:
            contents[key] = content
        else:
            on_damage(DamagedRow(table, key, "checksum does not match"))
    return contents


PENDING: Final = 0
CLAIMED: Final = 1
COMPLETED: Final = 2
FAILED: Final = 3
DLQ: Final = 4
"""The statuses as `State.status` stores them. From COMPLETED on a task is terminal."""


class Body(msgspec.Struct, array_like=True, gc=False):
    """What never changes of a task. `payload` is the client's JSON, byte for byte; `created` is in milliseconds."""

    command: str
    payload: bytes
    created: int
    webhook: str = ""
    key: str = ""
    trace_parent: str = ""
    trace_state: str = ""


class State(msgspec.Struct, array_like=True, gc=False):
    """What changes of a task. Times are wall-clock milliseconds, 0 means none.

    `updated` is 0 for as long as nothing has changed since the task was created, so that the states of new tasks are
    alike and can be shared. A PENDING task stands in exactly one of `ready` and `due`; becoming due moves the index row
    and leaves this one as it is. `subject` and `worker` name the owner of the lease, or of the last one once the task
    is terminal. `lease_number` counts the leases and is never reset, so `(id, lease_number)` is a lease's identity;
    `deliveries` counts them too but starts again with a requeue. `abandons` counts those in a row. `keyed` tells the
    sweep that the body holds an idempotency key, `hooked` tells its end that it holds a webhook. `result` and
    `artifacts` are JSON as it came.
    """

    status: int
    queue: bytes
    priority: int
    max_attempts: int
    updated: int
    run_at: int = 0
    keyed: bool = False
    attempts: int = 0
    deliveries: int = 0
    abandons: int = 0
    subject: str = ""
    worker: str = ""
    lease_until: int = 0
    lease_ms: int = 0
    error: str = ""
    completed: int = 0
    cancelled: bool = False
    result: bytes = b""
    artifacts: bytes = b""
    expires: int = 0
    lease_number: int = 0
    claimed: int = 0
    hooked: bool = False
    payload_bytes: int = 0

    @property
    def stored_bytes(self) -> int:
        """What this task counts against its tenant's limit: the sizes of payload, result and artifacts."""
        return self.payload_bytes + len(self.result) + len(self.artifacts)


class Idem(msgspec.Struct, array_like=True, gc=False):
    """The task that an idempotency key stands for, and a hash of the request that made it.

    The hash covers all that is compared but the payload, which is there to be compared itself. In rows from before
    format 5 it covers the payload too.
    """

    id: bytes
    request_hash: bytes
    without_payload: bool = False


class Letter(msgspec.Struct, array_like=True, gc=False):
    """What a webhook says of the end of a task: all that its body is made of, since the task may be swept before."""

    task: bytes
    command: str
    status: int
    completed: int
    error: str = ""
    result: bytes = b""
    artifacts: bytes = b""


class Delivery(msgspec.Struct, array_like=True, gc=False):
    """Where a letter goes, and what became of it so far. Times are milliseconds.

    `tenant` is the four bytes of its keys. A delivery that waits stands in `post` under `at`, when it is due; one that
    was given up at the time `given_up` stands in `lapsed` under `at`, when its retention ends. `attempts` are those of
    this round: sending it again begins a new one.
    """

    tenant: bytes
    task: bytes
    url: str
    at: int
    attempts: int = 0
    error: str = ""
    given_up: int = 0


class Subscription(msgspec.Struct, array_like=True, gc=False):
    """Who wants to hear when there is work. Times are milliseconds; `commands` None means every queue of the tenant.

    Without a `callback` it is for long polls only. `mode` and `group` say whom of several to call.
    """

    subject: str
    commands: tuple[str, ...] | None
    callback: str
    mode: str
    group: str
    min_interval_ms: int
    ttl_ms: int
    expires: int


class QueueRow(msgspec.Struct, array_like=True):
    """A queue's counters: how many of its tasks are in each state, how many were ever created, and swept or purged.

    `stored_bytes` is the sum over its tasks.
    Invariant: created = ready + delayed + claimed + completed + failed + dlq + swept.
    """

    ready: int = 0
    delayed: int = 0
    claimed: int = 0
    completed: int = 0
    failed: int = 0
    dlq: int = 0
    created: int = 0
    swept: int = 0
    stored_bytes: int = 0


class QueueControl(msgspec.Struct, array_like=True, frozen=True):
    """What operators have set for a queue. Times are wall-clock milliseconds; None means the node's default.

    `dispatch_until` and `intake_until` count where that is paused: 0 is until somebody resumes it.
    """

    dispatch_paused: bool = False
    dispatch_until: int = 0
    intake_paused: bool = False
    intake_until: int = 0
    depth_max: int | None = None
    retention_ms: int | None = None
    dead_retention_ms: int | None = None
    max_attempts: int | None = None
    backoff_policy: str | None = None
    backoff_base_ms: int | None = None
    backoff_cap_ms: int | None = None


class TenantControl(msgspec.Struct, array_like=True, frozen=True):
    """A tenant's limits (None: none) and the numbers of its audit entries: from `first` up to, without, `next`."""

    rest_per_second: int | None = None
    hellos_per_second: int | None = None
    in_flight_max: int | None = None
    stored_bytes_max: int | None = None
    audit_first: int = 1
    audit_next: int = 1

    @property
    def limited(self) -> bool:
        """Whether a limit is set that the state machine keeps."""
        return self.in_flight_max is not None or self.stored_bytes_max is not None


class AuditEntry(msgspec.Struct, array_like=True, frozen=True):
    """One thing that an operator did. `at` is in milliseconds; `target` is a command, an id or a tenant's name."""

    at: int
    subject: str
    action: str
    target: str
    detail: str = ""


class Mark(msgspec.Struct, array_like=True):
    """The `meta` row that goes with every group: the newest id and the clock when the group was closed."""

    last_id: bytes = bytes(16)
    last_time: int = 0
    next_tenant: int = 1


_encode = msgspec.msgpack.Encoder().encode
encode_row = _encode
decode_body = msgspec.msgpack.Decoder(Body).decode
decode_state = msgspec.msgpack.Decoder(State).decode
decode_idem = msgspec.msgpack.Decoder(Idem).decode
decode_letter = msgspec.msgpack.Decoder(Letter).decode
decode_delivery = msgspec.msgpack.Decoder(Delivery).decode
decode_subscription = msgspec.msgpack.Decoder(Subscription).decode
decode_queue = msgspec.msgpack.Decoder(QueueRow).decode
decode_queue_control = msgspec.msgpack.Decoder(QueueControl).decode
decode_tenant_control = msgspec.msgpack.Decoder(TenantControl).decode
decode_audit_entry = msgspec.msgpack.Decoder(AuditEntry).decode
decode_mark = msgspec.msgpack.Decoder(Mark).decode
decode_number = msgspec.msgpack.Decoder(int).decode
