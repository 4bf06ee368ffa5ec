"""What can be asked without changing anything: one task, one letter, how deep a queue is and how old its oldest task.

Reads durable rows only, so nothing is shown that a crash could take back; counters are as decided. Must not know who
asks. Lists for operators are in `lists`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from appliance.engine.overlay import Reader
from appliance.engine.rows import DamagedRow, Letter, State, decode_body, decode_letter, decode_state
from appliance.engine.tables import BODY, LETTER, QUEUE_BYTES, READY, STATE, TENANT_BYTES, prefix_end
from appliance.tasks.ids import id_time_ms
from appliance.tasks.model import Task
from appliance.tasks.queues import Queue, Registry
from appliance.tasks.table import READY as READY_STATE

AGE_LOOKS_MAX: Final = 2_000
"""Looks into the store for the ages that one answer shows: about 4 ms."""


class Durable:
    """What all who read durable rows have in common. `registry` gives the queues as they are decided now."""

    def __init__(
        self, store: Reader, registry: Callable[[], Registry], on_error: Callable[[BaseException], None]
    ) -> None:
        """`on_error` hears of a store that cannot be read, and of damaged rows that are passed over."""
        self._store = store
        self._registry = registry
        self._on_error = on_error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Around reads that are answered at once. A damaged row concerns whoever asked for it."""
        try:
            yield
        except DamagedRow:
            raise
        except Exception as error:
            self._on_error(error)  # a store that cannot be read ends the node, whoever asked
            raise
        finally:
            self._store.release()

    def _durable_task(self, task_id: bytes, keep: Callable[[State], bool]) -> Task | None:
        """The task as it is durable now, None where there is none or its state is not to be kept. Raises DamagedRow."""
        row = self._store.get(STATE, task_id)
        state = decode_state(row) if row is not None else None
        if state is None or not keep(state):
            return None
        content = self._store.get(BODY, task_id)
        if content is None:
            raise DamagedRow(BODY, task_id, "a state without its body")
        return Task(task_id, decode_body(content), state)

    def _oldest_ready(self, queue: Queue, now: int, looks_max: int) -> tuple[int, int, bool]:
        """When (ms) the oldest claimable task of a queue was made, `now` where there is none; how many looks into the
        store that took, and whether they were enough. Within a priority the first key is the oldest."""
        oldest, looks = now, 0
        low, end = queue.prefix, prefix_end(queue.prefix)
        while queue.counts[READY_STATE]:
            if looks == looks_max:
                return oldest, looks, False
            looks += 1
            rows = self._store.scan(READY, low, end, 1)
            if not rows:
                break
            key = rows[0][0]
            oldest = min(oldest, id_time_ms(key[QUEUE_BYTES + 1 :]))
            low = prefix_end(key[: QUEUE_BYTES + 1])
        return oldest, looks, True


class Reads(Durable):
    """What may be asked at any time, of one thing each."""

    def task(self, tenant_name: str, task_id: bytes) -> Task | None:
        """The task as it is durable now, or None where this tenant has no such task. Raises DamagedRow."""
        tenant = self._registry().tenants.get(tenant_name)
        with self._reading():
            return self._durable_task(
                task_id, lambda state: tenant is not None and state.queue[:TENANT_BYTES] == tenant.prefix
            )

    def letter(self, delivery_id: bytes) -> Letter | None:
        """What a delivery says, None where it is delivered or forgotten. Raises DamagedRow."""
        with self._reading():
            row = self._store.get(LETTER, delivery_id)
            return decode_letter(row) if row is not None else None

    def depth(self, tenant_name: str, command: str) -> int:
        """How many tasks of a command may be claimed now."""
        tenant = self._registry().tenants.get(tenant_name)
        queue = tenant.dispatching.get(command) if tenant is not None else None
        return queue.counts[READY_STATE] if queue is not None else 0

    def oldest_ready_ms(self, now: int) -> int:
        """Age (ms) of the oldest durable claimable task, 0 where there is none; bounded work, for a scrape."""
        oldest, looks = now, 0
        for queue in self._registry().by_prefix.values():
            made, looked, _ = self._oldest_ready(queue, now, AGE_LOOKS_MAX - looks)
            oldest, looks = min(oldest, made), looks + looked
        self._store.release()
        return now - oldest
