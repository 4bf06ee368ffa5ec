"""The process dies at every named place: what was acknowledged is there, and no group is there in part."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.engine import crashpoints
from appliance.engine.store import Store
from tests.engine.committing import rows_of
from tests.engine.crashing import CREATES

GROUPS = 30
JUDGE = (
    "from pathlib import Path; from tests.engine.test_crashes import groups_in; "
    'print("in the store", groups_in(Path(sys.argv[1])))'
)


def run(directory: Path, *arguments: str, crash_point: str = "") -> tuple[int, list[int]]:
    """Exit status of the crashing program, and the groups that it acknowledged."""
    environment = {**os.environ, crashpoints.VARIABLE: crash_point}
    if not crash_point:
        del environment[crashpoints.VARIABLE]
    finished = subprocess.run(
        [sys.executable, "-m", "tests.engine.crashing", str(directory), str(GROUPS), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return finished.returncode, [int(line) for line in finished.stdout.split()]


def groups_in(directory: Path) -> int:
    """How many groups are in the store, each of them whole; fails where one is there in part or out of order."""
    store = Store.open(directory)
    there = [store.get(table, key) for number in range(1, GROUPS + 2) for table, key, _ in rows_of(number, CREATES)]
    store.close()
    of_group = [set(map(bool_of, there[at : at + 3 * CREATES])) for at in range(0, len(there), 3 * CREATES)]
    last = max((number for number, seen in enumerate(of_group, 1) if True in seen), default=0)
    for number, seen in enumerate(of_group, 1):
        deleted = number % 2 == 1 and number < last
        assert seen == {number <= last and not deleted}
    return last


def bool_of(row: bytes | None) -> bool:
    return row is not None


@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize(
    ("name", "ahead"),
    [
        (crashpoints.BEFORE_BEGIN, 0),
        (crashpoints.BEFORE_COMMIT, 0),
        (crashpoints.BEFORE_COMPLETION, 1),
        (crashpoints.AT_COMPLETION, 1),
    ],
)
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path, name: str, ahead: int, count: int) -> None:
    status, acknowledged = run(tmp_path, crash_point=f"{name}:{count}")
    assert status == -signal.SIGKILL
    assert acknowledged == list(range(1, count))
    assert groups_in(tmp_path) == len(acknowledged) + ahead


def test_a_run_without_a_crash_is_whole(tmp_path: Path) -> None:
    status, acknowledged = run(tmp_path)
    assert status == 0
    assert acknowledged == list(range(1, GROUPS + 1))
    assert groups_in(tmp_path) == GROUPS


def test_a_write_that_the_system_refuses_ends_the_process_with_its_own_status(tmp_path: Path) -> None:
    status, acknowledged = run(tmp_path, str(200_000))
    assert status == 74
    assert 0 < len(acknowledged) < GROUPS
    assert groups_in(tmp_path) == len(acknowledged)


def test_a_full_disk_fails_the_group_keeps_what_was_acknowledged_and_lets_the_node_start_again(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if unshare is None or subprocess.run([unshare, "-m", *mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small file system")
    node = f"{sys.executable} -m tests.engine.crashing {tmp_path} {GROUPS}; echo status $?"
    judge = f"{sys.executable} -c 'import sys; {JUDGE}' {tmp_path}"
    for size in ("140k", "160k", "180k", "200k"):
        program = f"{' '.join(mount)} -o size={size} && {{ {node}; {judge}; {node}; }}"
        run_there = subprocess.run([unshare, "-m", "sh", "-c", program], stdout=subprocess.PIPE, text=True, check=True)
        first, rest = run_there.stdout.split("status 75\n", 1)
        acknowledged = [int(line) for line in first.split()]
        assert acknowledged == list(range(1, len(acknowledged) + 1))
        assert 0 < len(acknowledged) < GROUPS
        assert rest.startswith(f"in the store {len(acknowledged)}\n")
        assert rest.endswith("status 75\n")
