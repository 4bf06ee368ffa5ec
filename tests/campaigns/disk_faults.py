"""Disks that fail under a real node, and what the node does about it.

    python -m tests.campaigns.disk_faults [--only NAME] [--rounds N] [--seconds S] [--seed S]

Each scene runs a node under load over REST and the streams, lets its disk fail through the shim (or a small file
system), and then holds what clients were told against the files, as they are and as a power cut would have left them.
`--list` names the scenes. A seed fixes at which call a fault strikes; the node is a real process, so not what was being
done then.
"""

import argparse
import asyncio
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import lmdb

from appliance.auth.caller import PRODUCER, WORKER
from appliance.engine.datafile import DATA_NAME
from appliance.engine.rows import encode_row, seal
from appliance.engine.stamp import writing
from appliance.engine.store import FORMAT_KEY, FORMAT_VERSION
from appliance.engine.tables import META, TABLE_NAMES
from tests.campaigns import shim
from tests.campaigns.disk_scene import Scene
from tests.campaigns.storage_load import CREATED, FINISHED
from tests.e2e.node import CODEQ, ROOT, Node, clean_environment, codeq
from tests.e2e.user import User

DAY_SECONDS: Final = 86_400
SKIP_MAX: Final = 30
"""Calls that a fault lets pass first: some commits."""
PAGE_BYTES: Final = 4096
KILLS: Final = 4
SMALL_DISK_BYTES: Final = 24 << 20
DEFAULT_SECONDS: Final = 5.0
ANSWER_SECONDS_MAX: Final = 2.0
"""For a read while the disk stands still."""
FILLED: Final = 20
"""Payloads of 200 KB: more than the pipe of a copy holds."""
SLACK_BYTES: Final = 4 << 20


class Skipped(Exception):
    """The scene cannot be played here; the message says why."""


# Errors of calls.


async def _dies(scene: Scene, call: int, times: int, mode: int) -> None:
    """S3: after an error that is not about space nothing is acknowledged, and the process ends with 74."""
    await scene.up()
    async with scene.load() as load:
        scene.control.arm(call, errno.EIO, skip=scene.rng.randrange(SKIP_MAX), times=times, mode=mode)
        await scene.struck()
        await scene.end(74)
        load.stop()
    scene.control.disarm()
    await scene.up()
    await scene.still_there()
    async with scene.load():
        pass
    await scene.down()


async def _runs_full(scene: Scene, call: int, times: int) -> None:
    """S4: without room the group fails, reads work, and creates return with the room."""
    await scene.up()
    async with scene.load() as load:
        scene.control.arm(call, errno.ENOSPC, skip=scene.rng.randrange(SKIP_MAX), times=times)
        await scene.struck()
        await scene.until(lambda: load.counts["unavailable"] > 0, "a request is answered with 503")
        await scene.still_there()
        scene.control.disarm()
        await scene.until_acknowledged(CREATED)
        scene.facts["answers of 503"] = load.counts["unavailable"]
    scene.expect(scene.node.running, "the node has ended")
    await scene.down()


async def _full_at_the_head(scene: Scene) -> None:
    """S4: no room for the page that makes a commit count: LMDB goes no further, and the process ends with 74."""
    await scene.up()
    async with scene.load() as load:
        scene.control.arm(shim.META_WRITE, errno.ENOSPC, skip=scene.rng.randrange(SKIP_MAX))
        await scene.struck()
        await scene.end(74)
        load.stop()
    scene.control.disarm()
    await scene.up()
    await scene.still_there()
    await scene.down()


async def _stands_still(scene: Scene) -> None:
    """S14: while a flush takes long nothing is acknowledged, and reads and probes are answered."""
    await scene.up()
    async with scene.load():
        scene.control.arm(shim.SYNC, skip=scene.rng.randrange(SKIP_MAX), delay_ms=int(scene.seconds * 1000))
        await scene.struck()
        began = time.monotonic()
        # What was durable already may still be on its way to its client.
        await asyncio.sleep(0.3)
        low, longest = time.monotonic(), 0.0
        while time.monotonic() < began + scene.seconds - 0.5:
            asked = time.monotonic()
            await scene.still_there(1)
            longest = max(longest, time.monotonic() - asked)
        early = scene.story.between(low, began + scene.seconds - 0.3)
        scene.expect(early == 0, f"{early} acknowledgements while the flush stood")
        scene.expect(longest < ANSWER_SECONDS_MAX, f"a read took {longest:.2f} s")
        scene.facts["longest read, seconds"] = round(longest, 3)
        await scene.until_acknowledged(CREATED)
    await scene.down()


