"""The campaign: every attack once, then as a load beside a good client.

Owns the two nodes, the order of things, and the verdict. An attack has failed where it was refused in its own way,
was counted under its reason, and no good client met an error.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tests.campaigns.abuse.good import Feeling, Place, Running, behaving
from tests.campaigns.abuse.load import Load, attacking, cpu_seconds, harmless
from tests.campaigns.abuse.stage import Attack, NotRefused, Stage
from tests.campaigns.abuse.table import ATTACKS, FLOODS
from tests.e2e.node import Node

IMPATIENT_SECONDS: Final = 60.0
"""Attacks whose refusal takes longer by design are left out unless asked for."""
AT_ONCE: Final = 4
"""Quick attacks side by side; all slow ones wait beside them, and must not be kept from noticing their end."""
LEVELS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 2.0)
"""Shares of a core that the harmless load makes the node spend; none at all, and as much as it gets."""
FLOOD_SECONDS: Final = 60.0
"""How long an attack may take that is only refused when a budget of thousands is used up."""
METRIC_SECONDS: Final = 3.0
"""A refusal is counted when it happens, but a connection that lingers may end a little later than its client."""

Tell = Callable[[str], None]


class Seen(NamedTuple):
    """What became of one attack: empty `wrong` where it was refused."""

    attack: Attack
    seen: str
    wrong: str


class Beside(NamedTuple):
    """What a good client felt beside a load, and what share of a core the node spent."""

    name: str
    per_second: float
    share: float
    feeling: Feeling


@dataclass(slots=True)
class Outcome:
    """What a campaign found. `together` is what a good client felt beside all attacks at once, `harmless` what it felt
    beside levels of honest load, `loads` beside one attack after the other."""

    played: list[Seen] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    harmless: list[Beside] = field(default_factory=list)
    loads: list[Beside] = field(default_factory=list)
    together: Feeling = field(default_factory=lambda: Feeling([], []))
    errors: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every attack was refused and counted, and no good client met an error."""
        return not (self.errors or self.uncounted or any(seen.wrong for seen in self.played))

    def equal(self, share: float) -> Beside:
        """The harmless load that costs most nearly as much."""
        return min(self.harmless, key=lambda level: abs(level.share - share))


class Campaign:
    """One run in `folder`, which must be empty. `wanted` says which attacks are played."""

    def __init__(self, folder: Path, wanted: Callable[[Attack], bool], tell: Tell) -> None:
        self._node = Node(folder / "node", plaintext=True)
        self._tls_node = Node(folder / "tls-node")
        self._wanted = wanted
        self._tell = tell
        self._outcome = Outcome()

    def run(self, load_seconds: float) -> Outcome:
        """Play everything once; with `load_seconds` as loads too, each for so long."""
        with self._nodes():
            stage = Stage.of(self._node, self._tls_node.port)
            with self._good_client() as good:
                self._play_all(stage)
                self._outcome.together = self._felt(good, "beside all attacks at once")
                if load_seconds:
                    self._loads(stage, good, load_seconds)
            self._node.stop()
            self._tls_node.stop()
        return self._outcome

    @contextmanager
    def _nodes(self) -> Iterator[None]:
        try:
            self._node.up()
            self._tls_node.up()
            yield
        finally:
            self._node.kill()
            self._tls_node.kill()

    @contextmanager
    def _good_client(self) -> Iterator[Running]:
        node = self._node
        place = Place(node.port, node.folder / "ca.pem", node.producer("good"), node.worker("good"))
        with behaving(place) as good:
            yield good

    def _felt(self, good: Running, when: str) -> Feeling:
        feeling = good.take()
        self._outcome.errors += [f"good client {when}: {error}" for error in feeling.errors]
        if not feeling.answers_ms:
            self._outcome.errors.append(f"good client {when}: it got no answer at all")
        return feeling

    # Once each.

    def _play_all(self, stage: Stage) -> None:
        attacks = [attack for attack in ATTACKS if self._wanted(attack)]
        before = self._counts()
        slow = sum(attack.seconds > 0 for attack in attacks)
        with ThreadPoolExecutor(max(slow, 1)) as patient, ThreadPoolExecutor(AT_ONCE) as quick:
            playing = [(patient if attack.seconds else quick).submit(_play, attack, stage) for attack in attacks]
            self._outcome.played = [future.result() for future in playing]
        self._outcome.uncounted = self._uncounted(before, Counter(attack.reason for attack in attacks if attack.reason))

    def _counts(self) -> dict[str, float]:
        counts = self._node.metrics()
        for name, value in self._tls_node.metrics().items():
            counts[name] = counts.get(name, 0.0) + value
        return counts

    def _uncounted(self, before: dict[str, float], wanted: Counter[str]) -> list[str]:
        deadline = time.monotonic() + METRIC_SECONDS
        while True:
            now = self._counts()
            missing = []
            for reason, count in wanted.items():
                name = metric_of(reason)
                counted = now.get(name, 0.0) - before.get(name, 0.0)
                if counted < count:
                    missing.append(f"{name} rose by {counted:.0f} for {count} attacks")
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(0.1)

    # As loads.

    def _loads(self, stage: Stage, good: Running, seconds: float) -> None:
        pid = self._node.process.pid
        for level in LEVELS:
            load = harmless(stage, pid, level) if level else contextlib.nullcontext()
            self._outcome.harmless.append(self._beside(f"harmless, {level:.0%} of a core", load, good, seconds))
        for attack in (*ATTACKS, *FLOODS):
            if self._wanted(attack) and (attack.floods or attack.hold is not None):
                self._attack_for(attack, stage, good, seconds)

    def _attack_for(self, attack: Attack, stage: Stage, good: Running, seconds: float) -> None:
        name = metric_of(attack.reason)
        before = self._counts().get(name, 0.0)
        deadline = time.monotonic() + FLOOD_SECONDS
        while True:
            beside = self._beside(f"{attack.section}: {attack.name}", attacking(attack, stage), good, seconds)
            if attack not in FLOODS or self._counts().get(name, 0.0) > before:
                break
            if time.monotonic() > deadline:
                self._outcome.uncounted.append(f"{name} did not rise beside {attack.name}")
                break
        self._outcome.loads.append(beside)

    def _beside(
        self, name: str, load: contextlib.AbstractContextManager[Load | None], good: Running, seconds: float
    ) -> Beside:
        self._tell(name)
        pid = self._node.process.pid
        with load as running:
            good.take()
            began, used = time.monotonic(), cpu_seconds(pid)
            time.sleep(seconds)
            share = (cpu_seconds(pid) - used) / (time.monotonic() - began)
            feeling = self._felt(good, f"beside {name}")
            count, odd = running.stop() if running is not None else (0, [])
        if not self._node.running:
            self._outcome.errors.append(f"the node ended beside {name}")
        for each in odd:
            self._tell(f"  {each}")
        return Beside(name, count / seconds, share, feeling)


def metric_of(reason: str) -> str:
    """The name of the sample that counts this reason."""
    return reason if reason.startswith("codeq") else f'codeq_refusals_total{{reason="{reason}"}}'


def impatient(attack: Attack) -> bool:
    """Whether an attack's refusal comes soon enough for a run of a minute."""
    return attack.seconds <= IMPATIENT_SECONDS


def _play(attack: Attack, stage: Stage) -> Seen:
    try:
        return Seen(attack, attack.play(stage), "")
    except NotRefused as error:
        return Seen(attack, "", str(error))
    except OSError as error:
        return Seen(attack, "", f"{type(error).__name__}: {error}")
