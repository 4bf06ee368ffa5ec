"""The honest row: one run with everything that its figures depend on, for people and as a record.

Owns what it says and when it says "client-bound". Must not know how anything was measured.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from appliance.bench.machine import machine
from appliance.bench.measure import Window
from appliance.bench.scenario import Scenario
from appliance.bench.tally import Distribution, Tally

BUSY_SHARE: Final = 0.95
"""A server whose loop waits for its peers for more than the rest of the time could have done more."""


@dataclass(frozen=True, slots=True)
class Row:
    """One run. Times are ms, CPU is microseconds per task; None is what could not be seen."""

    name: str
    server: str
    durability: str
    replicas: int
    scenario: Scenario
    tls: bool
    machine: dict[str, Any]
    warm_seconds: int
    seconds: int
    per_second: float
    """Tasks finished, or created where nobody works; by the server's count if it has one."""
    counted_by: str
    created: int
    finished: int
    finished_by_server: float | None
    backlog_end: float
    refused: int
    refusals: list[str]
    ack: dict[str, float]
    delivery: dict[str, float]
    finish: dict[str, float]
    server_cpu_us: float | None
    client_cpu_us: float
    thread_share: float | None
    """Of a core, by the server's busiest thread."""
    thread_waited_share: float | None
    """Of the time, that it was ready to run and others had the cores."""
    busy_share: float | None
    """Of the time, that the server's loop did not wait for its peers."""
    client_bound: bool | None
    over_time: list[dict[str, float]]

    def record(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def row(
    name: str, server: str, scenario: Scenario, window: Window, *, tls: bool, warm_seconds: int, directory: Path
) -> Row:
    """The row of one run."""
    total = window.total
    seconds = len(window.seconds)
    before, after = window.before.counts, window.after.counts
    counted = total.finished if scenario.cycles else total.created
    by_server = finished_by_server = None
    backlog_end: float = window.waiting_before + total.created - total.finished
    if before is not None and after is not None:
        finished_by_server = after.finished - before.finished
        by_server = finished_by_server if scenario.cycles else after.created - before.created
        backlog_end = after.waiting
    thread_share, waited_share = window.busiest_thread if window.before.threads else (None, None)
    return Row(
        name=name, server=server, durability="fsync", replicas=1, scenario=scenario, tls=tls,
        machine=machine(directory), warm_seconds=warm_seconds, seconds=seconds,
        per_second=counted / seconds if by_server is None else by_server / window.elapsed_seconds,
        counted_by="client" if by_server is None else "server",
        created=total.created, finished=total.finished, finished_by_server=finished_by_server,
        backlog_end=backlog_end, refused=total.refused, refusals=total.refusals,
        ack=_summary(window, "acks"), delivery=_summary(window, "deliveries"), finish=_summary(window, "finishes"),
        server_cpu_us=_per_task(window.server_cpu_seconds, by_server or counted) if window.before.threads else None,
        client_cpu_us=_per_task(total.cpu_seconds, counted), thread_share=thread_share,
        thread_waited_share=waited_share, busy_share=window.busy_share,
        client_bound=_client_bound(window.busy_share, thread_share),
        over_time=[_second(each, scenario) for each in window.seconds],
    )  # fmt: skip


def text(made: Row) -> str:
    """The row for people."""
    scenario = made.scenario
    task = "cycle" if scenario.cycles else "create"
    bound = {True: "CLIENT-BOUND: the server could do more", False: "server-bound", None: "unknown"}[made.client_bound]
    lines = {
        "server": f"{made.server}, durability {made.durability}, replicas {made.replicas}, TLS {_yes(made.tls)}",
        "clients on": f"{made.machine['cores']} cores, {made.machine['processor']}, {made.machine['filesystem']}, "
        f"Python {made.machine['python']}, load average {made.machine['load_average'][0]:.1f}",
        "load": _load(scenario),
        "window": f"{made.seconds} s after {made.warm_seconds} s of warming up",
        f"{task}s": f"{made.per_second:,.0f}/s, counted by the {made.counted_by}",
        "ack": _latencies(made.ack) + (", from when it was due" if scenario.rate else ""),
        "create to delivery": _latencies(made.delivery),
        "create to finished": _latencies(made.finish),
        f"CPU per {task}": f"server {_shown(made.server_cpu_us, '.1f')} µs, clients {made.client_cpu_us:.1f} µs",
        "server's busiest thread": f"ran {_shown(made.thread_share, '.0%')}, waited for a core "
        f"{_shown(made.thread_waited_share, '.0%')}; its loop was busy {_shown(made.busy_share, '.1%')}",
        "limit": "the offered rate" if scenario.rate else bound,
        "backlog at the end": f"{made.backlog_end:,.0f} tasks",
        "finished": f"{made.finished:,} by the clients' count, {_shown(made.finished_by_server, ',.0f')} by the server",
        "refused": f"{made.refused:,}" + (f": {'; '.join(made.refusals)}" if made.refusals else ""),
    }
    width = max(map(len, lines))
    return "\n".join(
        (f"\n{made.name}: {scenario.what}", *(f"  {name:<{width}}  {line}" for name, line in lines.items()))
    )


def second(number: int, tally: Tally, scenario: Scenario) -> str:
    """One second, for people who wait."""
    facts = _second(tally, scenario)
    finished = f", finished {tally.finished:,}/s" if scenario.cycles else ""
    refused = f", refused {tally.refused:,}" if tally.refused else ""
    ack = f"ack p50 {facts['ack_p50_ms']:.1f} ms, p99 {facts['ack_p99_ms']:.1f} ms"
    return f"  {number + 1:>4} s  created {tally.created:,}/s{finished}, {ack}{refused}"


def _second(tally: Tally, scenario: Scenario) -> dict[str, float]:
    acks, finishes = _of(tally, "acks"), _of(tally, "finishes")
    facts: dict[str, float] = {"created_per_second": tally.created}
    if scenario.cycles:
        facts |= {"finished_per_second": tally.finished}
    facts |= {"ack_p50_ms": acks.percentile_ms(50), "ack_p99_ms": acks.percentile_ms(99)}
    if scenario.cycles:
        facts |= {"finish_p99_ms": finishes.percentile_ms(99)}
    return facts


def _of(tally: Tally, what: str) -> Distribution:
    made = Distribution()
    made.add(getattr(tally, what))
    return made


def _summary(window: Window, what: str) -> dict[str, float]:
    made = Distribution()
    for tally in window.seconds:
        made.add(getattr(tally, what))
    return {**made.summary(), "samples": made.count}


def _client_bound(busy_share: float | None, thread_share: float | None) -> bool | None:
    share = thread_share if busy_share is None else busy_share
    return None if share is None else share < BUSY_SHARE


def _per_task(cpu_seconds: float, tasks: float) -> float:
    return cpu_seconds / tasks * 1e6 if tasks else 0.0


def _load(scenario: Scenario) -> str:
    asked = f", Readys for {scenario.ready}, {scenario.slots:,} slots" if scenario.cycles else ", nobody works"
    offered = f", {scenario.rate:,.0f}/s offered" if scenario.rate else ""
    more = [
        f", {count:,} {name}"
        for count, name in (
            (scenario.queues, "queues"),
            (scenario.priorities, "priorities"),
            (scenario.tenants, "tenants"),
        )
        if count > 1
    ]
    more += [", a key each"] if scenario.keys else []
    more += [f", retention {scenario.retention_seconds} s"] if scenario.retention_seconds else []
    more += [f", backlog {scenario.backlog:,}"] if scenario.backlog else []
    return (
        f"batches of {scenario.batch}, {scenario.in_flight:,} creates in flight{offered}{asked}, payload "
        f"{scenario.payload_bytes} bytes{''.join(more)}; {scenario.processes} processes, "
        f"{scenario.connections * scenario.processes} connections, {scenario.streams} producer streams"
        f"{f' and {scenario.streams} worker streams' if scenario.cycles else ''}"
    )


def _latencies(summary: dict[str, float]) -> str:
    if not summary["samples"]:
        return "-"
    named = {"p50": "p50_ms", "p99": "p99_ms", "p99.9": "p99_9_ms", "max": "max_ms"}
    return ", ".join(f"{name} {summary[key]:.2f} ms" for name, key in named.items())


def _shown(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
