"""The units of systemd/, as `systemd-analyze` sees them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.cli import status

UNITS = Path(__file__).parents[2] / "systemd"
SYSTEMD = Path(__file__).parents[2] / "docs" / "systemd.md"

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: the units are not checked"
)


def units() -> list[str]:
    return sorted(path.name for path in UNITS.iterdir() if path.suffix in (".service", ".socket", ".timer"))


def root_with_units(folder: Path) -> Path:
    """A root of its own with the units, and the programs that they start."""
    place = folder / "etc/systemd/system"
    place.mkdir(parents=True)
    for name in units():
        shutil.copy(UNITS / name, place)
    for program in ("usr/bin/codeq", "bin/kill", "bin/sh"):
        path = folder / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return place


def exposure(unit: Path) -> float:
    """What `systemd-analyze security` says: 0 is best, 10 is worst."""
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", found.stdout)
    assert match, found.stdout + found.stderr
    return float(match[1])


def documented(document: Path, heading: str, first: str) -> str:
    """The indented text below a heading, from the line that begins with `first`, as a user would copy it."""
    _, _, below = document.read_text().partition(f"\n{heading}\n")
    lines = below[below.index(f"    {first}") :].split("\n")
    ends = (number for number, line in enumerate(lines) if line and not line.startswith("    "))
    return "\n".join(line.removeprefix("    ") for line in lines[: next(ends, len(lines))]).rstrip() + "\n"


def network_drop_in() -> str:
    """The drop-in for a node without a network of its own."""
    return documented(SYSTEMD, "## Without a network of its own", "[Unit]")


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    root_with_units(tmp_path)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={tmp_path}", *units()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_the_node_and_its_backup_are_hardly_exposed() -> None:
    assert exposure(UNITS / "codeq.service") <= 1.1
    assert exposure(UNITS / "codeq-backup.service") <= 1.1


def test_with_the_documented_drop_in_a_node_without_network_is_exposed_less(tmp_path: Path) -> None:
    place = root_with_units(tmp_path)
    merged = place / "codeq.service"
    merged.write_text(merged.read_text() + network_drop_in())
    assert exposure(merged) <= 0.3


def test_a_start_that_a_restart_can_not_help_is_not_repeated() -> None:
    text = (UNITS / "codeq.service").read_text()
    assert f"\nRestartPreventExitStatus={status.DISK_NOT_TRUSTED} {status.CONFIGURATION}\n" in text
