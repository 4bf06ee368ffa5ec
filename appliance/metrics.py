"""What the node measures about itself, and the Prometheus text at `/metrics`.

Owns names, buckets and the bounds on labels. Must not know how anything it shows comes about, beyond the names in the
state table: hot paths add to plain integers here, everything that somebody else already counts is asked for through
`Sources` when a scrape comes. Runs on the event loop only, so there are no locks. Implements the observer of the
listener.

Times are given in milliseconds where the state machine has them so, in seconds where a clock gave them; the text is in
seconds throughout, as Prometheus wants it.
"""

import os
import platform
import resource
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from appliance.tasks import table
from appliance.version import package_version

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

QUEUES_NAMED_MAX: Final = 200
"""Six states of 200 queues are 1,200 series: what a small Prometheus takes from one target without a thought."""
TENANTS_NAMED_MAX: Final = 50
WORDS_NAMED_MAX: Final = 200
"""Reasons and kinds come from code, not from clients; the bound holds even if one of them ever doesn't."""
OTHER: Final = "other"

TASK_BUCKETS_MS: Final = (
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000,
    3_600_000, 14_400_000, 86_400_000,
)  # fmt: skip
"""From a millisecond, the best that a durable write allows, to a day, the longest lease."""
SHORT_BUCKETS_MS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000)
"""What happens within the node: commits, parked time, loop delay, requests that do not wait."""
REQUEST_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
GROUP_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)
"""A group is closed at 1,000 transitions."""

_STATUS_CLASSES: Final = ("0xx", "1xx", "2xx", "3xx", "4xx", "5xx")
_GRPC_STATUSES: Final = (
    "ok", "cancelled", "unknown", "invalid-argument", "deadline-exceeded", "not-found", "already-exists",
    "permission-denied", "resource-exhausted", "failed-precondition", "aborted", "out-of-range", "unimplemented",
    "internal", "unavailable", "data-loss", "unauthenticated",
)  # fmt: skip
"""By number."""


class Histogram:
    """Counts per bucket; `bounds` are inclusive upper ends in the unit observed, `per_unit` of which make one shown."""

    __slots__ = ("bounds", "counts", "per_unit", "total")

    def __init__(self, bounds: tuple[float, ...], per_unit: float = 1.0) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.per_unit = per_unit
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: list[int]) -> None:
        """Count many values, of which most are equal."""
        for value, times in Counter(values).items():
            self.counts[bisect_left(self.bounds, value)] += times
            self.total += value * times

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        """The Prometheus form, buckets cumulative."""
        buckets = []
        running = 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            running += count
            buckets.append(("+Inf" if bound is None else repr(bound / self.per_unit), running))
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self.total / self.per_unit)


def _nothing() -> Iterable[tuple[str, str, Mapping[str, int]]]:
    return ()


def _no_edges() -> Iterable[tuple[str, int]]:
    return ()


def _zero() -> float:
    return 0