async def _at_the_floor(scene: Scene) -> None:
    """S5: below the floor creates are refused, claims and results go on, and creates return with the space."""
    scene.node.environ["CODEQ_STORE_FREE_FLOOR_BYTES"] = str(64 << 20)
    await scene.up()
    async with scene.load() as load:
        await scene.until_acknowledged(CREATED, 200)
        scene.control.set_free_bytes(1 << 20)
        await scene.until(lambda: load.counts["unavailable"] > 20, "creates are refused")
        created = load.counts[CREATED]
        await scene.until_acknowledged(FINISHED, 20)
        scene.expect(load.counts[CREATED] == created, f"{load.counts[CREATED] - created} tasks were created")
        scene.control.set_free_bytes(None)
        await scene.until_acknowledged(CREATED, 20)
    await scene.down()


# Full and slow for real.


async def _small_disk(scene: Scene) -> None:
    """S4 on a small file system that really fills."""
    scene.node.environ["CODEQ_STORE_FREE_FLOOR_BYTES"] = "0"
    ballast = scene.disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    await scene.up()
    async with scene.load() as load:
        with User(scene.node, "filler") as user:
            while (await asyncio.to_thread(user.create, "fill", "x" * 200_000)).status_code == 201:
                pass
        await scene.until(lambda: load.counts["unavailable"] > 0, "the load hears of it")
        await scene.still_there()
        ballast.unlink()
        await scene.until_acknowledged(CREATED)
        scene.facts["answers of 503"] = load.counts["unavailable"]
    await scene.down()


async def _slow_reader(scene: Scene) -> None:
    """S6: a copy that stands still keeps old pages only until its deadline; a metric shows it, and the file stops
    growing afterwards."""
    scene.node.environ["CODEQ_TASKS_RETENTION_SECONDS"] = "0"
    await scene.up()
    place = scene.folder / "backups"
    control = shim.Control(scene.folder / "backup-control")
    control.arm(shim.WRITE, delay_ms=int(scene.seconds * 3000))
    async with scene.load():
        with User(scene.node, "filler") as user:
            for _ in range(FILLED):
                await asyncio.to_thread(user.created, "fill", "x" * 200_000)
        before, quiet = _dead_bytes(scene), scene.node.metrics()["codeq_store_readers"]
        copying = _start_backup(scene, place, control, int(scene.seconds))
        await scene.until(lambda: control.hits > 0, "the copy stands still")
        readers = scene.node.metrics()["codeq_store_readers"]
        scene.expect(readers > quiet, f"the metric shows {readers} readers, {quiet} without the copy")
        await asyncio.sleep(scene.seconds)
        await asyncio.sleep(1.0)
        readers = scene.node.metrics()["codeq_store_readers"]
        scene.expect(readers <= quiet, f"the snapshot outlives its deadline: {readers} readers, {quiet} before")
        during = _dead_bytes(scene)
        status = await asyncio.to_thread(copying.wait)
        scene.expect(status == 75, f"the copy ended with {status}")
        await asyncio.sleep(scene.seconds)
        after = _dead_bytes(scene)
        scene.facts["dead bytes before, during, after"] = (before, during, after)
        scene.expect(after <= during + SLACK_BYTES, f"dead pages grew on: {before}, {during}, {after}")
    control.close()
    await scene.down()


def _dead_bytes(scene: Scene) -> int:
    """Pages of the file that hold no rows."""
    return (scene.data / DATA_NAME).stat().st_size - int(scene.node.metrics()["codeq_store_used_bytes"])


