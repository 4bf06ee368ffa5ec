"""Cutting the power of a node at every moment of its life, and holding what clients were told against what is left.

    python -m tests.campaigns.power_cut --states 10000 [--jobs N] [--seed S] [--mutant NAME]
    python -m tests.campaigns.power_cut --repeat FOLDER --state POSITION:CHOICE:SEED

A real node runs under load over REST and the streams while a shim (see `shim.c`) records every call that changes or
flushes a file, and the clients add what they were told to the same record. From the record the files are made again as
a power cut may have left them (see `crash_states`): each moment of the run, with all, none or some of what had not been
flushed, down to sectors. Each state is judged by the product's own start (see `promises`). The runs are: a first start,
with a backup, a SIGKILL and another start on the way; starts from states of such a run, which are recorded and cut
again; and copies of a store under writes (`copying`). Runs are real processes, so a seed fixes the choices and not the
moments; a failure keeps its record, and is repeated from that exactly. Disks that forget what they have acknowledged
are beyond this.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.campaigns import copying, shim
from tests.campaigns.crash_states import ALL, State, Timeline, Tree, draw, read_tree, write_tree
from tests.campaigns.journal import Notes, TornRecordError, read
from tests.campaigns.promises import Promises, judge, judge_backups
from tests.campaigns.storage_load import BACKED_UP, BACKING_UP, Load
from tests.campaigns.storage_mutants import MUTANTS
from tests.e2e.node import CODEQ, ROOT, Node, clean_environment

STATES_PER_RUN: Final = 400
"""So many states per recorded run: its moments are a few hundred, each with some choices."""
RECORDINGS_MAX: Final = 3
"""Of one run, where a kill falls between a write and its record."""
OPERATIONS: Final = 120
"""Of a load: some hundred tasks and commits, and a store that is judged within a tenth of a second."""
LOAD_SECONDS_MAX: Final = 60.0
SHOWN_MAX: Final = 10
SLICE: Final = 50
"""States judged by one process in a row: they share the work of getting to their time."""
ENVIRONMENT: Final = {"CODEQ_LOG_LEVEL": "warning", "CODEQ_TASKS_BACKOFF_BASE_SECONDS": "0"}
SWEEPING: Final = {**ENVIRONMENT, "CODEQ_TASKS_RETENTION_SECONDS": "0"}

FIRST_START: Final = "first start"
RECOVERY: Final = "recovery"
COPY: Final = "copy"
KINDS: Final = (FIRST_START, RECOVERY, COPY)
SHARES: Final = (5, 4, 1)
"""Of all states."""


class Run:
    """The folder of one recorded run: `disk` is what was watched, `base` what it held before, `log` the record."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind

    @classmethod
    def load(cls, folder: Path) -> "Run":
        """One that was recorded earlier."""
        return cls(folder, (folder / "kind").read_text())

    def prepare(self, base: Tree, before: list[dict[str, Any]]) -> None:
        """Make the folder."""
        for name in ("base", "disk"):
            (self.folder / name).mkdir(parents=True)
            write_tree(self.folder / name, base)
        (self.folder / "before.json").write_text(json.dumps(before))
        (self.folder / "kind").write_text(self.kind)

    @property
    def log(self) -> Path:
        """The record."""
        return self.folder / "log"

    @property
    def disk(self) -> Path:
        """What was watched."""
        return self.folder / "disk"

    @property
    def before(self) -> list[dict[str, Any]]:
        """What clients had been told before it began."""
        found: list[dict[str, Any]] = json.loads((self.folder / "before.json").read_text())
        return found

    def timeline(self) -> Timeline:
        """Its states."""
        return Timeline(read_tree(self.folder / "base"), read(self.log))


@dataclass(slots=True)
class Judgement:
    """What was found in some states of one run."""

    folder: Path
    kind: str
    broken: list[tuple[State, list[str]]] = field(default_factory=list)
    judged: int = 0
    promises: int = 0


def record_node(
    run: Run, seed: str, mutant: str, operations: int, environ: dict[str, str], *, killed: bool
) -> Counter[str]:
    """Run a node on the run's disk under load, `killed` once on the way, and stop it; what its clients did."""
    command = CODEQ if not mutant else (sys.executable, "-m", "tests.campaigns.storage_mutants", mutant)
    watched = shim.environment(run.disk, log=run.log)
    settings = {**environ, **watched, "CODEQ_STORE_DIRECTORY": str(run.disk / "data")}
    node = Node(run.folder / "node", plaintext=True, environ=settings, command=command)
    notes = Notes(run.log)
    try:
        node.up()
        load = Load(node, notes, seed, operations=operations)
        use = _live(run, node, notes, load, operations) if killed else load.run()
        asyncio.run(asyncio.wait_for(use, LOAD_SECONDS_MAX))
        node.stop()
    finally:
        node.kill()
        notes.close()
    return load.counts


