"""A sound store of every kind of row, and how to bend one thing in it."""

from pathlib import Path

from appliance.engine.rows import (
    CLAIMED,
    COMPLETED,
    DLQ,
    FAILED,
    PENDING,
    AuditEntry,
    Body,
    Delivery,
    Idem,
    Letter,
    Mark,
    QueueControl,
    QueueRow,
    State,
    Subscription,
    TenantControl,
    encode_row,
    seal,
)
from appliance.engine.stamp import writing
from appliance.engine.store import MARK_KEY, Store
from appliance.engine.tables import (
    AUDIT,
    BODY,
    CONTROL,
    DEAD,
    DUE,
    EXPIRE,
    IDEM,
    LAPSED,
    LEASE,
    LETTER,
    META,
    NAME,
    OUTBOX,
    POST,
    QUEUE,
    READY,
    STATE,
    SUBSCRIPTION,
    audit_key,
    command_name_key,
    dead_key,
    idem_key,
    queue_prefix,
    ready_key,
    tenant_name_key,
    tenant_prefix,
    time_key,
)

TENANT = 1
OTHER_TENANT = 2
MAIL = queue_prefix(TENANT, 1)
SMS = queue_prefix(TENANT, 2)
OTHER_MAIL = queue_prefix(OTHER_TENANT, 1)
COMMANDS = {MAIL: "mail", SMS: "sms", OTHER_MAIL: "mail"}

Rows = dict[tuple[int, bytes], bytes]
"""Contents by table and key."""

READY_TASK, DELAYED_TASK, CLAIMED_TASK, COMPLETED_TASK, FAILED_TASK, DEAD_TASK = (
    bytes(15) + bytes([n]) for n in range(6)
)


def task_rows(task_id: bytes, state: State, key: str = "") -> Rows:
    """Everything that a task with this state has; a PENDING one with a time to run is delayed."""
    body = Body(COMMANDS[state.queue], b'{"n":1}', 1000, key=key)
    state.keyed, state.payload_bytes = bool(key), len(body.payload)
    index = {
        PENDING: (DUE, time_key(state.queue, state.run_at, task_id))
        if state.run_at
        else (READY, ready_key(state.queue, state.priority, task_id)),
        CLAIMED: (LEASE, time_key(state.queue, state.lease_until, task_id)),
    }.get(state.status, (EXPIRE, time_key(state.queue, state.expires, task_id)))
    rows: Rows = {(BODY, task_id): encode_row(body), (STATE, task_id): encode_row(state), index: b""}
    if state.status == DLQ:
        rows[DEAD, dead_key(state.queue, state.completed, task_id)] = b""
    if key:
        rows[IDEM, idem_key(state.queue, key)] = encode_row(Idem(task_id, b"hash"))
    return rows


WAITING_DELIVERY, LAPSED_DELIVERY = (bytes(14) + bytes([1, n]) for n in range(2))


def delivery_rows(delivery_id: bytes, delivery: Delivery) -> Rows:
    """Everything that a delivery has."""
    table = LAPSED if delivery.given_up else POST
    return {
        (LETTER, delivery_id): encode_row(Letter(delivery.task, "sms", COMPLETED, 1000)),
        (OUTBOX, delivery_id): encode_row(delivery),
        (table, time_key(delivery.tenant, delivery.at, delivery_id)): b"",
    }


def sound_rows() -> Rows:
    """A task in every state and a delivery in both of its, in two tenants, with all that belongs to them."""
    rows: Rows = {
        (NAME, tenant_name_key("acme")): encode_row(TENANT),
        (NAME, tenant_name_key("other")): encode_row(OTHER_TENANT),
        (QUEUE, MAIL): encode_row(QueueRow(ready=1, delayed=1, claimed=1, created=5, swept=2, stored_bytes=21)),
        (QUEUE, SMS): encode_row(QueueRow(completed=1, created=1, stored_bytes=8)),
        (QUEUE, OTHER_MAIL): encode_row(QueueRow(failed=1, dlq=1, created=2, stored_bytes=14)),
        (META, MARK_KEY): encode_row(Mark(LAPSED_DELIVERY, 5000, OTHER_TENANT + 1)),
        (META, b"unknown to this version"): b"anything",
        (CONTROL, MAIL): encode_row(QueueControl(dispatch_paused=True)),
        (CONTROL, tenant_prefix(TENANT)): encode_row(TenantControl(rest_per_second=5, audit_next=2)),
        (AUDIT, audit_key(tenant_prefix(TENANT), 1)): encode_row(AuditEntry(4000, "ann", "queue.pause", "mail")),
    }
    for queue, command in COMMANDS.items():
        tenant, number = int.from_bytes(queue[:4], "big"), int.from_bytes(queue[4:], "big")
        rows[NAME, command_name_key(tenant, command)] = encode_row(number)
    rows |= task_rows(READY_TASK, State(PENDING, MAIL, 7, 5, 1000), key="k" * 256)
    rows |= task_rows(DELAYED_TASK, State(PENDING, MAIL, 0, 5, 1000, run_at=9000))
    rows |= task_rows(CLAIMED_TASK, State(CLAIMED, MAIL, 0, 5, 1000, lease_until=7000), key="claimed")
    rows |= task_rows(COMPLETED_TASK, State(COMPLETED, SMS, 0, 5, 1000, result=b"1", expires=8000))
    rows |= task_rows(FAILED_TASK, State(FAILED, OTHER_MAIL, 0, 5, 1000, expires=8001), key="failed")
    rows |= task_rows(DEAD_TASK, State(DLQ, OTHER_MAIL, 0, 5, 1000, expires=8002))
    rows |= delivery_rows(WAITING_DELIVERY, Delivery(SMS[:4], COMPLETED_TASK, "https://x/", 6000, 1))
    rows |= delivery_rows(LAPSED_DELIVERY, Delivery(SMS[:4], COMPLETED_TASK, "https://x/", 9000, 5, "no", 4000))
    subscription = Subscription("worker", ("sms",), "", "fanout", "", 5000, 300000, 9000)
    rows[SUBSCRIPTION, SMS[:4] + bytes(16)] = encode_row(subscription)
    return rows


def fill(directory: Path, rows: Rows) -> Path:
    """Make a store with these rows in it, and close it."""
    store = Store.open(directory)
    with writing(store.environment) as txn:
        for (table, key), content in rows.items():
            txn.put(key, seal(table, key, content), db=store.databases[table])
    store.close()
    return directory
