"""A damaged row is reported, is never served, and stops nobody who does not need it."""

from appliance.engine.rows import CLAIMED, PENDING, DamagedRow
from appliance.engine.tables import LEASE, READY, STATE, ready_key, time_key
from appliance.tasks.model import Record, Task
from appliance.tasks.settings import TaskSettings
from tests.simulation.store import DictionaryStore
from tests.tasks.desk import Desk, cancel, claim, code, create, finish

MINUTE_MS = 60_000


class DamagedStore(DictionaryStore):
    """A store some rows of which cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged: set[tuple[int, bytes]] = set()

    def get(self, table: int, key: bytes) -> bytes | None:
        self._check(table, [key])
        return super().get(table, key)

    def scan(self, table: int, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        rows = super().scan(table, low, high, limit)
        self._check(table, [key for key, _ in rows])
        return rows

    def _check(self, table: int, keys: list[bytes]) -> None:
        for key in keys:
            if (table, key) in self.damaged:
                raise DamagedRow(table, key, "checksum does not match")


def _desk() -> tuple[Desk, DamagedStore]:
    store = DamagedStore()
    return Desk(TaskSettings(hot_bytes_max=0, window_keys_max=8), store=store), store


def _index_key(task: Task) -> bytes:
    return ready_key(task.state.queue, task.state.priority, task.id)


def test_a_claim_passes_over_a_task_whose_state_is_damaged() -> None:
    desk, store = _desk()
    bad, good = desk.create(), desk.create()
    store.damaged.add((STATE, bad.id))
    assert [task.id for task in desk.claim(count=9)] == [good.id]
    assert [type(error) for error in desk.errors] == [DamagedRow]


def test_an_action_on_a_damaged_task_is_unavailable_and_others_go_on() -> None:
    desk, store = _desk()
    bad, good = desk.create(), desk.create()
    store.damaged.add((STATE, bad.id))
    assert code(desk.ask(cancel(bad))) == "unavailable"
    assert isinstance(desk.ask(cancel(good)), Task)


def test_tasks_that_were_leased_before_the_damage_reach_their_worker() -> None:
    desk, store = _desk()
    tasks = [desk.create() for _ in range(100)]
    desk.start()
    store.damaged.add((READY, _index_key(tasks[80])))
    assert len(desk.claim(count=90)) == 64
    assert desk.errors


def test_a_waiting_claim_beside_a_damaged_index_stops_nothing_else() -> None:
    desk, store = _desk()
    for _ in range(30):
        bad = desk.create("broken", delay_ms=1)
    desk.start()
    store.damaged.add((READY, _index_key(bad)))
    heard = desk.offer(claim("broken", count=40, wait_ms=10 * MINUTE_MS))
    desk.settle()
    desk.pass_ms(10)
    desk.create("mail")
    assert len(desk.claim("mail")) == 1
    assert all(task.state.status == CLAIMED for outcome in heard for task in outcome.tasks)


def test_the_end_of_a_damaged_lease_is_reported_and_others_end() -> None:
    desk, store = _desk()
    desk.create()
    desk.create()
    bad, good = desk.claim(count=2)
    store.damaged.add((STATE, bad.id))
    desk.pass_ms(MINUTE_MS)
    assert desk.read(good).state.status == PENDING
    assert desk.errors


def test_after_a_clock_that_went_back_damage_stops_no_start() -> None:
    desk, store = _desk()
    desk.create()
    desk.create()
    bad, good = desk.claim(count=2)
    desk.now -= 2 * MINUTE_MS
    desk.start()
    store.damaged.add((STATE, bad.id))
    store.damaged.add((LEASE, time_key(bad.state.queue, bad.state.lease_until, bad.id)))
    desk.settle()
    assert desk.errors
    assert isinstance(desk.ask(finish(good)), Record)
    desk.ask(create())
