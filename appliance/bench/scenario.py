"""What can be measured: a scenario is a set of numbers, and every one of them can be changed.

Owns the scenarios, and how a load is dealt to processes, streams and tenants. Must not know servers.
"""

from dataclasses import dataclass
from typing import Final

from appliance.bench.plan import ProcessPlan, ProducerPlan, Target, WorkerPlan
from appliance.bench.wire import SLOTS_MAX

BATCH_MAX: Final = 1_000
"""Of longer batches a server may acknowledge the parts one by one."""
BATCH_BYTES_MAX: Final = 2 << 20
"""Of payloads: half of what a server takes in one message, so that everything around them fits as well."""
READY_MAX: Final = 100
QUEUES_MAX: Final = 10_000
COMMANDS_MAX: Final = 100
"""Named in one Ready; more are asked for by naming none."""
PAYLOAD_BYTES_MIN: Final = 48
WARM_SECONDS: Final = 3
"""Of load before what is measured, if nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load. Counts are over all streams together."""

    what: str = ""
    batch: int = 1
    """Creates per message."""
    ready: int = 1
    """Tasks asked for by one Ready."""
    in_flight: int = 2_048
    """Creates that may be unacknowledged."""
    slots: int = 4_096
    """Tasks that waiting Readys ask for; 0: nobody works, tasks are created only."""
    payload_bytes: int = 120
    queues: int = 1
    priorities: int = 1
    tenants: int = 1
    keys: bool = False
    """Each create has an idempotency key of its own."""
    rate: float = 0.0
    """Above 0: creates per second that are due, whatever the server does."""
    backlog: int = 0
    """Tasks created beforehand."""
    retention_seconds: int = 0
    """Above 0: finished tasks are swept after this; needs a node of its own."""
    processes: int = 1
    connections: int = 2
    """Of each process."""
    streams: int = 16
    """Of producers, and as many of workers."""

    def complaint(self) -> str:
        """What makes no sense, or nothing."""
        per_stream = self.in_flight // max(self.streams, 1) // max(self.batch, 1)
        rules = (
            (1 <= self.batch <= BATCH_MAX, f"a batch is 1 to {BATCH_MAX}"),
            (1 <= self.ready <= READY_MAX, f"a Ready is for 1 to {READY_MAX}"),
            (self.payload_bytes >= PAYLOAD_BYTES_MIN, f"a payload has at least {PAYLOAD_BYTES_MIN} bytes"),
            (1 <= self.priorities <= 256, "there are 1 to 256 priorities"),
            (1 <= self.queues <= QUEUES_MAX, f"there are 1 to {QUEUES_MAX:,} queues"),
            (self.tenants >= 1 and self.connections >= 1, "there is at least one tenant and one connection"),
            (self.batch * self.payload_bytes <= BATCH_BYTES_MAX, "payloads of a batch exceed 2 MiB"),
            (self.streams >= self.processes >= 1, "each process needs a stream"),
            (self.streams % max(self.tenants, 1) == 0, "the streams must be a multiple of the tenants"),
            (1 <= per_stream <= SLOTS_MAX, f"each stream needs 1 to {SLOTS_MAX} messages in flight"),
            (not self.slots or self.slots >= self.streams * self.ready, "each stream needs slots for one Ready"),
            (self.rate >= 0 and self.backlog >= 0, "rate and backlog are not negative"),
        )
        return next((words for holds, words in rules if not holds), "")

    @property
    def cycles(self) -> bool:
        """Whether tasks are worked on."""
        return self.slots > 0


SCENARIOS: Final = {
    "cycle": Scenario("create, claim and complete, in batches", batch=16, ready=32),
    "single": Scenario("create, claim and complete, one message per task", in_flight=512, slots=1_024),
    "creates": Scenario("creates only, in batches", batch=64, slots=0, in_flight=4_096, processes=2),
    "latency": Scenario("single creates at a fixed rate, and their whole way", rate=5_000, in_flight=16_384, streams=4),
    "queues": Scenario("many queues with priorities", batch=16, ready=32, queues=10, priorities=3),
    "tenants": Scenario("many tenants", batch=16, ready=32, tenants=4),
    "backlog": Scenario("cycles at the head of a deep backlog", batch=16, ready=32, backlog=1_000_000),
    "keys": Scenario("cycles with idempotency keys", batch=16, ready=32, keys=True),
    "retention": Scenario("cycles beside the sweep", batch=16, ready=32, retention_seconds=10),
}

Tokens = tuple[str, str]
"""A producer's and a worker's, of one tenant."""


def commands(scenario: Scenario) -> tuple[str, ...]:
    """The names of the queues."""
    return tuple(f"bench-{number}" for number in range(scenario.queues))


def plans(scenario: Scenario, target: Target, tokens: list[Tokens]) -> list[ProcessPlan]:
    """The load, one plan for each process; `tokens` has one entry per tenant."""
    return _dealt(
        scenario,
        target,
        [_producer(scenario, number, tokens) for number in range(scenario.streams)],
        [_worker(scenario, number, tokens) for number in range(scenario.streams)] if scenario.cycles else [],
    )


def preload_plans(scenario: Scenario, target: Target, tokens: list[Tokens]) -> list[ProcessPlan]:
    """What creates the backlog."""
    producers = []
    for number in range(scenario.streams):
        share = scenario.backlog // scenario.streams + (number < scenario.backlog % scenario.streams)
        if share:
            batch = min(share, 64)
            producers.append(
                ProducerPlan(
                    tokens[number % len(tokens)][0], commands(scenario), tuple(range(scenario.priorities)), number * 64,
                    batch=batch, in_flight=batch * 4, payload_bytes=scenario.payload_bytes, limit=share,
                )
            )  # fmt: skip
    return _dealt(scenario, target, producers, [])


def _producer(scenario: Scenario, number: int, tokens: list[Tokens]) -> ProducerPlan:
    interval_seconds = scenario.streams * scenario.batch / scenario.rate if scenario.rate else 0.0
    return ProducerPlan(
        tokens[number % len(tokens)][0],
        commands(scenario),
        tuple(range(scenario.priorities)),
        # Streams begin in different places, or all would fill the same queue at the same time.
        offset=number * max(1, scenario.queues * scenario.priorities // scenario.streams),
        batch=scenario.batch,
        in_flight=scenario.in_flight // scenario.streams,
        payload_bytes=scenario.payload_bytes,
        key_suffix=f"-bench-{number:015d}" if scenario.keys else "",
        interval_seconds=interval_seconds,
        phase_seconds=interval_seconds * number / scenario.streams,
    )


def _worker(scenario: Scenario, number: int, tokens: list[Tokens]) -> WorkerPlan:
    named = commands(scenario) if scenario.queues <= COMMANDS_MAX else ()
    return WorkerPlan(
        tokens[number % len(tokens)][1], named, f"bench-{number}", scenario.ready, scenario.slots // scenario.streams
    )


def _dealt(
    scenario: Scenario, target: Target, producers: list[ProducerPlan], workers: list[WorkerPlan]
) -> list[ProcessPlan]:
    count = scenario.processes
    return [
        ProcessPlan(target, scenario.connections, tuple(producers[at::count]), tuple(workers[at::count]))
        for at in range(count)
    ]
