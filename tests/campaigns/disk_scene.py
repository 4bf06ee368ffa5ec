"""What every scene with a failing disk has: a node whose disk does as it is told, a load, and the judgement afterwards.

Owns the node, the shim's control block, the record of all writes, and what clients were told. Must not know which fault
is played (see `disk_faults`). A scene collects what it finds wrong and goes on.
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.campaigns import shim
from tests.campaigns.crash_states import Timeline, draw, write_tree
from tests.campaigns.journal import Notes, read
from tests.campaigns.promises import Promises, judge
from tests.campaigns.storage_load import CREATED, CREATING, FINISHING, Load
from tests.e2e.node import Node, NodeError, codeq

WARM_PROMISES: Final = 60
PATIENCE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.02
POWER_CUTS: Final = 25
"""States of the disk after the fault that are judged as well: what was acknowledged must not live in memory only."""
ENVIRONMENT: Final = {"CODEQ_LOG_LEVEL": "warning", "CODEQ_TASKS_BACKOFF_BASE_SECONDS": "0"}


class Story:
    """What clients were told, with times, in the record and in memory."""

    def __init__(self, log: Path) -> None:
        self._notes = Notes(log)
        self.told: list[tuple[float, dict[str, Any]]] = []

    def add(self, what: str, **facts: Any) -> None:
        """Note something that is so now."""
        self._notes.add(what, **facts)
        self.told.append((time.monotonic(), {"what": what, **facts}))

    def promises(self) -> Promises:
        """All of them."""
        found = Promises()
        found.take(note for _, note in self.told)
        return found

    def between(self, low: float, high: float) -> int:
        """Promises that were made between two moments of the monotonic clock."""
        asked = (CREATING, FINISHING)
        return sum(low < at < high and note["what"] not in asked for at, note in self.told)

    def close(self) -> None:
        """End the record."""
        self._notes.close()


class Scene:
    """One scene in an empty folder. `seconds` is how long a slow thing lasts, where the scene has one."""

    def __init__(self, folder: Path, seed: str, seconds: float, *, place: Path | None = None) -> None:
        self.folder = folder
        self.seconds = seconds
        self.rng = Random(seed)
        self.findings: list[str] = []
        self.facts: dict[str, object] = {}
        """What was measured, for people."""
        self.disk = (place or folder) / "disk"
        self.data = self.disk / "data"
        self.disk.mkdir(parents=True)
        self.control = shim.Control(folder / "control")
        self._log = folder / "log"
        self.story = Story(self._log)
        watched = shim.environment(self.disk, log=self._log, control=self.control)
        environ = {**ENVIRONMENT, **watched, "CODEQ_STORE_DIRECTORY": str(self.data)}
        self.node = Node(folder / "node", plaintext=True, environ=environ)
        self._seed = seed

    def expect(self, holds: bool, text: str) -> None:
        """Note a finding unless it holds."""
        if not holds:
            self.findings.append(text)

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Clients at work, after they have been told some things."""
        load = Load(self.node, self.story, f"{self._seed}-{len(self.story.told)}", pause_seconds=0.005)
        running = asyncio.create_task(load.run())
        try:
            goal = len(self.story.told) + WARM_PROMISES
            await self.until(lambda: len(self.story.told) > goal, "the load begins")
            yield load
        finally:
            load.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(running, PATIENCE_SECONDS)

    async def until(self, holds: Callable[[], bool], text: str, seconds: float = PATIENCE_SECONDS) -> bool:
        """Wait until something holds; a finding where it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                self.findings.append(f"not within {seconds} s: {text}")
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def struck(self) -> None:
        """Wait until the fault has happened."""
        await self.until(lambda: self.control.hits > 0, "the fault happens")

    async def until_acknowledged(self, what: str, count: int = 5) -> None:
        """Wait until clients are told so many more of something."""
        seen = len(self.story.told)
        await self.until(
            lambda: sum(note["what"] == what for _, note in self.story.told[seen:]) >= count, f"{count} × {what}"
        )

    async def end(self, status: int) -> None:
        """Insist that the node ends by itself with this status, and says why in words."""
        try:
            found = await asyncio.to_thread(self.node.wait, PATIENCE_SECONDS)
        except NodeError as error:
            self.findings.append(str(error))
            return
        self.expect(found == status, f"the exit status is {found}, not {status}:\n{self.node.log_tail(5)}")
        self.expect("Traceback" not in self.node.log, f"an error without words:\n{self.node.log_tail()}")

    async def up(self) -> None:
        """Start the node, and wait until it is ready."""
        await asyncio.to_thread(self.node.up)

    async def down(self) -> None:
        """Stop it politely."""
        await asyncio.to_thread(self.node.stop)

    async def still_there(self, count: int = 20) -> None:
        """Insist that tasks that were acknowledged can be read now."""
        created = [note["id"] for _, note in self.story.told if note["what"] == CREATED]
        with self.node.client() as client:
            headers = {"Authorization": f"Bearer {self.node.producer('storage')}"}
            for task in self.rng.sample(created, min(count, len(created))):
                answer = await asyncio.to_thread(client.get, f"/v1/codeq/tasks/{task}", headers=headers)
                self.expect(answer.status_code == 200, f"a read of {task} is answered with {answer.status_code}")

    def judge(self) -> None:
        """Whether every promise is kept: by the files as they are, and as power cuts since would have left them."""
        checked = codeq("check", "--directory", str(self.data))
        self.expect(checked.returncode == 0, f"the check: {checked.stdout}{checked.stderr}")
        promises = self.story.promises()
        self.facts["promises"] = promises.count
        self.findings += [f"odd answer: {text}" for text in promises.odd]
        self._judge_tree(lambda target: shutil.copytree(self.data, target), promises, "as it is")
        timeline = Timeline({}, read(self._log))
        told, position = Promises(), 0
        for state in draw(timeline, POWER_CUTS, self.rng):
            told.take(record.note for record in timeline.notes_before(state.position, position))
            position = state.position
            tree = timeline.build(state)
            with tempfile.TemporaryDirectory(prefix="codeq-state-") as scratch:
                root = Path(scratch) / "root"
                root.mkdir()
                write_tree(root, tree)
                self.findings += [f"power cut {state}: {text}" for text in judge(root / "data", told)[:3]]

    def _judge_tree(self, make: Callable[[Path], object], promises: Promises, when: str) -> None:
        with tempfile.TemporaryDirectory(prefix="codeq-state-") as scratch:
            target = Path(scratch) / "data"
            make(target)
            self.findings += [f"{when}: {text}" for text in judge(target, promises)[:5]]

    def judge_directory(self, directory: Path, promises: Promises) -> None:
        """Whether another directory keeps these promises; it is not changed."""
        self._judge_tree(lambda target: shutil.copytree(directory, target), promises, directory.name)

    def close(self) -> None:
        """End everything."""
        self.node.kill()
        self.story.close()
        self.control.close()
