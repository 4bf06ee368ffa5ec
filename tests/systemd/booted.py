"""`python -m tests.systemd.booted`: the package and its units in a Debian that systemd has booted.

Owns the order of the steps, and what each has to show. Each prints what it saw; the first that fails ends the run with
1 and the command that repeats it. Needs root, and what `machine.missing` names.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.systemd.machine import Machine, MachineError, missing
from tests.systemd.steps import STEPS, Context, Failed

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run the steps; the exit status."""
    arguments = _parser().parse_args()
    lacking = missing()
    if lacking:
        print(f"booted: {lacking}", file=sys.stderr)
        return 2
    package = arguments.package or _built()
    folder = Path(tempfile.mkdtemp(prefix="codeq-booted-"))
    machine = Machine(folder)
    began = time.monotonic()
    try:
        _timed("boot a Debian root", machine.boot)
        machine.enter_network()
        context = Context(machine, package, arguments.older or _older(package, folder), arguments.seconds)
        for step in STEPS:
            _timed(step.__doc__ or "", lambda step=step: step(context))  # type: ignore[misc]
    except (Failed, MachineError, OSError, subprocess.SubprocessError, TimeoutError) as error:
        print(f"FAILED: {error}\n{_journal(machine)}\nagain with: python -m tests.systemd.booted --package {package}")
        return 1
    finally:
        machine.end()
        if arguments.keep:
            print(f"the root is in {machine.root}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"all {len(STEPS)} steps are well: {time.monotonic() - began:.0f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.systemd.booted", description=__doc__)
    parser.add_argument("--package", type=Path, help="a .deb; made by ./dev deb when left out")
    parser.add_argument("--older", type=Path, help="one to upgrade from; the same under a lower version when left out")
    parser.add_argument("--seconds", type=int, default=10, help="how long each load lasts (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the root for a look")
    return parser


def _timed(title: str, step: Callable[[], str | None]) -> None:
    print(f"-- {title.strip().splitlines()[0]}", flush=True)
    began = time.monotonic()
    seen = step()
    print(f"   {seen + '; ' if seen else ''}{time.monotonic() - began:.1f} s", flush=True)


def _built() -> Path:
    print("-- build the package", flush=True)
    done = subprocess.run([str(ROOT / "dev"), "deb"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.split()[-1])


def _older(package: Path, folder: Path) -> Path:
    """The same package with a lower version."""
    tree, older = folder / "older", folder / "older.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN" / "control"
    lines = control.read_text().splitlines()
    control.write_text("\n".join("Version: 0.0.1-1" if each.startswith("Version:") else each for each in lines) + "\n")
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(older)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return older


def _journal(machine: Machine) -> str:
    try:
        return machine.run("journalctl", "--no-pager", "-n", "40", "-u", "codeq*", check=False).stdout
    except (MachineError, OSError, subprocess.SubprocessError) as error:
        return f"(no journal: {error})"


if __name__ == "__main__":
    sys.exit(main())