def _start_backup(
    scene: Scene, place: Path, control: shim.Control | None = None, deadline_seconds: int = 60
) -> subprocess.Popen[bytes]:
    watched = {} if control is None else shim.environment(place, control=control)
    arguments = ["--directory", str(scene.data), "--deadline-seconds", str(deadline_seconds), "--quiet"]
    return subprocess.Popen(
        [*CODEQ, "backup", *arguments, str(place / "copy")],
        cwd=ROOT,
        env=clean_environment(watched),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _backup(scene: Scene) -> None:
    """S12: a backup under load, restored elsewhere, holds everything that was acknowledged before it began."""
    await scene.up()
    place = scene.folder / "backups"
    async with scene.load():
        for number in range(2):
            promises = scene.story.promises()
            promises.creating = _anything()
            status = await asyncio.to_thread(_start_backup(scene, place).wait)
            scene.expect(status == 0, f"the backup ended with {status}")
            target = scene.folder / f"restored-{number}"
            restored = await asyncio.to_thread(codeq, "restore", "--directory", str(target), str(place / "copy"))
            scene.expect(restored.returncode == 0, f"the restore: {restored.stdout}{restored.stderr}")
            scene.expect((place / "copy").is_dir(), "the backup is gone")
            finishing = scene.story.promises().finishing
            promises.finishing |= finishing
            if restored.returncode == 0:
                _same_rows(scene, place / "copy", target)
                scene.judge_directory(target, promises)
            shutil.rmtree(place)
    await scene.down()


class _Anything(set[str]):
    """Every mark: the copy may hold what was asked for after it began."""

    def __contains__(self, _mark: object) -> bool:
        return True


def _anything() -> set[str]:
    return _Anything()


def _same_rows(scene: Scene, first: Path, second: Path) -> None:
    scans = []
    for directory in (first, second):
        with lmdb.open(str(directory), max_dbs=64, readonly=True, lock=False, lib_version=0) as environment:
            tables = [environment.open_db(name.encode(), create=False) for name in TABLE_NAMES]
            with environment.begin() as snapshot:
                scans.append([list(snapshot.cursor(table)) for table in tables])
    scene.expect(scans[0] == scans[1], "the restored store has other rows than the backup")


# Kills and clocks.


async def _killed_while_growing(scene: Scene) -> None:
    """S16: SIGKILL while the file grows by many pages per commit."""
    for _ in range(KILLS):
        await scene.up()
        with User(scene.node, "filler") as user:
            size = (scene.data / DATA_NAME).stat().st_size
            for _ in range(3):
                await asyncio.to_thread(user.create, "fill", "x" * 200_000)
            filling = asyncio.create_task(asyncio.to_thread(_fill, user))
            async with scene.load():
                await asyncio.sleep(scene.rng.random() * 0.5)
                scene.expect((scene.data / DATA_NAME).stat().st_size > size, "the file does not grow")
                await asyncio.to_thread(scene.node.kill)
            await filling
        checked = await asyncio.to_thread(codeq, "check", "--directory", str(scene.data))
        scene.expect(checked.returncode == 0, f"the check: {checked.stdout}{checked.stderr}")


def _fill(user: User) -> None:
    try:
        while True:
            user.create("fill", "x" * 200_000)
    except Exception:  # noqa: BLE001  # whatever the client makes of the end of its node
        return


async def _clock_goes_back(scene: Scene) -> None:
    """S17: with the clock a day back at a restart ids still grow, and leases end when they should."""
    # The node's clock ends where the machine's is, so that tokens made now are good in its past as well.
    scene.control.shift_clock(DAY_SECONDS)
    await scene.up()
    with User(scene.node, "clock") as user:
        user.producer = scene.node.mint(PRODUCER, "clock", lifetime_seconds=3 * DAY_SECONDS)
        user.worker = scene.node.mint(WORKER, "clock", lifetime_seconds=3 * DAY_SECONDS)
        before = [user.created("clock", n)["id"] for n in range(5)]
        user.claimed("clock", leaseSeconds=3)
    await scene.down()
    scene.control.shift_clock(0)
    await scene.up()
    with User(scene.node, "clock") as user:
        after = [user.created("clock", n)["id"] for n in range(5)]
        scene.expect(sorted(before + after) == before + after, f"ids do not grow: {before}, {after}")
        claimed: set[str] = set()
        deadline = time.monotonic() + 3 + 10
        while len(claimed) < 10 and time.monotonic() < deadline:
            answer = await asyncio.to_thread(user.claim, "clock", waitSeconds=1, leaseSeconds=60)
            if answer.status_code == 200:
                task = answer.json()
                claimed.add(task["id"])
                ahead = _seconds_ahead(task["leaseUntil"])
                scene.expect(ahead < 90, f"a lease of 60 s ends in {ahead:.0f} s")
        scene.expect(claimed == {*before, *after}, f"claimed {len(claimed)} of 10: a lease from the future holds on")
    await scene.down()


def _seconds_ahead(text: str) -> float:
    import datetime

    return datetime.datetime.fromisoformat(text).timestamp() - time.time()


# Directories that must not be used, and files that are not whole.


async def _two_owners(scene: Scene) -> None:
    """S7: the second process on a directory ends with 75 and a message."""
    await scene.up()
    second = Node(scene.folder / "second", plaintext=True, environ={"CODEQ_STORE_DIRECTORY": str(scene.data)})
    try:
        second.start()
        status = await asyncio.to_thread(second.wait)
        scene.expect(status == 75 and "in use by process" in second.log, f"status {status}: {second.log_tail(5)}")
    finally:
        second.kill()
    async with scene.load():
        pass
    await scene.down()


async def _remote_disk(scene: Scene) -> None:
    """S8: a directory on a network file system is refused with 78."""
    await scene.up()
    await scene.down()
    facts = os.stat(scene.disk)
    device = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
    table = scene.folder / "mounts"
    for kind in ("nfs4", "cifs", "fuse.sshfs", "9p"):
        table.write_text(f"1 0 {device} / {scene.disk} rw - {kind} server:/export rw\n")
        scene.node.environ |= shim.mounts(table)
        await asyncio.to_thread(scene.node.start)
        await scene.end(78)
        scene.expect(f"is on a {kind} file system" in scene.node.log, f"no word of {kind}")
    scene.node.environ.pop("CODEQ_SHIM_MOUNTS")


def _head_page(number: int) -> Callable[[bytearray], None]:
    def zero(data: bytearray) -> None:
        data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)

    return zero