@dataclass(slots=True)
class WebhookFigures:
    """Calls to addresses that clients name. Counts since the start; `waiting` and `lapsed` are deliveries stored, those
    that were given up being the latter."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    notified: int = 0
    notifications_failed: int = 0
    subscriptions: int = 0
    waiting: int = 0
    lapsed: int = 0
    under_way: int = 0
    lag_seconds: float = 0.0


@dataclass(slots=True)
class Sources:
    """Where a scrape asks for what others count. Each is called on the loop and must cost next to nothing.

    `depths` yields tenant, command and tasks per state. `transitions` yields the edges of the state table with the
    times each was taken since start. Ages, lags and delays are in seconds.
    """

    depths: Callable[[], Iterable[tuple[str, str, Mapping[str, int]]]] = _nothing
    oldest_ready_seconds: Callable[[], float] = _zero
    transitions: Callable[[], Iterable[tuple[str, int]]] = _no_edges
    store_used_bytes: Callable[[], float] = _zero
    store_free_bytes: Callable[[], float] = _zero
    readers_in_use: Callable[[], float] = _zero
    sweep_lag_seconds: Callable[[], float] = _zero
    clock_jumps: Callable[[], float] = _zero
    certificate_days_left: Callable[[], float] | None = None
    tokens_cached: Callable[[], float] = _zero
    token_verifications: Callable[[], float] = _zero
    token_refusals: Callable[[], float] = _zero
    token_foreign_keys: Callable[[], float] = _zero
    tokens_throttled: Callable[[], float] = _zero
    buffered_bytes: Callable[[], float] = _zero
    webhooks: Callable[[], WebhookFigures] = WebhookFigures


class Metrics(Collector):
    """Everything the node measures. One per process; `sources` is filled in by the wiring."""

    def __init__(self, sources: Sources | None = None) -> None:
        self.sources = sources or Sources()
        self.created = 0
        self.replayed = 0
        self.claimed = 0
        self.finished = dict.fromkeys(table.TERMINAL_STATES, 0)
        self.expired = 0
        self.swept = 0
        self.wait = Histogram(TASK_BUCKETS_MS, 1_000)
        self.run = Histogram(TASK_BUCKETS_MS, 1_000)
        self.total = Histogram(TASK_BUCKETS_MS, 1_000)
        self.group_transitions = Histogram(GROUP_BUCKETS)
        self.parked = Histogram(SHORT_BUCKETS_MS, 1_000)
        self.commit = Histogram(SHORT_BUCKETS_MS, 1_000)
        self.loop_delay = Histogram(SHORT_BUCKETS_MS, 1_000)
        self.loop_delay_max_ms = 0.0
        self.requests = Histogram(REQUEST_BUCKETS_S)
        self.responses = [0] * len(_STATUS_CLASSES)
        self.calls_open = 0
        self.calls_ended = [0] * len(_GRPC_STATUSES)
        self.connections_open: dict[str, int] = {}
        self.connections_total: dict[str, int] = {}
        self.refusals: dict[str, int] = {}
        self._started_seconds = time.time()
        self._labels = _QueueLabels()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def count_edges(self, edges: Mapping[tuple[str, str, str], int]) -> None:
        """Take the counters of tasks from how often each edge (state, event, guard) was taken since start."""
        self.created = self.replayed = self.claimed = self.expired = self.swept = 0
        self.finished = dict.fromkeys(table.TERMINAL_STATES, 0)
        for key, count in edges.items():
            self._count_edge(table.TABLE[key], count)

    def _count_edge(self, edge: table.Edge, count: int) -> None:
        if edge.refusal or edge.again:
            return
        if edge.event == table.CREATE and edge.state == table.ABSENT:
            self.created += count
        elif edge.event == table.CREATE:
            self.replayed += count
        elif edge.event == table.CLAIM:
            self.claimed += count
        elif edge.event == table.EXPIRE:
            self.expired += count
        elif edge.event == table.SWEEP:
            self.swept += count
        if edge.next in table.TERMINAL_STATES and edge.state not in table.TERMINAL_STATES:
            self.finished[edge.next] += count

    def group_committed(self, transitions: int, parked_ms: float, commit_ms: float) -> None:
        """A group became durable."""
        self.group_transitions.observe(transitions)
        self.parked.observe(parked_ms)
        self.commit.observe(commit_ms)

    def loop_delayed(self, delay_ms: float) -> None:
        """A timer of the loop came this late."""
        self.loop_delay.observe(delay_ms)
        if delay_ms > self.loop_delay_max_ms:
            self.loop_delay_max_ms = delay_ms

    def connection_opened(self, kind: str) -> None:
        """A connection turned out to be of this kind."""
        kind = _known(self.connections_total, kind)
        self.connections_total[kind] = self.connections_total.get(kind, 0) + 1
        self.connections_open[kind] = self.connections_open.get(kind, 0) + 1

    def connection_closed(self, kind: str) -> None:
        """A connection of this kind, counted before, is gone."""
        self.connections_open[_known(self.connections_total, kind)] -= 1

    def refused(self, reason: str) -> None:
        """A limit was reached or a peer broke a rule; `reason` is one of a fixed set of words."""
        reason = _known(self.refusals, reason)
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def responded(self, status: int, seconds: float) -> None:
        """A response was written, so long after its request was complete."""
        self.responses[status // 100] += 1
        requests = self.requests
        requests.counts[bisect_left(requests.bounds, seconds)] += 1
        requests.total += seconds

    def call_opened(self) -> None:
        """A gRPC call began."""
        self.calls_open += 1

    def call_ended(self, status: int) -> None:
        """A gRPC call is over, with this status."""
        self.calls_open -= 1
        self.calls_ended[status] += 1

    def render(self) -> bytes:
        """The text form (`CONTENT_TYPE`). The maximum of the loop delay starts anew with each call."""
        text = generate_latest(self._registry)
        self.loop_delay_max_ms = 0.0
        return text

    def describe(self) -> Iterable[Metric]:
        """Nothing: there is one collector, so names need no check at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metric families, asked for by the registry."""
        yield from self._tasks()
        yield from self._engine()
        yield from self._front()
        yield from self._webhooks()
        yield from self._process()

    def _tasks(self) -> Iterator[Metric]:
        sources = self.sources
        depths = GaugeMetricFamily("codeq_tasks", "Tasks by state.", labels=("tenant", "command", "state"))
        for (tenant, command, state), count in self._labels.sums(sources.depths()).items():
            depths.add_metric((tenant, command, state), count)
        yield depths
        yield _gauge("oldest_ready_age_seconds", "Age of the oldest claimable task.", sources.oldest_ready_seconds())
        yield _counter("tasks_created", "Tasks created.", self.created)
        yield _counter("tasks_replayed", "Creates answered with an earlier task of the same key.", self.replayed)
        yield _counter("tasks_claimed", "Deliveries of tasks to workers.", self.claimed)
        yield _counters("tasks_finished", "Tasks that reached an end.", "outcome", self.finished.items())
        yield _counter("leases_expired", "Leases that ended without a word from their owner.", self.expired)
        yield _counter("tasks_swept", "Finished tasks removed after their retention.", self.swept)
        yield _counters("transitions", "Edges of the state table taken.", "edge", sources.transitions())
        yield self.wait.family("codeq_task_wait_seconds", "From create to claim.")
        yield self.run.family("codeq_task_run_seconds", "From claim to finish.")
        yield self.total.family("codeq_task_total_seconds", "From create to finish.")
        yield _gauge("sweep_lag_seconds", "How far the retention sweep is behind.", sources.sweep_lag_seconds())
        yield _counter("clock_jumps", "Jumps of the wall clock that were noticed.", sources.clock_jumps())

    def _engine(self) -> Iterator[Metric]:
        sources = self.sources
        yield self.group_transitions.family("codeq_group_transitions", "Transitions per group.")
        yield self.parked.family("codeq_group_parked_seconds", "Time the loop waited while a group was put.")
        yield self.commit.family("codeq_group_commit_seconds", "Time a group took to become durable.")
        yield _gauge("store_used_bytes", "Bytes that the store occupies.", sources.store_used_bytes())
        yield _gauge("store_free_bytes", "Bytes free on the store's disk.", sources.store_free_bytes())
        yield _gauge("store_readers", "Read transactions in use.", sources.readers_in_use())

    def _front(self) -> Iterator[Metric]:
        sources = self.sources
        opened = GaugeMetricFamily("codeq_connections_open", "Connections open.", labels=("kind",))
        for kind, count in self.connections_open.items():
            opened.add_metric((kind,), count)
        yield opened
        yield _counters("connections", "Connections accepted.", "kind", self.connections_total.items())
        yield _counters("refusals", "Requests and connections refused.", "reason", self.refusals.items())
        classes = zip(_STATUS_CLASSES[1:], self.responses[1:], strict=True)
        yield _counters("responses", "Responses by class of status.", "status", classes)
        yield _gauge("streams_open", "gRPC calls open.", self.calls_open)
        ended = zip(_GRPC_STATUSES, self.calls_ended, strict=True)
        yield _counters(
            "streams_ended",
            "gRPC calls that ended, by status; cancelled where the peer left.",
            "status",
            ((status, count) for status, count in ended if count),
        )
        yield self.requests.family("codeq_request_seconds", "From a complete request to its response.")
        yield _gauge("buffered_bytes", "Bytes held for bodies and unsent answers.", sources.buffered_bytes())
        yield _gauge("tokens_cached", "Verified tokens remembered.", sources.tokens_cached())
        yield _counter("token_verifications", "Signatures of tokens checked.", sources.token_verifications())
        yield _counter("token_refusals", "Tokens refused.", sources.token_refusals())
        foreign_keys = sources.token_foreign_keys()
        yield _counter("token_foreign_keys", "Tokens that offered a key of their own, never used.", foreign_keys)
        throttled = sources.tokens_throttled()
        yield _counter("tokens_throttled", "Tokens not checked, from addresses with too many forged ones.", throttled)
        if sources.certificate_days_left is not None:
            days = sources.certificate_days_left()
            yield _gauge("certificate_days_left", "Days until the server's certificate ends.", days)

    def _webhooks(self) -> Iterator[Metric]:
        figures = self.sources.webhooks()
        yield _counter("webhooks_sent", "Webhooks that were delivered.", figures.sent)
        yield _counter("webhook_failures", "Attempts to deliver a webhook that failed.", figures.failed)
        yield _counter("webhooks_given_up", "Webhooks that were given up.", figures.given_up)
        refused = sorted(figures.refused.items())
        yield _counters("webhook_targets_refused", "Targets that were never called.", "reason", refused)
        yield _counter("notifications_sent", "Calls that subscribers answered.", figures.notified)
        yield _counter("notification_failures", "Calls to subscribers that failed.", figures.notifications_failed)
        yield _gauge("subscriptions", "Subscriptions that have not ended.", figures.subscriptions)
        yield _gauge("webhooks_waiting", "Webhooks that wait for an attempt.", figures.waiting)
        yield _gauge("webhooks_lapsed", "Webhooks that were given up and are kept.", figures.lapsed)
        yield _gauge("webhooks_under_way", "Calls under way.", figures.under_way)
        yield _gauge("webhook_lag_seconds", "How long the oldest webhook has been due.", figures.lag_seconds)

    def _process(self) -> Iterator[Metric]:
        yield self.loop_delay.family("codeq_loop_delay_seconds", "How late timers of the event loop came.")
        delay_max_seconds = self.loop_delay_max_ms / 1_000
        yield _gauge("loop_delay_max_seconds", "The latest timer since the last scrape.", delay_max_seconds)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield _counter("process_cpu_seconds", "CPU time used.", usage.ru_utime + usage.ru_stime)
        yield _gauge("process_resident_bytes", "Resident memory.", _resident_bytes())
        yield _gauge("process_start_time_seconds", "Start of the process, epoch seconds.", self._started_seconds)
        build = {"version": package_version(), "python": platform.python_version()}
        yield InfoMetricFamily("codeq_build", "What is running.", value=build)


class _QueueLabels:
    """Keeps the number of label values bounded, and their choice stable: first come, first named."""

    def __init__(self) -> None:
        self._tenants: set[str] = set()
        self._queues: set[tuple[str, str]] = set()

    def sums(self, depths: Iterable[tuple[str, str, Mapping[str, int]]]) -> dict[tuple[str, str, str], int]:
        """Counts by (tenant, command, state), with everything past the bounds summed under "other"."""
        sums: dict[tuple[str, str, str], int] = {}
        for tenant, command, counts in depths:
            named_tenant, named_command = self._named(tenant, command)
            for state, count in counts.items():
                key = named_tenant, named_command, state
                sums[key] = sums.get(key, 0) + count
        return sums

    def _named(self, tenant: str, command: str) -> tuple[str, str]:
        if tenant not in self._tenants:
            if len(self._tenants) >= TENANTS_NAMED_MAX:
                return OTHER, OTHER
            self._tenants.add(tenant)
        if (tenant, command) not in self._queues:
            if len(self._queues) >= QUEUES_NAMED_MAX:
                return tenant, OTHER
            self._queues.add((tenant, command))
        return tenant, command


def _known(words: dict[str, int], word: str) -> str:
    return word if word in words or len(words) < WORDS_NAMED_MAX else OTHER


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"codeq_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"codeq_{name}", text, value=value)


def _counters(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"codeq_{name}", text, labels=(label,))
    for word, count in values:
        family.add_metric((word,), count)
    return family


def _resident_bytes() -> int:
    """0 where the system has no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