async def _live(run: Run, node: Node, notes: Notes, load: Load, operations: int) -> None:
    """Run the load. After a quarter of its operations a backup begins, after half the node is killed and started."""
    using = asyncio.create_task(load.run())
    await _until_left(load, operations * 3 // 4, using)
    backup = asyncio.create_task(asyncio.to_thread(_back_up, run, notes))
    await _until_left(load, operations // 2, using)
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(node.up)
    await using
    await backup


async def _until_left(load: Load, operations: int, using: "asyncio.Task[None]") -> None:
    while load.left > operations and not using.done():
        await asyncio.sleep(0.001)


def _back_up(run: Run, notes: Notes) -> None:
    notes.add(BACKING_UP)
    command = [*CODEQ, "backup", "--directory", str(run.disk / "data"), "--quiet", str(run.disk / "backup")]
    watched = clean_environment(shim.environment(run.disk, log=run.log))
    subprocess.run(command, cwd=ROOT, env=watched, check=True, stdout=subprocess.DEVNULL)
    notes.add(BACKED_UP, name="backup")


def record_copy(run: Run, seed: str) -> None:
    """Write and copy a store on the run's disk."""
    watched = shim.environment(run.disk, log=run.log)
    command = [sys.executable, "-m", "tests.campaigns.copying", str(run.disk), str(run.log), seed]
    subprocess.run(command, cwd=ROOT, env=clean_environment(watched), check=True)


class UnexplainedError(AssertionError):
    """The disk has something that the record does not."""


def verify_record(run: Run, timeline: Timeline) -> None:
    """Insist that the record explains what is on the disk now: then no call has escaped it."""
    told = timeline.build(State(len(timeline.records), ALL, 0))
    there = read_tree(run.disk)
    for name in sorted(told.keys() | there.keys()):
        if not _is_lock(name) and told.get(name, b"-") != there.get(name, b"-"):
            raise UnexplainedError(f"{run.folder}: the record does not explain {name}")


def _is_lock(name: str) -> bool:
    return name.endswith((".lock", "lock.mdb", "-lock"))


def judge_states(
    folder: Path, states: list[State], progress: Path | None = None, place: Path | None = None
) -> Judgement:
    """Judge states of a recorded run, in `place`. `progress` is told which one, as it may end the process."""
    run = Run.load(folder)
    timeline = run.timeline()
    found = Judgement(folder, run.kind)
    promises = Promises()
    promises.take(run.before)
    told = 0
    with tempfile.TemporaryDirectory(prefix="codeq-state-", dir=place or _fast_folder()) as scratch:
        for state in sorted(states):
            if progress is not None:
                progress.write_text(str(state))
            promises.take(record.note for record in timeline.notes_before(state.position, told))
            told = state.position
            root = Path(scratch) / "root"
            root.mkdir()
            write_tree(root, timeline.build(state))
            if run.kind == COPY:
                wrong = copying.judge_copy(root, promises)
            else:
                wrong = judge(root / "data", promises) + judge_backups(root, promises)
            shutil.rmtree(root)
            found.judged += 1
            found.promises += promises.count
            found.broken += [(state, wrong)] if wrong else []
    return found


def _fast_folder() -> str | None:
    """In memory where there is such a place: the flushes of a judgement mean nothing."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Campaign:
    """One campaign in an empty folder."""

    def __init__(self, folder: Path, seed: int, jobs: int, mutant: str = "", *, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._seed = seed
        self._mutant = mutant
        self._say = say
        self._rng = Random(f"{seed}/runs")
        self._jobs = jobs
        self.judged: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.promises = 0
        self.broken: list[tuple[Path, State, list[str]]] = []

    def run(self, states: int) -> None:
        """Record as many runs as so many states need, and judge them."""
        first: list[tuple[Run, Timeline]] = []
        for kind, share in zip(KINDS, SHARES, strict=True):
            wanted = max(1, states * share // sum(SHARES))
            runs = -(-wanted // STATES_PER_RUN)
            for number in range(runs):
                run, timeline = self._explained(kind, number, first)
                if kind == FIRST_START:
                    first.append((run, timeline))
                count = wanted // runs + (number < wanted % runs)
                self._judge(run, draw(timeline, count, self._rng))
                if self.broken and self._mutant:
                    return

    def _explained(self, kind: str, number: int, first: list[tuple[Run, Timeline]]) -> tuple[Run, Timeline]:
        """A run whose record explains its disk. A kill may fall between a write and its record, or into a record that
        notes of the clients then follow: then once more."""
        for attempt in range(RECORDINGS_MAX):
            run = self._record(kind, number, attempt, first)
            try:
                timeline = run.timeline()
                verify_record(run, timeline)
            except (UnexplainedError, TornRecordError) as problem:
                if attempt == RECORDINGS_MAX - 1:
                    raise
                self._say(f"{problem}; once more")
            else:
                break
        return run, timeline

    def _record(self, kind: str, number: int, attempt: int, first: list[tuple[Run, Timeline]]) -> Run:
        run = Run(self._folder / f"{kind.replace(' ', '-')}-{number}{'-again' * attempt}", kind)
        seed = f"{self._seed}-{kind[:1]}{number}"
        if kind == RECOVERY:
            earlier, timeline = self._rng.choice(first)
            position = self._rng.choice(timeline.positions)
            cut = State(position, self._rng.choice((ALL, "random", "torn")), self._rng.randrange(1 << 30))
            before = earlier.before + [record.note for record in timeline.notes_before(position)]
            run.prepare(timeline.build(cut), before)
        else:
            run.prepare({}, [])
        if kind == COPY:
            record_copy(run, seed)
        else:
            environ = SWEEPING if number % 3 == 1 else ENVIRONMENT
            operations = OPERATIONS // (1 + (kind == RECOVERY))
            killed = kind == FIRST_START
            self.done += record_node(run, seed, self._mutant, operations, environ, killed=killed)
        self.runs[kind] += 1
        return run

    def _judge(self, run: Run, states: list[State]) -> None:
        slices = [states[at : at + SLICE] for at in range(0, len(states), SLICE)]
        judged_before = self.judged.total()
        with (
            # Here and not in the processes that judge: one that dies leaves its files behind.
            tempfile.TemporaryDirectory(prefix="codeq-states-", dir=_fast_folder()) as scratch,
            ProcessPoolExecutor(self._jobs, multiprocessing.get_context("spawn")) as pool,
        ):
            progress = [run.folder / f"progress-{number}" for number in range(len(slices))]
            waiting = [
                pool.submit(judge_states, run.folder, each, path, Path(scratch))
                for each, path in zip(slices, progress, strict=True)
            ]
            for future, path in zip(waiting, progress, strict=True):
                try:
                    self._take(future.result())
                except BrokenProcessPool:
                    self._died(run, path)
        judged = self.judged.total() - judged_before
        if judged != len(states) and not self.broken:
            raise RuntimeError(f"{judged} of {len(states)} states of {run.folder} were judged before a process died")
        self._say(f"{run.folder.name}: {self.judged[run.kind]:,} states of its kind, {len(self.broken)} broken in all")

    def _take(self, judgement: Judgement) -> None:
        self.judged[judgement.kind] += judgement.judged
        self.promises += judgement.promises
        self.broken += [(judgement.folder, state, texts) for state, texts in judgement.broken]

    def _died(self, run: Run, progress: Path) -> None:
        """A damaged file can end its reader. What else was being judged then, or was to be, is told as well."""
        if progress.exists():
            state = State.parse(progress.read_text())
            self.broken.append((run.folder, state, ["a process died that judged this state, or another at the time"]))


def report(campaign: Campaign, seconds: float) -> Iterator[str]:
    """The figures of a campaign, line by line."""
    for kind in KINDS:
        yield f"{campaign.judged[kind]:>10,}  states of {campaign.runs[kind]} runs: {kind}"
    yield f"{campaign.promises:>10,}  promises looked for"
    for name, count in sorted(campaign.done.items()):
        yield f"{count:>10,}  {name}"
    yield f"{seconds:10.1f}  seconds"
    for folder, state, texts in campaign.broken[:SHOWN_MAX]:
        yield f"{folder.name} {state}: {len(texts)} findings: {texts[0]}"


def _repeat(folder: Path, text: str) -> int:
    judgement = judge_states(folder, [State.parse(text)])
    for _, texts in judgement.broken:
        print("\n".join(texts))
    print("broken" if judgement.broken else "whole")
    return bool(judgement.broken)


def main() -> int:
    """Run a campaign as the command line says; 0 when it found nothing (with a mutant: when it was caught)."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.power_cut", description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=1000, metavar="N", help="default %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="a node with this error in it")
    parser.add_argument("--repeat", type=Path, metavar="FOLDER", help="judge one state of a recorded run again")
    parser.add_argument("--state", metavar="POSITION:CHOICE:SEED")
    arguments = parser.parse_args()
    if arguments.repeat:
        return _repeat(arguments.repeat, arguments.state)
    folder = Path(tempfile.mkdtemp(prefix="codeq-power-"))
    print(f"seed {arguments.seed}, {arguments.states} states, in {folder}", flush=True)
    campaign = Campaign(
        folder, arguments.seed, arguments.jobs, arguments.mutant, say=lambda text: print(text, flush=True)
    )
    began = time.monotonic()
    campaign.run(arguments.states)
    print("\n".join(report(campaign, time.monotonic() - began)))
    if arguments.mutant:
        shutil.rmtree(folder)
        print("caught" if campaign.broken else f"NOT caught: {arguments.mutant}")
        return not campaign.broken
    if campaign.broken:
        broken, state, _ = campaign.broken[0]
        print(f"{len(campaign.broken)} broken states; the records are kept; the first once more:")
        print(f"python -m tests.campaigns.power_cut --repeat {broken} --state {state}")
        return 1
    shutil.rmtree(folder)
    print("every state opens, every check is clean, nothing acknowledged is lost, nothing finished is delivered again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
