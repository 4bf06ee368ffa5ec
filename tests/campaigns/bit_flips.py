"""One random bit of a store flipped, again and again: nothing else than what was written may be served.

    python -m tests.campaigns.bit_flips --count 3000 [--jobs N] [--seed S] [--kind KIND]
    python -m tests.campaigns.bit_flips --seed S --flip BYTE:BIT

A store with tasks in every state is made, always the same for a seed. For each flip a process of its own starts on the
damaged file as a node does and reads every row, by key and by scan, and another one runs the check. A read may be
refused, and a damaged page may end a process. No read may return anything else than what was written, and where one
misses a row, the check must name it. Where nothing was noticed, a node then writes to the file, and all is looked at
again. Bytes are drawn by what they are for (see `page_map`), and each kind has a row of its own in the table that is
printed. A flip of a meta page can turn the store back by one commit: that is a column of its own, too.
"""

import argparse
import multiprocessing
import os
import pickle
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import lmdb

from appliance.engine.check import check
from appliance.engine.datafile import DATA_NAME
from appliance.engine.faults import StoreError
from appliance.engine.findings import FILE, Report
from appliance.engine.findings import KEY as FINDING_KEY
from appliance.engine.rows import DamagedRow, decode_idem
from appliance.engine.store import Store
from appliance.engine.tables import BODY, ID_BYTES, IDEM, TABLE_NAMES
from appliance.tasks.model import Claimed, Created
from tests.campaigns import page_map
from tests.campaigns.page_map import DATA, FREE, FREE_LIST, KEY, META, STRUCTURE, UNUSED, PageMap
from tests.campaigns.promises import Revival
from tests.tasks.desk import START_MS, abandon, claim, create, finish, nack

TASKS: Final = 400
WRITES: Final = 25
"""Commits on a damaged file, some three for each: enough to use every page of its free list."""
ROWS_NAME: Final = "rows.pickle"
TENANTS: Final = ("acme", "umbrella")
COMMANDS: Final = ("mail", "image", "a-rather-long-name.for:a_command")
PAYLOAD_BYTES: Final = (0, 20, 200, 1_500, 5_000)
SHARES: Final = {DATA: 25, KEY: 20, STRUCTURE: 20, META: 15, FREE: 8, FREE_LIST: 7, UNUSED: 5}
"""Of all flips, in percent. By size alone nearly all would hit payloads and free pages."""
PROCESS_SECONDS_MAX: Final = 60.0
SCANNED_MAX: Final = 1 << 30
SLICE: Final = 25
SHOWN_MAX: Final = 10
COLUMN: Final = 23

HARMLESS: Final = "no effect"
NOT_STARTED: Final = "refused at start"
REFUSED: Final = "read refused"
MISSED: Final = "missed, named by check"
DIED: Final = "process ended"
LATER: Final = "noticed after writes"
"""Nobody reads which pages are free, but a node that writes does."""
TURNED_BACK: Final = "turned back"
"""The store is what it was before its last commit, to the byte: the number in a meta page says so, and nothing else in
the file can tell. Only a flip in a meta page may do that."""
OUTCOMES: Final = (HARMLESS, NOT_STARTED, REFUSED, MISSED, DIED, LATER, TURNED_BACK)
BROKEN: Final = "BROKEN"

Rows = dict[tuple[int, bytes], bytes]
"""Contents by table and key."""


class Flip(NamedTuple):
    """A bit of the file, and what its byte is for."""

    kind: str
    byte: int
    bit: int

    def __str__(self) -> str:
        return f"{self.byte}:{self.bit}"


@dataclass(slots=True)
class Reading:
    """What a process saw that started on the file and read everything."""

    not_started: str = ""
    altered: list[str] = field(default_factory=list)
    missed: list[tuple[int, bytes]] = field(default_factory=list)
    refused: int = 0
    strange: str = ""
    """An error that is none of those that a store has."""


@dataclass(slots=True)
class Verdict:
    """One flip: how it ended, what the check said of it, and what must not be."""

    flip: Flip
    outcome: str
    checked: str
    wrong: list[str]


def populate(directory: Path, seed: int, tasks: int = TASKS) -> tuple[Rows, Rows]:
    """Make a store with tasks in every state, and free pages; its rows before the last commit, and now."""
    rng = Random(seed)
    store = Store.open(directory)
    node = Revival(store, START_MS)
    for number in range(tasks):
        node.now += rng.randrange(50)
        tenant = rng.choice(TENANTS)
        _create(node, rng, tenant, number)
        if rng.random() < 0.6:
            _use(node, rng, tenant)
    before = _rows(store)
    _create(node, rng, TENANTS[0], tasks)
    node.close()
    rows = _rows(store)
    store.close()
    return before, rows


