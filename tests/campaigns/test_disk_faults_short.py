"""Some scenes of the campaign with failing disks, and the shim's faults on their own."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns import shim
from tests.campaigns.disk_faults import play

SEED = "20260"
SECONDS = 2.0
PLAYED = (
    "write fails for ever",
    "head fails once cut short",
    "flush fails once",
    "no room at write once",
    "flush stands still",
    "clock back by a day",
    "network file system",
    "file damaged",
)


@pytest.mark.parametrize("name", PLAYED)
def test_a_scene_holds(name: str, tmp_path: Path) -> None:
    outcome = play(name, tmp_path / "scene", SEED, SECONDS)
    assert not outcome.findings, "\n".join(outcome.findings)
    assert not outcome.skipped


PROGRAM = """
import os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
for act in (lambda: os.pwrite(descriptor, b"abcd", 0), lambda: os.fsync(descriptor)):
    for _ in range(3):
        try:
            print(act())
        except OSError as error:
            print(-error.errno)
print(os.fstat(descriptor).st_size, os.statvfs(sys.argv[1]).f_bavail)
"""


def lines(control: shim.Control, folder: Path) -> list[str]:
    environ = {**os.environ, **shim.environment(folder / "disk", control=control)}
    command = [sys.executable, "-c", PROGRAM, str(folder / "disk" / "file")]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize(
    ("armed", "said"),
    [
        ((shim.WRITE, errno.EIO, 1, 1, shim.INSTEAD), ["4", f"-{errno.EIO}", "4", "None", "None", "None"]),
        ((shim.WRITE, errno.EIO, 0, shim.FOR_EVER, shim.AFTERWARDS), [f"-{errno.EIO}"] * 3 + ["None"] * 3),
        ((shim.WRITE, 0, 2, 1, shim.SHORT), ["4", "4", "2", "None", "None", "None"]),
        ((shim.SYNC, errno.ENOSPC, 0, 2, shim.INSTEAD), ["4"] * 3 + [f"-{errno.ENOSPC}"] * 2 + ["None"]),
    ],
)
def test_a_fault_strikes_when_and_as_often_as_it_is_told(
    armed: tuple[int, int, int, int, int], said: list[str], tmp_path: Path
) -> None:
    control = shim.Control(tmp_path / "control")
    call, error, skip, times, mode = armed
    control.arm(call, error, skip=skip, times=times, mode=mode)
    control.set_free_bytes(0)
    assert lines(control, tmp_path) == [*said, "4", "0"]
    assert control.hits == (times if times > 0 else 3)
    assert control.calls(shim.WRITE) == control.calls(shim.SYNC) == 3
    control.close()
