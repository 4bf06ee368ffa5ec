"""A store that is written to and copied at the same time, for the power cut campaign to cut.

    python -m tests.campaigns.copying DISK LOG SEED

Makes a store in DISK/data, commits groups in it, meanwhile copies it to DISK/copies/mine/copy-0 and so on, and adds a
note to LOG for each group that is durable and each copy that is done. Group n puts the rows of a few creates; a copy
holds each group whole or not at all, and all that were durable when it began.
"""

import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

from appliance.engine.copy import copy
from appliance.engine.faults import StoreError
from appliance.engine.store import Store
from appliance.engine.tables import STATE
from tests.campaigns.journal import Notes
from tests.campaigns.promises import Promises
from tests.campaigns.storage_load import COPIED, GROUP
from tests.engine.committing import Outcomes, group_of

GROUPS: Final = 120
COPIES: Final = 4
CREATES_MAX: Final = 40
DEADLINE_SECONDS: Final = 60.0


def _copy_all(store: Store, disk: Path, notes: Notes, done: list[int]) -> None:
    for number in range(COPIES):
        began_at = len(done)
        target = disk / "copies" / "mine" / f"copy-{number}"
        copy(store.environment, target, DEADLINE_SECONDS, lambda _done, _expected: None, compact=number % 2 == 1)
        notes.add(COPIED, name=str(target.relative_to(disk)), groups=began_at)


def run(disk: Path, log: Path, seed: str) -> None:
    """Write and copy."""
    rng = Random(seed)
    notes = Notes(log)
    store = Store.open(disk / "data")
    outcomes = Outcomes(store)
    done: list[int] = []
    copier = threading.Thread(target=_copy_all, args=(store, disk, notes, done))
    number = 0
    while number < GROUPS or copier.is_alive():
        number += 1
        if number == 2:
            copier.start()
        creates = rng.randrange(1, CREATES_MAX)
        outcomes.commit(number, group_of(number, creates))
        assert not outcomes.failed, outcomes.failed
        done.append(number)
        notes.add(GROUP, number=number, creates=creates)
    copier.join()
    outcomes.committer.stop()
    store.close()
    notes.close()


def judge_copy(disk: Path, promises: Promises) -> list[str]:
    """What is wrong with the store and its copies."""
    found = [f"the store: {text}" for text in _judge_groups(disk / "data", promises.groups, len(promises.groups))]
    for name, groups in promises.copied.items():
        if not (disk / name).is_dir():
            found.append(f"lost: {name} was done")
        else:
            found += [f"{name}: {text}" for text in _judge_groups(disk / name, promises.groups, groups)]
    for path in disk.glob("copies/mine/copy-*"):
        name = str(path.relative_to(disk))
        if path.suffix != ".partial" and name not in promises.copied:
            found += [f"{name}, not done: {text}" for text in _judge_groups(path, promises.groups, 0)]
    return found


def _judge_groups(directory: Path, creates: dict[int, int], least: int) -> list[str]:
    """Whether the store in this directory opens and has each group whole, and the first `least` of them."""
    try:
        store = Store.open(directory)
    except StoreError as error:
        return [f"it does not open: {type(error).__name__}: {error}"]
    try:
        rows = store.scan(STATE, b"", b"\xff", 1 << 30)
    finally:
        store.close()
    seen = Counter(int.from_bytes(key[:8], "big") for key, _ in rows)
    found = [
        f"group {number} has {seen[number]} rows" for number in creates if seen[number] not in (0, creates[number])
    ]
    found += [f"lost: group {number}" for number in range(1, least + 1) if not seen[number]]
    if seen and max(seen) != len(seen):
        found.append(f"there is a hole: {len(seen)} groups, the newest is {max(seen)}")
    return found


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