def _rows(store: Store) -> Rows:
    store.release()
    return {
        (table, key): content
        for table in range(len(TABLE_NAMES))
        for key, content in store.scan(table, b"", b"\xff" * 512, SCANNED_MAX)
    }


def _create(node: Revival, rng: Random, tenant: str, number: int) -> None:
    keyed: dict[str, Any] = {"key": f"key-{number}", "terms_hash": rng.randbytes(16)} if rng.random() < 0.4 else {}
    payload = b'{"mark":%d,"text":"%s"}' % (number, rng.choice(b"abc").to_bytes(1, "big") * rng.choice(PAYLOAD_BYTES))
    new = create(
        rng.choice(COMMANDS),
        tenant,
        payload=payload,
        priority=rng.randrange(4),
        max_attempts=rng.choice((1, 5)),
        delay_ms=rng.choice((0, 0, 0, 86_400_000)),
        **keyed,
    )
    outcome = node.ask(new)
    assert isinstance(outcome, Created), outcome


def _use(node: Revival, rng: Random, tenant: str) -> None:
    outcome = node.ask(claim(count=rng.choice((1, 3)), tenant=tenant, lease_ms=86_400_000))
    assert isinstance(outcome, Claimed), outcome
    for task in outcome.tasks:
        action = rng.choice((finish, finish, nack, abandon, None))
        if action is not None:
            node.ask(action(task, tenant=tenant))


def read_all(directory: Path, rows: Rows) -> Reading:
    """Start on the file as a node does, and read every row in both ways."""
    found = Reading()
    try:
        store = Store.open(directory)
        node = Revival(store, START_MS)
    except (StoreError, DamagedRow) as error:
        found.not_started = f"{type(error).__name__}: {error}"
        return found
    except BaseException:  # noqa: BLE001  # whatever a damaged file makes of a start is what is to be known
        found.strange = traceback.format_exc()
        return found
    try:
        _get_all(store, rows, found)
        for table in range(len(TABLE_NAMES)):
            _scan(store, table, rows, found)
    except BaseException:  # noqa: BLE001  # as above
        found.strange = traceback.format_exc()
    node.close()
    store.close()
    return found


def _get_all(store: Store, rows: Rows, found: Reading) -> None:
    for (table, key), content in rows.items():
        try:
            got = store.get(table, key)
        except (DamagedRow, StoreError):
            store.release()
            found.refused += 1
            continue
        if got is None:
            found.missed.append((table, key))
        elif got != content:
            found.altered.append(f"{TABLE_NAMES[table]} {key.hex()} is {got[:60]!r}, not {content[:60]!r}")


def _scan(store: Store, table: int, rows: Rows, found: Reading) -> None:
    """All rows in pieces, beginning again behind each damaged one, as nobody serves it."""
    wanted = sorted(key for number, key in rows if number == table)
    low, seen = b"", set()
    for _ in range(len(wanted) + 10):
        try:
            got = store.scan(table, low, b"\xff" * 512, 50)
        except DamagedRow as damage:
            found.refused += 1
            seen.add(damage.key)
            if damage.key < low:
                return
            low = damage.key + b"\0"
            continue
        except StoreError:
            store.release()
            found.refused += 1
            return
        for key, content in got:
            seen.add(key)
            if rows.get((table, key)) != content:
                found.altered.append(f"{TABLE_NAMES[table]} {key.hex()} is scanned as {content[:60]!r}")
        if not got:
            break
        low = got[-1][0] + b"\0"
    if not found.refused:
        found.missed += [(table, key) for key in wanted if key not in seen]


def use(directory: Path, rows: Rows) -> Reading:
    """Write to the file as a node does, and read again what has not changed."""
    found = Reading()
    rng = Random(7)
    try:
        store = Store.open(directory)
        node = Revival(store, START_MS + 1_000_000)
        for number in range(WRITES):
            _create(node, rng, TENANTS[0], 1_000_000 + number)
            _use(node, rng, TENANTS[number % 2])
    except (StoreError, DamagedRow, lmdb.Error) as error:
        found.not_started = f"{type(error).__name__}: {error}"
        return found
    except BaseException:  # noqa: BLE001  # as in `read_all`
        found.strange = traceback.format_exc()
        return found
    node.close()
    store.release()
    _get_all(store, {place: content for place, content in rows.items() if place[0] == BODY}, found)
    store.close()
    return found


def check_all(directory: Path) -> Report:
    """The check, as its own process does it."""
    return check(directory, lambda _table, _done, _total: None)


class Died(Exception):
    """A process ended before it had an answer; the message says how."""


