"""How a node is brought to each of the named crash points, and made to die there.

Owns which event leads to which point and how long that may take. Must not know clients. Everything blocks: it runs on a
thread of its own.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from appliance.engine import crashpoints
from appliance.engine.check import check
from appliance.engine.crashpoints import VARIABLE
from tests.e2e.node import ROOT, Node, clean_environment

HITS_MAX: Final = 100
"""Of points that every group passes, a few hundred times a second."""
RARE_HITS_MAX: Final = 4
DEATH_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.005

_RARE: Final = frozenset(
    (
        *(name for name in crashpoints.DELETED if name not in ("ready-deleted", "lease-deleted")),
        *("idem-applied", "due-applied", "name-applied", "dead-applied", crashpoints.SCANNED),
        *("control-applied", "audit-applied"),
    )
)

_COPYING: Final = (
    "import sys; from pathlib import Path; from appliance.engine.copy import copy; "
    "from appliance.engine.store import Store; "
    "store = Store.open(Path(sys.argv[1])); copy(store.environment, Path(sys.argv[2]), 30.0, lambda done, all: None)"
)


class Dying:
    """Brings `node` to crash points. `complain` hears of what is wrong on the way."""

    def __init__(self, node: Node, rng: Random, complain: Callable[[str], None]) -> None:
        self.died_at: set[str] = set()
        self._node = node
        self._rng = rng
        self._complain = complain
        self._folders = 0

    def armed(self, name: str) -> dict[str, str]:
        """The environment in which a node dies at this point."""
        once = name not in crashpoints.OF_THE_LOAD
        hits = 1 if once else self._rng.randint(1, RARE_HITS_MAX if name in _RARE else HITS_MAX)
        return {VARIABLE: f"{name}:{hits}"}

    def running(self, name: str) -> None:
        """The node runs, under load and armed: have it die."""
        if name in crashpoints.OF_A_RELOAD:
            self._node.signal(signal.SIGHUP)
        elif name in crashpoints.OF_A_STOP:
            self._node.signal(signal.SIGTERM)
        self._wait_for_death(self._node, name)

    def stopped(self, name: str) -> None:
        """The node does not run: have it, or something else on its store, start and die."""
        if name in crashpoints.OF_A_COPY:
            self._in_a_copy(name)
        elif name in crashpoints.OF_THE_FIRST_START:
            self._in_the_first_start(name)
        else:
            self._node.start(self.armed(name))
            self._wait_for_death(self._node, name)

    def _wait_for_death(self, node: Node, name: str) -> None:
        deadline = time.monotonic() + DEATH_SECONDS
        while node.running:
            if time.monotonic() > deadline:
                self._complain(f"the crash point {name} was not reached within {DEATH_SECONDS} s")
                return
            time.sleep(LOOK_SECONDS)
        if node.process.returncode == -signal.SIGKILL:
            self.died_at.add(name)
        else:
            self._complain(f"before {name} the node ended with {node.process.returncode}:\n{node.log_tail()}")

    def _new_folder(self) -> Path:
        self._folders += 1
        return self._node.folder.parent / f"{self._node.folder.name}-{self._folders}"

    def _in_the_first_start(self, name: str) -> None:
        """A start at an empty directory that dies; the next one must find its way, also past what is half made."""
        folder = self._new_folder()
        first = Node(folder, plaintext=True)
        try:
            first.start(self.armed(name))
            self._wait_for_death(first, name)
            first.kill()
            first.up()
            first.stop()
            if not check(folder / "data", _quiet).clean:
                self._complain(f"the store after a first start that died at {name} is not clean")
        finally:
            first.kill()
        shutil.rmtree(folder)

    def _in_a_copy(self, name: str) -> None:
        """A copy that dies leaves the store as it was, and a whole target or none."""
        target = self._new_folder()
        arguments = [sys.executable, "-c", _COPYING, str(self._node.folder / "data"), str(target)]
        environment = clean_environment(self.armed(name))
        run = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if run.returncode == -signal.SIGKILL:
            self.died_at.add(name)
        else:
            self._complain(f"before {name} the copy ended with {run.returncode}:\n{run.stderr}")
        if target.exists() != (name == crashpoints.COPY_NAMED):
            self._complain(f"a copy that died at {name} has left {'a' if target.exists() else 'no'} target")
        if target.exists() and not check(target, _quiet).clean:
            self._complain(f"a copy that died at {name} is not clean")
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(target.with_name(target.name + ".partial"), ignore_errors=True)


def _quiet(*_: object) -> None:
    """Nobody watches the progress."""
