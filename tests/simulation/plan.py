"""What one seed is: its tenants, timings, settings, faults and the sizes that the code's own constants take.

Every seed draws its own mix, since a run with everything at once hides errors. Times are milliseconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import msgspec

from appliance.api.streams import producer, readys, worker
from appliance.tasks import lines, operators, outgoing, queues, scheduler, shares, watches, window
from appliance.tasks.backoff import POLICIES
from appliance.tasks.settings import TaskSettings

OPERATIONS_MIN = 1_000
CRASHES_MIN = 2
OPERATIONS_PER_CRASH = 4_000
"""In lives that are longer than the shortest."""
STALL_MS_MAX = 4_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_MODULES = {
    "lines": lines,
    "operators": operators,
    "outgoing": outgoing,
    "producer": producer,
    "queues": queues,
    "readys": readys,
    "scheduler": scheduler,
    "shares": shares,
    "watches": watches,
    "window": window,
    "worker": worker,
}


class Plan(msgspec.Struct, frozen=True):
    """One seed's draw. Chances are per opportunity, between 0 and 1."""

    seed: int
    tenants: tuple[str, ...]
    commands: tuple[str, ...]
    operations: int
    crashes: tuple[int, ...]
    settings: TaskSettings
    constants: dict[str, int]
    producers: int
    workers: int
    mischief: int
    readers: int
    streamers: int
    sessions: int
    settle_seconds: int
    age_seconds: int
    stewards: int
    keys: int
    payload_bytes: int
    priorities: tuple[int, ...]
    attempts: tuple[int, ...]
    think_ms: int
    lull_chance: float
    lull_ms: int
    lease_ms: tuple[int, int]
    wait_ms: int
    depth: int
    commit_ms: tuple[int, int]
    stall_chance: float
    failure_chance: float
    pause_chance: float
    down_ms: int
    restart_jumps: tuple[int, ...]
    running_jumps: tuple[int, ...]
    jump_chance: float
    floor_chance: float
    drift_divisor: int
    touch: str
    hook_chance: float
    listeners: int
    receiver_failure_chance: float


def draw(seed: int, least: int = OPERATIONS_MIN) -> Plan:
    """The plan of a seed, for a life of `least` operations at least; longer lives are longer between crashes too."""
    rng = Random(f"{seed}/plan")
    operations = rng.randint(least, least + 150)
    streams = Random(f"{seed}/plan of streams")
    jumps = rng.random() < 0.6
    more = (operations - OPERATIONS_MIN) // OPERATIONS_PER_CRASH
    return Plan(
        seed=seed,
        tenants=tuple(f"tenant-{number}" for number in range(rng.choice((1, 2, 2, 3)))),
        commands=tuple(f"command-{number}" for number in range(rng.choice((1, 2, 3, 4)))),
        operations=operations,
        crashes=tuple(sorted(rng.randrange(60, operations - 60) for _ in range(rng.choice((2, 2, 3, 4)) + more))),
        settings=_settings(rng),
        constants={**_constants(rng), **_stream_constants(streams), **_share_constants(Random(f"{seed}/shares"))},
        producers=rng.randint(2, 4),
        workers=rng.choice((1, 2, 3, 5)),
        mischief=rng.randint(1, 3),
        readers=rng.randint(1, 2),
        streamers=rng.choice((0, 0, 1, 2)),
        sessions=streams.choice((0, 1, 1, 2)),
        settle_seconds=streams.choice((1, 5)),
        age_seconds=streams.choice((0, 0, 20, 100)),
        stewards=Random(f"{seed}/stewards").choice((0, 1, 1)),
        keys=rng.choice((3, 10, 40)),
        payload_bytes=rng.choice((0, 0, 50, 600)),
        priorities=rng.choice(((0,), (0, 255), (0, 1, 5, 9))),
        attempts=rng.choice(((1,), (1, 2, 3), (2, 5), (1, 3))),
        think_ms=rng.choice((5, 50, 200, 400)),
        lull_chance=rng.choice((0.0, 0.01, 0.02)),
        lull_ms=rng.choice((5_000, 40_000, 200_000)),
        lease_ms=rng.choice(((1_000, 1_000), (1_000, 3_000), (1_000, 20_000))),
        wait_ms=rng.choice((200, 5_000, 30_000)),
        depth=rng.choice((1, 1, 1, 2, 3)),
        commit_ms=rng.choice(((0, 1), (1, 5), (1, 60), (20, 300))),
        stall_chance=rng.choice((0.0, 0.0, 0.005)),
        failure_chance=rng.choice((0.0, 0.01, 0.04)),
        pause_chance=rng.choice((0.0, 0.0, 0.003)),
        down_ms=rng.choice((10, 1_000, 30_000)),
        restart_jumps=rng.choice(((0,), (HOUR_MS, 0), (-HOUR_MS, 0), (-DAY_MS, 0), (-DAY_MS, HOUR_MS)))
        if jumps
        else (0,),
        running_jumps=(HOUR_MS, -HOUR_MS, -1_500, 700) if jumps else (0,),
        jump_chance=rng.choice((0.0, 0.01)) if jumps else 0.0,
        floor_chance=rng.choice((0.0, 0.0, 0.01)),
        drift_divisor=rng.choice((0, 0, 1_000, -1_000)),
        touch=rng.choice(("none", "slow", "mixed")),
        hook_chance=rng.choice((0.0, 0.1, 0.5)),
        listeners=rng.choice((0, 1, 3)),
        receiver_failure_chance=rng.choice((0.0, 0.3, 0.8)),
    )