def apart(act: Callable[[], Any]) -> Any:
    """What `act` returns or raises in a process forked for it. Raises Died."""
    reading_end, writing_end = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            with open(writing_end, "wb") as out:
                out.write(pickle.dumps(_outcome(act)))
        finally:
            os._exit(0)
    os.close(writing_end)
    with open(reading_end, "rb", buffering=0) as pipe:
        content, deadline = b"", time.monotonic() + PROCESS_SECONDS_MAX
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = pipe.read(1 << 20)
            if not piece:
                break
            content += piece
        else:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise Died(signal.Signals(os.WTERMSIG(status)).name)
    if not content:
        raise Died("no answer")
    answer = pickle.loads(content)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _outcome(act: Callable[[], Any]) -> Any:
    """What it returns, or what it raises."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001  # it is raised again in the process that asked
        return error


def prepare(folder: Path, seed: int) -> Path:
    """Make the store of a seed, and what is in it, in an empty folder."""
    with open(folder / ROWS_NAME, "wb") as out:
        pickle.dump(populate(folder, seed), out)
    return folder


class Bench:
    """A copy of a store, to be damaged, in an empty folder."""

    def __init__(self, folder: Path, sound: Path) -> None:
        """`sound` is what `prepare` made."""
        self._directory = folder
        self._before: Rows
        self.rows: Rows
        self._before, self.rows = pickle.loads((sound / ROWS_NAME).read_bytes())
        self._sound = (sound / DATA_NAME).read_bytes()
        self._path = folder / DATA_NAME
        self._path.write_bytes(self._sound)
        self.map = PageMap(self._sound)

    def draw(self, kind: str, rng: Random) -> Flip:
        """A random bit of a kind."""
        return Flip(kind, self.map.byte(kind, rng.randrange(self.map.bytes_of(kind))), rng.randrange(8))

    def judge(self, flip: Flip) -> Verdict:
        """Flip it, look, and flip it back."""
        self._write(flip.byte, bytes([self._sound[flip.byte] ^ 1 << flip.bit]))
        try:
            return self._judge(flip)
        finally:
            self._path.write_bytes(self._sound)
            for name in ("lock.mdb", "codeq.lock"):
                (self._directory / name).unlink(missing_ok=True)

    def _write(self, at: int, data: bytes) -> None:
        with open(self._path, "r+b") as file:
            file.seek(at)
            file.write(data)

    def _judge(self, flip: Flip) -> Verdict:
        checked, report = self._check()
        wrong: list[str] = []
        try:
            reading: Reading = apart(lambda: read_all(self._directory, self.rows))
        except Died as how:
            hung = str(how) == "SIGKILL"
            return Verdict(flip, DIED, checked, [f"hung for {PROCESS_SECONDS_MAX} s"] if hung else [])
        if flip.kind == META and reading.altered and self._is_turned_back():
            return Verdict(flip, TURNED_BACK, checked, [])
        wrong += [f"altered: {text}" for text in reading.altered]
        if reading.strange:
            wrong.append(f"an error without words: {reading.strange}")
        if reading.missed and report is not None and report.clean:
            wrong.append(f"{len(reading.missed)} rows are missed and the check is clean")
        elif reading.missed and report is not None:
            wrong += [
                f"missed and not named: {TABLE_NAMES[table]} {key.hex()}"
                for table, key in reading.missed
                if not _named(report, table, key, self._task_of(table, key))
            ]
        if reading == Reading() and checked == "clean":
            return self._write_on(flip)
        outcome = (
            NOT_STARTED
            if reading.not_started
            else MISSED
            if reading.missed
            else REFUSED
            if reading.refused
            else HARMLESS
        )
        return Verdict(flip, outcome, checked, wrong)

    def _write_on(self, flip: Flip) -> Verdict:
        """What comes of it when a node goes on with a file in which nobody noticed anything."""
        try:
            reading: Reading = apart(lambda: use(self._directory, self.rows))
        except Died:
            checked, _ = self._check()
            return Verdict(flip, DIED, checked, [])
        checked, report = self._check()
        wrong = [f"altered after writes: {text}" for text in reading.altered]
        if reading.strange:
            wrong.append(f"an error without words: {reading.strange}")
        if reading.missed and report is not None and report.clean:
            wrong.append(f"{len(reading.missed)} rows are missed after writes and the check is clean")
        sound = reading == Reading() and checked == "clean"
        return Verdict(flip, HARMLESS if sound else LATER, checked, wrong)

    def _is_turned_back(self) -> bool:
        reading: Reading = apart(lambda: read_all(self._directory, self._before))
        return not (reading.not_started or reading.altered or reading.missed or reading.refused or reading.strange)

    def _task_of(self, table: int, key: bytes) -> bytes:
        """The task that a row belongs to, where it belongs to one."""
        return decode_idem(self.rows[table, key]).id if table == IDEM else key[-ID_BYTES:]

    def _check(self) -> tuple[str, Report | None]:
        try:
            report: Report = apart(lambda: check_all(self._directory))
        except Died as how:
            return f"ended by {how}", None
        except StoreError as refusal:
            return type(refusal).__name__, None
        return ("clean" if report.clean else "findings"), report


def _named(report: Report, table: int, key: bytes, task_id: bytes) -> bool:
    """Whether the check tells that this row cannot be found: itself, its task, or that its table is not whole:
    where keys do not lead to their rows, any search in it may miss."""
    return any(
        finding.key == key
        or (finding.kind in (FILE, FINDING_KEY) and finding.table in ("", TABLE_NAMES[table]))
        or (len(task_id) == ID_BYTES and finding.key.endswith(task_id))
        for finding in report.findings
    )


def _fast_folder() -> str | None:
    """In memory where there is such a place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def judge_flips(sound: Path, flips: list[Flip]) -> list[Verdict]:
    """Judge some flips of a prepared store."""
    with tempfile.TemporaryDirectory(prefix="codeq-flips-", dir=_fast_folder()) as folder:
        bench = Bench(Path(folder), sound)
        return [bench.judge(flip) for flip in flips]


