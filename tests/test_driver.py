"""The driver: what is offered becomes durable turn by turn, and what a quiet tenant waits for comes sooner."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from appliance.api.canonical import same_json, same_request
from appliance.driver import Driver
from appliance.engine.faults import DiskNotTrusted, StoreError
from appliance.engine.store import Store
from appliance.tasks.model import Created
from appliance.tasks.moves import Timings
from appliance.tasks.settings import TaskSettings
from appliance.tasks.shares import PERIOD_MS
from tests.engine.committing import Calls
from tests.tasks.desk import create


class Loop:
    """A loop that turns when the test says so. Timers never fire."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []
        self.threads = Calls()
        """What other threads have sent."""
        self.call_soon_threadsafe = self.threads.call

    def call_soon(self, function: Callable[[], None]) -> None:
        self._soon.append(function)

    def call_later(self, _seconds: float, _function: Callable[[], None]) -> asyncio.TimerHandle:
        return cast("asyncio.TimerHandle", _Timer())

    def time(self) -> float:
        return 0.0

    def turn(self) -> None:
        """What was due in the next turn, without what other threads have sent."""
        soon, self._soon = self._soon, []
        for function in soon:
            function()


class _Timer:
    def cancel(self) -> None:
        """It never fires anyway."""

    def when(self) -> float:
        return 0.0


class Bench:
    """A driver over a real store, on a loop by hand and with a clock by hand."""

    def __init__(self, store: Store) -> None:
        self.loop = Loop()
        self.fatal: list[StoreError] = []
        self.groups: list[int] = []
        self.driver = Driver(
            cast("asyncio.AbstractEventLoop", self.loop),
            store,
            TaskSettings(),
            Random(1),
            same_json=same_json,
            same_request=same_request,
            timings=Timings(),
            on_fatal=self.fatal.append,
            on_group=lambda transitions, _parked_ms, _commit_ms: self.groups.append(transitions),
            free_floor_bytes=0,
        )
        self.now = self.driver.now_ms()
        self.driver.now_ms = lambda: self.now  # type: ignore[method-assign]
        self.loop.turn()

    def offer(self, tenant: str) -> list[Any]:
        """One create; the list gets its outcome."""
        heard: list[Any] = []
        operation = create(tenant=tenant)
        operation.sink = heard.append
        self.driver.scheduler.offer(operation)
        return heard

    def settle(self) -> None:
        """Turn until nothing is left to do."""
        while not self.driver.idle:
            self.loop.turn()
            if self.driver._committer.busy:
                self.loop.threads.run_one()

    def make_uneven(self) -> None:
        """One tenant fills groups for a period, another uses little."""
        for passed_ms in (0, PERIOD_MS):
            self.now += passed_ms
            for _ in range(TaskSettings().group_transitions_max):
                self.offer("noisy")
            self.offer("quiet")
            self.settle()
        assert self.driver.sliced


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = Store.open(tmp_path)
    made = Bench(store)
    yield made
    made.driver.stop()
    store.close()


def test_what_is_offered_is_decided_in_the_next_turn_and_answered_when_it_is_durable(bench: Bench) -> None:
    heard = bench.offer("acme")
    assert not bench.driver.idle
    bench.loop.turn()
    come_back = bench.loop.threads.take_one()
    assert heard == []
    come_back()
    assert isinstance(heard[0], Created)
    assert bench.groups == [1]


def test_a_quiet_tenant_s_operation_is_decided_as_soon_as_it_was_read(bench: Bench) -> None:
    bench.make_uneven()
    for _ in range(40):
        bench.offer("noisy")
    heard = bench.offer("quiet")
    assert _quiet_waits(bench)
    bench.driver.fed()
    assert not _quiet_waits(bench)
    bench.loop.threads.run_one()
    assert isinstance(heard[0], Created), "it was in the first group, though the pump has not run"


def _quiet_waits(bench: Bench) -> bool:
    return bench.driver.scheduler.quiet_waits


def test_a_group_that_came_back_is_heard_of_between_two_reads(bench: Bench) -> None:
    heard = bench.offer("acme")
    bench.loop.turn()
    come_back = bench.loop.threads.take_one()
    bench.driver.fed()
    assert isinstance(heard[0], Created)
    come_back()
    assert (len(heard), bench.groups) == (1, [1]), "once"


def test_nothing_is_decided_after_the_disk_was_found_out(bench: Bench) -> None:
    bench.offer("acme")
    bench.driver._failed(1, DiskNotTrusted("the disk lies"))
    bench.loop.turn()
    bench.driver.fed()
    bench.driver._failed(1, DiskNotTrusted("still"))
    assert [str(error) for error in bench.fatal] == ["the disk lies"]
    assert not bench.driver._committer.busy