def _both_heads(data: bytearray) -> None:
    data[: 2 * PAGE_BYTES] = bytes(2 * PAGE_BYTES)


def _foreign(data: bytearray) -> None:
    data[:] = b"another program's file\n" * 1000


def _half(data: bytearray) -> None:
    del data[len(data) // 2 :]


def _short(data: bytearray) -> None:
    del data[-PAGE_BYTES:]


def _no_content(data: bytearray) -> None:
    data.clear()


DAMAGES: Final[dict[str, Callable[[bytearray], None]]] = {
    "meta page 0 zeroed": _head_page(0),
    "meta page 1 zeroed": _head_page(1),
    "both meta pages zeroed": _both_heads,
    "foreign file": _foreign,
    "cut in half": _half,
    "last page gone": _short,
    "empty": _no_content,
}


async def _damaged_file(scene: Scene) -> None:
    """S9: a file that is not whole or not ours gives a clear error, or opens and serves nothing that is not so."""
    await scene.up()
    async with scene.load():
        pass
    await scene.down()
    sound = (scene.data / DATA_NAME).read_bytes()
    for name, damage in DAMAGES.items():
        content = bytearray(sound)
        damage(content)
        (scene.data / DATA_NAME).write_bytes(content)
        scene.facts[name] = await _start_on_damage(scene, name)
    (scene.data / DATA_NAME).write_bytes(sound)
    _set_format(scene.data, FORMAT_VERSION + 1)
    scene.node.start()
    await scene.end(78)
    scene.expect(f"format version {FORMAT_VERSION + 1}" in scene.node.log, "no word of the format's version")
    (scene.data / DATA_NAME).write_bytes(sound)


async def _start_on_damage(scene: Scene, name: str) -> str:
    node = scene.node
    node.start()
    try:
        await asyncio.to_thread(node.wait_ready)
    except AssertionError:
        status = await asyncio.to_thread(node.wait) if not node.running else -1
        scene.expect(status in (74, 78), f"{name}: status {status}: {node.log_tail(5)}")
        scene.expect("Traceback" not in node.log, f"{name}: an error without words:\n{node.log_tail()}")
        return f"status {status}"
    wrong = await asyncio.to_thread(_read_all, scene)
    scene.expect(not wrong, f"{name}: {wrong[:3]}")
    node.kill()
    return "opened"


def _read_all(scene: Scene) -> list[str]:
    """Tasks that are served otherwise than they are, or denied, by a node that may end any moment."""
    found: list[str] = []
    promises = scene.story.promises()
    headers = {"Authorization": f"Bearer {scene.node.producer('storage')}"}
    with scene.node.client(seconds=5.0) as client:
        for task, (_, payload) in promises.created.items():
            try:
                answer = client.get(f"/v1/codeq/tasks/{task}", headers=headers)
            except Exception:  # noqa: BLE001  # the node has ended, as it should
                return found
            if answer.status_code == 200 and answer.json()["payload"] != payload:
                found.append(f"{task} is served with another payload")
            elif answer.status_code not in (200, 503):
                found.append(f"{task} is answered with {answer.status_code}")
    return found


def _set_format(directory: Path, version: int) -> None:
    with (
        lmdb.open(str(directory), max_dbs=64, map_size=1 << 30, lib_version=0) as environment,
        writing(environment) as transaction,
    ):
        table = environment.open_db(TABLE_NAMES[META].encode(), transaction, create=False)
        transaction.put(FORMAT_KEY, seal(META, FORMAT_KEY, encode_row(version)), db=table)


# The list.

Play = Callable[[Scene], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A scene: what is played, whether promises are judged afterwards, and on which disk."""

    play: Play
    judged: bool = True
    small_disk: bool = False


def _entries() -> Iterator[tuple[str, Entry]]:
    calls = {"write": shim.WRITE, "head": shim.META_WRITE, "flush": shim.SYNC}
    modes = {"": shim.INSTEAD, " after it was done": shim.AFTERWARDS, " cut short": shim.SHORT}
    for call, number in calls.items():
        for suffix, mode in modes.items():
            if mode == shim.SHORT and call == "flush":
                continue
            for when, times in (("once", 1), ("for ever", shim.FOR_EVER)):
                yield f"{call} fails {when}{suffix}", Entry(partial(_dies, call=number, times=times, mode=mode))
    for call in ("write", "flush"):
        for when, times in (("once", 1), ("for long", shim.FOR_EVER)):
            yield f"no room at {call} {when}", Entry(partial(_runs_full, call=calls[call], times=times))
    yield "no room at head", Entry(_full_at_the_head)
    yield "flush stands still", Entry(_stands_still)
    yield "space below the floor", Entry(_at_the_floor)
    yield "small file system fills", Entry(_small_disk, small_disk=True)
    yield "copy stands still", Entry(_slow_reader)
    yield "backup under load", Entry(_backup)
    yield "killed while the file grows", Entry(_killed_while_growing)
    yield "clock back by a day", Entry(_clock_goes_back, judged=False)
    yield "two owners", Entry(_two_owners)
    yield "network file system", Entry(_remote_disk, judged=False)
    yield "file damaged", Entry(_damaged_file)


SCENES: Final[dict[str, Entry]] = dict(_entries())


@dataclass(slots=True)
class Outcome:
    """How a scene went."""

    findings: list[str]
    facts: dict[str, object] = field(default_factory=dict)
    skipped: str = ""
    seconds: float = 0.0


def play(name: str, folder: Path, seed: str, seconds: float = DEFAULT_SECONDS) -> Outcome:
    """Play a scene in an empty folder."""
    entry = SCENES[name]
    began = time.monotonic()
    folder.mkdir(parents=True)
    place = folder / "small" if entry.small_disk else None
    try:
        if place is not None:
            _mount(place)
    except Skipped as why:
        return Outcome([], skipped=str(why))
    try:
        scene = Scene(folder, f"{name}/{seed}", seconds, place=place)
        try:
            asyncio.run(entry.play(scene))
            scene.node.kill()
            if entry.judged:
                scene.judge()
        except Exception:  # noqa: BLE001  # a scene that breaks off is a finding of its own; the others are still played
            scene.findings.append(traceback.format_exc())
        finally:
            scene.close()
    finally:
        if place is not None:
            subprocess.run(["umount", str(place)], check=True)
    return Outcome(scene.findings, scene.facts, seconds=time.monotonic() - began)


def _mount(place: Path) -> None:
    place.mkdir()
    if os.geteuid() != 0:
        raise Skipped("mounting a small file system takes root")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise Skipped(f"a small file system can't be mounted here: {mounted.stderr.strip()}")


def main() -> int:
    """Play the scenes that the command line asks for; 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.disk_faults", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=SCENES, metavar="NAME", help="again for more than one")
    parser.add_argument("--list", action="store_true", help="print the names of the scenes")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="how often each (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=DEFAULT_SECONDS, help="how long a disk or a copy stands still (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(SCENES))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="codeq-disk-"))
    print(f"seed {arguments.seed}, in {folder}", flush=True)
    broken = 0
    for number in range(arguments.rounds):
        for at, name in enumerate(arguments.only or SCENES):
            outcome = play(name, folder / f"{number}-{at}", f"{arguments.seed}/{number}", arguments.seconds)
            verdict = "skipped: " + outcome.skipped if outcome.skipped else "BROKEN" if outcome.findings else "holds"
            facts = ", ".join(f"{fact} {value}" for fact, value in outcome.facts.items())
            print(f"{outcome.seconds:6.1f} s  {name}: {verdict}" + (f" ({facts})" if facts else ""), flush=True)
            if outcome.findings:
                broken += 1
                print("\n".join(outcome.findings), flush=True)
                print(f'python -m tests.campaigns.disk_faults --only "{name}" --seed {arguments.seed}', flush=True)
            else:
                shutil.rmtree(folder / f"{number}-{at}")
    if not broken:
        shutil.rmtree(folder)
        print("every scene holds")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