def plan(sound: Path, seed: int, count: int, kinds: dict[str, int]) -> list[Flip]:
    """So many flips, by the shares of their kinds."""
    rng = Random(f"{seed}/flips")
    with tempfile.TemporaryDirectory(prefix="codeq-flips-") as folder:
        bench = Bench(Path(folder), sound)
    return [bench.draw(kind, rng) for kind in rng.choices(list(kinds), list(kinds.values()), k=count)]


def campaign(sound: Path, flips: list[Flip], jobs: int) -> list[Verdict]:
    """Judge flips of a prepared store in several processes."""
    slices = [flips[at : at + SLICE] for at in range(0, len(flips), SLICE)]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        parts = pool.map(judge_flips, [sound] * len(slices), slices)
        return [verdict for part in parts for verdict in part]


def report(verdicts: list[Verdict]) -> Iterator[str]:
    """The outcomes by kind of byte, and what the check said, line by line."""
    counts = Counter((each.flip.kind, BROKEN if each.wrong else each.outcome) for each in verdicts)
    columns = (*OUTCOMES, BROKEN)
    yield f"{'':<12}" + "".join(f"{column:>{COLUMN}}" for column in ("flips", *columns))
    for kind in (*page_map.KINDS, ""):
        row = [
            sum(n for (of, outcome), n in counts.items() if of == (kind or of) and outcome == each) for each in columns
        ]
        if sum(row):
            yield f"{kind or 'all':<12}" + "".join(f"{number:>{COLUMN},}" for number in (sum(row), *row))
    for (outcome, checked), count in sorted(Counter((each.outcome, each.checked) for each in verdicts).items()):
        yield f"{count:>8,}  {outcome}; check: {checked}"


def main() -> int:
    """Run a campaign as the command line says; 0 when it found nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.bit_flips", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, metavar="N", help="flips (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--kind", choices=page_map.KINDS, help="only bytes of this kind")
    parser.add_argument("--flip", metavar="BYTE:BIT", help="this bit alone")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="codeq-flips-") as folder:
        sound = prepare(Path(folder), arguments.seed)
        if arguments.flip:
            byte, bit = map(int, arguments.flip.split(":"))
            verdicts = judge_flips(sound, [Flip(arguments.kind or "", byte, bit)])
            print(f"{verdicts[0].outcome}; check: {verdicts[0].checked}")
        else:
            print(f"seed {arguments.seed}, {arguments.count} flips", flush=True)
            kinds = {arguments.kind: 1} if arguments.kind else SHARES
            verdicts = campaign(sound, plan(sound, arguments.seed, arguments.count, kinds), arguments.jobs)
            print("\n".join(report(verdicts)))
            print(f"{time.monotonic() - began:8.1f}  seconds")
    broken = [each for each in verdicts if each.wrong]
    for each in broken[:SHOWN_MAX]:
        print(f"{each.flip.kind} {each.outcome}, check {each.checked}: {len(each.wrong)}: {each.wrong[0]}")
        print(
            f'python -m tests.campaigns.bit_flips --seed {arguments.seed} --kind "{each.flip.kind}" --flip {each.flip}'
        )
    if not broken:
        print("nothing was served but what was written, and what was missed is named")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
