"""Brings a store of an older format up to this program's, when it is opened.

Owns what each version lacked. One commit: a store is of the old format or of the new one, never between. Must not know
what a row means beyond what has to be filled in.

    1 → 2    the tables of webhooks
    2 → 3    `dead`, `control` and `audit`; sizes of payloads in states, and their sums in the counters of queues
    3 → 4    the stamp. A release that doesn't write it must not write to the store: its commits would look turned back
    4 → 5    nothing to fill in. Hashes in `idem` are without the payload from here on, and states of tasks that have
             not changed yet without a time: older releases would take both for something else
"""

from pathlib import Path
from typing import Final

import lmdb

from appliance.engine.disk import free_bytes
from appliance.engine.faults import failure
from appliance.engine.rows import (
    DLQ,
    DamagedRow,
    decode_body,
    decode_queue,
    decode_state,
    encode_row,
    seal,
    unseal,
)
from appliance.engine.stamp import writing
from appliance.engine.tables import BODY, DEAD, META, QUEUE, STATE, TABLE_NAMES, dead_key

OLDEST_FORMAT: Final = 1
"""The oldest format that can be brought up."""
_FILLED: Final = 3
"""The format from which on tasks have what `_fill` gives them."""


def upgrade(environment: lmdb.Environment, format_key: bytes, from_version: int, to_version: int) -> None:
    """Bring a store of any format from `OLDEST_FORMAT` on up to `to_version`; raises a StoreError."""
    try:
        with writing(environment) as txn:
            databases = [environment.open_db(name.encode(), txn=txn) for name in TABLE_NAMES]
            if from_version < _FILLED:
                _fill(txn, databases)
            txn.put(format_key, seal(META, format_key, encode_row(to_version)), db=databases[META])
    except lmdb.Error as error:
        raise failure(error, free_bytes(Path(environment.path()))) from error


def _fill(txn: "lmdb.Transaction[bytes]", databases: "list[lmdb._Database]") -> None:
    """Sizes and dead letters that the rows of tasks imply."""
    sizes: dict[bytes, int] = {}
    with txn.cursor(databases[STATE]) as cursor:
        for task_id, row in cursor:
            body = txn.get(task_id, None, databases[BODY]) or b""
            try:
                state = decode_state(unseal(STATE, task_id, row))
                state.payload_bytes = len(decode_body(unseal(BODY, task_id, body)).payload)
            except (DamagedRow, ValueError):
                continue  # stays what it is: the check reports it, and nobody is served it
            sizes[state.queue] = sizes.get(state.queue, 0) + state.stored_bytes
            txn.put(task_id, seal(STATE, task_id, encode_row(state)), db=databases[STATE])
            if state.status == DLQ:
                key = dead_key(state.queue, state.completed, task_id)
                txn.put(key, seal(DEAD, key, b""), db=databases[DEAD])
    with txn.cursor(databases[QUEUE]) as cursor:
        for queue, row in cursor:
            try:
                counters = decode_queue(unseal(QUEUE, queue, row))
            except (DamagedRow, ValueError):
                continue
            counters.stored_bytes = sizes.get(queue, 0)
            txn.put(queue, seal(QUEUE, queue, encode_row(counters)), db=databases[QUEUE])
