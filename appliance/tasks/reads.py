"""What can be asked without changing anything: one task, one letter, how deep a queue is and how old its oldest task.

Reads durable rows only, so nothing is shown that a crash could take back; counters are as decided. Must not know who
asks. Lists for operators are in `lists`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from appliance.engine.overlay import Reader
from appliance.engine.rows import DamagedRow, Letter, decode_body, decode_letter, decode_state
from appliance.engine.tables import BODY, LETTER, QUEUE_BYTES, READY, STATE, prefix_end
from appliance.tasks.ids import id_time_ms
from appliance.tasks.model import Task
from appliance.tasks.queues import Registry
from appliance.tasks.table import READY as READY_STATE

AGE_LOOKS_MAX: Final = 2_000
"""Looks into the store for one reading of the oldest age: about 4 ms."""


@contextmanager
def reading(store: Reader, on_error: Callable[[BaseException], None]) -> Iterator[None]:
    """Around reads that are answered at once. A damaged row concerns whoever asked for it; a store that cannot be read
    ends the node, whoever asked, so `on_error` hears of that too."""
    try:
        yield
    except DamagedRow:
        raise
    except Exception as error:
        on_error(error)
        raise
    finally:
        store.release()


class Reads:
    """`registry` gives the queues as they are decided now."""

    def __init__(
        self, store: Reader, registry: Callable[[], Registry], on_error: Callable[[BaseException], None]
    ) -> None:
        """`on_error` hears of a store that cannot be read."""
        self._store = store
        self._registry = registry
        self._on_error = on_error

    def task(self, tenant_name: str, task_id: bytes) -> Task | None:
        """The task as it is durable now, or None where this tenant has no such task. Raises DamagedRow."""
        tenant = self._registry().tenants.get(tenant_name)
        with reading(self._store, self._on_error):
            row = self._store.get(STATE, task_id)
            if row is None or tenant is None:
                return None
            state = decode_state(row)
            if state.queue[:4] != tenant.prefix:
                return None
            content = self._store.get(BODY, task_id)
            if content is None:
                raise DamagedRow(BODY, task_id, "a state without its body")
            return Task(task_id, decode_body(content), state)

    def letter(self, delivery_id: bytes) -> Letter | None:
        """What a delivery says, None where it is delivered or forgotten. Raises DamagedRow."""
        with reading(self._store, self._on_error):
            row = self._store.get(LETTER, delivery_id)
            return decode_letter(row) if row is not None else None

    def depth(self, tenant_name: str, command: str) -> int:
        """How many tasks of a command may be claimed now."""
        tenant = self._registry().tenants.get(tenant_name)
        queue = tenant.dispatching.get(command) if tenant is not None else None
        return queue.counts[READY_STATE] if queue is not None else 0

    def oldest_ready_ms(self, now: int) -> int:
        """Age (ms) of the oldest durable claimable task, 0 where there is none; bounded work, for a scrape.

        Within a priority the first key is the oldest, so one look per queue and priority is enough.
        """
        oldest, looks = now, 0
        for queue in self._registry().by_prefix.values():
            low, end = queue.prefix, prefix_end(queue.prefix)
            while queue.counts[READY_STATE] and looks < AGE_LOOKS_MAX:
                looks += 1
                rows = self._store.scan(READY, low, end, 1)
                if not rows:
                    break
                key = rows[0][0]
                oldest = min(oldest, id_time_ms(key[QUEUE_BYTES + 1 :]))
                low = prefix_end(key[: QUEUE_BYTES + 1])
        self._store.release()
        return now - oldest