def _settings(rng: Random) -> TaskSettings:
    return TaskSettings(
        backoff_policy=rng.choice(POLICIES),
        backoff_base_ms=rng.choice((1, 100, 1_000)),
        backoff_cap_ms=rng.choice((500, 2_000, 20_000)),
        max_deliveries=rng.choice((2, 4, 6, 100)),
        retention_ms=rng.choice((20_000, 30_000, 60_000)),
        dead_retention_ms=rng.choice((20_000, 60_000, 120_000)),
        queues_per_tenant_max=rng.choice((2, 100, 100)),
        waiting_per_tenant_max=rng.choice((2, 100, 100)),
        inbox_operations_max=rng.choice((2, 8, 1_000)),
        inbox_bytes_max=rng.choice((4_000, 1 << 20)),
        hot_bytes_max=rng.choice((0, 4_000, 1 << 20)),
        window_keys_max=rng.choice((8, 8, 16, 64, 4_096)),
        group_transitions_max=rng.choice((6, 8, 32, 256)),
        group_bytes_max=rng.choice((3_000, 1 << 20)),
        webhook_attempts_max=rng.choice((1, 2, 5)),
        webhook_backoff_base_ms=rng.choice((1, 500, 5_000)),
        webhook_backoff_cap_ms=rng.choice((1_000, 30_000)),
        given_up_retention_ms=rng.choice((1_000, 60_000)),
        subscriptions_per_tenant_max=rng.choice((2, 100)),
    )


def _constants(rng: Random) -> dict[str, int]:
    """Small sizes make rare paths common; one run in four keeps the real ones."""
    if rng.random() < 0.25:
        return {}
    return {
        "scheduler.INBOX_QUANTUM": rng.choice((1, 3, 64)),
        "scheduler.TIMER_QUANTUM": rng.choice((1, 2, 64)),
        "outgoing.COURIER_QUANTUM": rng.choice((1, 3, 64)),
        "scheduler.SWEEP_QUANTUM": rng.choice((1, 3, 250)),
        "scheduler.REFILL_KEYS": rng.choice((2, 4, 1_024)),
        "scheduler.REFILL_QUEUES": rng.choice((1, 4)),
        "scheduler.TOUCH_AGE_MS": rng.choice((0, 10_000, 600_000)),
        "scheduler.REBASE_ROWS": rng.choice((1, 3, 250)),
        "scheduler.GROUP_TRANSITIONS_MIN": rng.choice((2, 64)),
        "scheduler.STEP_QUANTUM": rng.choice((1, 3, 32)),
        "operators.AUDIT_ENTRIES_MAX": rng.choice((5, 10_000)),
        "window.FIRST_REFILL_KEYS": rng.choice((1, 2, 64)),
        "lines._COMPACT_ABOVE": rng.choice((0, 16)),
        "watches._COMPACT_ABOVE": rng.choice((0, 16)),
        "queues._HEADS_SLACK": rng.choice((0, 64)),
        "queues._SCAN_ROWS": rng.choice((1, 1_000)),
    }


def _stream_constants(rng: Random) -> dict[str, int]:
    return {
        "readys.EXPOSED_TASKS": rng.choice((2, 8, 256)),
        "producer.BATCH_ITEMS_MAX": rng.choice((2, 1_000)),
        "worker.BATCH_ITEMS_MAX": rng.choice((2, 1_000)),
        "worker.SINGLES_BYTES_MAX": rng.choice((200, 512 << 10)),
    }


def _share_constants(rng: Random) -> dict[str, int]:
    return {
        "shares.PERIOD_MS": rng.choice((1, 50, 1_000)),
        "shares.QUIET_DIVISOR": rng.choice((1, 2, 8)),
        "shares.SMALL_TRANSITIONS": rng.choice((2, 4, 200)),
        "shares.SMALL_BYTES": rng.choice((200, 128 << 10)),
        "shares.HOLDS_MS": rng.choice((1, 1_000, 10_000)),
        "scheduler.SLICE_TRANSITIONS": rng.choice((1, 3, 16)),
        "scheduler.SLICE_TURNS": rng.choice((1, 8)),
        "scheduler.SLICE_ANSWERS": rng.choice((1, 16)),
        "scheduler.INBOX_OPERATIONS": rng.choice((1, 4)),
    }


@contextmanager
def constants_of(plan: Plan) -> Iterator[None]:
    """Give the code's constants the plan's sizes for a while."""
    before: list[tuple[Any, str, int]] = []
    try:
        for path, value in plan.constants.items():
            module_name, name = path.split(".")
            module = _MODULES[module_name]
            before.append((module, name, getattr(module, name)))
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
